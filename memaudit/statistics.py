"""Intervals and tests for rates, paired rates and paired means. Confidence 95 %, two-sided."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
_Z = float(ndtri(0.5 + CONFIDENCE / 2))


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A count out of a total."""

    count: int
    total: int

    @property
    def interval(self) -> Interval:
        """The rate with Wilson's interval."""
        return wilson(self.count, self.total)


def wilson(count: int, total: int) -> Interval:
    """The rate count / total with Wilson's score interval (Wilson 1927).

    It stays inside [0, 1] and is not empty at a count of 0: its upper end there, z^2 / (n + z^2), is the bound to
    quote. Nothing is known of an empty sample: 0, from 0 to 1.
    """
    if not 0 <= count <= total:
        raise ValueError(f"expected 0 <= count <= total, got count={count}, total={total}")
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    rate, z2 = count / total, _Z * _Z
    centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z * math.sqrt(rate * (1 - rate) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    # At the ends the bound is exact; rounding must not move it inside.
    return Interval(
        rate,
        0.0 if count == 0 else max(0.0, centre - half),
        1.0 if count == total else min(1.0, centre + half),
    )


def paired_difference(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Rate of the first minus rate of the second over the same items: Newcombe's hybrid score interval.

    Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on paired
    data", method 10: the two Wilson intervals, put together with the correlation of the pairs. Unlike Wald's it
    neither collapses when all pairs agree nor leaves [-1, 1].
    """
    total = both + only_first + only_second + neither
    if total == 0:
        return Interval(0.0, -1.0, 1.0)
    first, second = wilson(both + only_first, total), wilson(both + only_second, total)
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        phi = 0.0
    else:
        cross = both * neither - only_first * only_second
        # Continuity correction of the paper: a positive correlation is taken a little smaller.
        if cross > 0:
            cross = max(cross - total / 2, 0.0)
        phi = cross / math.sqrt(margins)
    value = (only_first - only_second) / total
    down = (first.value - first.low, second.high - second.value)
    up = (first.high - first.value, second.value - second.low)
    low = value - math.sqrt(max(down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2, 0.0))
    high = value + math.sqrt(max(up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2, 0.0))
    return Interval(value, max(low, -1.0), min(high, 1.0))


def paired_mean(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of first - second over the same items, with Student's t interval.

    With fewer than two items the interval is unbounded in truth; it is given as the largest finite range.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count if count else 0.0
    if count < 2:
        limit = math.nextafter(math.inf, 0)
        return Interval(mean, -limit, limit)
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)


def mcnemar(acquired: int, forgotten: int) -> float:
    """Exact two-sided McNemar test: the p-value of so uneven a split of the changed items under a fair coin."""
    changed = acquired + forgotten
    tail = sum(math.comb(changed, k) for k in range(min(acquired, forgotten) + 1))
    return min(1.0, 2 * tail / 2**changed)
