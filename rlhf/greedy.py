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
from rlhf.model import Cache, Decoder, Params, logits_of
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

    logprobs: Array
    """float32 ``[batch, time - 1]``: log-probability (nats) of token t + 1 given the tokens up to t."""
    hits: Array
    """bool ``[batch, time - 1]``: token t + 1 is the most likely one."""
    agreed: Array
    """int32 ``[batch]``: tokens after the prompt that greedy decoding says too, before the first that it does not."""
    standing: Standing
    """After those."""


@partial(jax.jit, static_argnames=("decoder", "slots"))
def depart(
    params: Params, tokens: Array, prompts: Array, lengths: Array, *, decoder: Decoder, slots: int
) -> Departure:
    """One pass over right-padded `tokens` (int32 ``[batch, time]``): `prompts` tokens of each row are its prompt.

    `lengths` and `prompts` are int32 ``[batch]``, the first of prompt and text together; `slots`, at least `time`, is
    how many tokens a row may have in the end.
    """
    hidden, kept = decoder.apply({"params": params}, tokens)  # pyright: ignore[reportAssignmentType]
    found = likelihood.of_targets(decoder, params, hidden[:, :-1], tokens[:, 1:])  # pyright: ignore
    index = jnp.arange(1, tokens.shape[1])
    text = (index >= prompts[:, None]) & (index < lengths[:, None])
    missed = text & ~found.hit
    first = jnp.min(jnp.where(missed, index, lengths[:, None]), axis=1).astype(jnp.int32)
    last = jnp.take_along_axis(hidden, (first - 1)[:, None, None], axis=1)[:, 0]  # pyright: ignore
    following = _most_likely(decoder, params, last)
    cache = widened(kept, slots)  # pyright: ignore[reportArgumentType]
    return Departure(found.logprobs, found.hit, first - prompts, Standing(cache, first, following))


@partial(jax.jit, static_argnames=("decoder", "steps"), donate_argnames="standing")
def go_on(params: Params, standing: Standing, *, decoder: Decoder, steps: int) -> tuple[Array, Standing]:
    """Decode `steps` tokens of each row: int32 ``[batch, steps]``, the first of them `standing.next`.

    The cache needs `steps` free slots a row; what a row says beyond its last slot means nothing. `standing` is given
    away.
    """

    def step(standing: Standing, _: None) -> tuple[Standing, Array]:
        hidden, standing = _read(params, standing, standing.next[:, None], decoder)
        following = _most_likely(decoder, params, hidden[:, 0])
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
    batch, width = said.shape
    hidden, standing = _read(params, standing, said, decoder)
    best = _most_likely(decoder, params, hidden.reshape(batch * width, -1)).reshape(batch, width)
    right = jnp.cumprod(best[:, :-1] == drafts, axis=1)
    more = jnp.sum(right, axis=1).astype(jnp.int32)
    following = jnp.take_along_axis(best, more[:, None], axis=1)[:, 0]
    return said, 1 + more, standing._replace(read=standing.read + 1 + more, next=following)


@jax.jit
def pick(standing: Standing, rows: Array) -> Standing:
    """The standing of some rows, int32 ``[fewer]``."""
    return jax.tree.map(lambda leaf: leaf[rows], standing)


def _read(params: Params, standing: Standing, tokens: Array, decoder: Decoder) -> tuple[Array, Standing]:
    """Put tokens ``[batch, k]`` through the decoder, each row's from its place on, which does not move."""
    positions = standing.read[:, None] + jnp.arange(tokens.shape[1])
    slots = jnp.arange(standing.cache[0][0].shape[2])
    hidden, cache = decoder.apply(
        {"params": params}, tokens, positions, slots <= positions[..., None], standing.cache, standing.read
    )  # pyright: ignore[reportAssignmentType]
    return hidden, standing._replace(cache=cache)  # pyright: ignore


def _most_likely(decoder: Decoder, params: Params, hidden: Array) -> Array:
    logits = logits_of(decoder, params, hidden)
    return draw(logits, jnp.zeros((len(logits), 0)), _GREEDY)[0]
