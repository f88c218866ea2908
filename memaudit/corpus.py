"""The code an audit is about: harvested from Python files, or given line by line in a .jsonl file."""

import codecs
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memaudit import sources
from memaudit.errors import BadInput
from memaudit.given import Span, read_given
from memaudit.harvest import harvest
from memaudit.sources import SourceFile, printable

SOURCES = ("stdlib", "directory", "git", "jsonl")
"""What `corpus.source` may be."""

_LARGEST_FILE = 2_000_000  # bytes; larger Python files are data, or generated


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One piece of code as it was found.

    Attributes:
        text: Harvested: whole lines, dedented, line ends made ``\\n``, ending with one. Given: as it came.
        language: "python", or what the .jsonl line says.
        source: Path relative to the corpus root, with forward slashes; for a .jsonl line its `id`, or
            ``NAME.jsonl:LINE``. Printable: other characters and the backslash are escaped.
        first_line: First line in that file, from 1. Lines end at ``\\n`` and nowhere else.
        last_line: Last line, inclusive. For a .jsonl line both are the number of that line.
        kind: "harvested" from a Python file, or "given" in a .jsonl file.
        id: The .jsonl line's own id, unescaped.
        secrets: Sensitive spans, ordered by start and end.
    """

    text: str
    language: str
    source: str
    first_line: int
    last_line: int
    kind: Literal["harvested", "given"]
    id: str | None = None
    secrets: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The units of one source.

    Attributes:
        units: Ordered by `source` and `first_line`; no two have the same text.
        description: One line for people. It also counts what was left out.
    """

    units: tuple[Unit, ...]
    description: str


def load(
    source: str, path: str | None, *, exclude: Sequence[str] = (), smallest: int = 100, largest: int = 1500
) -> Corpus:
    """Loads a corpus. Equal input gives an equal result, whatever the order of the file system.

    Of Python files it takes the definitions that `memaudit.harvest.harvest` describes. Files over 2 MB and
    files with NUL bytes, which Python does not run, are left out and counted in the description. Of equal
    texts the first is kept.

    Args:
        source: One of `SOURCES`. "stdlib" is the standard library of the running interpreter without its tests,
            "directory" and "git" are the Python files below `path`, "jsonl" is the file `path` with an object
            on each line: `text`, `language` and optionally `id` and `secrets`, a list of ``[start, end]`` or
            ``{"start": 0, "end": 1, "kind": "key"}`` in characters of the text.
        path: Directory or file; None for "stdlib".
        exclude: Patterns (`fnmatch`; ``*`` also matches slashes) of relative paths to leave out, as `Unit.source`
            shows them. A pattern that matches a directory leaves out all below it. Not for "jsonl".
        smallest: Least number of characters of a harvested text, the final newline included.
        largest: Greatest number of characters of a harvested text.

    Raises:
        BadInput: A setting is wrong, a file cannot be read or is not UTF-8, a line of a .jsonl file is at fault,
            or no unit is left.
    """
    if source not in SOURCES:
        raise BadInput(f'expected corpus.source to be one of {", ".join(SOURCES)}, got "{printable(source)}"')
    if not 1 <= smallest <= largest:
        raise BadInput(
            "expected 1 <= corpus.smallest <= corpus.largest, "
            f"got corpus.smallest = {smallest} and corpus.largest = {largest}"
        )
    if source == "stdlib":
        if path:
            raise BadInput(
                f'expected no corpus.path for corpus.source = "stdlib", got "{printable(path)}"; '
                'remove it, or set corpus.source = "directory"'
            )
        name = f"Python {platform.python_version()} standard library"
        files = sources.stdlib_files(exclude)
    elif source == "jsonl":
        if exclude:
            raise BadInput(
                f'expected no corpus.exclude for corpus.source = "jsonl", got "{printable(", ".join(exclude))}"; '
                "remove the setting, and from the file the lines that are not wanted"
            )
        return _load_given(_existing(path, source, is_file=True))
    else:
        root = _existing(path, source, is_file=False)
        name = f"{source} {printable(os.path.basename(os.path.abspath(root))) or '/'}"
        files = (sources.git_files if source == "git" else sources.directory_files)(root, exclude)
    if not files:
        if exclude:
            patterns = printable(", ".join(exclude))
            raise BadInput(
                f"{name}: expected Python files (*.py) besides what {patterns} leaves out, got none; "
                "set corpus.exclude or corpus.path"
            )
        raise BadInput(f"{name}: expected Python files (*.py), got none; set corpus.path")
    return _load_harvested(name, files, source, smallest, largest)


def _existing(path: str | None, source: str, *, is_file: bool) -> str:
    """Returns the path if it is what the source needs."""
    wanted = "a .jsonl file" if is_file else "a directory"
    if not path:
        raise BadInput(f'expected {wanted} for corpus.source = "{source}", got no path; set corpus.path')
    if not (os.path.isfile(path) if is_file else os.path.isdir(path)):
        if is_file and os.path.isdir(path):
            got, remedy = "a directory", ' to a file, or corpus.source = "directory"'
        elif os.path.isfile(path):
            got, remedy = "a file", ' to a directory, or corpus.source = "jsonl"'
        else:
            got, remedy = "something else" if os.path.exists(path) else "a path that does not exist", ""
        raise BadInput(
            f'{printable(path)}: expected {wanted} for corpus.source = "{source}", got {got}; '
            f"set corpus.path{remedy}"
        )
    return path


def _load_harvested(name: str, files: list[SourceFile], source: str, smallest: int, largest: int) -> Corpus:
    units: list[Unit] = []
    texts: set[str] = set()
    left_out: Counter[str] = Counter()
    for file in files:
        data = sources.read(file, limit=_LARGEST_FILE + 1)
        if len(data) > _LARGEST_FILE:
            left_out["over 2 MB"] += 1
            continue
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            if source != "stdlib":
                raise BadInput(
                    f"{printable(file.path)}: expected UTF-8, also where a comment declares another encoding, got "
                    f"byte 0x{data[error.start]:02x} at offset {error.start}; convert the file to UTF-8, "
                    f'or add "{sources.exclusion(file.name)}" to corpus.exclude'
                ) from None
            left_out["not UTF-8"] += 1
            continue
        if b"\0" in data:
            left_out["with NUL bytes"] += 1
            continue
        data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
        for definition in harvest(data, smallest=smallest, largest=largest):
            if definition.text not in texts:
                texts.add(definition.text)
                units.append(
                    Unit(
                        text=definition.text,
                        language="python",
                        source=file.name,
                        first_line=definition.first_line,
                        last_line=definition.last_line,
                        kind="harvested",
                    )
                )
    description = f"{name}: {_count(len(files), 'file')}"
    losses = "".join(f", {_count(number, 'file')} {why} left out" for why, number in sorted(left_out.items()))
    if not units:
        raise BadInput(
            f"{description}{losses}: expected functions or classes of {smallest} to {largest} characters, got none; "
            "set corpus.smallest, corpus.largest, corpus.exclude or corpus.path"
        )
    return Corpus(
        units=tuple(units), description=f"{description}, {len(units):,} functions and classes{losses}"
    )


def _load_given(path: str) -> Corpus:
    units = [
        Unit(
            text=given.text,
            language=given.language,
            source=given.name,
            first_line=given.line,
            last_line=given.line,
            kind="given",
            id=given.id,
            secrets=given.secrets,
        )
        for given in read_given(path)
    ]
    first: dict[str, Unit] = {}
    for unit in units:
        other = first.setdefault(unit.text, unit)
        if (other.language, other.secrets) != (unit.language, unit.secrets):
            raise BadInput(
                f"{printable(path)}:{unit.first_line}: expected equal texts to have equal language and secrets, got "
                f"others than on line {other.first_line}; make them equal, or remove one of the two lines"
            )
    if not first:
        raise BadInput(
            f"{printable(path)}: expected a JSON object on each line, got no line at all; set corpus.path"
        )
    repeated = len(units) - len(first)
    losses = f", {_count(repeated, 'repeated text')} left out" if repeated else ""
    return Corpus(
        units=tuple(sorted(first.values(), key=lambda unit: unit.source)),
        description=f"{printable(os.path.basename(path))}: {_count(len(first), 'text')}{losses}",
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
