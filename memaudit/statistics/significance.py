"""Exact tests of paired data: of changed verdicts, and of a mean of differences."""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from memaudit.statistics.clusters import numbered

ENUMERATED = 14
"""So many signs at most are all tried: 2^14 of their settings. Of more, some are drawn."""
FLIPS = 9999
"""Settings of the signs that are drawn: the smallest p-value is 1 in 10,000."""

_AT_ONCE = 1 << 21  # signs in memory
_ROUNDING = 1e-12  # of the size of the sum, so that equal sums in another order are equal


def mcnemar(acquired: int, forgotten: int) -> float:
    """Exact two-sided McNemar test: the p-value of so uneven a split of the changed items under a fair coin."""
    changed = acquired + forgotten
    tail = sum(math.comb(changed, k) for k in range(min(acquired, forgotten) + 1))
    return min(1.0, 2 * tail / 2**changed)


def sign_flip(
    differences: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = FLIPS,
) -> float:
    """Two-sided p-value of a mean of paired differences: how often so large a mean comes of signs that are chance.

    Fisher's randomisation test (1935, The Design of Experiments, section 21). If which of a pair was exposed is a fair
    coin and exposure does nothing, each difference could as well have come with the other sign. With 14 signs or fewer
    all settings are tried, and the p-value is the share whose mean is as far from 0 or farther: exact, and a multiple
    of 1 / 2^13, so that fewer than 6 signs cannot reach 5 %. With more, `resamples` settings are drawn and p is
    (1 + b) / (1 + resamples), b of them as far or farther: exact as well, and never 0 (Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585).

    Caveat: the hypothesis is that all differences are symmetrical about 0, not only that their mean is 0.

    Args:
        differences: First minus second of each pair, in any unit.
        clusters: A label for each pair. Pairs with one label may depend on each other, and their signs are flipped
            together; the coin is then one for each cluster. None: all are independent.
        seed: Of the settings that are drawn.
        resamples: How many.

    Raises:
        ValueError: A difference is not finite, there are not as many labels, or nothing is to be drawn.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("expected a sequence of finite differences")
    if resamples < 1:
        raise ValueError(f"expected 1 setting of signs at least, got {resamples}")
    labels, total = numbered(clusters, len(values))
    sums = np.bincount(labels, values, minlength=total)
    # What is 0 stays so under either sign.
    size = float(np.abs(values).sum())
    sums = sums[np.abs(sums) > _ROUNDING * size]
    if not len(sums):
        return 1.0
    least = abs(float(sums.sum())) - _ROUNDING * size
    if len(sums) <= ENUMERATED:
        settings = (np.arange(1 << len(sums))[:, None] >> np.arange(len(sums))) & 1
        return float(np.mean(np.abs((1 - 2.0 * settings) @ sums) >= least))
    rng = np.random.default_rng(seed)
    as_far, left = 0, resamples
    while left:
        now = min(left, max(1, _AT_ONCE // len(sums)))
        drawn = 1 - 2.0 * rng.integers(0, 2, (now, len(sums)), np.int8)
        as_far += int(np.count_nonzero(np.abs(drawn @ sums) >= least))
        left -= now
    return (1 + as_far) / (1 + resamples)
