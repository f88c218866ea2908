"""`memaudit probes`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from memaudit.errors import BadInput
from probes import LEVELS, Match, Segment, align, compare, grammar

app = typer.Typer(help="Compare code the way the audit does.", no_args_is_help=True)

_STYLE = {
    "format": "dim",
    "comment": "cyan",
    "rename": "blue",
    "literal": "yellow",
    "secret": "bold red",
    "code": "magenta",
}


@app.callback()
def _probes() -> None:
    """Compare code the way the audit does."""


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise BadInput(
            f"expected a file, got {path}, which is {'a directory' if path.is_dir() else 'not there'}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, got: {error.strerror}") from None


@app.command()
def match(
    file_a: Annotated[Path, typer.Argument(metavar="FILE_A", help="One text, such as the training code.")],
    file_b: Annotated[Path, typer.Argument(metavar="FILE_B", help="The other, such as a completion.")],
    language: Annotated[
        str, typer.Option(help="Language; one without a grammar gets a generic lexer.")
    ] = "python",
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text that no level may normalise away; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print distance and equality of two files at every level, and their aligned difference.

    The distance counts characters at level `exact` and tokens at the others. Exit code 0, equal or not.

    Examples:

    `memaudit probes match original.py completion.py`

    `memaudit probes match a.py b.py --json`
    """
    a, b = _read(file_a), _read(file_b)
    secrets = [s.encode() for s in secret or ()]
    if not all(secrets):
        raise BadInput("--secret: expected some text, got none")
    matches = compare(a, b, language=language, secrets=secrets)
    segments = align(a, b, language=language, secrets=secrets)
    if as_json:
        levels = {
            name: {"equal": m.equal, "distance": m.distance, "normalized": round(m.normalized, 6)}
            for name, m in matches.items()
        }
        differences = [
            {"op": s.op, "reason": s.reason, "a": s.target, "b": s.completion}
            for s in segments
            if s.op != "equal"
        ]
        found = {
            "language": language,
            "lexer": _lexer(language),
            "levels": levels,
            "differences": differences,
        }
        print(json.dumps(found, indent=2))
        return
    console = Console()
    console.print(_table(matches))
    if _lexer(language) == "generic":
        console.print(
            f"no grammar for {escape(language)}: a generic lexer was used, for which "
            "layout, code and renamed are the same",
            highlight=False,
        )
    difference = _difference(segments)
    console.print(difference if difference.plain else "no difference")


def _lexer(language: str) -> str:
    """Which lexer reads a language: its own, or the generic one."""
    return "generic" if grammar(language) is None else language


def _table(matches: dict[str, Match]) -> Table:
    table = Table()
    for title in ("level", "equal"):
        table.add_column(title)
    for title in ("distance", "normalized", "length a", "length b"):
        table.add_column(title, justify="right")
    for level in LEVELS:
        m = matches[level]
        table.add_row(
            level,
            "yes" if m.equal else "no",
            str(m.distance),
            f"{m.normalized:.3f}",
            str(m.target_length),
            str(m.completion_length),
        )
    return table


def _difference(segments: list[Segment]) -> Text:
    """One line for each change: the lines it begins on, its reason, and both texts as Python would spell them.

    So spelled, white space shows, and a completion cannot steer the terminal.
    """
    text = Text()
    line_a = line_b = 1
    for segment in segments:
        if segment.op != "equal":
            sides = [repr(side) if side else "nothing" for side in (segment.target, segment.completion)]
            at_a, at_b = line_a + _leading(segment.target), line_b + _leading(segment.completion)
            text.append(f"a:{at_a} b:{at_b}".ljust(12))
            text.append(f"{segment.reason}".ljust(9), style=_STYLE[segment.reason or "code"])
            text.append(f"{sides[0]} -> {sides[1]}\n")
        line_a += segment.target.count("\n")
        line_b += segment.completion.count("\n")
    return text


def _leading(text: str) -> int:
    """Line breaks before the first visible character; a change that is white space alone begins where it stands."""
    return text[: len(text) - len(text.lstrip())].count("\n") if text.strip() else 0
