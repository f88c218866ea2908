"""Findings as one HTML file: it opens from a disk with the network off.

Every text in it is hostile. It reaches the page in three ways only: escaped by the template, as JSON that cannot
end its script element, or as a figure's label that plotly is given as text. The content security policy allows no
request and no script but the two whose hashes it names.
"""

from dataclasses import dataclass
from itertools import groupby

from plotly.offline import get_plotlyjs

from reports import charts, curves, flow, selection
from reports.findings import Findings, RateRow
from reports.headline import reading, statements
from reports.page import LEVELS, Figure, asset, figure_data, figures, hashes, inline, policy, template
from reports.selection import View
from reports.statement import Statement

EXAMPLES_SHOWN = 2000
"""How many examples the page lists; it says how many there are."""


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
    likelihood = charts.likelihood_forest(findings)
    by_cohort = {
        "flow": [
            figures(f"flow-{place}", flow.flow(findings, cohort)) for place, cohort in enumerate(cohorts)
        ],
        "dose": [
            figures(f"dose-{place}", charts.dose_response(findings, cohort))
            for place, cohort in enumerate(cohorts)
        ],
        "distance": [
            figures(f"distance-{place}", charts.distance_histograms(findings, cohort))
            for place, cohort in enumerate(cohorts)
        ],
    }
    training = [
        (stage, figures(f"curve-{place}", panels))
        for place, stage in enumerate(selection.stage_names(findings))
        if (panels := curves.curves(findings, stage))
    ]
    single = None if likelihood is None else Figure(id="likelihood-forest", panel=likelihood)
    drawn = [figure for groups in by_cohort.values() for group in groups for figure in group]
    drawn += [figure for _, group in training for figure in group]
    drawn += [table.figure for table in tables if table.figure is not None]
    drawn += [] if single is None else [single]
    view = selection.default_view(findings)
    plotly, script = inline(get_plotlyjs()), asset("report.js")
    return template("report.html.j2").render(
        findings=findings,
        headline=_grouped(statements(findings)),
        reading=reading(findings.confidence),
        cohorts=cohorts,
        stages=selection.stage_names(findings),
        stage_records={stage.name: stage for stage in findings.stages},
        tables=tables,
        view=view,
        opened=None if view is None else selection.worst_cohort(findings, view),
        charts=by_cohort,
        training=training,
        likelihood_figure=single,
        likelihoods=selection.likelihoods(findings),
        strata={} if view is None else selection.strata(findings, view),
        transitions=[] if view is None else selection.transitions(findings, view),
        examples=[
            (example, {outcome.stage: outcome for outcome in example.outcomes})
            for example in findings.examples[:EXAMPLES_SHOWN]
        ],
        leaks={leak.example: place for place, leak in reversed(list(enumerate(findings.evidence, 1)))},
        levels=LEVELS,
        policy=policy(script_src=hashes(plotly, script), style_src="'unsafe-inline'"),
        style=asset("report.css"),
        plotly=plotly,
        script=script,
        data=figure_data(drawn),
    )  # fmt: skip


def _grouped(said: list[Statement]) -> list[tuple[str | None, list[tuple[str, list[Statement]]]]]:
    """Group the headline by cohort, and within by topic."""
    return [
        (cohort, [(topic, list(group)) for topic, group in groupby(about, lambda statement: statement.topic)])
        for cohort, about in groupby(said, lambda statement: statement.cohort)
    ]


def _table(findings: Findings, view: View, place: int) -> _Table:
    definition, panel = selection.definition_of(findings, view), charts.forest(findings, view)
    return _Table(
        view=view,
        text="" if definition is None else definition.text,
        cells=selection.cells(findings, view),
        figure=None if panel is None else Figure(id=f"forest-{place}", panel=panel),
    )
