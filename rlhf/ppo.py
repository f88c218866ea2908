"""PPO (arXiv 1707.06347) against a reward, with a KL leash to the model it started from (arXiv 1909.08593).

One iteration, and where to read it:

1. The policy answers a batch of prompts; policy, reference and critic look at the answers, the reward scores them
   (`rollout.roll_out`).
2. Scores and KL become rewards, rewards and values become advantages and returns (`_lesson` here, its formulas in
   `shaping`).
3. Several epochs of minibatches follow the advantages as far as the clip lets them (`ClippedSurrogate` here, the loop
   in `onpolicy.follow`).

Notable choices:

- Answers are learnt from as they were sampled: tokens, never text. Masks come from lengths, never from token ids, so
  that an end-of-text token counts and a pad does not, whatever their ids.
- One temperature divides the logits of rollout, reference and update; log-probabilities, values, rewards and losses
  are float32. There is no dropout and no entropy bonus.
- The ratio's old log-probabilities are not the sampler's: the training graph makes them anew, so that the first ratio
  is 1. A run in which it is not is stopped (`onpolicy`).
- The KL is k1 in the reward, which has the gradient of the reverse KL (`shaping.kl_estimate`), and the score stands at
  the answer's own last token.
- Advantages are whitened over the whole rollout; returns are made before.
- Losses are (sum, count) over tokens, so that a gradient does not depend on how a batch is cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Prompts
from rlhf.model import Decoder, Params, zero_head
from rlhf.onpolicy import Lesson, Passes, follow, objective
from rlhf.optimiser import Adam, Optimiser
from rlhf.rollout import Reward, Rollout, Sampling, critic_values, ended, response_hidden
from rlhf.shaping import (
    adapted,
    advantages_and_returns,
    judged,
    kl_estimate,
    moments,
    response_mask,
    shaped_rewards,
    whiten,
)
from rlhf.stage import Stage

ADAM = Adam(b2=0.999, epsilon=1e-5)
"""Adam as PPO has it in arXiv 1909.08593: the greater epsilon keeps the first steps small, while the moments that they
are divided by are still noise."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """How to follow a reward. OAI19 is arXiv 1909.08593, TLDR arXiv 2403.17031, TRL its last release with PPO, 1.12."""

    sampling: Sampling
    optimiser: Optimiser = field(default=Optimiser(learning_rate=1e-5, schedule="linear", adam=ADAM))
    """Rate 1e-5 and linear to 0 as in OAI19 (3e-6 in TLDR and TRL, for models of billions of parameters). Each part's
    gradient is cut to norm 1, which OAI19 did not do and later trainers do."""
    passes: Passes = field(default=Passes())
    """4 epochs of 1 minibatch as in OAI19, TLDR and TRL."""

    kl_coefficient: float = 0.05
    """Weight of the per-token KL to the parent in the reward (TLDR, TRL; OAI19 starts an adaptive one at 0.15)."""
    kl_target: float | None = None
    """KL of an answer (nats, summed over its tokens) that the coefficient is moved towards: 6 in OAI19. None: it stays.
    The coefficient is a part of the stage's state and is saved with it."""
    kl_horizon: int = 10_000
    """Answers in which a coefficient that moves may grow or shrink by a fifth (OAI19)."""
    kl_clamp: float | None = None
    """Largest KL of one token that is charged, e.g. 10 (OpenRLHF). None as in OAI19, TLDR and TRL: it is biased."""

    score_clip: float | None = None
    """Cut scores to +- this, e.g. 10 (OpenRLHF). None as in the others."""
    missing_eos_score: float | None = None
    """Replaces the score of an answer without an end: -1 in OAI19 and TLDR. None as in TRL."""
    missing_eos_penalty: float | None = None
    """Or is subtracted from it, as TRL has it."""
    whiten_rewards: bool = False
    """Scale rewards to unit variance over the rollout's tokens, their mean kept. On in OAI19, off in TLDR and TRL; it
    changes what the KL coefficient means, and asks for some 8 rows at least."""
    discount: float = 1.0
    """Gamma of GAE: 1 in all of them."""
    smoothing: float = 0.95
    """Lambda of GAE: 0.95 in OAI19, TLDR and TRL, 1 in verl and OpenRLHF."""

    clip: float = 0.2
    """How far the policy's ratio is followed from 1: 0.2 in all of them."""
    value_clip: float = 0.2
    """How far the value's change from the rollout is followed: 0.2 in OAI19, TLDR and TRL, 0.5 in verl."""
    value_coefficient: float = 0.1
    """Weight of the value loss: 0.1 in OAI19, TLDR and TRL."""
    critic: Literal["head", "trunk", "model"] = "head"
    """What foretells the return.

    - `head`: a linear head, zero at first, on the policy's trunk, and its loss stops there. The update costs half of
      `model`'s. The loss stops because it would otherwise drag the policy: where the KL coefficient is large, so are
      the returns, and the value's errors outweigh the leash that they come from.
    - `trunk`: the same, but the loss moves the trunk too (OAI19).
    - `model`: a model of its own beside the policy (TLDR, TRL): see `critic` of `train`.
    """

    def __post_init__(self) -> None:
        for name in ("clip", "value_clip", "kl_horizon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")
        for name in ("kl_target", "kl_clamp", "score_clip", "missing_eos_penalty"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected `{name}` to be positive or None, got {value}")
        for name in ("kl_coefficient", "value_coefficient"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected `{name}` to be at least 0, got {getattr(self, name)}")
        for name in ("discount", "smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected `{name}` between 0 and 1, got {getattr(self, name)}")
        if self.critic not in ("head", "trunk", "model"):
            raise ValueError(f"expected `critic` to be head, trunk or model, got {self.critic!r}")
        rules = [self.missing_eos_score, self.missing_eos_penalty]
        if None not in rules:
            raise ValueError(
                f"expected one rule for answers without an end, got missing_eos_score={rules[0]} and "
                f"missing_eos_penalty={rules[1]}: leave one of them None"
            )
        if rules != [None, None] and not self.sampling.stop:
            raise ValueError(
                "expected answers that may end where a rule asks for it, got sampling.stop=False: "
                "leave `missing_eos_score` and `missing_eos_penalty` None"
            )


_SHAPING = (
    "kl_clamp",
    "score_clip",
    "missing_eos_score",
    "missing_eos_penalty",
    "whiten_rewards",
    "discount",
    "smoothing",
)


@partial(jax.jit, static_argnames=(*_SHAPING, "eos"))
def _lesson(
    rollout: Rollout,
    coefficient: Array,
    *,
    eos: int,
    kl_clamp: float | None,
    score_clip: float | None,
    missing_eos_score: float | None,
    missing_eos_penalty: float | None,
    whiten_rewards: bool,
    discount: float,
    smoothing: float,
) -> Lesson:
    """From a whole rollout to advantages and returns."""
    mask = response_mask(rollout.lengths, rollout.logprobs.shape[1])
    scores = judged(
        rollout.scores,
        ended(rollout, eos),
        clip=score_clip,
        missing_score=missing_eos_score,
        missing_penalty=missing_eos_penalty,
    )
    kl = kl_estimate(rollout.logprobs, rollout.reference, "k1", kl_clamp)
    rewards = shaped_rewards(scores, kl, mask, coefficient)
    charged = -coefficient * jnp.mean(jnp.sum(kl, axis=1))
    if whiten_rewards:
        rewards = whiten(rewards, mask, keep_mean=True)
    advantages, returns = advantages_and_returns(
        rewards, rollout.values, mask, discount=discount, smoothing=smoothing
    )

    mean_return, return_variance = moments(returns, mask)
    mean_value, value_variance = moments(rollout.values, mask)
    missed = jnp.sum(jnp.square(returns - rollout.values) * mask) / jnp.sum(mask)
    metrics = objective(rollout, eos) | {
        "objective/non_score_reward": charged,
        "objective/rlhf_reward": jnp.mean(scores) + charged,
        "val/returns_mean": mean_return,
        "val/returns_var": return_variance,
        "val/values_mean": mean_value,
        "val/values_var": value_variance,
        # Of the returns' variance, the share that the values explain.
        "val/explained_variance": 1 - missed / jnp.maximum(return_variance, 1e-8),
    }
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
class ClippedSurrogate:
    """Sum over response tokens of max(-A rho, -A clip(rho, 1 -+ c)) + coefficient * value loss.

    rho is the ratio of new to old probability. The value loss is 0.5 max((V - R)^2, (V_near - R)^2), where V_near is V
    kept within `value_clip` of what it was at the rollout.
    """

    decoder: Decoder
    response: int
    temperature: float
    clip: float
    value_clip: float
    value_coefficient: float
    critic: Literal["head", "trunk", "model"]

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` holds a lesson of `train`, or rows of it."""
        policy, tokens, starts = parts["policy"], batch["tokens"], batch["starts"]
        hidden, said = response_hidden(self.decoder, policy, tokens, starts, self.response)
        likely = likelihood.of_targets(self.decoder, policy, hidden, said, self.temperature)
        mask = response_mask(batch["lengths"], self.response)
        count = jnp.sum(mask)

        change = (likely.logprobs - batch["logprobs"]) * mask
        ratio = jnp.exp(change)
        gain = batch["advantages"]
        plain, clipped = -gain * ratio, -gain * jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        policy_loss = jnp.sum(jnp.maximum(plain, clipped) * mask)

        seen = jax.lax.stop_gradient(hidden) if self.critic == "head" else hidden
        values = critic_values(self.decoder, dict(parts), tokens, starts, seen)
        near = jnp.clip(values, batch["values"] - self.value_clip, batch["values"] + self.value_clip)
        error, near_error = jnp.square(values - batch["returns"]), jnp.square(near - batch["returns"])
        value_loss = 0.5 * jnp.sum(jnp.maximum(error, near_error) * mask)

        metrics = {
            "loss/policy_avg": (policy_loss, count),
            "loss/value_avg": (value_loss, count),
            "policy/approxkl_avg": (0.5 * jnp.sum(jnp.square(change)), count),
            "policy/clipfrac_avg": (jnp.sum((clipped > plain) * mask), count),
            "policy/entropy_avg": (jnp.sum(likely.entropy * mask), count),
            "val/clipfrac_avg": (jnp.sum((near_error > error) * mask), count),
            "val/ratio": (jnp.sum(ratio * mask), count),
            # No sum can hold a maximum: where an update is cut into pieces, this is the mean of the pieces' largest.
            "val/ratio_max": (jnp.max(ratio), jnp.ones_like(count)),
        }
        return policy_loss + self.value_coefficient * value_loss, count, metrics


@dataclass(frozen=True)
class _PPO:
    """PPO as `onpolicy.follow` wants a method."""

    config: PPOConfig
    decoder: Decoder
    eos: int

    @property
    def loss(self) -> ClippedSurrogate:
        c = self.config
        return ClippedSurrogate(
            decoder=self.decoder,
            response=c.sampling.response,
            temperature=c.sampling.temperature,
            clip=c.clip,
            value_clip=c.value_clip,
            value_coefficient=c.value_coefficient,
            critic=c.critic,
        )

    def lesson(self, rollout: Rollout, coefficient: Array) -> Lesson:
        return _lesson(
            rollout, coefficient, eos=self.eos, **{name: getattr(self.config, name) for name in _SHAPING}
        )

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        c = self.config
        if c.kl_target is None:
            return coefficient
        return adapted(coefficient, kl, target=c.kl_target, horizon=c.kl_horizon, answers=answers)


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
    critic: Mapping[str, Params] | None = None,
) -> Params:
    """One iteration per row of `order` (int ``[steps, batch]``, see `onpolicy.follow`); returns the policy.

    `reward` is any callable (`rollout.Reward`); a `RewardModel` is one. `eos` is the token that ends an answer.
    `critic` is what a critic that is a model of its own starts from: `model`, a trunk of `decoder`'s shape, and perhaps
    `head`, as a reward model's scorer has them. Without it the trunk is the parent's; a head not given is zero.
    """
    if critic is not None and config.critic != "model":
        raise ValueError(
            f"expected no `critic` to start from, got one beside critic={config.critic!r}: set it to 'model'"
        )
    parts = {"policy": params, "head": zero_head(decoder.config.width)}
    if config.critic == "model":
        given = critic or {"model": params}
        parts |= {"critic": given["model"], "head": given.get("head", parts["head"])}
    parts = follow(
        parts,
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
