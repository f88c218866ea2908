"""Findings as one HTML file: it opens from a disk with the network off.

Every text in it is hostile. It reaches the page in three ways only: escaped by the template, as JSON that cannot
end its script element, or as a figure's label that plotly is given as text. The content security policy allows no
request and no script but the two whose hashes it names.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from statistics import NormalDist
from typing import Any

from plotly.offline import get_plotlyjs

from reports import charts, curves, flow, membership, quizzes, rungs, selection, waits
from reports.answer import answer, untested
from reports.escape import visible
from reports.findings import ExampleRow, Findings, RateRow
from reports.graph import graph
from reports.headline import reading, statements
from reports.page import LEVELS, Figure, asset, figure_data, figures, hashes, inline, policy, template
from reports.selection import View
from reports.statement import Statement
from reports.theme import Panel

EXAMPLES_SHOWN = 2000
"""How many examples the page lists at most; it says how many there are."""
_CELLS = 16_000  # of the table of examples: with many stages fewer are listed

_BY_COHORT: dict[str, Callable[[Findings, str], list[Panel]]] = {
    "flow": flow.flow,
    "dose": charts.dose_response,
    "waits": waits.waits,
    "distance": charts.distance_histograms,
    "levels": rungs.ladder,
    "attacks": membership.roc,
}
"""Panels of which the page shows those of one cohort at a time, by section."""


@dataclass(frozen=True, kw_only=True)
class _Table:
    """The stage-by-cohort table of one view, with its forest plot."""

    view: View
    text: str
    cells: dict[tuple[str, str], RateRow]
    figure: Figure | None


def render_html(findings: Findings) -> str:
    """Return the report as one self-contained page. Equal findings give equal bytes."""
    cohorts = selection.cohort_names(findings)
    tables = [_table(findings, view, place) for place, view in enumerate(selection.views(findings))]
    by_cohort = {
        name: [figures(f"{name}-{place}", panels(findings, cohort)) for place, cohort in enumerate(cohorts)]
        for name, panels in _BY_COHORT.items()
    }
    training = [
        (stage, figures(f"curve-{place}", panels))
        for place, stage in enumerate(selection.stage_names(findings))
        if (panels := curves.curves(findings, stage))
    ]
    likelihood = _single("likelihood-forest", charts.likelihood_forest(findings))
    canaries = _single("canary-forest", membership.canaries(findings))
    known = _single("quiz-forest", quizzes.forest(findings))
    swept = figures("sweep", rungs.sweeps(findings))
    drawn = [figure for groups in by_cohort.values() for group in groups for figure in group]
    drawn += [figure for _, group in training for figure in group] + swept
    drawn += [
        figure
        for figure in [likelihood, canaries, known, *(table.figure for table in tables)]
        if figure is not None
    ]
    view = selection.default_view(findings)
    shown = _listed(findings)
    among = max((row.references + 1 for row in findings.canaries), default=1)
    plotly, script = inline(get_plotlyjs()), asset("figures.js") + asset("report.js")
    return template("report.html.j2").render(
        findings=findings,
        answer=answer(findings),
        untested=untested(findings),
        graph=graph(findings),
        headline=_grouped(statements(findings)),
        reading=reading(findings.confidence),
        cohorts=cohorts,
        stages=selection.stage_names(findings),
        stage_records={stage.name: stage for stage in findings.stages},
        tables=tables,
        view=view,
        opened=None if view is None else selection.worst_cohort(findings, view),
        charts=by_cohort,
        swept=swept,
        training=training,
        likelihood_figure=likelihood,
        likelihoods=selection.likelihoods(findings),
        canary_figure=canaries,
        quiz_figure=known,
        quizzes=quizzes,
        most_bits=math.log2(among),
        chance_bits=math.log2(among) - math.lgamma(among + 1) / math.log(2) / among,
        attacked=membership.attacked,
        noisy=[] if view is None else [r for r in selection.cells(findings, view).values() if r.flips],
        strata={} if view is None else selection.strata(findings, view),
        transitions=[] if view is None else selection.transitions(findings, view),
        examples=[(row, {outcome.stage: outcome for outcome in row.outcomes}) for row in shown],
        lives={row.id: row for row in findings.examples},
        places={row.id: place for place, row in enumerate(shown)},
        leaks={leak.example: place for place, leak in reversed(list(enumerate(findings.evidence, 1)))},
        levels=LEVELS,
        policy=policy(script_src=hashes(plotly, script), style_src="'unsafe-inline'"),
        style=asset("report.css"),
        plotly=plotly,
        script=script,
        data=figure_data(
            drawn,
            cohorts=cohorts,
            thresholds=_thresholds(findings),
            examples=_examples(findings, shown),
            leaks=_leaks(findings),
        ),
    )  # fmt: skip


def _single(name: str, panel: Panel | None) -> Figure | None:
    return None if panel is None else Figure(id=name, panel=panel)


def _listed(findings: Findings) -> list[ExampleRow]:
    """All examples, or as many as a page can hold: those that leaked first, then what came nearest."""
    most = min(EXAMPLES_SHOWN, _CELLS // (9 + len(selection.stage_names(findings))))
    if len(findings.examples) <= most:
        return findings.examples
    first = {leak.example for leak in findings.evidence}

    def rank(row: ExampleRow) -> tuple[bool, bool, float]:
        leaked = any(outcome.exposed and not outcome.control for outcome in row.outcomes)
        return row.id not in first, not leaked, min((o.distance for o in row.outcomes), default=1.0)

    return sorted(findings.examples, key=rank)[:most]


def _thresholds(findings: Findings) -> dict[str, Any]:
    """What the page needs to count anew at another threshold: `report.js` computes the intervals from it."""
    return {
        "at": findings.thresholds,
        "z": NormalDist().inv_cdf(0.5 + findings.confidence / 2),
        "own": findings.threshold,
        "rows": [row.model_dump() for row in findings.within],
    }


def _examples(findings: Findings, shown: list[ExampleRow]) -> dict[str, Any]:
    """What the filters ask for: of each listed example its cohort, and of each stage what came out, and how near."""
    stages = {name: place for place, name in enumerate(selection.stage_names(findings))}
    levels = {name: place for place, name in enumerate(findings.levels)}
    return {
        "stages": [visible(name, lines=False) for name in stages],
        "stageNames": list(stages),
        "levelNames": list(levels),
        "rows": [
            [
                visible(row.cohort, lines=False),
                [
                    [
                        stages.get(outcome.stage, -1),
                        int(outcome.exposed),
                        int(outcome.control),
                        round(outcome.distance, 4),
                        None if outcome.secret is None else int(outcome.secret),
                        sum(1 << levels[name] for name in outcome.levels if name in levels),
                    ]
                    for outcome in row.outcomes
                ],
            ]
            for row in shown
        ],
    }


def _leaks(findings: Findings) -> list[dict[str, str | float]]:
    """What the list of leaks can be sorted by."""
    stages = selection.stage_names(findings)
    return [
        {
            "source": visible(f"{leak.source}:{leak.first_line:09}", lines=False),
            "cohort": visible(leak.cohort, lines=False),
            "stage": stages.index(leak.stage) if leak.stage in stages else len(stages),
            "distance": leak.normalized,
            "times": -leak.repetition,
        }
        for leak in findings.evidence
    ]


def _grouped(said: list[Statement]) -> list[tuple[str | None, list[tuple[str, list[Statement]]]]]:
    """Group the headline by cohort, and within by topic."""
    return [
        (cohort, [(topic, list(group)) for topic, group in groupby(about, lambda statement: statement.topic)])
        for cohort, about in groupby(said, lambda statement: statement.cohort)
    ]


def _table(findings: Findings, view: View, place: int) -> _Table:
    definition = selection.definition_of(findings, view)
    return _Table(
        view=view,
        text="" if definition is None else definition.text,
        cells=selection.cells(findings, view),
        figure=_single(f"forest-{place}", charts.forest(findings, view)),
    )
