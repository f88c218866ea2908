"""A rollout: the policy answers prompts, the reference and the reward look at the answers."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Prompts
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params, hidden_states, logits_of, values_of
from rlhf.shaping import advantages_and_returns, kl_estimate, response_mask, shaped_rewards, whiten

Reward = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(tokens int32 ``[batch, time]``, weights ``[batch, time]`` that mark the response) -> scores ``[batch]``."""


class Rollout(NamedTuple):
    """What one PPO iteration learns from. ``[batch, response]`` unless said."""

    tokens: Array
    """int32 ``[batch, prompt + response]``: prompt and response without a gap, right-padded."""
    starts: Array
    """int32 ``[batch]``: index of the response's first token in `tokens`."""
    lengths: Array
    """int32 ``[batch]``: tokens of the response, the end-of-text token counted."""
    logprobs: Array
    """Of the policy before the update, recomputed by the graph that trains it, so that the ratio starts at 1."""
    sampled_logprobs: Array
    """Of the sampler itself: the two differ by rounding only, and the largest gap is a metric."""
    reference: Array
    """Log-probabilities under the frozen reference."""
    values: Array
    """V_t before token t is emitted."""
    kl: Array
    scores: Array
    """float32 ``[batch]``."""
    advantages: Array
    """Whitened over the whole rollout batch."""
    returns: Array


@partial(jax.jit, static_argnames=("pad",))
def join(prompts: Array, lengths: Array, response: Array, pad: int) -> Array:
    """Prompt and response without the pads between, int32 ``[batch, prompt + response]``."""
    time = prompts.shape[1]
    total = time + response.shape[1]
    both = jnp.concatenate([prompts, response], axis=1)
    index = jnp.arange(total)[None, :]
    source = jnp.where(index < lengths[:, None], index, index - lengths[:, None] + time)
    joined = jnp.take_along_axis(both, jnp.minimum(source, total - 1), axis=1)
    return jnp.where(source < total, joined, pad)


def response_logprobs(
    decoder: Decoder, params: Params, tokens: Array, starts: Array, response: int, temperature: float
) -> tuple[Array, Array, Array]:
    """Log-probabilities of the response's tokens, their predictive entropy, and the hidden states before them.

    Shapes ``[batch, response]`` twice and ``[batch, response, width]``. Logits are made at response positions
    only, and divided by the temperature that sampled them.
    """
    hidden = hidden_states(decoder, params, tokens)
    index = jnp.minimum(starts[:, None] + jnp.arange(response)[None, :], tokens.shape[1] - 1)
    before = jnp.take_along_axis(hidden, (index - 1)[..., None], axis=1)
    logits = jax.nn.log_softmax(logits_of(decoder, params, before) / temperature)
    target = jnp.take_along_axis(tokens, index, axis=1)
    picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    entropy = -jnp.sum(jnp.exp(logits) * logits, axis=-1)
    return picked, entropy, before


def _checked(scores: np.ndarray, batch: int) -> np.ndarray:
    """The reward's answer as float32 ``[batch]``; anything else would spread over rows or turn parameters to NaN."""
    scores = np.asarray(scores, np.float32)
    if scores.shape != (batch,):
        raise ValueError(
            f"expected the reward to return one score a row, shape ({batch},), got {scores.shape}"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"expected the reward to return finite scores, got {scores[row]} for row {row}")
    return scores


@partial(jax.jit, static_argnames=("decoder", "response", "temperature"))
def _look(
    policy: Params,
    reference: Params,
    tokens: Array,
    starts: Array,
    *,
    decoder: Decoder,
    response: int,
    temperature: float,
) -> tuple[Array, Array, Array]:
    logprobs, _, hidden = response_logprobs(decoder, policy, tokens, starts, response, temperature)
    frozen, _, _ = response_logprobs(decoder, reference, tokens, starts, response, temperature)
    return logprobs, frozen, values_of(decoder, policy, hidden)


@partial(jax.jit, static_argnames=("coefficient", "discount", "smoothing"))
def _shape(
    logprobs: Array,
    reference: Array,
    values: Array,
    scores: Array,
    lengths: Array,
    *,
    coefficient: float,
    discount: float,
    smoothing: float,
) -> tuple[Array, Array, Array]:
    mask = response_mask(lengths, logprobs.shape[1])
    kl = kl_estimate(logprobs, reference) * mask
    rewards = shaped_rewards(scores, kl, mask, coefficient)
    advantages, returns = advantages_and_returns(
        rewards, values, mask, discount=discount, smoothing=smoothing
    )
    return kl, whiten(advantages, mask), returns


def roll_out(
    policy: Params,
    reference: Params,
    prompts: Prompts,
    reward: Reward,
    key: Array,
    *,
    decoder: Decoder,
    response: int,
    temperature: float,
    coefficient: float,
    discount: float,
    smoothing: float,
    eos: int | None,
    pad: int,
) -> Rollout:
    """Answer `prompts` by up to `response` tokens each and shape what the reward says of the answers.

    An answer ends with `eos`, or, where that is None, after `response` tokens.
    `policy` and `reference` are parameters of `decoder`, which has a scalar head; the reference's is not used.
    """
    answer = generate(
        policy,
        prompts.tokens,  # pyright: ignore[reportArgumentType]
        prompts.lengths,  # pyright: ignore[reportArgumentType]
        row_keys(key, jnp.arange(len(prompts.tokens))),
        decoder=decoder,
        budget=response,
        temperature=temperature,
        eos=eos,
        pad=pad,
    )
    starts = jnp.asarray(prompts.lengths)
    tokens = join(jnp.asarray(prompts.tokens), starts, answer.tokens, pad)
    logprobs, frozen, values = _look(
        policy, reference, tokens, starts, decoder=decoder, response=response, temperature=temperature
    )
    index = np.arange(tokens.shape[1])[None, :]
    first, count = prompts.lengths[:, None], np.asarray(answer.lengths)[:, None]
    weights = ((index >= first) & (index < first + count)).astype(np.float32)
    scores = jnp.asarray(_checked(reward(np.asarray(tokens), weights), len(tokens)))
    kl, advantages, returns = _shape(
        logprobs,
        frozen,
        values,
        scores,
        answer.lengths,
        coefficient=coefficient,
        discount=discount,
        smoothing=smoothing,
    )
    return Rollout(
        tokens=tokens,
        starts=starts,
        lengths=answer.lengths,
        logprobs=logprobs,
        sampled_logprobs=answer.logprobs,
        reference=frozen,
        values=values,
        kl=kl,
        scores=scores,
        advantages=advantages,
        returns=returns,
    )
