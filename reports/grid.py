"""Tables as data: HTML and Markdown pages write the same ones, each in its own way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reports.blocks import table, written
from reports.statement import Name, Part


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in one place of a table."""

    parts: tuple[Part, ...]
    aside: tuple[Part, ...] = ()
    """In smaller letters below it."""
    tag: str = ""
    """What kind of cell it is, in words."""
    look: str = ""
    """What kind of cell it is, for the page's style."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Rows that belong together."""

    heading: tuple[Part, ...] = ()
    """What they have in common."""
    rows: Sequence[Sequence[Cell]]
    """The first cell of each names it."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table."""

    caption: tuple[Part, ...]
    head: Sequence[Cell]
    bodies: Sequence[Body]
    common: str = ""
    """Head of a column for what the rows of each body have in common; empty: it stands above them."""
    look: str = ""
    """What kind of table it is, for the page's style."""

    @property
    def empty(self) -> bool:
        """Whether it has no row."""
        return not any(body.rows for body in self.bodies)


def text(*parts: Part, aside: Part | tuple[Part, ...] = (), look: str = "", tag: str = "") -> Cell:
    """Return a cell of our own words, and of names and quoted texts among them."""
    beside = aside if isinstance(aside, tuple) else (aside,)
    return Cell(parts=parts, aside=beside, look=look, tag=tag)


def number(*parts: Part, aside: str = "", tag: str = "") -> Cell:
    """Return a cell that holds a number."""
    return text(*parts, aside=(aside,) if aside else (), look="number", tag=tag)


def named(name: str) -> Cell:
    """Return a cell that holds a name. Hostile."""
    return Cell(parts=(Name(name),))


def heads(*words: str) -> list[Cell]:
    """Return the head of a table; a word that begins with `#` stands over numbers."""
    return [number(word[1:]) if word.startswith("#") else text(word) for word in words]


def grouped(rows: Iterable[tuple[str, Sequence[Cell]]]) -> list[Body]:
    """Put rows below the name that they share, in the order in which names first occur."""
    found: dict[str, list[Sequence[Cell]]] = {}
    for name, row in rows:
        found.setdefault(name, []).append(row)
    return [Body(heading=(Name(name),), rows=group) for name, group in found.items()]


def markdown_grid(grid: Grid) -> str:
    """Write a table as Markdown; what rows have in common stands in a column in any case."""
    common = any(body.heading for body in grid.bodies)
    head = [*([grid.common] if common else []), *(_cell(cell) for cell in grid.head)]
    lines = [
        (*((written(body.heading),) if common else ()), *(_cell(cell) for cell in row))
        for body in grid.bodies
        for row in body.rows
    ]
    return table(head, lines)


def _cell(cell: Cell) -> str:
    pieces = [written(cell.parts), written(cell.aside), cell.tag]
    return "; ".join(piece for piece in pieces if piece)
