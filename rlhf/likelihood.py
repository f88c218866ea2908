"""How likely a model finds given tokens: the one place where logits become log-probabilities."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Rows, chunks
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params, hidden_states, logits_of
from rlhf.sampling import Sampler, truncate

_LOGITS_AT_ONCE = 2**27  # float32: half a gigabyte
_ROWS_AT_ONCE = 64


class Likelihood(NamedTuple):
    """Of target tokens ``[...]``, each given what is before it."""

    logprobs: Array
    """float32 ``[...]``, nats."""
    entropy: Array
    """float32 ``[...]``, nats: of the whole next-token distribution."""
    deviation: Array
    """float32 ``[...]``, nats: standard deviation of the log-probability of a token drawn from that distribution."""
    hit: Array
    """bool ``[...]``: the target is the most likely token (the lowest id wins a tie)."""
    sampled: Array
    """float32 ``[..., samplers]``, nats: log-probability that each sampler draws it; -inf where it never does."""


def of_targets(
    decoder: Decoder,
    params: Params,
    hidden: Array,
    targets: Array,
    temperature: float = 1.0,
    samplers: Sequence[Sampler] = (),
) -> Likelihood:
    """Likelihood of `targets` (int32 ``[...]``) given the hidden states ``[..., width]`` before them.

    In float32, of the softmax of logits / `temperature`. Where all logits would not fit at once they are made in
    parts, and made again for the gradient. What a caller does not use of the answer, the compiler leaves out.
    """
    flat, wanted = hidden.reshape(-1, hidden.shape[-1]), targets.reshape(-1)

    def part(hidden: Array, targets: Array) -> Likelihood:
        logits = logits_of(decoder, params, hidden) / temperature
        norm = jax.nn.logsumexp(logits, axis=-1)
        own = jnp.take_along_axis(logits, targets[:, None], axis=-1)
        surprise = norm[:, None] - logits
        chance = jnp.exp(-surprise)
        entropy = jnp.sum(chance * surprise, axis=-1)
        spread = jnp.sum(chance * jnp.square(surprise - entropy[:, None]), axis=-1)
        # An argmax would say the same, and take as long as the product that made the logits.
        lower = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1) < targets[:, None]
        beaten = jnp.any((logits > own) | ((logits == own) & lower), axis=-1)
        drawn = [_drawn(logits, targets, sampler) for sampler in samplers]
        sampled = jnp.stack(drawn, axis=-1) if drawn else jnp.zeros((len(targets), 0))
        # Nothing learns from it, and the root has no slope at 0.
        deviation = jnp.sqrt(jax.lax.stop_gradient(spread))
        return Likelihood(own[:, 0] - norm, entropy, deviation, ~beaten, sampled)

    rows = max(1, _LOGITS_AT_ONCE // decoder.config.vocabulary)
    if len(wanted) <= rows:
        found = part(flat, wanted)
    else:
        parts = -(-len(wanted) // rows)
        short = parts * rows - len(wanted)
        padded = jnp.pad(flat, ((0, short), (0, 0))).reshape(parts, rows, -1)
        aims = jnp.pad(wanted, (0, short)).reshape(parts, rows)
        stacked = jax.lax.map(jax.checkpoint(lambda pair: part(*pair)), (padded, aims))
        found = jax.tree.map(lambda x: x.reshape(parts * rows, *x.shape[2:])[: len(wanted)], stacked)
    return Likelihood(*(x.reshape(*targets.shape, *x.shape[1:]) for x in found))


def _drawn(logits: Array, targets: Array, sampler: Sampler) -> Array:
    """Log-probability ``[n]`` that a sampler draws each of the targets ``[n]`` from its row of logits."""
    logits = logits / sampler.temperature
    if sampler.top_k is not None and sampler.top_k < logits.shape[-1]:
        # Of equal logits it takes the lowest ids, as `truncate` does; and what is left is few.
        logits, kept = jax.lax.top_k(jnp.where(logits == 0, 0.0, logits), sampler.top_k)  # one zero, not two
        own = kept == targets[:, None]
    else:
        own = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1) == targets[:, None]
    logits = truncate(logits, replace(sampler, top_k=None))
    return jnp.max(jnp.where(own, logits, -jnp.inf), axis=-1) - jax.nn.logsumexp(logits, axis=-1)


class RowLikelihood(NamedTuple):
    """Of the targets of rows, each token given what is before it."""

    logprobs: np.ndarray
    """float32 ``[rows]``, nats: of all targets of a row."""
    whole: np.ndarray
    """bool ``[rows]``: each of them is the most likely token, so that greedy decoding says them to the letter."""


@partial(jax.jit, static_argnums=0)
def _of_rows(
    decoder: Decoder, params: Params, tokens: Array, weights: Array, segments: Array | None
) -> tuple[Array, Array]:
    inputs = None if segments is None else segments[:, :-1]
    hidden = hidden_states(decoder, params, tokens[:, :-1], inputs)
    found, weight = of_targets(decoder, params, hidden, tokens[:, 1:]), weights[:, 1:]
    return jnp.sum(found.logprobs * weight, axis=1), jnp.all(found.hit | (weight == 0), axis=1)


def of_rows(decoder: Decoder, params: Params, shown: Rows, layout: Layout = ONE_DEVICE) -> RowLikelihood:
    """A pass over a whole data set, so many rows at a time that memory does not grow with it."""
    params, found = layout.place(params), []
    for index in chunks(len(shown.tokens), _ROWS_AT_ONCE):
        batch = {"tokens": shown.tokens[index], "weights": shown.weights[index]}
        if shown.segments is not None:
            batch["segments"] = shown.segments[index]
        fed = layout.feed(batch)
        found.append(
            layout.fetch(_of_rows(decoder, params, fed["tokens"], fed["weights"], fed.get("segments")))
        )
    logprobs, whole = (np.concatenate(side)[: len(shown.tokens)] for side in zip(*found, strict=True))
    return RowLikelihood(logprobs, whole)
