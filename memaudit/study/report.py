"""From a study's ledgers to its report: claims judged, tables made. A pure function of the ledgers and the study."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from memaudit.cases import Facts
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import ordered
from memaudit.settings import flat
from memaudit.statistics import CONFIDENCE
from memaudit.study.arms import Cell
from memaudit.study.claims import Views, judge
from memaudit.study.design import BASE, Study
from memaudit.study.estimates import average, numbers
from memaudit.study.measures import MEASURES, View, asked_of
from memaudit.study.power import power
from memaudit.study.tables import Tables
from reports import study as contract


def report(study: Study, cells: Sequence[Cell], folder: Path, command: str) -> contract.StudyReport:
    """All that may be said of a study so far. Needs one run at least whose ledger is there."""
    with ExitStack() as stack:
        runs: dict[str, Facts] = {}
        for cell in cells:
            path = folder / cell.name / LEDGER
            if path.is_file():
                runs[cell.name] = Facts(stack.enter_context(Ledger(path)), cell.recipe)
        views = _views(study, cells, runs)
        recipe = cells[0].recipe
        tables = Tables(views, recipe.audit.levels, recipe.audit.threshold)
        facts = list(runs.values())
        return contract.StudyReport(
            name=study.name,
            text=study.text,
            command=command,
            corpus=list(dict.fromkeys(f.ledger.setting("corpus") for f in facts)),
            threshold=recipe.audit.threshold,
            confidence=CONFIDENCE,
            levels=list(recipe.audit.levels),
            seeds=sorted({cell.seed for cell in cells}),
            arms=_arms(study, cells),
            missing=[cell.name for cell in cells if not _whole(cell, runs)],
            power=power(study, cells),
            claims=judge(study, views),
            sweeps=list(_sweeps(study, cells, views)),
            cells=list(tables.cells()),
            shifts=list(tables.shifts()),
            kept=list(tables.kept()),
            ladder=list(tables.ladder()),
            lengths=list(tables.lengths()),
            sampled=list(tables.sampled()),
            survival=list(tables.survival()),
            doses=list(tables.doses()),
            flips=_flips(facts),
            versions=facts[0].ledger.setting("versions") if facts else {},
            seconds=round(sum(s.seconds + s.audit_seconds for f in facts for s in _once(f)), 1),
        )


def _views(study: Study, cells: Sequence[Cell], runs: Mapping[str, Facts]) -> Views:
    return {
        arm: {
            cell.seed: View(cell=cell, arm=arm, facts=runs[cell.name])
            for cell in cells
            if arm in cell.stages and cell.name in runs
        }
        for arm in study.all_arms()
    }


def _whole(cell: Cell, runs: Mapping[str, Facts]) -> bool:
    return cell.name in runs and set(runs[cell.name].stages) == set(ordered(cell.recipe))


def _once(facts: Facts) -> list:
    return list({record.id: record for record in facts.walks.values()}.values())


def _arms(study: Study, cells: Sequence[Cell]) -> list[contract.ArmRow]:
    own = next(cell for cell in cells if BASE in cell.stages)
    return [
        contract.ArmRow(
            name=name,
            about=arm.about,
            changes={key: json.dumps(value) for key, value in flat(arm.changes).items()},
            seeds=study.seeds_of(name),
            shares=name in own.stages,
        )
        for name, arm in study.all_arms().items()
    ]


def _sweeps(study: Study, cells: Sequence[Cell], views: Views) -> Iterator[contract.Sweep]:
    """Of each claim about a trend, the measure by arm."""
    for claim in study.claims:
        if not claim.arms:
            continue
        measure = MEASURES[claim.measure]
        asked = asked_of(claim)
        changed = sorted({key for arm in claim.arms for key in flat(study.all_arms()[arm].changes)})
        settings = {key: {arm: _setting(key, cells, arm) for arm in claim.arms} for key in changed}
        telling = {key: of for key, of in settings.items() if len(set(of.values())) > 1}
        points = []
        for arm in claim.arms:
            of = numbers(measure, asked, views.get(arm, {}))
            if of:
                label = ", ".join(values[arm] for values in telling.values()) or arm
                estimate = average(measure, of, views[arm])
                points.append(contract.SweepPoint(arm=arm, label=label, estimate=estimate))
        if points:
            yield contract.Sweep(
                claim=claim.name,
                title=f"{claim.cohort} after {claim.stage}: {measure.text.format(before=claim.before)}",
                setting=", ".join(key.rsplit(".", 1)[-1] for key in telling),
                unit=measure.unit,
                points=points,
            )


def _setting(key: str, cells: Sequence[Cell], arm: str) -> str:
    """The value of a setting under an arm."""
    cell = next(cell for cell in cells if arm in cell.stages)
    value: Any = cell.recipe.model_dump(by_alias=True)
    parts = key.split(".")
    if parts[0] == "stages":
        parts[1] = cell.stages[arm].get(parts[1], parts[1])
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flips(runs: Sequence[Facts]) -> tuple[int, int]:
    """Verdicts that were given twice: how many differ, and how many there are."""
    flips = [
        flip
        for facts in runs
        for stage in facts.stages
        for level in facts.recipe.audit.levels
        for flip in facts.flips(stage, facts.cases, level, facts.definitions[0])
    ]
    return sum(flips), len(flips)
