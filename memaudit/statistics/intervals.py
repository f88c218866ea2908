"""Intervals for rates, paired rates and paired means. Confidence 95 %, two-sided, where nothing else is said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import betaincinv, ndtri, stdtrit

CONFIDENCE = 0.95
UNBOUNDED = math.nextafter(math.inf, 0)
"""Stands for infinity where a bound has to be a finite number: nothing is known on that side."""
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
    _check(count, total)
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


def clopper_pearson(count: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The rate count / total with the exact interval (Clopper and Pearson 1934, Biometrika 26, 404).

    The bounds are the rates at which a count so high, or so low, has a chance of (1 - confidence) / 2: quantiles of
    beta distributions. Whatever the true rate, the interval holds it with at least the confidence asked for. As counts
    are whole, it is mostly more: near rates of 0 and 1 the actual coverage is 97 to 100 %. Wilson's interval is on
    average nearer to 95 %, and below it at some rates. Nothing is known of an empty sample: 0, from 0 to 1.
    """
    _check(count, total)
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    tail = (1 - confidence) / 2
    return Interval(
        count / total, 1 - _exact_upper(total - count, total, tail), _exact_upper(count, total, tail)
    )


def upper_bound(count: int, total: int, *, confidence: float = CONFIDENCE) -> float:
    """One-sided exact upper bound of the rate behind a zero or rare count (Clopper and Pearson 1934).

    At a count of 0 it is 1 - (1 - confidence)^(1/total), about 3 / total at 95 %: the "rule of three" of Hanley and
    Lippman-Hand 1983 (JAMA 249, 1743). All of the 5 % are on this side, so it is lower than the upper end of the
    two-sided interval; choose before looking which one to quote. 1 of an empty sample.
    """
    _check(count, total)
    return _exact_upper(count, total, 1 - confidence)


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
    return _hybrid((only_first - only_second) / total, first, second, phi)


def independent_difference(first: Rate, second: Rate) -> Interval:
    """Rate of the first minus rate of the second over other items: Newcombe's hybrid score interval.

    Newcombe 1998, "Interval estimation for the difference between independent proportions: comparison of eleven
    methods" (Statistics in Medicine 17, 873), method 10: the two Wilson intervals, put together as if neither told
    anything of the other. Where items are the same, `paired_difference` is narrower. Nothing is known of two rates of
    which one is of an empty sample: from -1 to 1, around what the other would be against 0.
    """
    if not (first.total and second.total):
        return Interval(first.interval.value - second.interval.value, -1.0, 1.0)
    return _hybrid(
        first.interval.value - second.interval.value, first.interval, second.interval, correlation=0.0
    )


def paired_mean(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Mean of first - second over the same items, with Student's t interval.

    With fewer than two items the interval is unbounded in truth; it is given as the largest finite range.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    count = len(differences)
    mean = math.fsum(differences) / count if count else 0.0
    if count < 2:
        return Interval(mean, -UNBOUNDED, UNBOUNDED)
    variance = math.fsum((d - mean) ** 2 for d in differences) / (count - 1)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)


def _hybrid(value: float, first: Interval, second: Interval, correlation: float) -> Interval:
    """The intervals of two rates put together to one of their difference."""

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * correlation * one * other + other**2, 0.0))

    low = value - reach(first.value - first.low, second.high - second.value)
    high = value + reach(first.high - first.value, second.value - second.low)
    return Interval(value, max(low, -1.0), min(high, 1.0))


def _exact_upper(count: int, total: int, tail: float) -> float:
    return 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))


def _check(count: int, total: int) -> None:
    if not 0 <= count <= total:
        raise ValueError(f"expected 0 <= count <= total, got count={count}, total={total}")
