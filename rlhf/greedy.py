"""Greedy decoding of texts that one already has: looked at in one pass, and decoded only from where it says otherwise.

A teacher-forced pass over prompt and text tells of every token whether it is the most likely one. Up to the first that
is not, the text *is* what greedy decoding says, and nothing has to be decoded; from there it goes on out of the cache
that the pass left. What is guessed to come next can be given along as a draft: one pass checks it, and what is kept is
what greedy decoding would have said. (Draft and check: arXiv 2211.17192, at temperature 0.)

Every row goes on at its own place. The cache has one slot a position; what lies beyond a row's place does not count,
and is written over.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rlhf import likelihood
from rlhf.generate import widened
from rlhf.likelihood import Likelihood
from rlhf.model import Cache, Decoder, Params, logits_of
from rlhf.rollout import join
from rlhf.sampling import Sampler, draw

_GREEDY = Sampler(temperature=0.0)


class Standing(NamedTuple):
    """How far each row has been read, and what comes next."""

    cache: Cache
    read: Array
    """int32 ``[batch]``: tokens in the cache that count."""
    next: Array
    """int32 ``[batch]``: the most likely token after them (the lowest id wins a tie)."""


class Departure(NamedTuple):
    """A given text as the model sees it, and where greedy decoding leaves it."""

    seen: Likelihood
    """Of each of its tokens, ``[batch, width]``."""
    agreed: Array
    """int32 ``[batch]``: how many of its tokens greedy decoding says too, before the first that it does not."""
    standing: Standing
    """After those."""


@partial(jax.jit, static_argnames=("decoder", "slots", "scored", "samplers"))
def depart(
    params: Params,
    prompts: Array,
    texts: Array,
    prompt_lengths: Array,
    text_lengths: Array,
    *,
    decoder: Decoder,
    slots: int,
    scored: bool = True,
    samplers: tuple[Sampler, ...] = (),
) -> Departure:
    """One pass over prompts (int32 ``[batch, time]``) and texts (``[batch, width]``), both right-padded.

    The lengths are int32 ``[batch]``, those of the prompts at least 1; `slots`, at least time + width, is how many
    tokens a row may have in the end. Without `scored` of each token only `hit` means something: the rest costs as much
    as the other half of a small model.
    """
    width = texts.shape[1]
    tokens = join(prompts, prompt_lengths, texts, 0)
    hidden, kept = decoder.apply({"params": params}, tokens)  # pyright: ignore[reportAssignmentType]
    # The prompt's last token predicts the first of the text.
    index = (prompt_lengths - 1)[:, None] + jnp.arange(width + 1)
    hidden = jnp.take_along_axis(hidden, index[..., None], axis=1)  # pyright: ignore[reportArgumentType]
    found = likelihood.of_targets(decoder, params, hidden[:, :-1], texts, samplers=samplers if scored else ())
    agreed = _leading(found.hit & (jnp.arange(width) < text_lengths[:, None]))
    standing = Standing(
        widened(kept, slots),  # pyright: ignore[reportArgumentType]
        prompt_lengths + agreed,
        _most_likely(decoder, params, hidden, agreed),
    )
    if not scored:
        nothing = jnp.zeros(texts.shape, jnp.float32)
        found = found._replace(logprobs=nothing, entropy=nothing, deviation=nothing)
    return Departure(found, agreed, standing)


@partial(jax.jit, static_argnames=("decoder", "steps"), donate_argnames="standing")
def go_on(params: Params, standing: Standing, *, decoder: Decoder, steps: int) -> tuple[Array, Standing]:
    """Decode `steps` tokens of each row: int32 ``[batch, steps]``, the first of them `standing.next`.

    The cache needs `steps` free slots a row; what a row says beyond its last slot means nothing. `standing` is given
    away.
    """

    def step(standing: Standing, _: None) -> tuple[Standing, Array]:
        hidden, standing = _read(params, standing, standing.next[:, None], decoder)
        following = _most_likely(decoder, params, hidden, jnp.zeros_like(standing.read))
        return standing._replace(read=standing.read + 1, next=following), standing.next

    standing, said = jax.lax.scan(step, standing, None, length=steps)
    return said.T, standing


@partial(jax.jit, static_argnames="decoder", donate_argnames="standing")
def check(
    params: Params, standing: Standing, drafts: Array, *, decoder: Decoder
) -> tuple[Array, Array, Standing]:
    """Decode at least one token of each row, and as many more as its draft (int32 ``[batch, k]``) foretells.

    Returns int32 ``[batch, k + 1]``, of which the first int32 ``[batch]`` count. The cache needs k + 1 free slots a
    row. `standing` is given away.
    """
    said = jnp.concatenate([standing.next[:, None], drafts], axis=1)
    hidden, standing = _read(params, standing, said, decoder)
    more = _leading(likelihood.of_targets(decoder, params, hidden[:, :-1], drafts).hit)
    following = _most_likely(decoder, params, hidden, more)
    return said, 1 + more, standing._replace(read=standing.read + 1 + more, next=following)


@partial(jax.jit, static_argnames="slots")
def pick(standing: Standing, rows: Array, *, slots: int) -> Standing:
    """The standing of some rows, int32 ``[fewer]``, with so many slots: as many as there are, or more."""
    picked = jax.tree.map(lambda leaf: leaf[rows], standing)
    return picked._replace(cache=widened(picked.cache, slots))


def _read(params: Params, standing: Standing, tokens: Array, decoder: Decoder) -> tuple[Array, Standing]:
    """Put tokens ``[batch, k]`` through the decoder, each row's from its place on, which does not move."""
    positions = standing.read[:, None] + jnp.arange(tokens.shape[1])
    slots = jnp.arange(standing.cache[0][0].shape[2])
    hidden, cache = decoder.apply(
        {"params": params}, tokens, positions, slots <= positions[..., None], standing.cache, standing.read
    )  # pyright: ignore[reportAssignmentType]
    return hidden, standing._replace(cache=cache)  # pyright: ignore


def _most_likely(decoder: Decoder, params: Params, hidden: Array, at: Array) -> Array:
    """The most likely token after the hidden states ``[batch, time, width]`` at index `at` ``[batch]`` of each row."""
    here = jnp.take_along_axis(hidden, at[:, None, None], axis=1)[:, 0]
    return draw(logits_of(decoder, params, here), jnp.zeros((len(at), 0)), _GREEDY)[0]


def _leading(true: Array) -> Array:
    """How many entries of each row are true before the first that is not, int32 ``[batch]``."""
    return jnp.sum(jnp.cumprod(true, axis=1), axis=1).astype(jnp.int32)


@partial(jax.jit, donate_argnames="standing")
def admit(standing: Standing, other: Standing, rows: Array, places: Array) -> Standing:
    """`standing` with some `rows` of another one at `places`, both int32 ``[n]``; a place that there is not: left out.

    Of caches with different numbers of slots, those that both have are taken over; a row's tokens must be in them.
    `standing` is given away.
    """

    def put(own: Array, new: Array) -> Array:
        if own.ndim < 4:
            return own.at[places].set(new[rows], mode="drop")
        slots = min(own.shape[2], new.shape[2])
        return own.at[places, :, :slots].set(new[rows, :, :slots], mode="drop")

    return jax.tree.map(put, standing, other)
