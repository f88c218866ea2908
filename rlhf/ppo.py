"""PPO (arXiv 1707.06347) against a reward, with a KL leash to the model it started from (arXiv 1909.08593).

One iteration: answer a batch of prompts, score the answers, then several epochs of clipped updates on them. The
parent is the reference, frozen. The value is a linear head on the policy's trunk, which halves the cost of the
update on a small model; its loss stops at the head. Were it to move the trunk, a large KL coefficient, whose returns
are large too, would drag the policy away instead of holding it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Prompts
from rlhf.events import BatchConsumed, Hook, RolledOut, StageEnded, StageStarted, Updated, announce
from rlhf.fit import Adam, own, update
from rlhf.model import Decoder, Params, values_of, with_scalar, without_scalar
from rlhf.rollout import Reward, Rollout, response_logprobs, roll_out
from rlhf.shaping import response_mask


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How to follow a reward."""

    learning_rate: float
    warmup: int
    """Iterations over which the learning rate rises."""
    response: int
    """Tokens of an answer at most."""
    stop: bool
    """Whether the end-of-text token ends an answer. Without it every answer has `response` tokens, so that a reward
    that was fitted on texts of one length is not asked about others (arXiv 1909.08593 does the same)."""
    epochs: int
    """Passes over each rollout batch."""
    minibatch: int
    """Rows per update; divides the rollout batch."""
    kl_coefficient: float
    """Weight of the per-token KL to the parent in the reward."""
    clip: float = 0.2
    """Range of the policy's ratio, and of the value's change, that is followed."""
    value_coefficient: float = 0.1
    """Weight of the value loss, which moves the head alone."""
    discount: float = 1.0
    smoothing: float = 0.95
    """Lambda of GAE."""
    temperature: float = 1.0
    """Of the rollout; the same temperature divides the logits everywhere."""

    def __post_init__(self) -> None:
        for name in ("response", "epochs", "minibatch", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class ClippedSurrogate:
    """mean of max(-A rho, -A clip(rho, 1 -+ c)) plus the clipped value loss, over response tokens."""

    decoder: Decoder
    response: int
    clip: float
    value_coefficient: float
    temperature: float

    def __call__(self, params: Params, batch: Mapping[str, Array]) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` holds the fields of a `Rollout` that an update needs."""
        logprobs, entropy, hidden = response_logprobs(
            self.decoder, params, batch["tokens"], batch["starts"], self.response, self.temperature
        )
        values = values_of(self.decoder, params, jax.lax.stop_gradient(hidden))
        mask = response_mask(batch["lengths"], self.response)
        count = jnp.sum(mask)

        change = (logprobs - batch["logprobs"]) * mask
        ratio = jnp.exp(change)
        gain = batch["advantages"]
        plain, clipped = -gain * ratio, -gain * jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        policy = jnp.sum(jnp.maximum(plain, clipped) * mask)

        near = batch["values"] + jnp.clip(values - batch["values"], -self.clip, self.clip)
        errors = jnp.square(values - batch["returns"]), jnp.square(near - batch["returns"])
        value = 0.5 * jnp.sum(jnp.maximum(*errors) * mask)

        metrics = {
            "policy/loss": (policy, count),
            "policy/approxkl": (0.5 * jnp.sum(jnp.square(change)), count),
            "policy/clipfrac": (jnp.sum((clipped > plain) * mask), count),
            "policy/entropy": (jnp.sum(entropy * mask), count),
            "policy/ratio": (jnp.sum(ratio * mask), count),
            "value/loss": (value, count),
        }
        return policy + self.value_coefficient * value, count, metrics


_LEARNT_FROM = ("tokens", "starts", "lengths", "logprobs", "values", "advantages", "returns")


def _minibatch(rollout: Rollout, index: np.ndarray) -> dict[str, Array]:
    return {name: getattr(rollout, name)[index] for name in _LEARNT_FROM}


@partial(jax.jit, static_argnames=("eos",))
def _objective(rollout: Rollout, eos: int) -> dict[str, Array]:
    """Metrics of a rollout under the field's usual names."""
    mask = response_mask(rollout.lengths, rollout.kl.shape[1])
    # Of the returns' variance, the share that the values explain.
    count = jnp.sum(mask)
    mean = jnp.sum(rollout.returns * mask) / count
    variance = jnp.sum(jnp.square(rollout.returns - mean) * mask) / count
    error = jnp.sum(jnp.square(rollout.returns - rollout.values) * mask) / count
    last = rollout.starts + rollout.lengths - 1
    ended = jnp.take_along_axis(rollout.tokens, last[:, None], axis=1)[:, 0] == eos
    drift = jnp.max(jnp.abs(rollout.logprobs - rollout.sampled_logprobs) * mask)
    return {
        "objective/kl": jnp.mean(jnp.sum(rollout.kl, axis=1)),
        "objective/score": jnp.mean(rollout.scores),
        "objective/length": jnp.mean(rollout.lengths.astype(jnp.float32)),
        "objective/eos_rate": jnp.mean(ended.astype(jnp.float32)),
        "objective/sampler_drift": drift,
        "value/explained_variance": 1 - error / jnp.maximum(variance, 1e-8),
    }


def train(
    params: Params,
    prompts: Prompts,
    order: np.ndarray,
    reward: Reward,
    config: PPOConfig,
    *,
    decoder: Decoder,
    key: Array,
    eos: int,
    pad: int,
    stage: str,
    hooks: Sequence[Hook] = (),
) -> Params:
    """One iteration per row of `order` (int ``[steps, batch]``, see `batches.schedule`); returns the policy.

    Where the last row of `order` is filled up with -1, prompts of the same row take those places, so that a prompt
    is shown a little more often than asked; the hooks hear of every showing.
    """
    if order.shape[1] % config.minibatch:
        raise ValueError(
            f"expected the rollout batch to be a multiple of `minibatch`, got {order.shape[1]} and "
            f"{config.minibatch}"
        )
    actor = Decoder(decoder.config, scalar=True)
    reference = with_scalar(params, decoder.config.width)
    policy = own(reference)
    updates = config.epochs * (order.shape[1] // config.minibatch)
    adam = Adam(
        learning_rate=config.learning_rate, steps=len(order) * updates, warmup=config.warmup * updates
    )
    moments = adam.transform().init(policy)
    loss = ClippedSurrogate(actor, config.response, config.clip, config.value_coefficient, config.temperature)
    announce(hooks, StageStarted(stage=stage, steps=len(order)))
    for step, row in enumerate(order):
        real = row[row >= 0]
        index = np.resize(real, len(row))
        ids = tuple(prompts.ids[i] for i in index)
        step_key = jax.random.fold_in(key, step)
        rollout = roll_out(
            policy,
            reference,
            Prompts(tokens=prompts.tokens[index], lengths=prompts.lengths[index], ids=ids),
            reward,
            jax.random.fold_in(step_key, 0),
            decoder=actor,
            response=config.response,
            temperature=config.temperature,
            coefficient=config.kl_coefficient,
            discount=config.discount,
            smoothing=config.smoothing,
            eos=eos if config.stop else None,
            pad=pad,
        )
        announce(hooks, BatchConsumed(stage=stage, step=step, role="prompt", rows=ids))
        announce(hooks, _rolled_out(stage, step, ids, rollout))
        learnt = []
        for epoch in range(config.epochs):
            shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(step_key, 1 + epoch), len(index)))
            for part in shuffled.reshape(-1, config.minibatch):
                policy, moments, of_part = update(
                    policy, moments, _minibatch(rollout, part), loss=loss, adam=adam
                )
                learnt.append(of_part)
        metrics = _told(_objective(rollout, eos), learnt)
        announce(hooks, Updated(stage=stage, step=step, metrics=metrics))
    announce(hooks, StageEnded(stage=stage, steps=len(order)))
    return without_scalar(policy)


def _told(objective: dict[str, Array], learnt: list[dict[str, Array]]) -> dict[str, float]:
    """What an iteration's update is announced with: the rollout's metrics, and the means over its minibatches."""
    rollout, parts = jax.device_get((objective, learnt))
    means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    first = {"policy/first_ratio": float(parts[0]["policy/ratio"])}
    return {name: float(value) for name, value in rollout.items()} | means | first


def _rolled_out(stage: str, step: int, ids: tuple[tuple[str, ...], ...], rollout: Rollout) -> RolledOut:
    starts, width = np.asarray(rollout.starts), rollout.kl.shape[1]
    tokens = np.asarray(rollout.tokens)
    index = np.minimum(starts[:, None] + np.arange(width), tokens.shape[1] - 1)
    mask = np.asarray(response_mask(rollout.lengths, width))
    return RolledOut(
        stage=stage,
        step=step,
        rows=ids,
        tokens=np.take_along_axis(tokens, index, axis=1),
        lengths=np.asarray(rollout.lengths),
        logprobs=np.asarray(rollout.logprobs) * mask,
        kl=np.asarray(rollout.kl),
        values=np.asarray(rollout.values) * mask,
        scores=np.asarray(rollout.scores),
    )
