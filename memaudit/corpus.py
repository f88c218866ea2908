"""The code an audit is about: harvested from code files, or given line by line in a .jsonl file."""

import codecs
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import probes
from memaudit import sources
from memaudit.errors import BadInput
from memaudit.given import read_given
from memaudit.harvest import harvest
from memaudit.lines import Span
from memaudit.sources import SourceFile, printable
from probes.detect import detect as find_secrets

SOURCES = ("stdlib", "package", "directory", "git", "jsonl")
"""What `corpus.source` may be."""

_LARGEST_FILE = 2_000_000  # bytes; larger code files are data, or generated
_LONGEST_LINE = (
    5_000  # characters; a file with a longer line was written by a machine, which also minifies JavaScript
)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One piece of code as it was found.

    Attributes:
        text: Harvested: whole lines, dedented, line ends made ``\\n``, ending with one. Given: as it came.
        language: One of `probes.LANGUAGES`, or what the .jsonl line says.
        source: Path relative to the corpus root, with forward slashes; for a .jsonl line its `id`, or
            ``NAME.jsonl:LINE``. Printable: other characters and the backslash are escaped.
        first_line: First line in that file, from 1. Lines end at ``\\n`` and nowhere else.
        last_line: Last line, inclusive. For a .jsonl line both are the number of that line.
        kind: "harvested" from a code file, or "given" in a .jsonl file.
        id: The .jsonl line's own id, unescaped.
        secrets: Sensitive spans, ordered by start and end: those of the .jsonl line, and what was detected.
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
        files: Text of each file that was searched for units, by `Unit.source`, line ends made ``\n``. Empty unless
            asked for.
    """

    units: tuple[Unit, ...]
    description: str
    files: Mapping[str, str] = field(default_factory=dict)


def load(
    source: str,
    path: str | None,
    *,
    exclude: Sequence[str] = (),
    smallest: int = 100,
    largest: int = 1500,
    language: str | None = None,
    detect: bool = True,
    keep_files: bool = False,
) -> Corpus:
    """Loads a corpus. Equal input gives an equal result, whatever the order of the file system.

    Of code files it takes the definitions that `memaudit.harvest.harvest` describes. Files over 2 MB, files with
    NUL bytes, in languages other than Python files with a line over 5,000 characters, and files of languages whose
    grammar is not installed are left out and counted in the description. Of equal texts the first is kept.

    Args:
        source: One of `SOURCES`. "stdlib" is the standard library of the running interpreter without its tests,
            "package" the Python files of an installed package without its tests, "directory" and "git" are the files
            below `path` in the languages of `probes.LANGUAGES`, "jsonl" is the file `path` with an object on each
            line: `text`, `language` and optionally `id` and `secrets`, a list of ``[start, end]`` or
            ``{"start": 0, "end": 1, "kind": "key"}`` in characters of the text.
        path: Directory or file; of "package" the name it is imported by; None for "stdlib".
        exclude: Patterns (`fnmatch`; ``*`` also matches slashes) of relative paths to leave out, as `Unit.source`
            shows them. A pattern that matches a directory leaves out all below it. Not for "jsonl".
        smallest: Least number of characters of a harvested text, the final newline included.
        largest: Greatest number of characters of a harvested text.
        language: Take only the files in this language. Not for "jsonl", where each line says its own.
        detect: Search the texts for secrets, and add what does not overlap a span that is given. The standard
            library is public, and is not searched.
        keep_files: Fill `Corpus.files`.

    Raises:
        BadInput: A setting is wrong, a file cannot be read or is not UTF-8, a line of a .jsonl file is at fault,
            or no unit is left.
    """
    if source not in SOURCES:
        raise BadInput(f'expected corpus.source to be one of {", ".join(SOURCES)}, got "{printable(source)}"')
    _check_bounds(smallest, largest)
    if source == "stdlib":
        if path:
            raise BadInput(
                f'expected no corpus.path for corpus.source = "stdlib", got "{printable(path)}"; '
                'remove it, or set corpus.source = "directory"'
            )
        name = f"Python {platform.python_version()} standard library"
        files = sources.stdlib_files(exclude)
    elif source == "package":
        name, files = sources.package_files(path or "", exclude)
    elif source == "jsonl":
        if exclude:
            raise BadInput(
                f'expected no corpus.exclude for corpus.source = "jsonl", got "{printable(", ".join(exclude))}"; '
                "remove the setting, and from the file the lines that are not wanted"
            )
        return _load_given(_existing(path, source, is_file=True), detect=detect)
    else:
        root = _existing(path, source, is_file=False)
        name = f"{source} {printable(os.path.basename(os.path.abspath(root))) or '/'}"
        files = (sources.git_files if source == "git" else sources.directory_files)(root, exclude)
    if not files:
        if exclude:
            patterns = printable(", ".join(exclude))
            raise BadInput(
                f"{name}: expected {sources.FILES} besides what {patterns} leaves out, got none; "
                "set corpus.exclude or corpus.path"
            )
        raise BadInput(f"{name}: expected {sources.FILES}, got none; set corpus.path")
    return _load_harvested(
        name,
        files,
        encodings_may_differ=source in ("stdlib", "package"),
        only=language,
        smallest=smallest,
        largest=largest,
        detect=detect and source != "stdlib",
        keep_files=keep_files,
    )


def load_file(
    path: str,
    *,
    smallest: int = 100,
    largest: int = 1500,
    language: str | None = None,
    detect: bool = True,
    keep_files: bool = False,
) -> Corpus:
    """Loads the definitions of one code file, as `load` does of a directory. Its base name is the units' `source`.

    Args:
        path: The file.
        smallest: Least number of characters of a text, the final newline included.
        largest: Greatest number of characters of a text.
        language: What to read it as; None for what its name and content say.
        detect: Search the texts for secrets.
        keep_files: Fill `Corpus.files`.

    Raises:
        BadInput: The name says no language and none is given, the file cannot be read or is not UTF-8, or no unit
            is left.
    """
    _check_bounds(smallest, largest)
    name = printable(os.path.basename(path))
    told = language or probes.language_of(path)
    if told is None:
        raise BadInput(
            f"{printable(path)}: expected one of the {sources.FILES} or a .jsonl file, got another name; "
            "say its language"
        )
    file = SourceFile(name=name, path=path, language=told)
    return _load_harvested(
        name,
        [file],
        look_within=language is None,
        smallest=smallest,
        largest=largest,
        detect=detect,
        keep_files=keep_files,
    )


def detected(text: str, given: Sequence[Span] = ()) -> tuple[Span, ...]:
    """Returns the given spans of a text and the secrets detected in it that overlap none of them, in order."""
    found = [
        Span(start=secret.start, end=secret.end, kind=secret.kind)
        for secret in find_secrets(text)
        if all(secret.end <= span.start or span.end <= secret.start for span in given)
    ]
    return tuple(sorted([*given, *found], key=lambda span: (span.start, span.end, span.kind)))


def _check_bounds(smallest: int, largest: int) -> None:
    if not 1 <= smallest <= largest:
        raise BadInput(
            "expected 1 <= corpus.smallest <= corpus.largest, "
            f"got corpus.smallest = {smallest} and corpus.largest = {largest}"
        )


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


def _load_harvested(
    name: str,
    files: list[SourceFile],
    *,
    encodings_may_differ: bool = False,
    look_within: bool = True,
    only: str | None = None,
    smallest: int,
    largest: int,
    detect: bool,
    keep_files: bool,
) -> Corpus:
    units: list[Unit] = []
    texts: set[str] = set()
    kept: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    without_grammar: Counter[str] = Counter()
    there: dict[str, bool] = {}
    count = 0
    for file in files:
        data = sources.read(file, limit=_LARGEST_FILE + 1)
        language = sources.language_within(file, data) if look_within else file.language
        if only not in (None, language):
            continue
        count += 1
        if language not in there:
            there[language] = _has_grammar(language)
        if not there[language]:
            without_grammar[language] += 1
            continue
        if len(data) > _LARGEST_FILE:
            left_out["over 2 MB"] += 1
            continue
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            if not encodings_may_differ:
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
        if language != "python" and max(map(len, text.split("\n"))) > _LONGEST_LINE:
            left_out[f"with a line over {_LONGEST_LINE:,} characters"] += 1
            continue
        data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
        for definition in harvest(data, language=language, smallest=smallest, largest=largest):
            if definition.text not in texts:
                texts.add(definition.text)
                units.append(
                    Unit(
                        text=definition.text,
                        language=language,
                        source=file.name,
                        first_line=definition.first_line,
                        last_line=definition.last_line,
                        kind="harvested",
                        secrets=detected(definition.text) if detect else (),
                    )
                )
        if keep_files:
            kept[file.name] = data.decode("utf-8")
    description = f"{name}: {_count(count, 'file')}"
    losses = "".join(f", {_count(number, 'file')} {why} left out" for why, number in sorted(left_out.items()))
    if without_grammar:
        losses += (
            f"; {_count(without_grammar.total(), 'file')} left out: no grammar for "
            f"{', '.join(sorted(without_grammar))}, pip install 'memaudit[languages]'"
        )
    if not units:
        raise BadInput(
            f"{description}{losses}: expected functions or classes of {smallest} to {largest} characters, got none; "
            "set corpus.smallest, corpus.largest, corpus.exclude or corpus.path"
        )
    pieces = "1 function or class" if len(units) == 1 else f"{len(units):,} functions and classes"
    return Corpus(
        units=tuple(units),
        description=f"{description}, {pieces}{losses}",
        files=kept,
    )


def _has_grammar(language: str) -> bool:
    try:
        probes.grammar(language)
    except probes.MissingGrammar:
        return False
    return True


def _load_given(path: str, *, detect: bool) -> Corpus:
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
    loaded = sorted(first.values(), key=lambda unit: unit.source)
    if detect:
        loaded = [replace(unit, secrets=detected(unit.text, unit.secrets)) for unit in loaded]
    losses = f", {_count(repeated, 'repeated text')} left out" if repeated else ""
    return Corpus(
        units=tuple(loaded),
        description=f"{printable(os.path.basename(path))}: {_count(len(first), 'text')}{losses}",
    )


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
