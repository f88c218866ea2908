"""From the examples' numbers to one estimate: over seeds where there are several, over source files where there is one.

Several seeds: each gives one value, and their spread holds all that differs among them (`memaudit.statistics.seeds`).
One seed: examples are resampled by source file, as those of one file are not independent of each other
(`memaudit.statistics.resampling`), and tested by the flip of a file's signs; the luck of the seed is not in such an
interval, and `by` says so.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

from memaudit.statistics import (
    Estimate,
    Interval,
    cluster_difference,
    cluster_mean,
    difference_over_seeds,
    over_seeds,
    rate_over_seeds,
    sign_flip,
)
from memaudit.study.measures import Asked, Measure, Numbers, View
from reports import study as contract

_HOW = {
    "student": "Student's t over seeds",
    "widened": "Student's t over seeds, and no narrower than the exact pooled one",
    "exact": "exact, of all examples pooled: the seeds agree",
    "unknown": "none: the seeds agree and nothing more is known",
}
_ONE_SEED = "bootstrap over source files, of one seed: its luck is not in the interval"

Seeds: TypeAlias = Mapping[int, View]
"""Seed -> the run of an arm that has it."""
BySeed: TypeAlias = dict[int, Numbers]


def numbers(measure: Measure, asked: Asked, views: Seeds) -> BySeed:
    """Of each seed that has any, the examples' numbers."""
    found = {seed: measure.of(view, asked) for seed, view in views.items()}
    return {seed: values for seed, values in found.items() if values}


def mean(values: Numbers) -> float:
    """Of the examples."""
    return math.fsum(values.values()) / len(values)


def average(measure: Measure, of: BySeed, views: Seeds, *, null: float = 0.0) -> contract.Estimate:
    """The mean of what one seed at least has numbers of; p-values are against `null`."""
    if len(of) == 1:
        ((seed, values),) = of.items()
        within = (0.0, 1.0) if measure.unit == "share" else None
        return _of_one(values, views[seed], null, within)
    means = {seed: mean(values) for seed, values in of.items()}
    if measure.unit == "share" and 0 <= null <= 1:
        counts = [round(math.fsum(values.values())) for values in of.values()]
        return plain(rate_over_seeds(counts, [len(values) for values in of.values()], null=null), means)
    return plain(over_seeds(list(means.values()), null=null), means)


def difference(
    measure: Measure, first: BySeed, second: BySeed, views: Seeds, *, null: float = 0.0
) -> contract.Estimate | None:
    """First minus second, over the seeds that have both: of the same examples, paired. None: no seed has both."""
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    same = paired(first, second)
    within = (-1.0, 1.0) if measure.unit == "share" else None
    if len(seeds) == 1:
        a, b = first[seeds[0]], second[seeds[0]]
        if same:
            return _of_one({name: a[name] - b[name] for name in a}, views[seeds[0]], null, within)
        source = _sources(views[seeds[0]])
        files = ([source[name] for name in a], [source[name] for name in b])
        interval = cluster_difference(list(a.values()), list(b.values()), files, within=within)
        return _written(interval, None)
    values = {seed: mean(first[seed]) - mean(second[seed]) for seed in seeds}
    if same and measure.unit == "share":
        pairs = [[(first[seed][name], second[seed][name]) for name in first[seed]] for seed in seeds]
        return plain(
            difference_over_seeds(
                [sum(a > b for a, b in of) for of in pairs],
                [sum(a < b for a, b in of) for of in pairs],
                [len(of) for of in pairs],
                null=null,
            ),
            values,
        )
    return plain(over_seeds(list(values.values()), null=null), values)


def paired(first: BySeed, second: BySeed) -> bool:
    """Whether both are numbers of the same examples, in all seeds that have both."""
    return all(first[seed].keys() == second[seed].keys() for seed in first.keys() & second.keys())


def plain(estimate: Estimate, values: Mapping[int, float]) -> contract.Estimate:
    """An estimate as findings write it; what is unbounded is given as the largest finite number."""
    return contract.Estimate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        p_value=estimate.p_value,
        seeds=[round(values[seed], 6) for seed in sorted(values)],
        by=_HOW[estimate.method],
    )


def _of_one(
    values: Numbers, view: View, null: float, within: tuple[float, float] | None
) -> contract.Estimate:
    source = _sources(view)
    files = [source[name] for name in values]
    interval = cluster_mean(list(values.values()), files, within=within)
    p_value = sign_flip([value - null for value in values.values()], clusters=files)
    return _written(interval, p_value)


def _sources(view: View) -> dict[str, str]:
    return {case.example.id: case.example.source for case in view.facts.cases}


def _written(interval: Interval, p_value: float | None) -> contract.Estimate:
    return contract.Estimate(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        seeds=[round(interval.value, 6)],
        by=_ONE_SEED,
    )
