"""`memaudit probes match`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from memaudit.errors import BadInput
from probes import (
    LANGUAGES,
    LEVELS,
    Match,
    Recovery,
    Segment,
    align,
    compare,
    compare_completion,
    detect,
    language_of,
    lexer,
    recover,
)
from probes.levels import characters

_STYLE = {
    "format": "dim",
    "comment": "cyan",
    "rename": "blue",
    "literal": "yellow",
    "secret": "bold red",
    "code": "magenta",
}


STDIN = Path("-")


def _read(path: Path) -> bytes:
    if path == STDIN:
        return sys.stdin.buffer.read()
    if not path.is_file():
        raise BadInput(
            f"expected a file, got {path}, which is {'a directory' if path.is_dir() else 'not there'}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, got: {error.strerror}") from None


def match(
    file_a: Annotated[
        Path,
        typer.Argument(
            metavar="FILE_A", help="One text, such as the training code; - for the standard input."
        ),
    ],
    file_b: Annotated[Path, typer.Argument(metavar="FILE_B", help="The other, such as a completion; or -.")],
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What both texts follow. FILE_A is then the target, and FILE_B a completion that may run past it "
            "or break off.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="Language of the texts; by default what a file's name says. One that is not known gets a generic "
            "lexer."
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text that no level may normalise away; may be repeated."),
    ] = None,
    detects: Annotated[
        bool,
        typer.Option("--detect/--no-detect", help="Find secrets in FILE_A with the built-in detectors too."),
    ] = True,
    reveal: Annotated[bool, typer.Option(help="Print secrets instead of their lengths.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print distance and equality of two texts at every level, and their aligned difference.

    The distance counts characters at level `exact` and tokens at the others. Exit code 0, equal or not.

    Examples:

    `memaudit probes match original.py completion.py`

    `memaudit probes match target.rs - --prompt prompt.rs < completion.txt`

    `memaudit probes match a.go b.go --json`
    """
    if [file_a, file_b, prompt].count(STDIN) > 1:
        raise BadInput(
            "expected the standard input (-) for one text at the most, got it for more; name files"
        )
    if not all(secret or ("x",)):
        raise BadInput("--secret: expected some text, got none")
    names = [path.name for path in (file_a, file_b, prompt) if path]
    found = language or next((known for known in map(language_of, names) if known), "unknown")
    a, b, before = _read(file_a), _read(file_b), _read(prompt) if prompt else b""
    known = _secrets(a, secret or (), detects)
    secrets = [text.encode(errors="surrogateescape") for text, _ in known]
    if prompt:
        matches = compare_completion(a, b, prompt=before, language=found, secrets=secrets)
        b = characters(b)[: len(characters(a))].encode(errors="surrogateescape")
    else:
        matches = compare(a, b, language=found, secrets=secrets)
    segments = align(a, b, prompt=before, language=found, secrets=secrets)
    shown = segments if reveal else [_masked(segment) for segment in segments]
    recovered = [(kind, recover(characters(b), text)) for text, kind in known]
    if as_json:
        _print_json(found, matches, shown, recovered)
        return
    console = Console()
    console.print(_table(matches))
    if lexer(found) == "generic":
        console.print(
            f"{escape(found)}: not a language that is known; a generic lexer was used, for which all levels but "
            "exact and shape are the same. Known: " + ", ".join(LANGUAGES),
            highlight=False,
        )
    for kind, recovery in recovered:
        console.print(f"secret ({escape(kind)}): {recovery}", highlight=False)
    difference = _difference(shown)
    console.print(difference if difference.plain else "no difference")


def _secrets(text: bytes, given: Sequence[str], detects: bool) -> list[tuple[str, str]]:
    """Text and kind of each secret to protect, each once."""
    found = dict.fromkeys(given, "given")
    if detects:
        source = characters(text)
        for span in detect(source):
            found.setdefault(source[span.start : span.end], span.kind)
    return list(found.items())


def _masked(segment: Segment) -> Segment:
    if segment.reason != "secret":
        return segment
    sides = [
        f"<secret, {len(side)} characters>" if side else "" for side in (segment.target, segment.completion)
    ]
    return replace(segment, target=sides[0], completion=sides[1])


def _print_json(
    language: str,
    matches: dict[str, Match],
    segments: Sequence[Segment],
    recovered: Sequence[tuple[str, Recovery]],
) -> None:
    levels = {
        name: {
            "equal": m.equal,
            "distance": m.distance,
            "normalized": round(m.normalized, 6),
            "length_a": m.target_length,
            "length_b": m.completion_length,
        }
        for name, m in matches.items()
    }
    differences = [
        {"op": s.op, "reason": s.reason, "a": s.target, "b": s.completion}
        for s in segments
        if s.op != "equal"
    ]
    found = {
        "language": language,
        "lexer": lexer(language),
        "levels": levels,
        "secrets": [
            {"kind": kind, "verdict": r.verdict, "recovered": r.prefix, "length": r.total}
            for kind, r in recovered
        ],
        "differences": differences,
    }
    print(json.dumps(found, indent=2))


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


def _difference(segments: Sequence[Segment]) -> Text:
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
