"""Decoding with a key-value cache, prefill and loop in one jit; and the pass that scores a given text.

Rows are right-padded. A row's new tokens go to the slots behind the padded prompt, the same slot for every row,
which keeps the cache update a slice; their rotary positions count on from the row's own length, and the mask
leaves out the pads between. What a row says does not depend on the rows beside it: its key is its own.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from rlhf import likelihood
from rlhf.model import Cache, Decoder, Params, logits_of


class Generation(NamedTuple):
    """What was decoded."""

    tokens: Array
    """int32 ``[batch, budget]``; pads after the end of text."""
    logprobs: Array
    """float32 ``[batch, budget]``: log-probability (nats) of each token under the distribution it was drawn
    from (at temperature 0, under the model's own); 0 at pads."""
    lengths: Array
    """int32 ``[batch]``: tokens decoded, the end-of-text token counted."""


class Scores(NamedTuple):
    """A given text as the model sees it, one entry per token after the first."""

    logprobs: Array
    """float32 ``[batch, time - 1]``: log-probability (nats) of token t + 1 given the tokens up to t."""
    argmax: Array
    """bool ``[batch, time - 1]``: token t + 1 is the most likely one (the lowest id wins a tie)."""


class _State(NamedTuple):
    step: Array
    tokens: Array
    logprobs: Array
    done: Array
    logits: Array
    cache: Cache


def row_keys(key: Array, rows: Array) -> Array:
    """One key per row, from the row's own number: its sample does not depend on its batch."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


@partial(jax.jit, static_argnames=("decoder", "budget", "temperature", "eos", "pad"))
def generate(
    params: Params,
    prompts: Array,
    lengths: Array,
    keys: Array,
    *,
    decoder: Decoder,
    budget: int,
    temperature: float,
    eos: int | None,
    pad: int,
) -> Generation:
    """Continue right-padded `prompts` (int32 ``[batch, time]``, true `lengths` ``[batch]``) by up to `budget` tokens.

    Temperature 0 is greedy. Otherwise each row is sampled with its own key of `keys` ``[batch]`` from the full
    softmax of logits / temperature. A row ends with `eos`, and the loop when every row has; where `eos` is None,
    every row has `budget` tokens.
    """
    batch, time = prompts.shape
    slots = time + budget
    slot_index = jnp.arange(slots)
    in_prompt = slot_index[None, :] < lengths[:, None]

    positions = jnp.broadcast_to(jnp.arange(time), (batch, time))
    causal = slot_index[None, None, :] <= jnp.arange(time)[None, :, None]
    shape = (batch, decoder.config.kv_heads, slots, decoder.config.head_size)
    empty = tuple(
        (jnp.zeros(shape, decoder.dtype), jnp.zeros(shape, decoder.dtype))
        for _ in range(decoder.config.layers)
    )
    hidden, cache = decoder.apply(
        {"params": params}, prompts, positions, jnp.broadcast_to(causal, (batch, time, slots)), empty, 0
    )  # pyright: ignore[reportAssignmentType]
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]  # pyright: ignore
    start = _State(
        step=jnp.zeros((), jnp.int32),
        tokens=jnp.full((batch, budget), pad, jnp.int32),
        logprobs=jnp.zeros((batch, budget), jnp.float32),
        done=jnp.zeros((batch,), bool),
        logits=logits_of(decoder, params, last),
        cache=cache,  # pyright: ignore[reportArgumentType]
    )

    def unfinished(state: _State) -> Array:
        return (state.step < budget) & ~jnp.all(state.done)

    def step(state: _State) -> _State:
        if temperature == 0:
            logits = state.logits
            token = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        else:
            logits = state.logits / temperature
            here = jax.vmap(lambda key: jax.random.fold_in(key, state.step))(keys)
            token = jax.vmap(jax.random.categorical)(here, logits).astype(jnp.int32)
        logprob = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        token = jnp.where(state.done, pad, token)
        tokens = jax.lax.dynamic_update_slice_in_dim(state.tokens, token[:, None], state.step, axis=1)
        logprobs = jax.lax.dynamic_update_slice_in_dim(
            state.logprobs, jnp.where(state.done, 0.0, logprob)[:, None], state.step, axis=1
        )
        slot = time + state.step
        mask = in_prompt | ((slot_index >= time) & (slot_index <= slot))[None, :]
        hidden, cache = decoder.apply(
            {"params": params},
            token[:, None],
            (lengths + state.step)[:, None],
            mask[:, None, :],
            state.cache,
            slot,
        )  # pyright: ignore[reportAssignmentType]
        return _State(
            step=state.step + 1,
            tokens=tokens,
            logprobs=logprobs,
            done=state.done if eos is None else state.done | (token == eos),
            logits=logits_of(decoder, params, hidden[:, 0]),  # pyright: ignore
            cache=cache,  # pyright: ignore[reportArgumentType]
        )

    end = jax.lax.while_loop(unfinished, step, start)
    counted = jnp.full((batch,), budget, jnp.int32)
    if eos is not None:
        found = end.tokens == eos
        first = jnp.argmax(found, axis=1).astype(jnp.int32) + 1
        counted = jnp.where(jnp.any(found, axis=1), first, counted)
    return Generation(end.tokens, end.logprobs, counted)


@partial(jax.jit, static_argnames=("decoder",))
def score(params: Params, tokens: Array, *, decoder: Decoder) -> Scores:
    """One teacher-forced pass over right-padded `tokens` (int32 ``[batch, time]``)."""
    hidden = decoder.apply({"params": params}, tokens[:, :-1])[0]  # pyright: ignore[reportIndexIssue]
    found = likelihood.of_targets(decoder, params, hidden, tokens[:, 1:])  # pyright: ignore
    return Scores(found.logprobs, found.hit)
