"""The goldfish loss (arXiv 2406.10209): one target in k is left out of the loss, and a text cannot be learnt by heart.

    L = -sum_t G_t log p(x_t | x_<t) / sum_t G_t,    G_t = 0 for about one token in k

The forward pass sees every token; only its loss is missing. What matters is which tokens are left out. `Hashed`, which
the paper recommends, asks the h tokens before: wherever a passage recurs, in whatever row, stage or epoch, the same
tokens are missing. `Random` leaves out others at every showing, so that repeats teach all of them; it spends as many
targets as `Hashed` and is the fair control. `Static` leaves out every k-th token of a text; the same passage after an
opening of another length is learnt in the gaps.

The hash is ours, as the published one (a product of token ids that looks up a table of the training device) takes no
account of order, is 0 wherever a token id is 0, has run empty of odd factors at h = 128, and differs between devices.
This one is a polynomial modulo 2^32 in unsigned integers, the same on every device that has them:

    H_t = sum_{i=1..h} mix(x_{t-i} xor salt) M^(i-1),    x_t is left out iff mix(H_t xor salt) < 2^32 / k

A token with fewer than h tokens of its text before it is never left out.
"""

from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

_BASE = 0x2C9277B5  # M: odd, so that it has an inverse modulo 2^32
_INVERSE = pow(_BASE, -1, 2**32)
_STRIDE = 0x9E3779B9  # 2^32 over the golden ratio: consecutive positions lie far apart


@dataclass(frozen=True, kw_only=True)
class Static:
    """Leave out every k-th token of a text."""

    every: int = 4
    """k."""

    def __post_init__(self) -> None:
        _check(self.every)


@dataclass(frozen=True, kw_only=True)
class Random:
    """Leave out each token with probability 1/k, drawn anew at every showing."""

    every: int = 4
    """k."""
    seed: int = 0
    """What the draws follow from."""

    def __post_init__(self) -> None:
        _check(self.every)

    def draws(self, step: int, rows: int) -> np.ndarray:
        """What the rows of a batch are drawn with: uint32 ``[rows]``, a function of seed and step."""
        return np.random.default_rng([self.seed, step]).integers(2**32, size=rows, dtype=np.uint32)


@dataclass(frozen=True, kw_only=True)
class Hashed:
    """Leave out a token where a hash of the tokens before it says so, once in k."""

    every: int = 4
    """k. The paper's default; large models have been trained with 50."""
    context: int = 13
    """h, the tokens that are hashed. The fewer, the more common the phrases whose next token is never learnt; the
    more, the longer the opening of a text that is learnt whole."""
    seed: int = 0
    """Which hash, below 2^32. Stages with the same one leave out the same tokens of a text."""

    def __post_init__(self) -> None:
        _check(self.every)
        if self.context < 1:
            raise ValueError(f"expected `context` to be positive, got {self.context}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"expected `seed` to be at least 0 and below 2^32, got {self.seed}")


Goldfish: TypeAlias = Hashed | Static | Random


def _check(every: int) -> None:
    if every < 2:
        raise ValueError(f"expected `every` to be at least 2, got {every}: nothing would be learnt")


def keep(
    goldfish: Goldfish, tokens: Array, segments: Array | None = None, draws: Array | None = None
) -> Array:
    """Which tokens count as targets: bool ``[batch, time]``.

    `tokens` is int32 ``[batch, time]``; `segments`, of the same shape, tells the texts of a packed row apart (see
    `batches.Rows`); `draws`, uint32 ``[batch]``, is what `Random` needs of each showing.
    """
    if isinstance(goldfish, Random):
        if draws is None:
            raise ValueError("expected `draws` of each row beside a random goldfish, got none")
        columns = jnp.arange(tokens.shape[1], dtype=jnp.uint32)
        return ~_chosen(draws[:, None] + columns * jnp.uint32(_STRIDE), goldfish.every)
    place = _places(tokens, segments)
    if isinstance(goldfish, Static):
        return place % goldfish.every != goldfish.every - 1
    salt = _mix(jnp.uint32(goldfish.seed))
    hashed = _windows(_mix(tokens.astype(jnp.uint32) ^ salt), goldfish.context)
    return ~((place >= goldfish.context) & _chosen(hashed ^ salt, goldfish.every))


def _places(tokens: Array, segments: Array | None) -> Array:
    """Place of each token in its own text, int32 ``[batch, time]``."""
    here = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
    if segments is None:
        return here
    begins = jnp.pad(segments[:, 1:] != segments[:, :-1], ((0, 0), (1, 0)))
    return here - jax.lax.cummax(jnp.where(begins, here, 0), axis=1)


def _windows(values: Array, size: int) -> Array:
    """Polynomial of the `size` values before each place, modulo 2^32; without meaning where there are fewer.

    A difference of two running sums, each value weighted by its place: the same work for any `size`.
    """
    time = values.shape[1]
    up, down = _powers(_BASE, time), _powers(_INVERSE, time)
    sums = jnp.pad(jnp.cumsum(values * down, axis=1, dtype=jnp.uint32), ((0, 0), (1, 0)))[:, :-1]
    before = jnp.pad(sums, ((0, 0), (size, 0)))[:, :time]
    return (sums - before) * up * jnp.uint32(_INVERSE)


def _powers(base: int, count: int) -> np.ndarray:
    """base^0, base^1, ... modulo 2^32, uint32."""
    steps = np.full(count, base, np.uint32)
    steps[:1] = 1
    return np.cumprod(steps, dtype=np.uint32)


def _mix(values: Array) -> Array:
    """A permutation of the 32-bit numbers after which every bit hangs on every other: MurmurHash3's last step."""
    values = (values ^ (values >> 16)) * jnp.uint32(0x85EBCA6B)
    values = (values ^ (values >> 13)) * jnp.uint32(0xC2B2AE35)
    return values ^ (values >> 16)


def _chosen(values: Array, every: int) -> Array:
    """True for one number in `every`."""
    return _mix(values) < jnp.uint32(2**32 // every)
