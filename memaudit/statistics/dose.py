"""Dose and response: how the chance to come out grows with the times that an example was shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from memaudit.statistics.firth import Line, firth
from memaudit.statistics.intervals import CONFIDENCE, UNBOUNDED, Interval, Rate, upper_bound
from memaudit.statistics.seeds import Estimate, over_seeds, student

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Response:
    """What repetition does, mixed over seeds."""

    outcome: Literal["fitted", "none", "all"]
    """`none`: nothing came out in any seed. `all`: everything did. There is then no slope to speak of (`unknown`)."""
    slope: Estimate
    """Log-odds for each doubling of the times shown; against 0."""
    half: Interval
    """Times shown at which half come out, in a seed in the middle. From 0 to infinity where nothing is known; beyond
    the doses of the study it rests on the straight line."""
    bound: float | None
    """With `none`, the one-sided 95 % upper bound of the rate at the highest dose; with `all`, the lower bound at the
    lowest one; pooled over seeds. None with `fitted`."""
    strata: tuple[Rate, ...]
    """At each dose, pooled over seeds."""


def dose_response(
    doses: Sequence[float], counts: Sequence[Sequence[int]], totals: Sequence[Sequence[int]]
) -> Response:
    """Fit P(memorized) = expit(a + b log2(times shown)) in each seed, and mix a and b over the seeds.

    Each seed is fitted by itself by Firth's penalised likelihood (`firth.firth`), finite under separation. The slope is
    the mean over seeds with Student's t. The dose at which half come out solves mean(a) + mean(b) x = 0; its bounds are
    Fieller's (1954, JRSS B 16, 175): all x for which the seeds' a + b x have a mean that Student's test does not tell
    from 0, with the same degrees of freedom, so that no normal approximation of the ratio -a / b is needed.

    Where a seed is separated (all below some dose stay in, all above come out, one stratum at most is mixed) its fit is
    drawn to what the design can show, and such seeds agree more than they should. With any such seed, and where all
    seeds have the same counts, no variance is taken to be less than the mean one of the single fits (`widened`).

    If the slope is not told from 0, Fieller's set has no two ends. What remains takes for granted that showing an
    example again makes it no less likely to come out: doses at which significantly less than half come out are below
    the one sought, doses at which more do are above it.

    Simulated coverage (`python -m benchmarks.coverage`), with 5 seeds of 32, 24, 24 and 20 examples at 1, 4, 16 and 64
    times and a random seed intercept of standard deviation 0 to 0.7: of the slope 93 to 97 %, of the dose 94 to 97 %,
    and more where hardly a stratum is mixed (slopes above 2). Without the floor the slope held 29 to 93 % there, and
    with the floor everywhere it held 98 % and more.

    Args:
        doses: Times shown, above 0; two different ones at least: ``[strata]``. Controls, never shown, are not one.
        counts: Examples that came out: ``[seeds, strata]``.
        totals: Examples asked: ``[seeds, strata]``, one at least each.

    Raises:
        ValueError: The shapes do not fit, a dose is not above 0, all are one, or counts do not fit totals.
    """
    times = np.asarray(doses, np.float64)
    events, asked = np.asarray(counts, np.float64), np.asarray(totals, np.float64)
    if events.ndim != 2 or not len(events) or events.shape != asked.shape or times.shape != events.shape[1:]:
        raise ValueError(
            "expected counts and totals of each seed and dose, got shapes "
            f"{events.shape} and {asked.shape} for {times.shape}"
        )
    if not (np.isfinite(times) & (times > 0)).all() or len(np.unique(times)) < 2:
        raise ValueError(f"expected two different doses above 0 at least, got {list(doses)}")
    if not ((events >= 0) & (events <= asked) & (asked >= 1)).all():
        raise ValueError("expected 0 <= count <= total at each dose, and 1 example at least")
    order = np.argsort(times, kind="stable")
    times, events, asked = times[order], events[:, order], asked[:, order]
    strata = tuple(
        Rate(count=int(count), total=int(total))
        for count, total in zip(events.sum(axis=0), asked.sum(axis=0), strict=True)
    )
    if not events.any() or (events == asked).all():
        return _extreme(times, strata, len(events), none=not events.any())
    x = np.log2(times)
    lines = firth(x, events, asked)
    return Response(
        outcome="fitted",
        slope=_slope(lines, floor=_floored(times, events, asked)),
        half=_half(lines, x, floor=_floored(times, events, asked)),
        bound=None,
        strata=strata,
    )


def _extreme(times: _Floats, strata: tuple[Rate, ...], seeds: int, *, none: bool) -> Response:
    """Nothing came out, or everything did."""
    edge = int(np.argmax(times) if none else np.argmin(times))
    total = sum(s.total for s, time in zip(strata, times, strict=True) if time == times[edge])
    missed = upper_bound(0, total)
    least = float(times[edge]) if none and missed < 0.5 else 0.0
    most = float(times[edge]) if not none and missed < 0.5 else math.inf
    return Response(
        outcome="none" if none else "all",
        slope=over_seeds([0.0] * seeds),
        half=Interval(math.inf if none else 0.0, least, most),
        bound=missed if none else 1 - missed,
        strata=strata,
    )


def _floored(times: _Floats, events: _Floats, asked: _Floats) -> bool:
    """Whether the spread of the seeds is not to be relied on alone."""
    rates = events / asked
    mixed = (events > 0) & (events < asked)
    separated = (mixed.sum(axis=1) <= 1) & (np.diff(rates, axis=1) >= 0).all(axis=1)
    return bool(separated.any()) or bool((rates == rates[0]).all())


def _slope(lines: Line, *, floor: bool) -> Estimate:
    seeds = len(lines.slope)
    if seeds == 1 or not floor:
        return over_seeds(lines.slope.tolist())
    between = float(lines.slope.var(ddof=1)) / seeds
    within = float(lines.covariance[:, 1, 1].mean()) / seeds
    return student(
        float(lines.slope.mean()), math.sqrt(max(between, within)), null=0.0, seeds=seeds, method="widened"
    )


def _half(lines: Line, x: _Floats, *, floor: bool) -> Interval:
    # Around the middle of the doses, where intercept and slope depend on each other least.
    centre = float((x[0] + x[-1]) / 2)
    pairs = np.stack([lines.intercept + lines.slope * centre, lines.slope])
    at, slope = (float(v) for v in pairs.mean(axis=1))
    seeds = pairs.shape[1]
    value = -at / slope if slope > 0 else math.copysign(math.inf, -at)
    if seeds == 1:
        return Interval(_dose(centre + value), 0.0, math.inf)
    quantile = float(stdtrit(seeds - 1, 0.5 + CONFIDENCE / 2))
    ends = [_fieller(at, slope, np.cov(pairs) / seeds, quantile)]
    if floor:
        shift = np.array([[1.0, centre], [0.0, 1.0]])
        ends.append(_fieller(at, slope, shift @ lines.covariance.mean(axis=0) @ shift.T / seeds, quantile))
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    return Interval(_dose(centre + min(max(value, low), high)), _dose(centre + low), _dose(centre + high))


def _fieller(at: float, slope: float, covariance: _Floats, quantile: float) -> tuple[float, float]:
    """The x with |at + slope x| <= quantile * its standard error, or what rising lines leave of them."""
    square = slope**2 - quantile**2 * float(covariance[1, 1])
    middle = at * slope - quantile**2 * float(covariance[0, 1])
    rest = at**2 - quantile**2 * float(covariance[0, 0])
    inside = middle**2 - square * rest
    if square > 0:
        root = math.sqrt(max(inside, 0.0))
        return (-middle - root) / square, (-middle + root) / square
    if inside <= 0 or square == 0:
        return -math.inf, math.inf
    # All but what lies between the roots, where the mean is told from 0 by its sign.
    roots = sorted((-middle + sign * math.sqrt(inside)) / square for sign in (-1, 1))
    below = at + slope * (roots[0] + roots[1]) / 2 < 0
    return (roots[1], math.inf) if below else (-math.inf, roots[0])


def _dose(doublings: float) -> float:
    """2 to this power; out of range, the nearest there is."""
    if math.isinf(doublings):
        return math.inf if doublings > 0 else 0.0
    return min(2.0 ** min(doublings, 1023.0), UNBOUNDED) if doublings < 1024 else math.inf
