"""How long something lasts that was not always seen to end: the curve of Kaplan and Meier."""

import bisect
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memaudit.statistics.intervals import CONFIDENCE, Interval, clopper_pearson


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The share that lasts beyond each time. All of one length, a place for each distinct time."""

    times: tuple[float, ...]
    """Increasing, in the unit they were given in. Those at which something ended or was last seen."""
    survival: tuple[float, ...]
    """Probability of lasting longer than this."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    at_risk: tuple[int, ...]
    """Items seen up to just before this time, and still there."""

    def at(self, time: float) -> Interval:
        """The share that lasts beyond `time`. After the last time nothing holds it up: its lower end is 0."""
        place = bisect.bisect_right(self.times, time) - 1
        if place < 0:
            return _whole(self.at_risk[0])
        low = 0.0 if time > self.times[-1] else self.low[place]
        return Interval(self.survival[place], low, self.high[place])


def kaplan_meier(times: Sequence[float], ended: Sequence[bool]) -> Curve:
    """The product-limit estimate with right censoring (Kaplan and Meier 1958, JASA 53, 457), by scipy.

    S(t) is the product over the times t_i <= t of 1 - d_i / n_i: d_i ended then, of n_i at risk. The bounds are
    Greenwood's on the scale of log(-log S), which keeps them within [0, 1] (Kalbfleisch and Prentice 1980, section
    1.3). They hold at one time, not for the whole curve. That formula says nothing where S is 1 or 0:

    - S = 1, nothing ended yet: the lower end is Clopper and Pearson's for all of those at risk.
    - S = 0, all ended: the upper end is the one before, as the curve cannot rise; or Clopper and Pearson's.

    Caveats: an item must not be lost to sight because it is about to end; and ends that are looked for at checkpoints
    only are dated to the first checkpoint that shows them. Items are taken to be independent.

    Args:
        times: Until each item ended, or until it was last seen. In any unit: steps, or stages. 0 or more.
        ended: Whether it was seen to end. If not, it lasted longer than its time.

    Raises:
        ValueError: There are no items, not as many of both, or a time is not a finite number from 0.
    """
    lasted, seen = np.asarray(times, np.float64), np.asarray(ended, bool)
    if lasted.ndim != 1 or not len(lasted) or lasted.shape != seen.shape:
        raise ValueError(
            f"expected a time and an end of each item, one item at least, got {lasted.shape} and {seen.shape}"
        )
    if not (np.isfinite(lasted) & (lasted >= 0)).all():
        raise ValueError("expected finite times from 0")
    # Here, as it takes most of a second to import and commands that need no curve should not wait for it.
    from scipy.stats import CensoredData, ecdf

    survival = ecdf(CensoredData(uncensored=lasted[seen], right=lasted[~seen])).sf
    at = survival.quantiles
    share = np.asarray(survival.probabilities, np.float64)
    at_risk = len(lasted) - np.searchsorted(np.sort(lasted), at)
    inner = (share > 0) & (share < 1)
    low, high = np.zeros_like(share), np.ones_like(share)
    if inner.any():
        bounds = _quiet_bounds(survival)
        low[inner], high[inner] = bounds[0][inner], bounds[1][inner]
    for place in np.flatnonzero(~inner):
        if share[place] == 1:
            low[place] = _whole(int(at_risk[place])).low
        else:
            before = high[place - 1] if place else 1.0
            alone = place == 0 or share[place - 1] == 1
            high[place] = clopper_pearson(0, int(at_risk[place])).high if alone else before
    return Curve(
        times=tuple(at.tolist()),
        survival=tuple(share.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        at_risk=tuple(at_risk.tolist()),
    )


def _quiet_bounds(survival: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scipy warns of the places where the formula says nothing; these are filled in by the caller."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = survival.confidence_interval(CONFIDENCE, method="log-log")
    return found.low.probabilities, found.high.probabilities


def _whole(count: int) -> Interval:
    return clopper_pearson(count, count)
