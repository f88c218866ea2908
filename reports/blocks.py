"""Blocks of Markdown that several pages are made of."""

from collections.abc import Iterable, Mapping

from reports.escape import markdown_block, markdown_name, markdown_text
from reports.findings import Segment
from reports.statement import Name, Part, Quoted, Statement

MASKED = "Known secrets are masked with █, the same one with the same number: `█12█`."
"""What a page says of its texts."""
REVEALED = (
    "**Nothing is masked here.** This page holds secrets of the training data as they are. It was made with "
    "`--reveal`; do not share it."
)
"""What stands on top of a page in which nothing is masked."""


def listed(statements: Iterable[Statement], *, topics: bool = False) -> str:
    """Return statements as a list, one item each; with `topics` each begins with what it is about."""
    return "\n".join(
        f"- {f'**{markdown_text(said.topic)}:** ' if topics else ''}{written(said.parts)}"
        for said in statements
    )


def written(parts: Iterable[Part]) -> str:
    """Return words with names among them as Markdown for the middle of a line."""
    return "".join(map(_written, parts))


def _written(part: Part) -> str:
    if isinstance(part, Name):
        return markdown_name(part.text)
    return markdown_text(part) if isinstance(part, Quoted) else part


def table(head: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table of cells that are Markdown already; nothing where it would have no row."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *lines])


def versions(found: Mapping[str, str]) -> str:
    """Return the versions of packages as a table, by name."""
    return table(
        ["package", "version"],
        [(markdown_name(name), markdown_name(found[name])) for name in sorted(found)],
    )


def lines_of(source: str, first: int, last: int) -> str:
    """Return where a text stands: its file and its lines."""
    return f"{markdown_name(source)}, lines {first} to {last}"


def sides(segments: Iterable[Segment]) -> list[str]:
    """Return training text and completion, each as a block of its own."""
    pairs = [(segment.target, segment.completion) for segment in segments]
    return [
        *("Training text:", markdown_block("".join(target for target, _ in pairs))),
        *("Completion:", markdown_block("".join(completion for _, completion in pairs))),
    ]
