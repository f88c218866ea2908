"""Decoding with a key-value cache, prefill and loop in one jit.

Rows are right-padded. A row's new tokens go to the slots behind the padded prompt, the same slot for every row,
which keeps the cache update a slice; their rotary positions count on from the row's own length, and the mask
leaves out the pads between. What a row says does not depend on the rows beside it: its key is its own.

The width of the prompts is brought to one of a few, the *buckets*, before anything is compiled: there are as many
programs as buckets in use, whatever lengths there are. The cache lives inside the program, as the loop's carry, and
is gone after the last token. It grows in a few stretches, a loop each, because a step reads all of it, filled or not:
with as many new tokens as the prompt has, four stretches read a sixth less than one. The compiler for CPUs copies the
values of the cache when a stretch begins, so that up to twice its size is needed there.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.model import Cache, Decoder, Params, logits_of
from rlhf.sampling import Sampler, draw

_NARROWEST = 16  # below that a bucket of its own saves nothing


class Generation(NamedTuple):
    """What was decoded."""

    tokens: Array
    """int32 ``[batch, budget]``; pads after the end of text."""
    logprobs: Array
    """float32 ``[batch, budget]``: log-probability (nats) of each token under the distribution it was drawn from,
    truncated and renormalised as that was (at temperature 0, under the model's own); 0 at pads."""
    lengths: Array
    """int32 ``[batch]``: tokens decoded, the end-of-text token counted."""
    steps: Array
    """int32 ``[]``: tokens that the loop drew for every row; fewer than `budget` where all rows ended before."""


_STRETCHES, _SHORTEST = 4, 16
"""In how many stretches the cache grows at most, and how many tokens each has at least."""


class _State(NamedTuple):
    step: Array
    tokens: Array
    logprobs: Array
    done: Array
    last: Array
    cache: Cache


def row_keys(key: Array, rows: Array) -> Array:
    """One key per row, from the row's own number: its sample does not depend on its batch."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def bucket(length: int, buckets: Sequence[int] = ()) -> int:
    """The width that prompts of up to `length` tokens are brought to: the least of `buckets` that holds them.

    Without `buckets`: the next power of two, from 16 on.
    """
    if not buckets:
        return max(_NARROWEST, 1 << (length - 1).bit_length())
    fitting = [width for width in buckets if width >= length]
    if not fitting:
        raise ValueError(
            f"expected prompts of at most {max(buckets)} tokens, the widest of `buckets`, got one of {length}: "
            "add a wider bucket"
        )
    return min(fitting)


def generate(
    params: Params,
    prompts: Array | np.ndarray,
    lengths: Array | np.ndarray,
    keys: Array,
    *,
    decoder: Decoder,
    budget: int,
    temperature: float,
    eos: int | None,
    pad: int,
    top_k: int | None = None,
    top_p: float = 1.0,
    buckets: Sequence[int] = (),
) -> Generation:
    """Continue right-padded `prompts` (int32 ``[batch, time]``, true `lengths` ``[batch]``) by up to `budget` tokens.

    Temperature 0 is greedy. Otherwise each row is sampled with its own key of `keys` ``[batch]`` from the softmax of
    logits / temperature, or from what `top_k` and `top_p` leave of it (see `Sampler`). A row ends with `eos`, and the
    loop when every row has; where `eos` is None, every row has `budget` tokens.

    The prompts are cut or padded to the `bucket` of the longest one. A caller whose batches differ and who wants one
    program for all of them passes one bucket.
    """
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    _check(prompts, lengths, keys, budget)
    width = bucket(int(lengths.max()), buckets)
    return decode(
        params,
        jnp.asarray(_widened(prompts, width, pad)),
        jnp.asarray(lengths),
        keys,
        decoder=decoder,
        budget=budget,
        sampler=sampler,
        eos=eos,
        pad=pad,
    )


def _check(prompts: Array | np.ndarray, lengths: Array | np.ndarray, keys: Array, budget: int) -> None:
    """Refuse what would give an answer that means nothing: no shape error tells of it."""
    if budget < 1:
        raise ValueError(f"expected `budget` to be at least 1, got {budget}")
    if prompts.ndim != 2 or prompts.shape[0] < 1 or lengths.shape != prompts.shape[:1]:
        raise ValueError(
            "expected `prompts` of shape (batch, time) and `lengths` of shape (batch,) with at least one row, "
            f"got {prompts.shape} and {lengths.shape}"
        )
    if keys.shape[:1] != prompts.shape[:1]:
        raise ValueError(
            f"expected one key for each of the {prompts.shape[0]} rows, got `keys` of shape {keys.shape}: "
            "make them with `row_keys`"
        )
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1:
        raise ValueError(
            f"expected prompts of at least 1 token, got a length of {shortest}: begin every prompt with the "
            "begin-of-text token"
        )
    if longest > prompts.shape[1]:
        raise ValueError(
            f"expected `lengths` of at most {prompts.shape[1]}, the prompts' width, got {longest}"
        )


def _widened(prompts: Array | np.ndarray, width: int, pad: int) -> Array | np.ndarray:
    """Prompts cut or padded to `width`; what is cut off are pads. Where they lie, they stay."""
    xp = jnp if isinstance(prompts, Array) else np
    short = max(0, width - prompts.shape[1])
    kept = prompts[:, :width]
    return xp.pad(kept, ((0, 0), (0, short)), constant_values=pad) if short else kept


def widened(cache: Cache, slots: int) -> Cache:
    """The same with so many slots, the new ones empty."""
    room = ((0, 0), (0, 0), (0, slots - cache[0][0].shape[2]), (0, 0))
    return jax.tree.map(lambda x: jnp.pad(x, room), cache)


@partial(jax.jit, static_argnames=("decoder", "budget", "sampler", "eos", "pad"))
def decode(
    params: Params,
    prompts: Array,
    lengths: Array,
    keys: Array,
    *,
    decoder: Decoder,
    budget: int,
    sampler: Sampler,
    eos: int | None,
    pad: int,
) -> Generation:
    """The program behind `generate`, one for each width of `prompts`; its arguments are taken as they are."""
    batch, time = prompts.shape
    # The products would round the weights themselves, but in every step; float32 norms stay what they are.
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if path[-1].key == "scale" else leaf.astype(decoder.dtype), params
    )
    # Over the prompt alone, whose pads come last: a causal mask does, and with it whatever kernel there is for that.
    hidden, kept = decoder.apply({"params": params}, prompts)  # pyright: ignore[reportAssignmentType]
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]  # pyright: ignore

    def emit(state: _State) -> _State:
        """Draw the tokens of this step from the hidden states before it."""
        here = jax.vmap(lambda key: jax.random.fold_in(key, state.step))(keys)
        token, logprob = draw(logits_of(decoder, params, state.last), here, sampler)
        token, logprob = jnp.where(state.done, pad, token), jnp.where(state.done, 0.0, logprob)
        put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=state.step, axis=1)
        return state._replace(
            step=state.step + 1,
            tokens=put(state.tokens, token[:, None]),
            logprobs=put(state.logprobs, logprob[:, None]),
            done=state.done if eos is None else state.done | (token == eos),
        )

    def read(state: _State) -> _State:
        """Put the tokens drawn last through the decoder."""
        before = state.step - 1
        token = jax.lax.dynamic_slice_in_dim(state.tokens, before, 1, axis=1)
        slot = time + before
        slots = jnp.arange(state.cache[0][0].shape[2])
        mask = (slots[None, :] < lengths[:, None]) | ((slots >= time) & (slots <= slot))[None, :]
        hidden, cache = decoder.apply(
            {"params": params}, token, (lengths + before)[:, None], mask[:, None, :], state.cache, slot
        )  # pyright: ignore[reportAssignmentType]
        return state._replace(last=hidden[:, 0], cache=cache)  # pyright: ignore

    state = emit(
        _State(
            step=jnp.zeros((), jnp.int32),
            tokens=jnp.full((batch, budget), pad, jnp.int32),
            logprobs=jnp.zeros((batch, budget), jnp.float32),
            done=jnp.zeros((batch,), bool),
            last=last,
            cache=kept,  # pyright: ignore[reportArgumentType]
        )
    )
    stretches = max(1, min(_STRETCHES, budget // _SHORTEST))
    for until in (budget * part // stretches for part in range(1, stretches + 1)):
        state = state._replace(cache=widened(state.cache, time + until - 1))  # the last token is not read
        state = jax.lax.while_loop(
            lambda state, until=until: (state.step < until) & ~jnp.all(state.done),
            lambda state: emit(read(state)),
            state,
        )
    counted = jnp.full((batch,), budget, jnp.int32)
    if eos is not None:
        found = state.tokens == eos
        first = jnp.argmax(found, axis=1).astype(jnp.int32) + 1
        counted = jnp.where(jnp.any(found, axis=1), first, counted)
    return Generation(state.tokens, state.logprobs, counted, state.step)
