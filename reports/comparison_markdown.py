"""A comparison as Markdown: for a pull request, a repository, a terminal."""

from reports.blocks import listed, written
from reports.comparison import Comparison
from reports.comparison_sections import sections
from reports.comparison_statements import statements, title
from reports.escape import markdown_block
from reports.grid import markdown_grid
from reports.study_sections import Section

_LISTED = 25  # examples in each list


def render_comparison_markdown(report: Comparison) -> str:
    """Return the comparison as GitHub-flavoured Markdown. Names in it are escaped: they can be hostile."""
    blocks = [
        f"# Memorization compared: {written(title(report))}",
        listed(statements(report), topics=True),
        *(block for section in sections(report, listed=_LISTED) for block in _section(section)),
        *(["To repeat it:", markdown_block(report.command, "sh")] if report.command else []),
    ]
    return "\n\n".join(blocks) + "\n"


def _section(section: Section) -> list[str]:
    shown = [grid for grid in section.grids if not grid.empty]
    tables = [block for grid in shown for block in (written(grid.caption), markdown_grid(grid))]
    return [f"## {section.title}", section.text, *tables]
