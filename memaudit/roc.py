"""How well scores tell members from non-members: area under the ROC curve, and true positives at few false ones.

Higher scores mean members. Scores may be infinite, but not NaN. Confidence as in `statistics`: 95 %, two-sided.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from memaudit.statistics import CONFIDENCE, Interval, wilson

LIMITS = (0.01, 0.001)
"""False positive rates at which attacks are reported (arXiv 2112.03570): an attack that is certain of a few members is
worse than one that is a little better than chance on all, and only the first shows here."""
RESAMPLES = 2000

_FEWEST = 10  # clusters of a kind: with fewer, their spread in the sample is not to be relied on
_Z = float(ndtri(0.5 + CONFIDENCE / 2))
_ROUNDING = 1e-9  # 0.01 * 700 is a little more than 7, 0.001 * 9000 might be a little less than 9
_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Area:
    """Area under the ROC curve: the probability that a member scores higher than a non-member, ties counting half."""

    interval: Interval
    members: int
    others: int
    """Non-members."""
    method: Literal["delong", "bootstrap", "newcombe"]
    """What the bounds are from. Newcombe's stand in where the sample's own spread says too little."""


@dataclass(frozen=True, kw_only=True)
class Operating:
    """A point of the ROC curve: members are what scores above `threshold`."""

    limit: float
    """The false positive rate that was not to be passed."""
    resolved: bool
    """There are non-members enough for one of them to be above the threshold: 1 / `limit` at least. If not, the
    threshold is the highest non-member, the false positive rate of the sample 0, and all that is known of the true one
    is `false_positives.high`."""
    threshold: float
    true_positives: Interval
    """Rate among members (Wilson). The threshold is taken as given: that other non-members would have set another one
    is not in it."""
    hits: int
    members: int
    false_positives: Interval
    """Rate among the non-members, `limit` at most, and less where they tie (Wilson)."""
    alarms: int
    others: int


def area(
    members: Sequence[float],
    others: Sequence[float],
    *,
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    method: Literal["delong", "bootstrap"] = "delong",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Area:
    """Return the Mann-Whitney estimate of the area under the ROC curve, with its interval.

    `delong` is the default: closed, without chance, and right with clusters too. Its variance is that of DeLong,
    DeLong and Clarke-Pearson 1988 (Biometrics 44, 837), from each score's share of the other kind's scores that it
    beats; with clusters in the form of Obuchowski 1997 (Biometrics 53, 567), which adds these up within clusters and
    so has the covariance of an example that is a member under one twin and a non-member under the other. The bounds
    are symmetrical on the log-odds of the area, which keeps them within [0, 1]. `bootstrap` draws clusters with
    replacement and takes the percentiles: slower, and for those who mistrust the normal approximation.

    Either collapses to a point where nothing in the sample varies, members and non-members apart or all scores equal,
    and is too narrow with few of a kind. In the first case, and with fewer than 10 scores or clusters of a kind, the
    bounds are Newcombe's method 5 (2006, doi:10.1002/sim.2324): like Wilson's for a rate, all areas A with
    |estimate - A| <= z s(A), s(A) the error of Hanley and McNeil 1982 for so many clusters of each kind.

    Args:
        members: Their scores.
        others: Scores of the non-members.
        clusters: A label for each member and for each non-member. Scores with one label, on either side, may depend
            on each other: near-duplicates, the probes of one file, one example under both twins. None: all independent.
        method: See above.
        seed: Of the bootstrap.
        resamples: Of the bootstrap.

    Raises:
        ValueError: There are no members, no non-members, not one label for each, or a score is NaN.
    """
    inside, outside = _checked(members, others)
    labels = _labels(inside, outside, clusters)
    value = float(np.mean(_beaten(inside, outside)))
    sizes = tuple(len(np.unique(side)) for side in labels)
    bounds, used = None, method
    if min(sizes) >= _FEWEST:
        if method == "delong":
            bounds = _delong(inside, outside, labels, value)
        else:
            bounds = _bootstrap(inside, outside, labels, clusters is None, seed, resamples)
    if bounds is None:
        bounds, used = _newcombe(value, *sizes), "newcombe"
    return Area(
        interval=Interval(value, min(value, bounds[0]), max(value, bounds[1])),
        members=len(inside),
        others=len(outside),
        method=used,
    )


def operating(members: Sequence[float], others: Sequence[float], limit: float) -> Operating:
    """Return the point of the ROC curve with the most true positives whose false positive rate is at most `limit`.

    The threshold is the score of a non-member: with k = `limit` times their number, rounded down, that of the one
    above which k others stand.

    Args:
        members: Their scores.
        others: Scores of the non-members.
        limit: Between 0 and 1, such as those of `LIMITS`.

    Raises:
        ValueError: There are no members, no non-members, or a score is NaN; or the limit is out of range.
    """
    if not 0 < limit < 1:
        raise ValueError(f"expected a false positive rate between 0 and 1, got {limit}")
    inside, outside = _checked(members, others)
    allowed = int(limit * len(outside) + _ROUNDING)
    threshold = float(np.sort(outside)[len(outside) - 1 - allowed])
    hits, alarms = int((inside > threshold).sum()), int((outside > threshold).sum())
    return Operating(
        limit=limit,
        resolved=allowed >= 1,
        threshold=threshold,
        true_positives=wilson(hits, len(inside)),
        hits=hits,
        members=len(inside),
        false_positives=wilson(alarms, len(outside)),
        alarms=alarms,
        others=len(outside),
    )


def curve(
    members: Sequence[float], others: Sequence[float], *, most: int = 65
) -> tuple[tuple[float, float], ...]:
    """Return the ROC curve as (false positive rate, true positive rate), from (0, 0) to (1, 1).

    One point for each threshold at which a rate changes; of more than `most` so many are kept, evenly, the ends among
    them. What lies between two points is a straight line: under it the share of pairs in order, ties counting half.

    Raises:
        ValueError: There are no members, no non-members, or a score is NaN; or `most` is less than 2.
    """
    if most < 2:
        raise ValueError(f"expected most of at least 2, the two ends, got {most}")
    inside, outside = _checked(members, others)
    levels = np.unique(np.concatenate([inside, outside]))[::-1]
    rates = [
        1 - np.searchsorted(np.sort(side), levels, side="left") / len(side) for side in (outside, inside)
    ]
    points = [(0.0, 0.0), *zip(rates[0].tolist(), rates[1].tolist(), strict=True)]
    if len(points) > most:
        points = [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]
    return tuple(points)


def _checked(members: Sequence[float], others: Sequence[float]) -> tuple[_Floats, _Floats]:
    sides = []
    for name, scores in (("members", members), ("non-members", others)):
        side = np.asarray(scores, np.float64)
        if side.ndim != 1 or not len(side):
            raise ValueError(f"expected at least one score of {name}, got an array of shape {side.shape}")
        if np.isnan(side).any():
            raise ValueError(
                f"expected scores of {name} that are numbers, got {int(np.isnan(side).sum())} NaN among {len(side)}"
            )
        sides.append(side)
    return sides[0], sides[1]


def _labels(
    inside: _Floats, outside: _Floats, clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The number of each score's cluster, counted from 0 over both kinds."""
    split = len(inside)
    if clusters is None:
        numbers = np.arange(split + len(outside), dtype=np.intp)
        return numbers[:split], numbers[split:]
    given = tuple(map(len, clusters))
    if given != (split, len(outside)):
        raise ValueError(
            f"expected a cluster of each of {split} members and {len(outside)} non-members, got {given[0]} and "
            f"{given[1]}"
        )
    known: dict[Hashable, int] = {}
    numbers = np.array([known.setdefault(label, len(known)) for side in clusters for label in side], np.intp)
    return numbers[:split], numbers[split:]


def _beaten(scores: _Floats, of: _Floats) -> _Floats:
    """For each score the share of the other kind's that are lower, equal ones counting half."""
    ranked = np.sort(of)
    below, not_above = (np.searchsorted(ranked, scores, side=side) for side in ("left", "right"))
    return (below + not_above) / (2 * len(of))


def _delong(
    inside: _Floats, outside: _Floats, labels: tuple[NDArray[np.intp], NDArray[np.intp]], value: float
) -> tuple[float, float] | None:
    """None: the sample has no spread."""
    total = int(max(side.max() for side in labels)) + 1
    sums, variance = [], 0.0
    placements = (_beaten(inside, outside), 1 - _beaten(outside, inside))
    for side, shares in zip(labels, placements, strict=True):
        spread = np.bincount(side, shares - value, minlength=total)
        count = len(np.unique(side))
        variance += count / (count - 1) * float(spread @ spread) / len(side) ** 2
        sums.append(spread)
    variance += 2 * total / (total - 1) * float(sums[0] @ sums[1]) / (len(inside) * len(outside))
    if not 0 < value < 1 or variance < 1e-15:
        return None
    half = _Z * math.sqrt(variance) / (value * (1 - value))
    return float(expit(logit(value) - half)), float(expit(logit(value) + half))


def _bootstrap(
    inside: _Floats,
    outside: _Floats,
    labels: tuple[NDArray[np.intp], NDArray[np.intp]],
    apart: bool,
    seed: int,
    resamples: int,
) -> tuple[float, float] | None:
    """`apart`: members and non-members are drawn separately. None: the resamples do not differ."""
    split, total = len(inside), int(max(side.max() for side in labels)) + 1
    levels, level = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < resamples:
        if apart:
            parts = ((0, split), (split, total))
            drawn = np.concatenate([rng.integers(low, high, high - low) for low, high in parts])
        else:
            drawn = rng.integers(0, total, total)
        times = np.bincount(drawn, minlength=total)
        ours, theirs = (
            np.bincount(places, times[side], minlength=len(levels))
            for places, side in zip((level[:split], level[split:]), labels, strict=True)
        )
        pairs = ours.sum() * theirs.sum()
        if pairs:
            found.append(float(ours @ (np.cumsum(theirs) - theirs / 2)) / pairs)
    low, high = np.quantile(found, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return None if low == high else (float(low), float(high))


def _newcombe(value: float, members: int, others: int) -> tuple[float, float]:
    """Bounds from the numbers of clusters alone."""
    more = (members + others) / 2 - 1

    def excess(true: float) -> float:
        spread = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true)))
        return (value - true) ** 2 - _Z**2 * spread / (members * others)

    return _edge(excess, 0.0, value), _edge(excess, 1.0, value)


def _edge(excess: Callable[[float], float], outer: float, inner: float) -> float:
    """Where between the two `excess` changes its sign, by halving; `outer` itself where the estimate is there."""
    if outer == inner:
        return outer
    while outer != (middle := (outer + inner) / 2) != inner:
        if excess(middle) > 0:
            outer = middle
        else:
            inner = middle
    return outer
