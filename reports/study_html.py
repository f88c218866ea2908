"""A study as one HTML file: it opens from a disk with the network off.

Every text in it is hostile, and reaches the page in the three ways that `reports.html` names. The content security
policy is the one of a run's page.
"""

from plotly.offline import get_plotlyjs

from reports.page import LEVELS, asset, figure_data, figures, hashes, inline, policy, template
from reports.phrases import portion, spent
from reports.study import StudyReport
from reports.study_claims import MEANINGS, SIGNS, claims, opening
from reports.study_sections import sections


def render_study_html(report: StudyReport) -> str:
    """Return the study as one self-contained page. Equal reports give equal bytes."""
    found = [(section, figures(section.id, section.panels)) for section in sections(report)]
    plotly, script = inline(get_plotlyjs()), asset("figures.js")
    return template("study.html.j2").render(
        report=report,
        opening=opening(report),
        claims=claims(report),
        sections=found,
        noise=portion(*report.flips) if report.flips[1] else None,
        spent=spent(report.seconds),
        signs=SIGNS,
        meanings=MEANINGS,
        levels=LEVELS,
        policy=policy(script_src=hashes(plotly, script), style_src="'unsafe-inline'"),
        style=asset("report.css") + asset("study.css"),
        plotly=plotly,
        script=script,
        data=figure_data(figure for _, drawn in found for figure in drawn),
    )
