"""Claims, set against what was measured.

Every seed gives one value, and the interval is that of the mean over seeds (`memaudit.statistics.seeds`): seeds draw
other examples and other luck, so their spread holds all that is not the claim. A claim holds if the interval lies
wholly on its side; it is contradicted if it lies wholly on the other; of the headline claims Holm's adjusted p-value
has to be below 5 % as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from memaudit.errors import BadInput
from memaudit.recipe import cohort_names
from memaudit.statistics import CONFIDENCE, holm, over_seeds, slopes
from memaudit.study.arms import Cell
from memaudit.study.design import Claim, Study, places
from memaudit.study.estimates import Seeds, average, difference, mean, numbers, paired, plain
from memaudit.study.measures import MEASURES, Asked, Measure, asked_of
from memaudit.study.power import Spread
from reports import study as contract

_BEFORE = ("persistence", "acquired", "gain")
"""Measures that need `before`."""


def check(study: Study, cells: Sequence[Cell]) -> None:
    """Refuse claims that nothing could be measured of. Raises BadInput."""
    names = [claim.name for claim in study.claims]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"claims: expected names that differ, got {twice[0]!r} twice")
    for claim in study.claims:
        where = f"claims.{claim.name}"
        if claim.measure not in MEASURES:
            raise BadInput(f"{where}.measure: expected one of {', '.join(MEASURES)}, got {claim.measure!r}")
        if claim.measure in _BEFORE and claim.before is None:
            raise BadInput(f"{where}.before: expected a stage beside measure = {claim.measure!r}, got none")
        if (claim.expect in ("rises", "falls")) != bool(claim.arms):
            raise BadInput(
                f"{where}.expect: expected `rises` or `falls` of the arms of a trend, and `above` or `below` of "
                f"anything else, got {claim.expect!r} {'with' if claim.arms else 'without'} `arms`"
            )
        if len(claim.arms) == 1:
            raise BadInput(f"{where}.arms: expected at least two arms, got one")
        if claim.matched and claim.than is None:
            raise BadInput(
                f"{where}.than: expected the other side's stage and cohort beside `matched`, got none"
            )
        for arm, stage, cohort in places(claim):
            _check_place(study, cells, where, arm, stage, cohort)


def _check_place(study: Study, cells: Sequence[Cell], where: str, arm: str, stage: str, cohort: str) -> None:
    if arm not in study.all_arms():
        raise BadInput(f"{where}: expected an arm out of {', '.join(study.all_arms())}, got {arm!r}")
    cell = next(cell for cell in cells if arm in cell.stages)
    if stage not in cell.stages[arm]:
        raise BadInput(
            f"{where}: expected a stage of the arm {arm} ({', '.join(cell.stages[arm])}), got {stage!r}"
        )
    if cohort not in cohort_names(cell.recipe):
        raise BadInput(
            f"{where}: expected a cohort out of {', '.join(cohort_names(cell.recipe))}, got {cohort!r}"
        )


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What came of a claim before its p-value was adjusted."""

    estimate: contract.Estimate
    examples: int
    note: str | None = None


Views: TypeAlias = Mapping[str, Seeds]
"""Arm -> seed -> the run that has both, as far as it has come."""


def judge(study: Study, views: Views) -> list[contract.ClaimRow]:
    """What came of each claim, with what the runs have so far."""
    found = {claim.name: _measured(claim, views) for claim in study.claims}
    tested = {
        c.name: one.estimate.p_value
        for c in study.claims
        if c.headline and (one := found[c.name]) and one.estimate.p_value is not None
    }
    adjusted = dict(zip(tested, holm([p for p in tested.values() if p is not None]), strict=True))
    return [_row(claim, found[claim.name], adjusted.get(claim.name)) for claim in study.claims]


def _row(claim: Claim, found: _Found | None, adjusted: float | None) -> contract.ClaimRow:
    measure = MEASURES[claim.measure]
    sign = {"above": ">", "below": "<", "rises": ">", "falls": "<"}[claim.expect]
    trend = {"rises": "a rise from first to last", "falls": "a fall from first to last"}
    return contract.ClaimRow(
        name=claim.name,
        text=claim.text,
        headline=claim.headline,
        measure=measure.text.format(before=claim.before),
        where=_where(claim),
        expected=trend.get(claim.expect, f"{sign} {claim.bound:g}"),
        unit=measure.unit,
        estimate=found.estimate if found else None,
        examples=found.examples if found else 0,
        p_adjusted=adjusted,
        verdict=_verdict(claim, found.estimate, adjusted) if found else "not tested",
        note=found.note if found else "no seed has anything to measure so far, or none two of them",
        detectable=_seen(found) if found else None,
    )


def _where(claim: Claim) -> str:
    own = f"{claim.cohort} after {claim.stage}"
    if claim.arms:
        return f"{own}; arms {', '.join(claim.arms)}"
    if claim.than is None:
        return f"{own}; arm {claim.arm}"
    other = f"{claim.than.cohort} after {claim.than.stage}"
    if claim.matched:
        return f"{own}, arm {claim.arm}, minus {other} at equal task reward among arms {', '.join(claim.matched)}"
    return f"{own}, arm {claim.arm}, minus {other}, arm {claim.than.arm}"


def _verdict(claim: Claim, estimate: contract.Estimate, adjusted: float | None) -> contract.Verdict:
    resolved = adjusted is None or adjusted < 1 - CONFIDENCE
    bound = 0.0 if claim.arms else claim.bound
    if resolved and estimate.low > bound:
        return "holds" if claim.expect in ("above", "rises") else "contradicted"
    if resolved and estimate.high < bound:
        return "holds" if claim.expect in ("below", "falls") else "contradicted"
    return "not resolved"


# the value of each seed


def _measured(claim: Claim, views: Views) -> _Found | None:
    measure = MEASURES[claim.measure]
    asked = asked_of(claim)
    if claim.arms:
        found = _trend(measure, asked, [views.get(arm, {}) for arm in claim.arms])
    elif claim.than is None:
        found = _bound(measure, asked, views.get(claim.arm, {}), claim.bound)
    else:
        other = replace(asked, stage=claim.than.stage, cohort=claim.than.cohort)
        mine = views.get(claim.arm, {})
        if claim.matched:
            found = _matched(
                measure, asked, mine, other, [views.get(arm, {}) for arm in claim.matched], claim.bound
            )
        else:
            found = _difference(measure, asked, mine, other, views.get(claim.than.arm, {}), claim.bound)
    return found


def _bound(measure: Measure, asked: Asked, views: Seeds, bound: float) -> _Found | None:
    of = numbers(measure, asked, views)
    if not of:
        return None
    return _Found(estimate=average(measure, of, views, null=bound), examples=sum(map(len, of.values())))


def _difference(
    measure: Measure, asked: Asked, mine: Seeds, other: Asked, theirs: Seeds, bound: float
) -> _Found | None:
    first, second = numbers(measure, asked, mine), numbers(measure, other, theirs)
    estimate = difference(measure, first, second, mine, null=bound)
    if estimate is None:
        return None
    return _Found(
        estimate=estimate,
        examples=sum(len(first[seed]) for seed in first.keys() & second.keys()),
        note=None if paired(first, second) else "the two sides are not the same examples",
    )


def _trend(measure: Measure, asked: Asked, views: Sequence[Seeds]) -> _Found | None:
    of = [numbers(measure, asked, one) for one in views]
    seeds = sorted(set.intersection(*(set(one) for one in of)))
    if len(seeds) < 2:
        return None
    table = [[mean(one[seed]) for one in of] for seed in seeds]
    # From the first arm to the last, whatever their number: the slope times the number of steps.
    found = slopes(table, scores=[place / (len(of) - 1) for place in range(len(of))])
    return _Found(
        estimate=plain(over_seeds(found), dict(zip(seeds, found, strict=True))),
        examples=sum(len(one[seed]) for one in of for seed in seeds),
    )


def _matched(
    measure: Measure,
    asked: Asked,
    mine: Seeds,
    other: Asked,
    theirs: Sequence[Seeds],
    bound: float,
) -> _Found | None:
    """Against the other arms where their task reward is this one's, by straight lines between their points."""
    reward = MEASURES["reward"]
    first, gained = numbers(measure, asked, mine), numbers(reward, asked, mine)
    points = [(numbers(reward, other, one), numbers(measure, other, one)) for one in theirs]
    values: dict[int, float] = {}
    beyond = 0
    for seed in sorted(first.keys() & gained.keys()):
        pairs = sorted((mean(x[seed]), mean(y[seed])) for x, y in points if seed in x and seed in y)
        if not pairs:
            continue
        at = mean(gained[seed])
        beyond += not pairs[0][0] <= at <= pairs[-1][0]
        # Beyond the others' rewards the nearest of them stands in, and the note says how often it had to.
        there = float(np.interp(at, [x for x, _ in pairs], [y for _, y in pairs]))
        values[seed] = mean(first[seed]) - there
    if len(values) < 2:
        return None
    note = f"in {beyond} of {len(values)} seeds no arm had this task reward, and the nearest was taken"
    return _Found(
        estimate=plain(over_seeds(list(values.values()), null=bound), values),
        examples=sum(len(first[seed]) for seed in values),
        note=note if beyond else None,
    )


def _seen(found: _Found) -> float | None:
    """The smallest effect that this spread of the seeds would have let be seen with a chance of 80 %."""
    seeds = found.estimate.seeds
    spread = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else 0.0
    return Spread(examples=1, seeds=len(seeds), between=spread).smallest() if spread else None
