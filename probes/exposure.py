"""Exposure: how much likelier a model holds a canary than other fillings of the same slot.

N. Carlini, C. Liu, U. Erlingsson, J. Kos, D. Song, The Secret Sharer, USENIX Security 2019, arXiv 1802.08232.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Literal

CONFIDENCE = 0.95
"""Of the interval, two-sided."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """The exposure of one canary, in bits."""

    rank: float
    """Its place among itself and its references, by loss from the least; from 1. Equal losses share their middle."""
    references: int
    """How many references it was held against."""
    bits: float
    """log2(references + 1) - log2(rank)."""
    low: float
    """Lower end of the interval for the exposure among all fillings of the slot."""
    high: float
    """Upper end; infinite if no reference had a lower loss and the size of the slot was not given."""
    exact: bool
    """The references were all other fillings of the slot: `bits` is the exposure itself, and the interval a point."""
    reading: Literal["mean", "sum"]
    """What the losses were, as the caller said."""

    @property
    def cap(self) -> float:
        """The most bits that so many references can show: log2(references + 1)."""
        return math.log2(self.references + 1)


def exposure(
    loss: Mapping[str, float],
    references: Mapping[str, Sequence[float]],
    *,
    reading: Literal["mean", "sum"],
    slot_sizes: Mapping[str, int] | None = None,
) -> dict[str, Exposure]:
    """Return the exposure of each canary, by its id.

    With R the canary and its N references together, exposure is log2 |R| - log2 rank: from 0 bits, if all references
    have a lower loss, to log2(N + 1), if none has. Before a model has seen it a canary whose slot was filled at
    random has at least b bits with a probability of at most 2^-b. (Not so where losses tie: ranks are the middle
    of the tied ones, and a model that tells nothing apart gives every canary a little less than 1 bit.)

    The interval is for the exposure that would come out against all S fillings of the slot, log2 S - log2(1 +
    (S - 1) p), where p is the share of other fillings with a lower loss. For p it takes the 95 % interval of C. J.
    Clopper and E. S. Pearson, doi:10.1093/biomet/26.4.404, no wider than what the fillings that were not drawn
    leave open; ties count as lower for one end and not for the other. If S is not given the slot counts as endless,
    and exposure among all fillings is -log2 p.

    Args:
        loss: A canary's loss in nats or bits, by its id.
        references: The losses of its references, under the same prefix and for the same part of the text. Their
            order does not matter. Distinct fillings drawn from all others alike, or all others.
        reading: Whether losses are means over the scored tokens or sums. They rank differently where fillings have
            different numbers of tokens: a sum favours fillings of few tokens. It is kept in the result.
        slot_sizes: How many fillings a canary's slot has, its own among them. It may name more canaries than `loss`.

    Raises:
        ValueError: The mappings do not name the same canaries, a loss is not finite, there are no references, or
            more than the slot has other fillings.
    """
    if reading not in ("mean", "sum"):
        raise ValueError(
            f'expected reading to be "mean" or "sum", got {reading!r}; set it to what the losses are'
        )
    _check_ids("references", loss, references, exact=True)
    if slot_sizes is not None:
        _check_ids("slot_sizes", loss, slot_sizes, exact=False)
    found = {}
    for name, own in loss.items():
        others = references[name]
        size = None if slot_sizes is None else slot_sizes[name]
        _check(name, own, others, size)
        lower = sum(1 for other in others if other < own)
        ties = sum(1 for other in others if other == own)
        found[name] = _exposure(lower, ties, len(others), size, reading)
    return found


def _exposure(
    lower: int, ties: int, total: int, size: int | None, reading: Literal["mean", "sum"]
) -> Exposure:
    rank = 1 + lower + ties / 2
    bits = math.log2((total + 1) / rank)
    low = high = bits
    exact = size == total + 1
    if not exact:
        most = lower + ties
        least = _beta_quantile((1 - CONFIDENCE) / 2, lower, total - lower + 1) if lower else 0.0
        greatest = _beta_quantile((1 + CONFIDENCE) / 2, most + 1, total - most) if most < total else 1.0
        if size is None:
            low, high = -math.log2(greatest), -math.log2(least) if least else math.inf
        else:
            unseen = size - 1 - total
            low = math.log2(size / (1 + min((size - 1) * greatest, most + unseen)))
            high = math.log2(size / (1 + max((size - 1) * least, lower)))
    return Exposure(rank=rank, references=total, bits=bits, low=low, high=high, exact=exact, reading=reading)


def _check_ids(what: str, loss: Mapping[str, float], other: Mapping[str, object], *, exact: bool) -> None:
    missing = [name for name in loss if name not in other]
    if missing:
        raise ValueError(f"expected {what} of every canary that has a loss, got none of {_named(missing)}")
    extra = [name for name in other if name not in loss]
    if exact and extra:
        raise ValueError(f"expected a loss of every canary that has {what}, got none of {_named(extra)}")


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}"


def _check(name: str, own: float, others: Sequence[float], size: int | None) -> None:
    if len(others) == 0:
        raise ValueError(f"{name}: expected at least one reference, got none")
    if not math.isfinite(own):
        raise ValueError(
            f"{name}: expected a finite loss, got {own}; find out what made the model fail on it"
        )
    for place, other in enumerate(others):
        if not math.isfinite(other):
            raise ValueError(
                f"{name}: expected finite losses of references, got {other} at {place}; find out what made the model "
                "fail on it, a reference left out would shift the rank"
            )
    if size is None:
        return
    if not isinstance(size, int) or isinstance(size, bool):
        raise ValueError(f"{name}: expected the number of fillings of the slot as an integer, got {size!r}")
    if size < len(others) + 1:
        raise ValueError(
            f"{name}: expected at most {size - 1} references, the other fillings of a slot of {size}, got "
            f"{len(others)}; give each filling once and leave out the canary's own"
        )


@lru_cache(maxsize=4096)
def _beta_quantile(probability: float, a: int, b: int) -> float:
    """The p at which the distribution function of Beta(a, b) reaches `probability`, right to some nine digits."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if _beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return high


def _beta(x: float, a: int, b: int) -> float:
    """The regularised incomplete beta function I_x(a, b): NIST Digital Library of Mathematical Functions, 8.17."""
    if x > (a + 1) / (a + b + 2):  # there the fraction converges slowly, but fast for the other tail: 8.17.4
        return 1 - _lower_tail(1 - x, b, a)
    return _lower_tail(x, a, b)


def _lower_tail(x: float, a: int, b: int) -> float:
    """I_x(a, b) by the continued fraction 8.17.22, evaluated from the front by Lentz's method."""
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction = front = 1.0
    back = 0.0
    for place in count(1):
        m = place // 2
        if place % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        back = 1 / (1 + d * back or _TINY)
        front = 1 + d / front or _TINY
        fraction *= back * front
        if place > 1 and abs(back * front - 1) < _PRECISION:
            break
    return math.exp(log_front) / a / fraction


_TINY = 1e-300
"""Stands for a zero that would be divided by."""
_PRECISION = 1e-15
