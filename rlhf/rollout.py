"""A rollout: the policy answers prompts, the reference and the critic look at the answers, the reward scores them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Prompts
from rlhf.generate import Generation, generate, row_keys
from rlhf.model import Decoder, Params, hidden_states, scalar
from rlhf.optimiser import Parts
from rlhf.shaping import response_mask
from rlhf.stage import Stage

Reward = Callable[[np.ndarray, np.ndarray], Any]
"""(tokens int32 ``[batch, time]``, weights float32 ``[batch, time]`` that mark the response) -> scores ``[batch]``.

Any callable. It answers with one finite number a row, of whatever type: they are learnt from as float32."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a policy answers: from its whole distribution. A cut of it (top-k, top-p) is not to be had here, because the
    tokens that it leaves out have no log-probability and the KL to the reference would be another one."""

    response: int
    """Tokens of an answer at most."""
    stop: bool = True
    """Whether the end-of-text token ends an answer. Without it every answer has `response` tokens, so that a reward
    that was fitted on texts of one length is not asked about others."""
    truncate_after: int | None = None
    """Decode `response` tokens whatever they are, and then cut each answer behind its first end-of-text token at this
    index (from 0) or later (arXiv 1909.08593: 16). None: decoding itself ends at the first one."""
    temperature: float = 1.0
    """Divides the logits in the rollout, in the reference and in the update alike."""

    def __post_init__(self) -> None:
        for name in ("response", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")
        if self.truncate_after is None:
            return
        if not 0 <= self.truncate_after < self.response:
            raise ValueError(
                f"expected `truncate_after` to be an index below response={self.response}, got {self.truncate_after}"
            )
        if not self.stop:
            raise ValueError(
                "expected `stop` where answers are to be truncated, got stop=False: set it to True"
            )


class Rollout(NamedTuple):
    """What a policy said and what was made of it. float32 ``[batch, response]``, 0 behind an answer, unless said."""

    tokens: Array
    """int32 ``[batch, prompt + response]``: prompt and response without a gap, right-padded."""
    starts: Array
    """int32 ``[batch]``: index of the response's first token in `tokens`."""
    lengths: Array
    """int32 ``[batch]``: tokens of the response, the end-of-text token counted."""
    logprobs: Array
    """Of the policy before the update, recomputed by the graph that trains it, so that the ratio starts at 1."""
    sampled_logprobs: Array
    """Of the sampler itself. Never learnt from: the two differ by rounding only, and the largest gap is a metric."""
    reference: Array
    """Log-probabilities under the frozen reference."""
    values: Array
    """What the critic expects before token t is emitted; zeros where there is no critic."""
    scores: Array
    """float32 ``[batch]``."""


def ended(rollout: Rollout, eos: int) -> Array:
    """Whether each answer ends with the token that was to end it, bool ``[batch]``."""
    last = rollout.starts + rollout.lengths - 1
    return jnp.take_along_axis(rollout.tokens, last[:, None], axis=1)[:, 0] == eos


def truncated(tokens: Array, eos: int, after: int) -> Array:
    """Lengths ``[batch]`` up to the first `eos` at index `after` or later, that one counted; else the whole width."""
    time = tokens.shape[1]
    index = jnp.arange(time)
    found = (tokens == eos) & (index >= after)
    return jnp.min(jnp.where(found, index + 1, time), axis=1).astype(jnp.int32)


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


def checked(scores: Any, batch: int) -> np.ndarray:
    """The reward's answer as float32 ``[batch]``; anything else would spread over rows or turn parameters to NaN."""
    given = np.asarray(scores)
    if not any(jnp.issubdtype(given.dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        raise TypeError(f"expected the reward to return real numbers, got an array of {given.dtype}")
    scores = given.astype(np.float32)
    if scores.shape != (batch,):
        raise ValueError(
            f"expected the reward to return one score a row, shape ({batch},), got {scores.shape}"
        )
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise ValueError(f"expected the reward to return finite scores, got {scores[row]} for row {row}")
    return scores


_keys = jax.jit(lambda raw, rows: row_keys(jax.random.wrap_key_data(raw), rows))


class _Seen(NamedTuple):
    tokens: Array
    lengths: Array
    logprobs: Array
    sampled_logprobs: Array
    reference: Array
    values: Array


@partial(jax.jit, static_argnames=("decoder", "sampling", "eos", "pad"))
def _look(
    parts: Parts,
    reference: Params,
    prompts: Array,
    starts: Array,
    answer: Generation,
    *,
    decoder: Decoder,
    sampling: Sampling,
    eos: int,
    pad: int,
) -> _Seen:
    """What the policy, the reference and the critic make of the answers, at the answers' own positions alone."""
    lengths, width = answer.lengths, sampling.response
    if sampling.truncate_after is not None:
        lengths = truncated(answer.tokens, eos, sampling.truncate_after)
    mask = response_mask(lengths, width)
    tokens = join(prompts, starts, jnp.where(mask > 0, answer.tokens, pad), pad)

    def logprobs(params: Params) -> tuple[Array, Array]:
        hidden, said = response_hidden(decoder, params, tokens, starts, width)
        found = likelihood.of_targets(decoder, params, hidden, said, sampling.temperature)
        return found.logprobs * mask, hidden

    own, hidden = logprobs(parts["policy"])
    frozen, _ = logprobs(reference)
    values = jnp.zeros_like(own)
    if "head" in parts:
        values = critic_values(decoder, parts, tokens, starts, hidden) * mask
    return _Seen(tokens, lengths, own, answer.logprobs * mask, frozen, values)


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

    `parts` holds `policy`, and, where there is a critic, `head` and perhaps `critic`. `eos` is the token that ends an
    answer: it need not be the tokenizer's end of text.
    """
    feed, batch = stage.layout.feed, len(prompts.tokens)
    asked = feed({"tokens": prompts.tokens, "lengths": prompts.lengths, "rows": np.arange(batch)})
    answer = generate(
        parts["policy"],
        asked["tokens"],
        asked["lengths"],
        _keys(np.asarray(jax.random.key_data(key)), asked["rows"]),
        decoder=decoder,
        budget=sampling.response,
        temperature=sampling.temperature,
        eos=eos if sampling.stop and sampling.truncate_after is None else None,
        pad=pad,
        buckets=(prompts.tokens.shape[1],),  # one program, whichever prompts a batch holds
    )
    seen = _look(
        parts,
        reference,
        asked["tokens"],
        asked["lengths"],
        answer,
        decoder=decoder,
        sampling=sampling,
        eos=eos,
        pad=pad,
    )
    tokens, lengths = stage.layout.fetch((seen.tokens, seen.lengths))
    index = np.arange(tokens.shape[1])[None, :]
    first, count = prompts.lengths[:, None], lengths[:, None]
    weights = ((index >= first) & (index < first + count)).astype(np.float32)
    scores = feed({"scores": checked(reward(tokens, weights), batch)})["scores"]
    return Rollout(starts=asked["lengths"], scores=scores, **seen._asdict())
