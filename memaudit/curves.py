"""What a page draws beside the rates: counts over thresholds, waits, and what scores tell of having been shown."""

import math
from collections.abc import Iterator
from typing import Any

from memaudit.arms import groups_of
from memaudit.cases import Facts
from memaudit.lasting import spells
from memaudit.measures import decided_below
from memaudit.measuring import Attacked, Blind, Exposed, membership
from memaudit.rates import difference
from memaudit.recipe import cohort_names
from memaudit.roc import Operating
from memaudit.statistics import kaplan_meier
from memaudit.verdicts import Definition, definitions
from reports import findings as contract

_STEPS = 100  # thresholds from 0 to 1
_WAITS: tuple[tuple[contract.Arm, bool], ...] = (("exposed", False), ("control", False), ("exposed", True))


def thresholds(facts: Facts) -> list[float]:
    """Hundredths from 0 to 1 and the recipe's own threshold: those that everything decoded is far enough to decide."""
    bound = min(
        (
            decided_below([o.matches[level] for o in facts.everything() if level in o.matches])
            for level in facts.recipe.audit.levels
        ),
        default=math.inf,
    )
    own = facts.recipe.audit.threshold
    grid = {round(place / _STEPS, 2) for place in range(_STEPS + 1)} | {own}
    return sorted(at for at in grid if at < bound or at == own)


def within(facts: Facts, grid: list[float]) -> Iterator[contract.ThresholdRow]:
    """How many come within each threshold, by stage, cohort and level."""
    rules = [_near(at) for at in grid]
    for stage in facts.stages:
        for cohort in cohort_names(facts.recipe):
            cases = [c for c in facts.cases if c.example.cohort == cohort]
            for level in facts.recipe.audit.levels:
                exposed, control, both = ([0] * len(grid) for _ in range(3))
                for case in cases:
                    first, second = (
                        _first(rules, facts.observation(stage, twin, case).matches[level])
                        for twin in (case.exposed, case.control)
                    )
                    for counts, place in ((exposed, first), (control, second), (both, max(first, second))):
                        if place < len(grid):
                            counts[place] += 1
                yield contract.ThresholdRow(
                    stage=stage,
                    cohort=cohort,
                    level=level,
                    total=len(cases),
                    exposed=_summed(exposed),
                    control=_summed(control),
                    both=_summed(both),
                )


def _near(threshold: float) -> Definition:
    return definitions(threshold)[0]


def _first(rules: list[Definition], match: Any) -> int:
    """The place of the first rule that holds of a match, and with it all that follow; their number if none does."""
    low, high = 0, len(rules)
    while low < high:
        middle = (low + high) // 2
        if rules[middle].decide(match, None):
            high = middle
        else:
            low = middle + 1
    return low


def _summed(counts: list[int]) -> list[int]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums


def survival(facts: Facts) -> Iterator[contract.SurvivalRow]:
    """How long it took until a text came out, or no longer did, in stages that were asked in passing."""
    for stage in facts.stages:
        for cohort in cohort_names(facts.recipe):
            for arm, out in _WAITS:
                lives = list(spells(facts, stage, cohort, out=out, arm=arm))
                if not lives:
                    continue
                curve = kaplan_meier([step for step, _ in lives], [ended for _, ended in lives])
                yield contract.SurvivalRow(
                    stage=stage,
                    cohort=cohort,
                    arm=arm,
                    event="gone" if out else "first out",
                    total=len(lives),
                    steps=[round(step) for step in curve.times],
                    share=list(curve.survival),
                    low=list(curve.low),
                    high=list(curve.high),
                    at_risk=list(curve.at_risk),
                )


def told(
    facts: Facts,
) -> tuple[list[contract.CanaryRow], list[contract.AttackRow], list[contract.BlindRow]]:
    """Canaries, attacks and what the texts alone tell."""
    found = membership(groups_of(facts))
    return (
        [_canary(row) for row in found.secrets],
        [_attack(row) for row in found.attacks],
        [_blind(row) for row in found.blind],
    )


def _canary(row: Exposed) -> contract.CanaryRow:
    return contract.CanaryRow(
        stage=row.stage,
        cohort=row.cohort,
        exposure=row.exposure,  # pyright: ignore[reportArgumentType]  # pydantic checks it
        secrets=row.secrets,
        references=row.references,
        exposed=row.exposed,
        control=row.control,
        difference=difference(row.difference),
    )


def _attack(row: Attacked) -> contract.AttackRow:
    return contract.AttackRow(
        stage=row.stage,
        cohort=row.cohort,
        attack=row.attack,
        source=row.source,
        **_area(row),
        points=[_operating(point) for point in row.points],
        curve=[(round(false, 5), round(true, 5)) for false, true in row.curve],
    )


def _blind(row: Blind) -> contract.BlindRow:
    return contract.BlindRow(cohort=row.cohort, **_area(row))


def _area(row: Attacked | Blind) -> dict[str, Any]:
    interval = row.area.interval
    return {
        "members": row.area.members,
        "others": row.area.others,
        "area": interval.value,
        "low": interval.low,
        "high": interval.high,
    }


def _operating(point: Operating) -> contract.Operating:
    rates = {}
    for name, interval, count, total in (
        ("true_positives", point.true_positives, point.hits, point.members),
        ("false_positives", point.false_positives, point.alarms, point.others),
    ):
        rates[name] = contract.Proportion(
            count=count, total=total, rate=interval.value, low=interval.low, high=interval.high
        )
    return contract.Operating(limit=point.limit, resolved=point.resolved, **rates)
