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


def rope_frequency(config: ModelConfig, pair: int) -> float:
    """Angle per position of a pair of entries, with Llama 3's stretching case by case."""
    frequency = config.rope_base ** (-2 * pair / int(config.head_size * config.rotary))
    scaling = config.rope_scaling
    if scaling is None:
        return frequency
    wavelength = 2 * np.pi / frequency
    if wavelength < scaling.original / scaling.high:
        return frequency
    if wavelength > scaling.original / scaling.low:
        return frequency / scaling.factor
    smooth = (scaling.original / wavelength - scaling.low) / (scaling.high - scaling.low)
    return (1 - smooth) * frequency / scaling.factor + smooth * frequency


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
        half, turned = int(len(vector) * config.rotary) // 2, vector.copy()
        for i in range(half):
            angle = position * rope_frequency(config, i)
            turned[i] = vector[i] * np.cos(angle) - vector[i + half] * np.sin(angle)
            turned[i + half] = vector[i] * np.sin(angle) + vector[i + half] * np.cos(angle)
        return turned

    def project(x: np.ndarray, dense: Mapping[str, Any]) -> np.ndarray:
        return x @ wide(dense["kernel"]) + (wide(dense["bias"]) if "bias" in dense else 0.0)

    places = list(range(len(tokens))) if positions is None else list(positions)
    size, group = config.head_size, config.heads // config.kv_heads
    x = wide(params["embed"])[list(tokens)]
    for layer in range(config.layers):
        block = params[f"block_{layer}"]
        attention, mlp = block["attention"], block["mlp"]
        normed = norm(x, block["attention_norm"]["scale"])
        q, k, v = (project(normed, attention[name]) for name in "qkv")
        mixed = np.zeros_like(q)
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
    return hidden_states(params, config, tokens) @ wide(params["embed" if config.tied else "lm"]).T


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


def whiten(x: np.ndarray, lengths: Sequence[int], keep_mean: bool = False) -> np.ndarray:
    real = [float(x[row, t]) for row, length in enumerate(lengths) for t in range(length)]
    mean, variance = np.mean(real), np.var(real)
    white = np.zeros(x.shape)
    for row, length in enumerate(lengths):
        for t in range(length):
            white[row, t] = (x[row, t] - mean) / np.sqrt(variance + 1e-8) + (mean if keep_mean else 0)
    return white


def kl_estimate(logprob: float, reference: float, name: str, clamp: float | None = None) -> float:
    """Of one token."""
    d = float(logprob) - float(reference)
    found = {"k1": d, "k2": d * d / 2, "k3": np.exp(-d) - 1 + d}[name]
    return found if clamp is None else min(max(found, -clamp), clamp)


def judged(
    scores: Sequence[float],
    ended: Sequence[bool],
    clip: float | None,
    missing_score: float | None,
    missing_penalty: float | None,
) -> list[float]:
    found = []
    for score, end in zip(scores, ended, strict=True):
        if clip is not None:
            score = min(max(score, -clip), clip)
        if not end and missing_score is not None:
            score = missing_score
        if not end and missing_penalty is not None:
            score -= missing_penalty
        found.append(score)
    return found


def truncated_length(answer: Sequence[int], eos: int, after: int) -> int:
    for t, token in enumerate(answer):
        if t >= after and token == eos:
            return t + 1
    return len(answer)


def clipped_surrogate(
    batch: Mapping[str, np.ndarray],
    logprobs: np.ndarray,
    values: np.ndarray,
    *,
    clip: float,
    value_clip: float,
    value_coefficient: float,
) -> dict[str, float]:
    """Sums over response tokens of everything that PPO's loss reports; `logprobs` and `values` are the new ones."""
    names = ("policy", "value", "approxkl", "clipfrac", "value_clipfrac", "ratio", "ratio_max", "count")
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
            sums["ratio_max"] = max(sums["ratio_max"], ratio)
            old, target = batch["values"][row, t], batch["returns"][row, t]
            near = min(max(values[row, t], old - value_clip), old + value_clip)
            sums["value"] += 0.5 * max((values[row, t] - target) ** 2, (near - target) ** 2)
            sums["value_clipfrac"] += (near - target) ** 2 > (values[row, t] - target) ** 2
            sums["count"] += 1
    sums["loss"] = sums["policy"] + value_coefficient * sums["value"]
    return sums


def bradley_terry(
    chosen: Sequence[float],
    rejected: Sequence[float],
    real: Sequence[float],
    margins: Sequence[float] | None,
    centering: float,
) -> dict[str, float]:
    """Sums over the real pairs of everything that the reward model's loss reports."""
    sums = dict.fromkeys(("loss", "accuracy", "margin", "mean_reward", "count"), 0.0)
    for pair, (good, bad) in enumerate(zip(chosen, rejected, strict=True)):
        if not real[pair]:
            continue
        wanted = 0.0 if margins is None else margins[pair]
        sums["loss"] += -log_sigmoid(good - bad - wanted) + centering * (good + bad) ** 2
        sums["accuracy"] += good > bad
        sums["margin"] += good - bad
        sums["mean_reward"] += good + bad
        sums["count"] += 1
    return sums


def told_logprobs(row_logits: np.ndarray, tokens: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Log-probability of each token of a row that has weight."""
    every = log_softmax(row_logits)
    return [float(every[t - 1, tokens[t]]) for t in range(1, len(tokens)) if weights[t]]


def preference(
    chosen: Sequence[Sequence[float]],
    rejected: Sequence[Sequence[float]],
    references: Sequence[tuple[float, float]],
    real: Sequence[float],
    *,
    method: str,
    beta: float,
    average: bool,
    smoothing: float,
) -> dict[str, float]:
    """Sums over the real pairs of what direct preference learning reports, from log-probabilities token by token."""
    names = ("rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins")
    sums = dict.fromkeys(("loss", *names, "logps/chosen", "logps/rejected", "count"), 0.0)
    for good, bad, (good_before, bad_before), counts in zip(chosen, rejected, references, real, strict=True):
        if not counts:
            continue
        gain, other = sum(good) - good_before, sum(bad) - bad_before
        h = gain / len(good) - other / len(bad) if average else gain - other
        if method == "ipo":
            sums["loss"] += (h - 1 / (2 * beta)) ** 2
        else:
            sums["loss"] -= (1 - smoothing) * log_sigmoid(beta * h) + smoothing * log_sigmoid(-beta * h)
        sums["rewards/chosen"] += beta * gain
        sums["rewards/rejected"] += beta * other
        sums["rewards/accuracies"] += gain > other
        sums["rewards/margins"] += beta * (gain - other)
        sums["logps/chosen"] += sum(good)
        sums["logps/rejected"] += sum(bad)
        sums["count"] += 1
    return sums


def mdpo(
    chosen: Sequence[float],
    rejected: Sequence[float],
    corrupted: Sequence[float] | None,
    references: Sequence[float],
    *,
    beta: float,
    anchor: bool,
) -> float:
    """Loss of one pair, from log-probabilities token by token and the references' sums in the same order."""
    good = beta * (sum(chosen) - references[0])
    loss = -log_sigmoid(good - beta * (sum(rejected) - references[1]))
    if corrupted is not None:
        loss -= log_sigmoid(good - beta * (sum(corrupted) - references[2]))
    return loss - anchor * log_sigmoid(good)


def group_advantages(rewards: Sequence[float], size: int, baseline: str) -> list[float]:
    """Against the mean of the `others` of a group, or of all of it, or that `normalised` by the sample's deviation."""
    found = []
    for i, reward in enumerate(rewards):
        first = i - i % size
        members = [float(r) for r in rewards[first : first + size]]
        mean = sum(members) / size
        if baseline == "others":
            found.append(reward - (sum(members) - reward) / (size - 1))
        elif baseline == "mean":
            found.append(reward - mean)
        else:
            variance = sum((r - mean) ** 2 for r in members) / (size - 1)
            found.append((reward - mean) / (variance**0.5 + 1e-4))
    return found


def group_loss(
    batch: Mapping[str, np.ndarray],
    logprobs: np.ndarray,
    *,
    low: float,
    high: float,
    kl: str,
    aggregation: str,
    longest: int,
) -> dict[str, float]:
    """GRPO's mean loss of an update and its part from the KL, and the share of clipped tokens."""
    answers, tokens = len(batch["lengths"]), int(sum(batch["lengths"]))
    policy = leash = clipped = 0.0
    for row, length in enumerate(batch["lengths"]):
        gain = float(batch["advantages"][row])
        for t in range(length):
            ratio = np.exp(logprobs[row, t] - batch["logprobs"][row, t])
            plain, near = ratio * gain, min(max(ratio, 1 - low), 1 + high) * gain
            gap = batch["reference"][row, t] - logprobs[row, t]
            k3 = np.exp(gap) - gap - 1
            charged = {"corrected": ratio * k3, "plain": k3, "reward": 0.0}[kl]
            share = {
                "grpo": 1 / (answers * length),
                "dapo": 1 / tokens,
                "dr_grpo": 1 / (answers * longest),
            }[aggregation]
            policy -= share * min(plain, near)
            leash += share * batch["coefficient"][row] * charged
            clipped += (near < plain) / tokens
    return {"loss": policy + leash, "policy": policy, "kl": leash, "clipfrac": clipped}


def sequence_loss(
    batch: Mapping[str, np.ndarray], logprobs: np.ndarray, *, low: float, high: float
) -> dict[str, float]:
    """RLOO's mean loss of an update, and the share of clipped answers."""
    loss = clipped = 0.0
    for row, length in enumerate(batch["lengths"]):
        gain = float(batch["advantages"][row])
        change = sum(logprobs[row, t] - batch["logprobs"][row, t] for t in range(length))
        plain, near = np.exp(change) * gain, min(max(np.exp(change), 1 - low), 1 + high) * gain
        loss -= min(plain, near) / len(batch["lengths"])
        clipped += (near < plain) / len(batch["lengths"])
    return {"loss": loss, "clipfrac": clipped}


def adam(
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    *,
    b1: float,
    b2: float,
    epsilon: float,
    placement: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Direction and both moments after step number `step`, from 1 (arXiv 1412.6980, algorithm 1 and section 2)."""
    direction, mean, square = np.zeros_like(gradient), mean.copy(), square.copy()
    for i, g in enumerate(gradient):
        mean[i] = b1 * mean[i] + (1 - b1) * g
        square[i] = b2 * square[i] + (1 - b2) * g * g
        if placement == "torch":
            direction[i] = mean[i] / (1 - b1**step) / (np.sqrt(square[i] / (1 - b2**step)) + epsilon)
        else:
            step_size = np.sqrt(1 - b2**step) / (1 - b1**step)
            direction[i] = step_size * mean[i] / (np.sqrt(square[i]) + epsilon)
    return direction, mean, square


def rate(peak: float, step: int, steps: int, warmup: int, schedule: str, final: float) -> float:
    """Learning rate of step `step` (from 0): up in a line to the peak, then down as the schedule says.

    The way down would reach its end one step after the last: no step is wasted on a rate of 0.
    """
    warm = min(warmup, steps)
    if step + 1 < warm:
        return peak * (step + 1) / warm
    down = (step + 1 - warm) / (steps + 1 - warm)
    if schedule == "constant":
        return peak
    if schedule == "linear":
        return peak * (1 - down * (1 - final))
    return peak * (final + (1 - final) * (1 + np.cos(np.pi * down)) / 2)


def truncated_logprobs(
    row_logits: Sequence[float], temperature: float, top_k: int | None, top_p: float
) -> np.ndarray:
    """Log-probabilities of what is really drawn from, ``[vocabulary]``: -inf for tokens that are cut off."""
    scaled = [float(x) / temperature for x in row_logits]
    ranked = sorted(range(len(scaled)), key=lambda token: (-scaled[token], token))
    kept = ranked if top_k is None else ranked[:top_k]
    share = dict(zip(kept, np.exp(log_softmax(np.array([scaled[t] for t in kept]))), strict=True))
    if top_p < 1:
        fewest, mass = [], 0.0
        for token in kept:
            if fewest and mass >= top_p:
                break
            fewest.append(token)
            mass += share[token]
        kept = fewest
    found = np.full(len(scaled), -np.inf)
    found[kept] = log_softmax(np.array([scaled[t] for t in kept]))
    return found
