"""From scores to advantages: the pure functions between a rollout and an update.

All arrays are float32 ``[batch, time]`` over response tokens unless said. `mask` is 1 at the response's tokens,
its end-of-text token included, and 0 behind.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array


def response_mask(lengths: Array, time: int) -> Array:
    """1 at the first `lengths` ``[batch]`` positions. From lengths, never from token ids."""
    return (jnp.arange(time)[None, :] < lengths[:, None]).astype(jnp.float32)


def kl_estimate(
    logprobs: Array, reference: Array, name: Literal["k1", "k2", "k3"] = "k1", clamp: float | None = None
) -> Array:
    """An estimate of KL(policy || reference) in nats from the sampled token, d = log pi - log ref.

    All three are from "Approximating KL Divergence" (Schulman 2020). They differ in what they are good for:

    - ``k1`` = d. Unbiased. In the *reward* it has the gradient of the reverse KL, and PPO uses it there. As a loss it
      is useless: its expected gradient is 0.
    - ``k2`` = d^2 / 2. Biased, with little variance. As a loss, on samples of the policy itself, its gradient is that
      of the reverse KL.
    - ``k3`` = exp(-d) - 1 + d. Unbiased, never negative: the best to look at. As a loss its gradient is that of the
      *forward* KL(reference || policy), which is another leash than the one that was asked for.

    `clamp` cuts each estimate to +-`clamp`, so that one token that the reference finds impossible does not rule the
    rewards; it is then no longer unbiased.
    """
    d = logprobs - reference
    estimate = {"k1": d, "k2": 0.5 * jnp.square(d), "k3": jnp.expm1(-d) + d}[name]
    return estimate if clamp is None else jnp.clip(estimate, -clamp, clamp)


def judged(
    scores: Array,
    ended: Array,
    *,
    clip: float | None = None,
    missing_score: float | None = None,
    missing_penalty: float | None = None,
) -> Array:
    """Scores ``[batch]`` as they are learnt from: cut to +-`clip`, and then the rule for answers without an end.

    Where `ended` (bool ``[batch]``) is False the score becomes `missing_score` (arXiv 1909.08593), or is lowered by
    `missing_penalty` (TRL). The rule comes after the cut, so that the cut cannot swallow it.
    """
    scores = scores.astype(jnp.float32)
    if clip is not None:
        scores = jnp.clip(scores, -clip, clip)
    if missing_score is not None:
        scores = jnp.where(ended, scores, missing_score)
    if missing_penalty is not None:
        scores = jnp.where(ended, scores, scores - missing_penalty)
    return scores


def shaped_rewards(scores: Array, kl: Array, mask: Array, coefficient: Array | float) -> Array:
    """-coefficient * KL at each token, plus the score ``[batch]`` at the last token of the response.

    The score goes to the response's own last token, not to the pad behind it: there it would be one phantom
    step away and GAE would scale it by lambda.
    """
    last = jnp.sum(mask, axis=1).astype(jnp.int32) - 1
    at_last = jax.nn.one_hot(last, mask.shape[1], dtype=jnp.float32)
    return (-coefficient * kl + scores[:, None] * at_last) * mask


def advantages_and_returns(
    rewards: Array, values: Array, mask: Array, *, discount: float, smoothing: float
) -> tuple[Array, Array]:
    """Generalised advantage estimation (arXiv 1506.02438) and returns = advantages + values.

    delta_t = r_t + discount * V_{t+1} - V_t, A_t = delta_t + discount * smoothing * A_{t+1}, with V = A = 0 after
    the last token. Returns are taken before any whitening of the advantages.
    """
    values = values * mask
    following = jnp.concatenate([values[:, 1:], jnp.zeros_like(values[:, :1])], axis=1)
    delta = (rewards + discount * following - values) * mask

    def back(later: Array, now: Array) -> tuple[Array, Array]:
        advantage = now + discount * smoothing * later
        return advantage, advantage

    _, stacked = jax.lax.scan(back, jnp.zeros(values.shape[0]), delta.T, reverse=True)
    advantages = stacked.T * mask
    return advantages, advantages + values


def moments(x: Array, mask: Array) -> tuple[Array, Array]:
    """Mean and population variance over all masked entries, scalars.

    Not Bessel's: that one divides by zero where a single token is left.
    """
    count = jnp.maximum(jnp.sum(mask), 1.0)
    mean = jnp.sum(x * mask) / count
    return mean, jnp.sum(jnp.square(x - mean) * mask) / count


def whiten(x: Array, mask: Array, *, keep_mean: bool = False) -> Array:
    """(x - mean) / sqrt(var + 1e-8) over all masked entries, 0 elsewhere.

    With `keep_mean` the mean is added back: rewards are scaled only, since a shifted reward would pay for length.
    """
    mean, variance = moments(x, mask)
    white = (x - mean) * jax.lax.rsqrt(variance + 1e-8)
    return (white + mean if keep_mean else white) * mask


def adapted(coefficient: float, kl: float, *, target: float, horizon: float, answers: int) -> float:
    """The KL coefficient after `answers` answers whose KL, summed over each, had the mean `kl` (arXiv 1909.08593).

    It grows by the share 0.2 at most in `horizon` answers while the KL is above `target`, and shrinks below it:
    coefficient * (1 + clip(kl / target - 1, +-0.2) * answers / horizon).
    """
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * answers / horizon)
