"""An ensemble of small heads on frozen features: which of two texts is preferred, and how far that is in doubt.

Each head is a perceptron with one hidden layer, r(f) = w2 . tanh(W1 f + b1), trained on labelled pairs with the loss of
Bradley and Terry, -log sigmoid(r(c) - r(r)). All heads see the same pairs and begin elsewhere; where the pairs decide,
they agree, and where they do not, each goes its own way (arXiv 1612.01474). In arXiv 2406.10023 heads on the features
of a frozen language model choose the next pairs to be labelled: `rlhf.acquisition`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rlhf.batches import chunks
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params, hidden_states

Heads = dict[str, Array]
"""`in` float32 ``[heads, width, hidden]``, `bias` ``[heads, hidden]``, `out` ``[heads, hidden]``. A bias of the output
would cancel in a pair."""

_ROWS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The heads and how they are trained: from scratch each time, on all pairs at once."""

    heads: int = 5
    """How many. The paper has 5."""
    hidden: int = 64
    """Units of the hidden layer. The paper's heads on 4,096 features have 2,048 and 256."""
    steps: int = 200
    """Updates."""
    learning_rate: float = 1e-2
    """Of Adam."""
    anchor: float = 0.3
    """Weight of the pull back to where a head began, beside one label: a prior (arXiv 1810.05546). Without it a head
    that has told its few pairs apart is sure of all others too, and the heads' disagreement says nothing."""

    def __post_init__(self) -> None:
        if self.heads < 2:
            raise ValueError(f"expected `heads` to be at least 2, got {self.heads}: one never disagrees")
        for name in ("hidden", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"expected `learning_rate` to be positive, got {self.learning_rate}")
        if not self.anchor >= 0:
            raise ValueError(f"expected `anchor` to be 0 or more, got {self.anchor}")


def scores(heads: Heads, features: Array) -> Array:
    """What each head gives to each text: float32 ``[heads, texts]`` of features ``[texts, width]``."""
    inner = jnp.tanh(jnp.einsum("tw,nwh->nth", features, heads["in"]) + heads["bias"][:, None])
    return jnp.einsum("nth,nh->nt", inner, heads["out"])


@jax.jit
def leads(heads: Heads, preferred: Array, rejected: Array) -> Array:
    """Log-odds (nats) by which each head prefers the one text to the other: float32 ``[heads, pairs]``."""
    return scores(heads, preferred) - scores(heads, rejected)


def log_likelihood(heads: Heads, preferred: Array, rejected: Array) -> float:
    """Mean log-probability (nats) of pairs as they are labelled, the heads' probabilities averaged."""
    chance = jax.nn.log_sigmoid(leads(heads, preferred, rejected))
    return float(jnp.mean(jax.nn.logsumexp(chance, axis=0) - jnp.log(len(chance))))


@partial(jax.jit, static_argnames=("ensemble",))
def fit(ensemble: Ensemble, preferred: Array, rejected: Array, real: Array, key: Array) -> Heads:
    """Heads trained from scratch on pairs of features ``[pairs, width]``, of which those count where `real`
    (float32 ``[pairs]``) is 1; the others fill the shape, so that a growing set of labels is one program.

    `key` draws where the heads begin: normal, with the deviation 1 / sqrt(inputs).
    """
    width = preferred.shape[1]
    first, last = jax.random.split(key)
    heads = {
        "in": jax.random.normal(first, (ensemble.heads, width, ensemble.hidden)) / jnp.sqrt(width),
        "bias": jnp.zeros((ensemble.heads, ensemble.hidden)),
        "out": jax.random.normal(last, (ensemble.heads, ensemble.hidden)) / jnp.sqrt(ensemble.hidden),
    }
    begun, adam = heads, optax.adam(ensemble.learning_rate)
    inputs = {"in": width, "bias": width, "out": ensemble.hidden}

    def loss(heads: Heads) -> Array:
        losses = -jax.nn.log_sigmoid(leads(heads, preferred, rejected))
        # In units of the deviation with which they begin, so that the pull is that of their own prior.
        moved = sum(inputs[name] * jnp.sum(jnp.square(heads[name] - begun[name])) for name in heads)
        # A sum over heads does not mix their gradients.
        return (jnp.sum(losses * real) + 0.5 * ensemble.anchor * moved) / jnp.maximum(jnp.sum(real), 1.0)

    def step(state: tuple[Heads, Any], _: None) -> tuple[tuple[Heads, Any], None]:
        heads, moments = state
        change, moments = adam.update(jax.grad(loss)(heads), moments, heads)
        return (optax.apply_updates(heads, change), moments), None  # pyright: ignore[reportReturnType]

    (heads, _), _ = jax.lax.scan(step, (heads, adam.init(heads)), length=ensemble.steps)
    return heads


@partial(jax.jit, static_argnums=0)
def _states(decoder: Decoder, params: Params, tokens: Array, last: Array) -> Array:
    hidden = hidden_states(decoder, params, tokens)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0].astype(jnp.float32)


def features(
    decoder: Decoder, params: Params, tokens: np.ndarray, lengths: np.ndarray, layout: Layout = ONE_DEVICE
) -> np.ndarray:
    """The last layer's hidden states at the last token of each right-padded text: float32 ``[texts, width]``.

    `tokens` is int32 ``[texts, time]``, `lengths` int32 ``[texts]``.
    """
    params, found = layout.place(params), []
    for index in chunks(len(tokens), _ROWS_AT_ONCE):
        batch = layout.feed({"tokens": tokens[index], "last": lengths[index] - 1})
        found.append(layout.fetch(_states(decoder, params, batch["tokens"], batch["last"])))
    return np.concatenate(found)[: len(tokens)]
