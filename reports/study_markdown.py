"""A study as Markdown: for a repository, a pull request, a terminal."""

from reports.blocks import listed, versions, written
from reports.escape import markdown_block, markdown_name, markdown_text
from reports.grid import markdown_grid
from reports.phrases import portion, spent
from reports.study import StudyReport
from reports.study_claims import claims, details, opening
from reports.study_sections import Section, sections


def render_study_markdown(report: StudyReport) -> str:
    """Return the study as GitHub-flavoured Markdown. Names and texts in it are escaped: they can be hostile."""
    stated = claims(report, brief=True)
    blocks = [
        f"# Memorization study: {markdown_name(report.name)}",
        markdown_grid(stated),
        *([] if stated.empty else [written(stated.caption)]),
        markdown_text(report.text),
        *(written(parts) for parts in opening(report)),
        *(["## What the claims rest on", listed(details(report), topics=True)] if report.claims else []),
        *(block for section in sections(report) for block in _section(section)),
        *_repeat(report),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> list[str]:
    shown = [grid for grid in (*section.grids, *section.behind) if not grid.empty]
    if not shown:
        return []
    tables = [block for grid in shown for block in (written(grid.caption), markdown_grid(grid))]
    return [f"## {section.title}", section.text, *tables]


def _repeat(report: StudyReport) -> list[str]:
    asked = f"Asked once more, {portion(*report.flips)} verdicts differed. " if report.flips[1] else ""
    took = f"Training and asking took {spent(report.seconds)}, summed over workers."
    command = ["To repeat it:", markdown_block(report.command, "sh")] if report.command else []
    return ["## How it was run", f"{asked}{took}", *command, versions(report.versions)]
