"""The formulas of the pipeline as plain NumPy loops in float64: what the tests hold the JAX code to.

Nothing here pads, batches or caches. A row is a Python list of exactly its own tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rlhf.presets import ModelConfig


def wide(x: Any) -> np.ndarray:
    """In double precision."""
    return np.asarray(x, np.float64)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    logits = wide(logits)
    top = logits.max(axis=-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))


def log_sigmoid(x: float) -> float:
    return float(-np.logaddexp(0.0, -x))


def hidden_states(
    params: Mapping[str, Any],
    config: ModelConfig,
    tokens: Sequence[int],
    positions: Sequence[int] | None = None,
) -> np.ndarray:
    """The decoder, token by token and head by head: ``[time, width]`` after the last norm."""

    def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + config.norm_epsilon) * wide(scale)

    def rope(vector: np.ndarray, position: int) -> np.ndarray:
        half, turned = len(vector) // 2, np.empty_like(vector)
        for i in range(half):
            angle = position * config.rope_base ** (-2 * i / len(vector))
            turned[i] = vector[i] * np.cos(angle) - vector[i + half] * np.sin(angle)
            turned[i + half] = vector[i] * np.sin(angle) + vector[i + half] * np.cos(angle)
        return turned

    places = list(range(len(tokens))) if positions is None else list(positions)
    size, group = config.width // config.heads, config.heads // config.kv_heads
    x = wide(params["embed"])[list(tokens)]
    for layer in range(config.layers):
        block = params[f"block_{layer}"]
        attention, mlp = block["attention"], block["mlp"]
        normed = norm(x, block["attention_norm"]["scale"])
        q, k, v = (normed @ wide(attention[name]["kernel"]) for name in "qkv")
        mixed = np.zeros_like(x)
        for head in range(config.heads):
            mine, shared = slice(head * size, (head + 1) * size), head // group
            theirs = slice(shared * size, (shared + 1) * size)
            queries = [rope(row, p) for row, p in zip(q[:, mine], places, strict=True)]
            keys = [rope(row, p) for row, p in zip(k[:, theirs], places, strict=True)]
            for t in range(len(tokens)):
                logits = np.array([queries[t] @ keys[s] / np.sqrt(size) for s in range(t + 1)])
                mixed[t, mine] = np.exp(log_softmax(logits)) @ v[: t + 1, theirs]
        x = x + mixed @ wide(attention["o"]["kernel"])
        normed = norm(x, block["mlp_norm"]["scale"])
        gate, up = normed @ wide(mlp["gate"]["kernel"]), normed @ wide(mlp["up"]["kernel"])
        x = x + (gate / (1 + np.exp(-gate)) * up) @ wide(mlp["down"]["kernel"])
    return norm(x, params["norm"]["scale"])


def logits(params: Mapping[str, Any], config: ModelConfig, tokens: Sequence[int]) -> np.ndarray:
    """Next-token logits of one row, ``[time, vocabulary]``."""
    return hidden_states(params, config, tokens) @ wide(params["embed"]).T


def continuation_logprobs(
    row_logits: np.ndarray, prompt: Sequence[int], continuation: Sequence[int], temperature: float = 1.0
) -> np.ndarray:
    """Log-probability of each token of a continuation; `row_logits` are those of prompt and continuation."""
    found = []
    for t, token in enumerate(continuation):
        before = len(prompt) + t - 1
        found.append(log_softmax(row_logits[before] / temperature)[token])
    return np.array(found)


def cross_entropy(
    all_logits: np.ndarray, tokens: np.ndarray, weights: np.ndarray
) -> tuple[float, float, float]:
    """Sum of the weighted nats, the weight they are divided by, and the weighted number of argmax hits."""
    total = count = hits = 0.0
    for row in range(tokens.shape[0]):
        for t in range(1, tokens.shape[1]):
            before = all_logits[row, t - 1]
            total -= weights[row, t] * log_softmax(before)[tokens[row, t]]
            hits += weights[row, t] * (int(np.argmax(before)) == tokens[row, t])
            count += weights[row, t]
    return total, count, hits


def shaped_rewards(
    scores: np.ndarray, kl: np.ndarray, lengths: Sequence[int], coefficient: float
) -> np.ndarray:
    rewards = np.zeros(kl.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            rewards[row, t] = -coefficient * kl[row, t]
        rewards[row, length - 1] += scores[row]
    return rewards


def gae(
    rewards: np.ndarray, values: np.ndarray, lengths: Sequence[int], discount: float, smoothing: float
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages as the explicit sum of discounted residuals, and returns."""
    advantages, returns = np.zeros(rewards.shape), np.zeros(rewards.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            for later in range(t, length):
                following = values[row, later + 1] if later + 1 < length else 0.0
                residual = rewards[row, later] + discount * following - values[row, later]
                advantages[row, t] += (discount * smoothing) ** (later - t) * residual
            returns[row, t] = advantages[row, t] + values[row, t]
    return advantages, returns


def whiten(x: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    real = [x[row, t] for row, length in enumerate(lengths) for t in range(length)]
    mean, variance = np.mean(real), np.var(real)
    white = np.zeros(x.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            white[row, t] = (x[row, t] - mean) / np.sqrt(variance + 1e-8)
    return white


def clipped_surrogate(
    batch: Mapping[str, np.ndarray],
    logprobs: np.ndarray,
    values: np.ndarray,
    *,
    clip: float,
    value_coefficient: float,
) -> dict[str, float]:
    """Sums over response tokens of everything that PPO's loss reports; `logprobs` and `values` are the new ones."""
    names = ("policy", "value", "approxkl", "clipfrac", "ratio", "count")
    sums: dict[str, float] = dict.fromkeys(names, 0.0)
    for row, length in enumerate(batch["lengths"]):
        for t in range(length):
            change = logprobs[row, t] - batch["logprobs"][row, t]
            ratio, gain = np.exp(change), batch["advantages"][row, t]
            plain, clipped = -gain * ratio, -gain * min(max(ratio, 1 - clip), 1 + clip)
            sums["policy"] += max(plain, clipped)
            sums["clipfrac"] += clipped > plain
            sums["approxkl"] += 0.5 * change**2
            sums["ratio"] += ratio
            old, target = batch["values"][row, t], batch["returns"][row, t]
            near = min(max(values[row, t], old - clip), old + clip)
            sums["value"] += 0.5 * max((values[row, t] - target) ** 2, (near - target) ** 2)
            sums["count"] += 1
    sums["loss"] = sums["policy"] + value_coefficient * sums["value"]
    return sums
