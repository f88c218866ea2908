"""PPO (arXiv 1707.06347) against a reward, with a KL leash to the model it started from (arXiv 1909.08593).

The value is a linear head on the policy's trunk, which halves the cost of the update on a small model; its loss stops
at the head. Were it to move the trunk, a large KL coefficient, whose returns are large too, would drag the policy away
instead of holding it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Prompts
from rlhf.model import Decoder, Params, scalar, zero_head
from rlhf.onpolicy import Lesson, Passes, follow, objective
from rlhf.optimiser import Optimiser
from rlhf.rollout import Reward, Rollout, Sampling, response_hidden
from rlhf.shaping import advantages_and_returns, kl_estimate, response_mask, shaped_rewards, whiten
from rlhf.stage import Stage


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How to follow a reward."""

    optimiser: Optimiser
    sampling: Sampling
    passes: Passes
    kl_coefficient: float
    """Weight of the per-token KL to the parent in the reward."""
    clip: float = 0.2
    """Range of the policy's ratio, and of the value's change, that is followed."""
    value_coefficient: float = 0.1
    """Weight of the value loss, which moves the head alone."""
    discount: float = 1.0
    smoothing: float = 0.95
    """Lambda of GAE."""


@dataclass(frozen=True)
class ClippedSurrogate:
    """mean of max(-A rho, -A clip(rho, 1 -+ c)) plus the clipped value loss, over response tokens."""

    decoder: Decoder
    response: int
    clip: float
    value_coefficient: float
    temperature: float

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` holds the fields of a `Rollout` that an update needs."""
        hidden, said = response_hidden(
            self.decoder, parts["policy"], batch["tokens"], batch["starts"], self.response
        )
        logprobs, entropy, _ = likelihood.of_targets(
            self.decoder, parts["policy"], hidden, said, self.temperature
        )
        values = scalar(parts["head"], jax.lax.stop_gradient(hidden))
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


@partial(jax.jit, static_argnames=("discount", "smoothing", "eos"))
def _lesson(rollout: Rollout, coefficient: Array, *, discount: float, smoothing: float, eos: int) -> Lesson:
    mask = response_mask(rollout.lengths, rollout.logprobs.shape[1])
    kl = kl_estimate(rollout.logprobs, rollout.reference) * mask
    rewards = shaped_rewards(rollout.scores, kl, mask, coefficient)
    advantages, returns = advantages_and_returns(
        rewards, rollout.values, mask, discount=discount, smoothing=smoothing
    )
    # Of the returns' variance, the share that the values explain.
    count = jnp.sum(mask)
    mean = jnp.sum(returns * mask) / count
    variance = jnp.sum(jnp.square(returns - mean) * mask) / count
    error = jnp.sum(jnp.square(returns - rollout.values) * mask) / count
    metrics = objective(rollout, eos) | {"value/explained_variance": 1 - error / jnp.maximum(variance, 1e-8)}
    batch = {
        "tokens": rollout.tokens,
        "starts": rollout.starts,
        "lengths": rollout.lengths,
        "logprobs": rollout.logprobs,
        "values": rollout.values,
        "advantages": whiten(advantages, mask),
        "returns": returns,
    }
    return Lesson(batch, metrics)


@dataclass(frozen=True)
class _PPO:
    config: PPOConfig
    decoder: Decoder
    eos: int

    @property
    def loss(self) -> ClippedSurrogate:
        c = self.config
        return ClippedSurrogate(
            self.decoder, c.sampling.response, c.clip, c.value_coefficient, c.sampling.temperature
        )

    def lesson(self, rollout: Rollout, coefficient: Array) -> Lesson:
        c = self.config
        return _lesson(rollout, coefficient, discount=c.discount, smoothing=c.smoothing, eos=self.eos)

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        return coefficient


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
    stage: Stage,
) -> Params:
    """One iteration per row of `order` (int ``[steps, batch]``, see `onpolicy.follow`); returns the policy."""
    parts = follow(
        {"policy": params, "head": zero_head(decoder.config.width)},
        prompts,
        order,
        reward,
        _PPO(config, decoder, eos),
        sampling=config.sampling,
        passes=config.passes,
        optimiser=config.optimiser,
        coefficient=config.kl_coefficient,
        decoder=decoder,
        key=key,
        eos=eos,
        pad=pad,
        stage=stage,
    )
    return parts["policy"]
