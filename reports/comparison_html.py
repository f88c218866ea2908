"""A comparison as one HTML file: it opens from a disk with the network off.

Every text in it is hostile, and reaches the page in the three ways that `reports.html` names. The content security
policy is the one of a run's page.
"""

from itertools import groupby

from plotly.offline import get_plotlyjs

from reports.comparison import Comparison
from reports.comparison_sections import sections
from reports.comparison_statements import statements, title
from reports.page import LEVELS, asset, figure_data, figures, hashes, inline, policy, template


def render_comparison_html(report: Comparison) -> str:
    """Return the comparison as one self-contained page. Equal comparisons give equal bytes."""
    found = [(section, figures(section.id, section.panels)) for section in sections(report)]
    plotly, script = inline(get_plotlyjs()), asset("figures.js")
    return template("comparison.html.j2").render(
        report=report,
        title=title(report),
        headline=[
            (topic, list(group)) for topic, group in groupby(statements(report), lambda said: said.topic)
        ],
        sections=found,
        levels=LEVELS,
        policy=policy(script_src=hashes(plotly, script), style_src="'unsafe-inline'"),
        style=asset("report.css") + asset("study.css") + asset("comparison.css"),
        plotly=plotly,
        script=script,
        data=figure_data(figure for _, drawn in found for figure in drawn),
    )
