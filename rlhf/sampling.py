"""From logits to a token: temperature, truncation, and the draw, with the log-probability that the token really had.

Tokens are ranked by their logit and the lowest id wins a tie, so that what is kept is always well defined. The order
is temperature, top-k, top-p (arXiv 1904.09751), each on what the one before it left, and the kept part is
renormalised: the log-probabilities are those of the distribution that was drawn from, not of the model.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How the next token is chosen. Hashable: a static argument of jitted functions."""

    temperature: float = 1.0
    """Divides the logits; 0 is greedy."""
    top_k: int | None = None
    """Only so many of the most likely tokens are kept; None, or more than there are: all."""
    top_p: float = 1.0
    """Of those, only the fewest most likely ones that together have this share of the mass; 1: all."""

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(
                f"expected `temperature` to be finite and not negative, got {self.temperature}: "
                "set 0 for greedy decoding"
            )
        if self.top_k is not None and (self.top_k != int(self.top_k) or self.top_k < 1):
            raise ValueError(
                f"expected `top_k` to be a whole number of at least 1, got {self.top_k}: set None to keep all tokens"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(
                f"expected `top_p` to be above 0 and at most 1, got {self.top_p}: set 1 to keep all tokens"
            )
        if self.temperature == 0 and self.truncates:
            raise ValueError(
                f"expected no truncation at temperature 0, got top_k={self.top_k}, top_p={self.top_p}: greedy "
                "decoding takes the most likely token of all"
            )

    @property
    def name(self) -> str:
        """Short, for tables and keys: ``T=0.8 top-p 0.95``."""
        parts = [f"T={self.temperature:g}"]
        parts += [f"top-k {self.top_k}"] if self.top_k is not None else []
        return " ".join(parts + ([f"top-p {self.top_p:g}"] if self.top_p < 1 else []))

    @property
    def truncates(self) -> bool:
        """Whether tokens may be cut off, so that the log-probabilities are not those of the whole softmax."""
        return self.top_k is not None or self.top_p < 1


def truncate(logits: Array, sampler: Sampler) -> Array:
    """Float32 logits ``[batch, vocabulary]`` with -inf in place of what `top_k` and `top_p` cut off.

    A token is kept if fewer than `top_k` are ranked before it; and then, if those before it that were kept have
    less than `top_p` of the mass: never fewer than one token.
    """
    if sampler.top_k is not None and sampler.top_k < logits.shape[1]:
        logits = _leading(logits, jnp.ones_like(logits), float(sampler.top_k))
    if sampler.top_p < 1:
        logits = _leading(logits, jax.nn.softmax(logits, axis=-1), sampler.top_p)
    return logits


def _leading(logits: Array, weight: Array, bound: float) -> Array:
    """Keep the tokens whose higher-ranked ones have less than `bound` of `weight` ``[batch, vocabulary]`` together.

    Equal logits must have equal weights. Without a sort, which would take ten times as long as a small model on a
    CPU: the bits of a float32, its sign turned, are ordered as it is, so that the logit at which the bound is
    reached is found bit by bit.
    """
    bits = jax.lax.bitcast_convert_type(jnp.where(logits == 0, 0.0, logits), jnp.uint32)  # one zero, not two
    sign = jnp.uint32(1 << 31)
    order = jnp.where(bits < sign, bits | sign, ~bits)

    def mass(least: Array) -> Array:
        return jnp.sum(jnp.where(order >= least[:, None], weight, 0.0), axis=-1)

    def refine(index: Array, least: Array) -> Array:
        higher = least | (sign >> index.astype(jnp.uint32))
        return jnp.where(mass(higher) >= bound, higher, least)

    edge = jax.lax.fori_loop(0, 32, refine, jnp.zeros(logits.shape[:1], jnp.uint32))
    tied = order == edge[:, None]
    rank = jnp.cumsum(tied, axis=-1, dtype=jnp.int32) - 1
    ahead = mass(edge + 1)[:, None] + rank * weight
    return jnp.where((order > edge[:, None]) | (tied & (ahead < bound)), logits, -jnp.inf)


def draw(logits: Array, keys: Array, sampler: Sampler) -> tuple[Array, Array]:
    """A token for each row of float32 logits ``[batch, vocabulary]``, and its log-probability (nats).

    Returns int32 ``[batch]`` and float32 ``[batch]``. Each row is drawn with its own key of `keys` ``[batch]``.
    At temperature 0 the token is the most likely one (the lowest id wins a tie), and the log-probability is the
    model's own.
    """
    if sampler.temperature == 0:
        top = jnp.max(logits, axis=-1, keepdims=True)
        token = _first(logits == top)
        return token, -jnp.log(jnp.sum(jnp.exp(logits - top), axis=-1))
    logits = truncate(logits / sampler.temperature, sampler)
    top = jnp.max(logits, axis=-1, keepdims=True)
    mass = jnp.exp(logits - top)
    token = _by_mass(mass, jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys))
    picked = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    return token, picked - top[:, 0] - jnp.log(jnp.sum(mass, axis=-1))


def _by_mass(mass: Array, uniform: Array) -> Array:
    """An index of each row of `mass` ``[batch, vocabulary]``, drawn in proportion to it: int32 ``[batch]``.

    By inversion, in two stages: a block of neighbours by the blocks' masses, then one of the block. Two numbers
    `uniform` ``[batch, 2]`` do for a row, where noise on every logit would cost as much as the model itself on a
    CPU; and the second stage reaches tokens that one float32 number over the whole vocabulary is too coarse for.
    """
    batch, vocabulary = mass.shape
    size = 2 ** math.ceil(math.log2(vocabulary) / 2)
    count = -(-vocabulary // size)
    blocks = jnp.pad(mass, ((0, 0), (0, count * size - vocabulary))).reshape(batch, count, size)
    block = _invert(jnp.sum(blocks, axis=-1), uniform[:, 0])
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)[:, 0]
    return block * size + _invert(inside, uniform[:, 1])


def _invert(mass: Array, uniform: Array) -> Array:
    """The first index whose cumulated `mass` ``[batch, n]`` passes `uniform` ``[batch]`` of the total.

    Never one without mass, which is why those are taken out of the running sums: rounded in another order, a sum can
    grow where nothing was added.
    """
    reached = jnp.where(mass > 0, jnp.cumsum(mass, axis=-1), 0.0)
    total = jnp.max(reached, axis=-1)
    bound = jnp.minimum(uniform * total, jnp.nextafter(total, jnp.zeros_like(total)))
    return _first(reached > bound[:, None])


def _first(true: Array) -> Array:
    """Index of the first true entry of each row, int32 ``[batch]``; an argmax takes many times as long on a CPU."""
    index = jax.lax.broadcasted_iota(jnp.int32, true.shape, 1)
    # The last one where none is: only where a row holds NaN.
    return jnp.min(jnp.where(true, index, true.shape[1] - 1), axis=1)
