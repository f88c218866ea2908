"""GRPO (arXiv 2402.03300) and RLOO (arXiv 2402.14740): PPO without a critic.

Each prompt is answered `size` times, and an answer is as good as it is better than the others of its group. All
tokens of an answer share that advantage. A group whose rewards are equal teaches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Prompts
from rlhf.model import Decoder, Params
from rlhf.onpolicy import Lesson, Passes, follow, objective
from rlhf.optimiser import Loss, Optimiser
from rlhf.rollout import Reward, Rollout, Sampling, response_hidden
from rlhf.shaping import kl_estimate, response_mask
from rlhf.stage import Stage

Kl = Literal["corrected", "plain", "reward"]
Aggregation = Literal["grpo", "dapo", "dr_grpo"]
_LARGEST_GAP = 20.0  # nats between reference and policy at one token; its exponential would overflow at 89


@dataclass(frozen=True, kw_only=True)
class _Config:
    sampling: Sampling
    optimiser: Optimiser
    passes: Passes = field(default=Passes(epochs=1))
    """`minibatch` counts answers. It may cut through groups: advantages are made before."""
    size: int
    """Answers to each prompt."""
    kl_coefficient: float
    """Weight of the KL to the parent. 0.04 in arXiv 2402.03300 (see `kl` there); 0.05 in TRL's RLOO."""
    clip_low: float = 0.2
    """A ratio below 1 - `clip_low` is not followed further down."""
    clip_high: float = 0.2
    """A ratio above 1 + `clip_high` is not followed further up; arXiv 2503.14476 sets it higher, to 0.28."""

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(
                f"expected `size` to be at least 2, got {self.size}: an answer is judged by the others"
            )
        if self.kl_coefficient < 0:
            raise ValueError(f"expected `kl_coefficient` to be at least 0, got {self.kl_coefficient}")
        if not 0 < self.clip_low <= 1:
            raise ValueError(f"expected `clip_low` in (0, 1], got {self.clip_low}")
        if not self.clip_high > 0:
            raise ValueError(f"expected `clip_high` to be positive, got {self.clip_high}")


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(_Config):
    """How to follow a reward by comparing the answers of a group, token by token."""

    kl: Kl = "corrected"
    """Where the KL is: see `TokenSurrogate` for the two that are in the loss. `reward`: -kl_coefficient * sum of k1
    in each answer's reward, as in RLOO. Only there is it a sum over an answer's tokens; in the loss it is averaged
    as the rest of the loss is."""
    normalise: bool = True
    """Divide advantages by their group's standard deviation. Without it (arXiv 2503.20783) a prompt whose answers are
    nearly equal does not weigh as much as one whose answers differ, and the KL in the loss keeps its weight."""
    aggregation: Aggregation = "grpo"
    """What the sum over tokens is divided by: see `TokenSurrogate`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("kl", get_args(Kl)), ("aggregation", get_args(Aggregation))):
            if getattr(self, name) not in known:
                raise ValueError(f"expected `{name}` to be {', '.join(known)}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(_Config):
    """How to follow a reward by comparing whole answers of a group; the KL is in the reward."""


def group_advantages(rewards: Array, size: int, normalise: bool) -> Array:
    """r_i - mean, divided, if to `normalise`, by standard deviation + 1e-4: float32 ``[groups * size]``, as `rewards`.

    The standard deviation has Bessel's correction. The mean holds r_i itself, so that without normalising this is
    (size - 1) / size times RLOO's advantage.
    """
    groups = _centred(rewards, size)
    if normalise:
        groups = groups / (jnp.std(groups, axis=1, keepdims=True, ddof=1) + 1e-4)
    return groups.reshape(-1)


def leave_one_out(rewards: Array, size: int) -> Array:
    """r_i - mean of the others in its group: float32 ``[groups * size]``, as `rewards`."""
    return (_centred(rewards, size) * (size / (size - 1))).reshape(-1)


def _centred(rewards: Array, size: int) -> Array:
    """Rewards minus their group's mean, ``[groups, size]``; exactly 0 where all of a group are equal."""
    groups = rewards.reshape(-1, size)
    # From the first one on, or the mean of equal numbers is off by a rounding, which normalising blows up.
    groups = groups - groups[:, :1]
    return groups - jnp.mean(groups, axis=1, keepdims=True)


@dataclass(frozen=True)
class TokenSurrogate:
    """-min(rho A, clip(rho) A) + beta KL at each response token, rho its ratio to the policy that answered.

    The KL is k3 = ref/pi - 1 - log(ref/pi), never negative, whose *gradient* as a loss is not that of its mean. With
    log(ref/pi) cut to +-20 it is

    - `plain`, as in the GRPO paper: on the policy's own samples the gradient is that of the *forward* KL(ref || pi), so
      that the best policy is beta ref / (c - r) instead of ref exp(r / beta) / c;
    - `corrected`, rho k3 (arXiv 2512.02556): the gradient of the reverse KL(pi || ref) at each token;
    - not there with `reward`.

    The sum over tokens is divided

    - `grpo`: by each answer's own length, and the sum of that by the number of answers;
    - `dapo`: by the number of tokens in the update's batch (arXiv 2503.14476), so that long answers weigh more;
    - `dr_grpo`: by the number of answers times the longest that one may be (arXiv 2503.20783).
    """

    decoder: Decoder
    response: int
    temperature: float
    clip_low: float
    clip_high: float
    kl: Kl
    aggregation: Aggregation

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` holds a lesson of `train`; `advantages` and `coefficient` are ``[batch]``."""
        found, mask = _look_again(self, parts, batch)
        change = (found.logprobs - batch["logprobs"]) * mask
        ratio = jnp.exp(change)
        gain = batch["advantages"][:, None]
        losses, clipped = _clipped(ratio, gain, self.clip_low, self.clip_high)
        if self.kl != "reward":
            gap = jnp.clip(batch["reference"] - found.logprobs, -_LARGEST_GAP, _LARGEST_GAP) * mask
            kl = kl_estimate(-gap, jnp.zeros_like(gap), "k3")
            if self.kl == "corrected":
                kl *= ratio
            charged = batch["coefficient"][:, None] * kl
        else:
            charged = jnp.zeros_like(losses)

        tokens, answers = jnp.sum(mask), float(mask.shape[0])
        weights, count = {
            "grpo": (mask / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1.0), answers),
            "dapo": (mask, tokens),
            "dr_grpo": (mask, answers * self.response),
        }[self.aggregation]
        count = jnp.asarray(count, jnp.float32)
        metrics = {
            "loss/policy_avg": (jnp.sum(losses * weights), count),
            "loss/kl_avg": (jnp.sum(charged * weights), count),
            "policy/clipfrac_avg": (jnp.sum(clipped * mask), tokens),
            **_change(change, ratio, found.entropy, mask),
        }
        return jnp.sum((losses + charged) * weights), count, metrics


@dataclass(frozen=True)
class SequenceSurrogate:
    """mean of -min(rho A, clip(rho) A) over answers, rho the ratio of the whole answer's probabilities.

    At the first update after a rollout rho is 1, and the gradient is that of REINFORCE, -A grad log pi(answer); where
    `Passes` asks for one update per rollout it is nothing else, as in the RLOO paper.
    """

    decoder: Decoder
    response: int
    temperature: float
    clip_low: float
    clip_high: float

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` holds a lesson of `train`; `advantages` is ``[batch]``."""
        found, mask = _look_again(self, parts, batch)
        change = (found.logprobs - batch["logprobs"]) * mask
        losses, clipped = _clipped(
            jnp.exp(jnp.sum(change, axis=1)), batch["advantages"], self.clip_low, self.clip_high
        )
        answers = jnp.float32(mask.shape[0])
        metrics = {
            "loss/policy_avg": (jnp.sum(losses), answers),
            "policy/clipfrac_avg": (jnp.sum(clipped), answers),
            **_change(change, jnp.exp(change), found.entropy, mask),
        }
        return jnp.sum(losses), answers, metrics


def _look_again(
    loss: TokenSurrogate | SequenceSurrogate, parts: Mapping[str, Params], batch: Mapping[str, Array]
) -> tuple[likelihood.Likelihood, Array]:
    """The answers under the policy as it is now, and the mask of their tokens."""
    policy = parts["policy"]
    hidden, said = response_hidden(loss.decoder, policy, batch["tokens"], batch["starts"], loss.response)
    found = likelihood.of_targets(loss.decoder, policy, hidden, said, loss.temperature)
    return found, response_mask(batch["lengths"], loss.response)


def _clipped(ratio: Array, gain: Array, low: float, high: float) -> tuple[Array, Array]:
    """-min(ratio * gain, clip(ratio) * gain), and where the clip decides."""
    plain, near = -gain * ratio, -gain * jnp.clip(ratio, 1 - low, 1 + high)
    return jnp.maximum(plain, near), near > plain


def _change(change: Array, ratio: Array, entropy: Array, mask: Array) -> dict[str, tuple[Array, Array]]:
    tokens = jnp.sum(mask)
    return {
        "policy/approxkl_avg": (0.5 * jnp.sum(jnp.square(change)), tokens),
        "policy/entropy_avg": (jnp.sum(entropy * mask), tokens),
        "val/ratio": (jnp.sum(ratio * mask), tokens),
        "val/ratio_max": (jnp.max(ratio), jnp.ones_like(tokens)),
    }


@partial(jax.jit, static_argnames=("size", "kl_in_reward", "baseline", "eos"))
def _lesson(
    rollout: Rollout,
    coefficient: Array,
    *,
    size: int,
    kl_in_reward: bool,
    baseline: Literal["others", "mean", "normalised"],
    eos: int,
) -> Lesson:
    charged = jnp.zeros_like(rollout.scores)
    if kl_in_reward:
        charged = -coefficient * jnp.sum(kl_estimate(rollout.logprobs, rollout.reference), axis=1)
    rewards = rollout.scores + charged
    if baseline == "others":
        advantages = leave_one_out(rewards, size)
    else:
        advantages = group_advantages(rewards, size, normalise=baseline == "normalised")
    spread = jnp.std(rewards.reshape(-1, size), axis=1, ddof=1)
    equal = jnp.all(_centred(rewards, size) == 0, axis=1)
    metrics = objective(rollout, eos) | {
        "objective/non_score_reward": jnp.mean(charged),
        "objective/rlhf_reward": jnp.mean(rewards),
        "reward_std": jnp.mean(spread),
        "frac_reward_zero_std": jnp.mean(equal.astype(jnp.float32)),
    }
    batch = {
        "tokens": rollout.tokens,
        "starts": rollout.starts,
        "lengths": rollout.lengths,
        "logprobs": rollout.logprobs,
        "reference": rollout.reference,
        "advantages": advantages,
        "coefficient": jnp.full_like(rewards, coefficient),
    }
    return Lesson(batch, metrics)


@dataclass(frozen=True)
class _Group:
    config: GRPOConfig | RLOOConfig
    decoder: Decoder
    eos: int

    @property
    def loss(self) -> Loss:
        c = self.config
        shape = (self.decoder, c.sampling.response, c.sampling.temperature, c.clip_low, c.clip_high)
        if isinstance(c, RLOOConfig):
            return SequenceSurrogate(*shape)
        return TokenSurrogate(*shape, c.kl, c.aggregation)

    def lesson(self, rollout: Rollout, coefficient: Array) -> Lesson:
        c = self.config
        made = partial(_lesson, rollout, coefficient, size=c.size, eos=self.eos)
        if isinstance(c, RLOOConfig):
            return made(kl_in_reward=True, baseline="others")
        return made(kl_in_reward=c.kl == "reward", baseline="normalised" if c.normalise else "mean")

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        return coefficient


def train(
    params: Params,
    prompts: Prompts,
    order: np.ndarray,
    reward: Reward,
    config: GRPOConfig | RLOOConfig,
    *,
    decoder: Decoder,
    key: Array,
    eos: int,
    pad: int,
    stage: Stage,
) -> Params:
    """One iteration per row of `order` (int ``[steps, prompts]``, see `onpolicy.follow`); returns the policy.

    A row names prompts, each of which is answered `size` times, in rows next to one another: a rollout has
    `prompts` * `size` answers. The hooks hear of a prompt once per answer, because that often it is shown to the
    policy and comes, with another answer behind it, into the gradient.
    """
    parts = follow(
        {"policy": params},
        prompts,
        np.repeat(order, config.size, axis=1),
        reward,
        _Group(config, decoder, eos),
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
