"""A rollout: the policy answers prompts, the reference and the critic look at the answers, the reward scores them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Prompts
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params, hidden_states, scalar
from rlhf.optimiser import Parts
from rlhf.stage import Stage

Reward = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(tokens int32 ``[batch, time]``, weights ``[batch, time]`` that mark the response) -> scores ``[batch]``."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a policy answers."""

    response: int
    """Tokens of an answer at most."""
    stop: bool = True
    """Whether the end-of-text token ends an answer. Without it every answer has `response` tokens, so that a reward
    that was fitted on texts of one length is not asked about others (arXiv 1909.08593 does the same)."""
    temperature: float = 1.0
    """Divides the logits in the rollout, in the reference and in the update alike."""

    def __post_init__(self) -> None:
        for name in ("response", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")


class Rollout(NamedTuple):
    """What a policy said and what was made of it. ``[batch, response]`` unless said."""

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
    """What the critic expects before token t is emitted; zeros where there is no critic."""
    scores: Array
    """float32 ``[batch]``."""


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


def response_hidden(
    decoder: Decoder, params: Params, tokens: Array, starts: Array, response: int
) -> tuple[Array, Array]:
    """Hidden states before each token of the response ``[batch, response, width]``, and those tokens."""
    hidden = hidden_states(decoder, params, tokens)
    index = jnp.minimum(starts[:, None] + jnp.arange(response)[None, :], tokens.shape[1] - 1)
    before = jnp.take_along_axis(hidden, (index - 1)[..., None], axis=1)
    return before, jnp.take_along_axis(tokens, index, axis=1)


def critic_values(decoder: Decoder, parts: Parts, tokens: Array, starts: Array, hidden: Array) -> Array:
    """Values ``[batch, response]`` before each token: of the `critic`'s own trunk if there is one, else of `hidden`."""
    if "critic" in parts:
        hidden, _ = response_hidden(decoder, parts["critic"], tokens, starts, hidden.shape[1])
    return scalar(parts["head"], hidden)


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
    parts: Parts,
    reference: Params,
    tokens: Array,
    starts: Array,
    *,
    decoder: Decoder,
    response: int,
    temperature: float,
) -> tuple[Array, Array, Array]:
    hidden, said = response_hidden(decoder, parts["policy"], tokens, starts, response)
    logprobs = likelihood.of_targets(decoder, parts["policy"], hidden, said, temperature).logprobs
    before, _ = response_hidden(decoder, reference, tokens, starts, response)
    frozen = likelihood.of_targets(decoder, reference, before, said, temperature).logprobs
    if "head" not in parts:
        return logprobs, frozen, jnp.zeros_like(logprobs)
    return logprobs, frozen, critic_values(decoder, parts, tokens, starts, hidden)


def roll_out(
    parts: Parts,
    reference: Params,
    prompts: Prompts,
    reward: Reward,
    key: Array,
    sampling: Sampling,
    *,
    decoder: Decoder,
    eos: int,
    pad: int,
    stage: Stage,
) -> Rollout:
    """Answer `prompts`, and look at the answers with the policy's own graph, the reference, the critic and the reward.

    `parts` holds `policy`, and, where there is a critic, `head` and perhaps `critic`.
    """
    feed = stage.layout.feed
    asked = feed({"tokens": prompts.tokens, "lengths": prompts.lengths})
    answer = generate(
        parts["policy"],
        asked["tokens"],
        asked["lengths"],
        row_keys(key, jnp.arange(len(prompts.tokens))),
        decoder=decoder,
        budget=sampling.response,
        temperature=sampling.temperature,
        eos=eos if sampling.stop else None,
        pad=pad,
    )
    starts = jnp.asarray(asked["lengths"])
    tokens = join(jnp.asarray(asked["tokens"]), starts, answer.tokens, pad)
    logprobs, frozen, values = _look(
        parts,
        reference,
        tokens,
        starts,
        decoder=decoder,
        response=sampling.response,
        temperature=sampling.temperature,
    )
    seen, lengths = stage.layout.fetch((tokens, answer.lengths))
    index = np.arange(seen.shape[1])[None, :]
    first, count = prompts.lengths[:, None], lengths[:, None]
    weights = ((index >= first) & (index < first + count)).astype(np.float32)
    scores = feed({"scores": _checked(reward(seen, weights), len(seen))})["scores"]
    return Rollout(
        tokens=tokens,
        starts=starts,
        lengths=answer.lengths,
        logprobs=logprobs,
        sampled_logprobs=answer.logprobs,
        reference=frozen,
        values=values,
        scores=jnp.asarray(scores),
    )
