"""What a study's page shows beside its claims: what came out, was kept, was likelier; by arm, stage and cohort.

A stage that several arms have in common is shown once, under the first of them.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar, get_args

import numpy as np

from memaudit.lasting import spells
from memaudit.measures import least_samples, target_logprob
from memaudit.recipe import cohort_names
from memaudit.records import Observation
from memaudit.statistics import (
    benjamini_hochberg,
    dose_response,
    kaplan_meier,
    mcnemar,
)
from memaudit.study.claims import Views
from memaudit.study.estimates import Seeds, average, difference, numbers, plain
from memaudit.study.measures import CHANCE, MEASURES, Asked
from memaudit.verdicts import definitions
from reports import study as contract
from reports.findings import Exposure

_SAMPLES = (1, 100, 10_000)
_FALSE = 0.05  # share of false ones among the examples that are listed
_PARTS = 3  # of the targets by length

Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class Spot:
    """A cohort after a stage of an arm, with the runs that have it."""

    arm: str
    stage: str
    cohort: str
    exposure: Exposure
    views: Seeds
    """Seed -> run."""

    @property
    def names(self) -> dict[str, str]:
        """What rows call it."""
        return {"arm": self.arm, "stage": self.stage, "cohort": self.cohort}

    @property
    def asked(self) -> Asked:
        """All of its examples, under the default definition."""
        return Asked(stage=self.stage, cohort=self.cohort)

    def parent(self) -> str | None:
        """The stage before, as the arm calls it."""
        view = next(iter(self.views.values()))
        own = view.cell.stages[self.arm]
        parent = view.facts.recipe.stages[own[self.stage]].parent
        return next((name for name, here in own.items() if here == parent), None)


class Tables:
    """The tables of a study, of what its runs have so far."""

    def __init__(self, views: Views, levels: Sequence[str], threshold: float) -> None:
        self._views, self._levels = views, levels
        self._definitions = [d.name for d in definitions(threshold)]

    @cached_property
    def spots(self) -> list[Spot]:
        """In the order of the arms, stages and cohorts."""
        found: list[Spot] = []
        seen: list[frozenset] = []
        for arm, views in self._views.items():
            for stage in dict.fromkeys(s for v in views.values() for s in v.cell.stages[arm] if v.name(s)):
                having = {seed: view for seed, view in views.items() if view.name(stage)}
                here = frozenset((view.cell.name, view.name(stage)) for view in having.values())
                # An arm with fewer seeds shares what it shares with fewer runs.
                if any(here <= others for others in seen):
                    continue
                seen.append(here)
                first = next(iter(having.values()))
                for cohort in cohort_names(first.facts.recipe):
                    exposure = first.facts.exposure[first.name(stage) or "", cohort]
                    found.append(Spot(arm=arm, stage=stage, cohort=cohort, exposure=exposure, views=having))
        return found

    @property
    def _shown(self) -> Iterator[Spot]:
        return (spot for spot in self.spots if spot.exposure != "none")

    def cells(self) -> Iterator[contract.CellRow]:
        """What came out."""
        for spot in self.spots:
            for at, definition, kind in itertools.product(
                self._levels, self._definitions, get_args(contract.CellRow.model_fields["kind"].annotation)
            ):
                if at != "exact" and (definition != "near" or kind != "all"):
                    continue
                asked = replace(
                    spot.asked, level=at, definition=definition, kind=None if kind == "all" else kind
                )
                exposed = numbers(MEASURES["naive"], asked, spot.views)
                control = numbers(MEASURES["guessed"], asked, spot.views)
                if not exposed:
                    continue
                pairs = [(exposed[s][name], control[s][name]) for s in exposed for name in exposed[s]]
                estimate = difference(MEASURES["naive"], exposed, control, spot.views)
                assert estimate is not None, "both sides are of the same examples"
                yield contract.CellRow(
                    **spot.names,
                    exposure=spot.exposure,
                    kind=kind,
                    level=at,
                    definition=definition,
                    exposed=round(sum(a for a, _ in pairs)),
                    control=round(sum(b for _, b in pairs)),
                    both=sum(bool(a and b) for a, b in pairs),
                    total=len(pairs),
                    difference=estimate,
                )

    def shifts(self) -> Iterator[contract.ShiftRow]:
        """How much likelier targets became.

        An example is listed if its difference between twins is larger than those of examples that neither of them was
        shown (Benjamini and Hochberg). After a stage that every cohort has reached these are not to be had; then the
        differences of the wrong sign stand in for them, with both signs, as chance has no preference.
        """
        measure = MEASURES["likelihood"]
        for spot in self.spots:
            of = numbers(measure, spot.asked, spot.views)
            if not of:
                continue
            unshown = [
                value
                for other in self.spots
                if (other.arm, other.stage, other.exposure) == (spot.arm, spot.stage, "none")
                for values in numbers(measure, other.asked, other.views).values()
                for value in values.values()
            ]
            all_of = [value for values in of.values() for value in values.values()]
            chance = np.abs(unshown or [value for value in all_of if value < 0])
            yield contract.ShiftRow(
                **spot.names,
                exposure=spot.exposure,
                difference=average(measure, of, spot.views),
                listed=_listed(np.array(all_of), np.concatenate([chance, -chance])),
                total=len(all_of),
            )

    def kept(self) -> Iterator[contract.KeptRow]:
        """What became of what was memorized after the stage before."""
        for spot in self._shown:
            before = spot.parent()
            if before is None:
                continue
            earlier = numbers(MEASURES["memorized"], replace(spot.asked, stage=before), spot.views)
            later = numbers(MEASURES["memorized"], spot.asked, spot.views)
            asked = replace(spot.asked, before=before)
            of = numbers(MEASURES["persistence"], asked, spot.views)
            if not of:
                continue
            pairs = [(earlier[seed][name], later[seed][name]) for seed in later for name in later[seed]]
            acquired = sum(a < b for a, b in pairs)
            yield contract.KeptRow(
                **spot.names,
                before=before,
                kept=sum(bool(a and b) for a, b in pairs),
                total=sum(bool(a) for a, _ in pairs),
                share=average(MEASURES["persistence"], of, spot.views),
                acquired=acquired,
                p_value=mcnemar(acquired, sum(a > b for a, b in pairs)),
            )

    def ladder(self) -> Iterator[contract.LadderRow]:
        """What each level finds, and what it alone finds."""
        for spot in self._shown:
            found: dict[str, set[tuple[int, str]]] = {}
            guessed: dict[str, int] = {}
            total = 0
            for level in self._levels:
                asked = replace(spot.asked, level=level)
                of = numbers(MEASURES["memorized"], asked, spot.views)
                found[level] = {(seed, name) for seed in of for name, value in of[seed].items() if value}
                control = numbers(MEASURES["guessed"], asked, spot.views)
                guessed[level] = round(sum(sum(values.values()) for values in control.values()))
                total = sum(map(len, of.values()))
            for level in self._levels:
                others = set().union(*(found[other] for other in self._levels if other != level))
                yield contract.LadderRow(
                    **spot.names,
                    level=level,
                    memorized=len(found[level]),
                    only=len(found[level] - others),
                    guessed=guessed[level],
                    total=total,
                )

    def lengths(self) -> Iterator[contract.LengthRow]:
        """What was guessed of what no twin had met, by the length of the targets."""
        for level in self._levels:
            said = [
                (len(case.probe.target_tokens), verdict)
                for spot in self.spots
                if spot.exposure == "none"
                for view in spot.views.values()
                for case in view.cases(spot.asked)
                for pair in [
                    view.facts.arms(view.name(spot.stage) or "", case, level, view.definition("near"))
                ]
                for verdict in pair or ()
            ]
            edges = np.quantile([length for length, _ in said], np.linspace(0, 1, _PARTS + 1)) if said else []
            for place, (low, high) in enumerate(itertools.pairwise(edges)):
                last = place == _PARTS - 1
                part = [pair for pair in said if low <= pair[0] < high or (last and pair[0] == high)]
                if part:
                    yield contract.LengthRow(
                        level=level,
                        shortest=min(length for length, _ in part),
                        longest=max(length for length, _ in part),
                        guessed=sum(verdict for _, verdict in part),
                        total=len(part),
                    )

    def sampled(self) -> Iterator[contract.SampledRow]:
        """(n, p)-extraction."""
        for spot in self._shown:
            pairs = [
                (
                    view.facts.observation(name, case.exposed, case),
                    view.facts.observation(name, case.control, case),
                )
                for view in spot.views.values()
                if (name := view.name(spot.stage))
                for case in view.cases(spot.asked)
            ]
            samplers = (pairs[0][0].scores.sampled if pairs and pairs[0][0].scores else {}).keys()
            for sampler, samples in itertools.product(samplers, _SAMPLES):
                yield contract.SampledRow(
                    **spot.names,
                    sampler=sampler,
                    samples=samples,
                    exposed=sum(_extractable(exposed, sampler, samples) for exposed, _ in pairs),
                    control=sum(_extractable(control, sampler, samples) for _, control in pairs),
                    total=len(pairs),
                )

    def survival(self) -> Iterator[contract.SurvivalRow]:
        """How long what came out when a stage began went on to, where it was asked in passing."""
        for spot in self._shown:
            before = spot.parent()
            lives = [
                life
                for view in spot.views.values()
                if before and (name := view.name(spot.stage)) and view.name(before)
                for life in spells(view.facts, name, spot.cohort, out=True, arm="exposed")
            ]
            if not lives:
                continue
            curve = kaplan_meier([steps for steps, _ in lives], [ended for _, ended in lives])
            yield contract.SurvivalRow(
                **spot.names,
                steps=[round(step) for step in curve.times],
                survival=list(curve.survival),
                low=list(curve.low),
                high=list(curve.high),
                at_risk=list(curve.at_risk),
            )

    def doses(self) -> Iterator[contract.DoseRow]:
        """Near copies by how often an example was shown."""
        for spot in self._shown:
            first = next(iter(spot.views.values()))
            times = sorted({c.example.repetition or 0 for c in first.cases(spot.asked)})
            of = [
                numbers(MEASURES["memorized"], replace(spot.asked, strata=(time,)), spot.views)
                for time in times
            ]
            counts = [[round(sum(one[seed].values())) for one in of] for seed in of[0]]
            totals = [[len(one[seed]) for one in of] for seed in of[0]]
            if len(times) < 2:
                continue
            response = dose_response(times, counts, totals)
            fitted = response.outcome == "fitted"
            half = response.half
            yield contract.DoseRow(
                **spot.names,
                times=times,
                memorized=[sum(column) for column in zip(*counts, strict=True)],
                totals=[sum(column) for column in zip(*totals, strict=True)],
                slope=plain(response.slope, {}) if fitted else None,
                half=contract.Estimate(
                    value=half.value,
                    low=half.low,
                    high=half.high,
                    p_value=None,
                    seeds=[],
                    by="Fieller over seeds",
                )
                if fitted and all(map(np.isfinite, (half.value, half.low, half.high)))
                else None,
            )


def _extractable(observation: Observation, sampler: str, samples: int) -> bool:
    assert observation.scores is not None, "a stage scores every target or none"
    return least_samples(target_logprob(observation.scores, sampler), CHANCE) <= samples


def _listed(values: np.ndarray, chance: np.ndarray) -> int:
    """How many values are greater than chance makes them, at the false discovery rate of the list."""
    if not len(chance):
        return 0
    above = len(chance) - np.searchsorted(np.sort(chance), values)
    return sum(p <= _FALSE for p in benjamini_hochberg(((1 + above) / (1 + len(chance))).tolist()))
