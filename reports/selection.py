"""Finds things in `Findings`: the default view, its cells, and the order of stages and cohorts."""

from dataclasses import dataclass

from reports.findings import Definition, DistanceRow, Findings, LikelihoodRow, RateRow, Stage, TransitionRow


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at the run: a level and a definition of memorization."""

    level: str
    """How much of the text is normalised away before comparing."""
    definition: str
    """Name of the `Definition` that decides."""


def views(findings: Findings) -> list[View]:
    """List the views that have totals, the default one first."""
    found = dict.fromkeys(View(level=row.level, definition=row.definition) for row in findings.totals)
    first = default_view(findings)
    return sorted(found, key=lambda view: view != first)


def default_view(findings: Findings) -> View | None:
    """Return the view pages open with: level `exact` under the default definition, else the nearest there is."""
    defaults = {definition.name for definition in findings.definitions if definition.default}
    ranked = sorted(
        findings.totals,
        key=lambda row: (row.definition not in defaults, row.level != "exact"),
    )
    return View(level=ranked[0].level, definition=ranked[0].definition) if ranked else None


def definition_of(findings: Findings, view: View) -> Definition | None:
    """Return the definition a view names."""
    return next((item for item in findings.definitions if item.name == view.definition), None)


def stage_names(findings: Findings) -> list[str]:
    """List stages in the order they ran, then any that only a table names."""
    names = [stage.name for stage in findings.stages] + [row.stage for row in findings.totals]
    return list(dict.fromkeys(names))


def cohort_names(findings: Findings) -> list[str]:
    """List cohorts in the order in which stages showed them, then any that only a table names."""
    names = [stage.cohort for stage in findings.stages if stage.cohort is not None]
    names += [row.cohort for row in findings.totals] + [row.cohort for row in findings.examples]
    return list(dict.fromkeys(names))


def stage_named(findings: Findings, name: str) -> Stage | None:
    """Return the record of a stage."""
    return next((stage for stage in findings.stages if stage.name == name), None)


def cells(findings: Findings, view: View) -> dict[tuple[str, str], RateRow]:
    """Return the totals of a view by (stage, cohort)."""
    return {(row.stage, row.cohort): row for row in findings.totals if _in(row, view)}


def strata(findings: Findings, view: View) -> dict[tuple[str, str], list[RateRow]]:
    """Return the rates of a view by (stage, cohort), in order of repetition."""
    found: dict[tuple[str, str], list[RateRow]] = {}
    for row in findings.rates:
        if _in(row, view) and row.repetition is not None:
            found.setdefault((row.stage, row.cohort), []).append(row)
    return {key: sorted(rows, key=lambda row: row.repetition or 0) for key, rows in found.items()}


def likelihoods(findings: Findings) -> dict[tuple[str, str], LikelihoodRow]:
    """Return likelihoods over all strata by (stage, cohort)."""
    return {(row.stage, row.cohort): row for row in findings.likelihoods if row.repetition is None}


def transitions(findings: Findings, view: View) -> list[TransitionRow]:
    """Return the transitions of a view over all strata, both arms."""
    return [row for row in findings.transitions if row.repetition is None and _in(row, view)]


def distances(findings: Findings, view: View) -> dict[tuple[str, str, str], DistanceRow]:
    """Return the distance histograms of a view's level by (stage, cohort, arm)."""
    return {(row.stage, row.cohort, row.arm): row for row in findings.distances if row.level == view.level}


def parent_cell(findings: Findings, rows: dict[tuple[str, str], RateRow], row: RateRow) -> RateRow | None:
    """Return the cell of the same cohort one stage earlier, if there is one."""
    stage = stage_named(findings, row.stage)
    return rows.get((stage.parent, row.cohort)) if stage is not None and stage.parent is not None else None


def worst_cohort(findings: Findings, view: View) -> str | None:
    """Return the cohort with the most leaks in one stage; the first of them where several tie."""
    rows = cells(findings, view).values()
    most: dict[str, int] = {}
    for row in rows:
        most[row.cohort] = max(most.get(row.cohort, 0), row.exposed.count)
    return max(most, key=lambda cohort: most[cohort]) if most else None


def _in(row: RateRow | TransitionRow, view: View) -> bool:
    return row.level == view.level and row.definition == view.definition
