"""Verdicts counted: rates and paired differences with their intervals, as findings write them."""

from collections.abc import Sequence

from memaudit.statistics import Interval, paired_difference, wilson
from reports import Difference, Proportion


def proportion(verdicts: Sequence[bool]) -> Proportion:
    """How many of the verdicts are true, with Wilson's interval."""
    interval = wilson(sum(verdicts), len(verdicts))
    return Proportion(
        count=sum(verdicts), total=len(verdicts), rate=interval.value, low=interval.low, high=interval.high
    )


def paired(pairs: Sequence[tuple[bool, bool]]) -> Difference:
    """Rate of the first minus rate of the second over the same items."""
    counts = {(e, c): pairs.count((e, c)) for e in (False, True) for c in (False, True)}
    return difference(
        paired_difference(
            both=counts[True, True],
            only_first=counts[True, False],
            only_second=counts[False, True],
            neither=counts[False, False],
        )
    )


def difference(interval: Interval) -> Difference:
    """An interval of a difference."""
    return Difference(value=interval.value, low=interval.low, high=interval.high)
