"""From scores to advantages: the pure functions between a rollout and an update.

All arrays are float32 ``[batch, time]`` over response tokens unless said. `mask` is 1 at the response's tokens,
its end-of-text token included, and 0 behind.
"""

import jax
import jax.numpy as jnp
from jax import Array


def response_mask(lengths: Array, time: int) -> Array:
    """1 at the first `lengths` ``[batch]`` positions. From lengths, never from token ids."""
    return (jnp.arange(time)[None, :] < lengths[:, None]).astype(jnp.float32)


def kl_estimate(logprobs: Array, reference: Array) -> Array:
    """k1, log pi - log ref of the sampled token: unbiased, and as a reward it has the gradient of the reverse KL.

    See "Approximating KL Divergence" (Schulman 2020) for k1, k2 and k3.
    """
    return logprobs - reference


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
    the last token. Returns are taken before any whitening.
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


def whiten(x: Array, mask: Array) -> Array:
    """(x - mean) / sqrt(var + 1e-8) over all masked entries; population variance."""
    count = jnp.maximum(jnp.sum(mask), 1.0)
    mean = jnp.sum(x * mask) / count
    variance = jnp.sum(jnp.square(x - mean) * mask) / count
    return (x - mean) * jax.lax.rsqrt(variance + 1e-8) * mask
