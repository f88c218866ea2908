"""`memaudit probes build`."""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit import corpus
from memaudit.errors import BadInput
from memaudit.sources import printable
from probes import LANGUAGES, Secret
from probes.build import KINDS, Example, Kind, Probe, Source
from probes.build import build as build_probes
from probes.infill import FORMATS, HoldsSentinel, Order, middle, prompt

_SETTING = re.compile(r"(?<![\w/.-])corpus\.(path|exclude|smallest|largest)\b")
_EXCLUDE_IT = re.compile(r', or add "[^"]*" to corpus\.exclude')


def build(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Code files, directories, or .jsonl files.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where to; - for standard output.")
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="prefix: the rest of an example; infill: lines or a secret out of its middle; secret: a secret and "
            "what follows it. May be repeated.",
            show_default="prefix, secret",
        ),
    ] = None,
    at: Annotated[
        str, typer.Option(metavar="FRACTIONS", help="Where prefix and infill cut an example.")
    ] = "0.5",
    context: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Lines of its file to put in front; one probe for each.")
    ] = "0",
    lines: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Lines that infill takes out; one probe for each.")
    ] = "1",
    fim: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help=f"Also give each infill probe its `prompt` in the sentinels of {', '.join(FORMATS)}; "
            "FORMAT:spm for suffix-prefix-middle.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Take only this language from directories, and read named code files as it."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Paths below a directory to leave out; may be repeated."),
    ] = None,
    smallest: Annotated[
        int, typer.Option(metavar="N", help="Characters that a function or class must have.")
    ] = 200,
    largest: Annotated[int, typer.Option(metavar="N", help="Characters that it may have.")] = 3000,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="Draw this many probes.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="What --limit draws by.")] = 0,
    detect: Annotated[bool, typer.Option("--detect/--no-detect", help="Search the code for secrets.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
) -> None:
    """Cut code into probes, one JSON object a line: what to give a model, and what it would be a leak to say.

    Keys: `id`, `prefix`, `target`, `language`, and where there is one `suffix`, `secrets` (spans in characters of the
    target), `source` (the file and lines of the example; probes of one example share it). Code keeps the indentation
    that it has in its file.

    Examples:

    `memaudit probes build src -o probes.jsonl`

    `memaudit probes build src --kind prefix --at 0.25,0.5,0.75 --context 0,20,80 -o offsets.jsonl`

    `memaudit probes build a.py given.jsonl --kind infill --fim qwen -o -`
    """
    kinds = _kinds(kind)
    fractions = _numbers(at, float, "--at", "fractions above 0 and below 1", lambda n: 0 < n < 1)
    contexts = _numbers(context, int, "--context", "numbers of lines from 0", lambda n: n >= 0)
    spans = _numbers(lines, int, "--lines", "numbers of lines from 1", lambda n: n >= 1)
    form = _form(fim, kinds)
    if language is not None and language not in LANGUAGES:
        raise BadInput(f"--language: expected one of {', '.join(LANGUAGES)}, got {printable(language)}")
    if limit is not None and limit < 1:
        raise BadInput(f"--limit: expected 1 or more, got {limit}")
    if output != "-":
        _check_output(Path(output), force)

    console = Console(stderr=output == "-")
    examples: list[Example] = []
    for source in sources:
        try:
            loaded = _load(source, language, exclude or (), smallest, largest)
        except BadInput as error:
            raise BadInput(_in_options(str(error), source)) from None
        console.print(escape(loaded.description), highlight=False, soft_wrap=True)
        examples += _examples(loaded, source, max(contexts), detect)

    built = list(build_probes(examples, kinds=kinds, at=fractions, context=contexts, lines=spans))
    records = [(probe, record) for probe in built if (record := _record(probe, form)) is not None]
    if len(records) < len(built):
        assert form is not None
        number = len(built) - len(records)
        pieces = "1 probe left out: it holds" if number == 1 else f"{number:,} probes left out: they hold"
        console.print(f"{pieces} a sentinel of {form[0]}", highlight=False)
    if not records:
        raise BadInput(
            f"expected at least one probe of kind {', '.join(kinds)}, got none from {len(examples):,} examples; "
            "set --kind, --at, --lines or --detect"
        )
    kept = _drawn(records, limit, seed)
    # In ASCII no character but the line end can pass for one, and none can steer a terminal.
    _write("".join(f"{json.dumps(record)}\n" for _, record in kept), output)
    console.print(_table([probe for probe, _ in kept]))
    if output != "-":
        print(output)


def _kinds(given: Sequence[str] | None) -> list[Kind]:
    if not given:
        return ["prefix", "secret"]
    for name in given:
        if name not in KINDS:
            raise BadInput(f"--kind: expected one of {', '.join(KINDS)}, got {printable(name)}")
    return [kind for kind in KINDS if kind in given]


def _numbers(
    text: str, number: Callable[[str], Any], option: str, expected: str, fits: Callable[[Any], bool]
) -> list[Any]:
    try:
        found = [number(part) for part in text.split(",")]
        if all(map(fits, found)):
            return found
    except ValueError:
        pass
    raise BadInput(f"{option}: expected {expected}, separated by commas, got {printable(text)}")


def _form(text: str | None, kinds: Sequence[Kind]) -> tuple[str, Order] | None:
    """Read FORMAT or FORMAT:ORDER."""
    if text is None:
        return None
    name, _, wanted = text.partition(":")
    if name not in FORMATS:
        raise BadInput(f"--fim: expected one of {', '.join(FORMATS)}, got {printable(name)}")
    orders = FORMATS[name].orders
    if "infill" not in kinds:
        raise BadInput("--fim: expected probes to fill in, got none; set --kind infill")
    for order in orders:
        if wanted in ("", order):
            return name, order
    raise BadInput(f"--fim: expected {name}:{f' or {name}:'.join(orders)}, got {printable(text)}")


def _check_output(path: Path, force: bool) -> None:
    if path.is_dir():
        raise BadInput(f"--output: expected a file, got the directory {path}")
    if not path.parent.is_dir():
        raise BadInput(f"--output: expected a file in a directory that exists, got {path}")
    if path.exists() and not force:
        raise BadInput(f"--output: expected a new file, got {path}, which exists; set --force to replace it")


def _load(
    source: str, language: str | None, exclude: Sequence[str], smallest: int, largest: int
) -> corpus.Corpus:
    if os.path.isdir(source):
        return corpus.load(
            "directory",
            source,
            exclude=exclude,
            smallest=smallest,
            largest=largest,
            language=language,
            detect=False,
            keep_files=True,
        )
    if not os.path.isfile(source):
        raise BadInput(
            f"{printable(source)}: expected a file or directory, got a path that does not lead to one"
        )
    if source.endswith(".jsonl"):
        return corpus.load("jsonl", source, detect=False)
    return corpus.load_file(
        source, smallest=smallest, largest=largest, language=language, detect=False, keep_files=True
    )


def _in_options(message: str, source: str) -> str:
    """Put a message about the settings of a recipe into the words of this command."""
    if not os.path.isdir(source):
        message = _EXCLUDE_IT.sub("", message)
    message = message.replace("; say its language", "; set --language")
    return _SETTING.sub(lambda found: "SOURCE" if found[1] == "path" else f"--{found[1]}", message)


def _examples(loaded: corpus.Corpus, source: str, context: int, detect: bool) -> Iterator[Example]:
    """Yield the units as they stand in their files, which is how a model was shown them, with their secrets."""
    above = printable(source) if os.path.isdir(source) else printable(os.path.dirname(source))
    read, lines = "", [""]
    for unit in loaded.units:
        text, before, file = unit.text, "", unit.source
        if unit.kind == "harvested":
            if unit.source != read:
                read, lines = unit.source, loaded.files[unit.source].split("\n")
            first = unit.first_line - 1
            text = "".join(f"{line}\n" for line in lines[first : unit.last_line])
            before = "".join(f"{line}\n" for line in lines[max(0, first - context) : first])
            file = f"{above.rstrip('/')}/{file}" if above else file
        spans = corpus.detected(text, unit.secrets) if detect else unit.secrets
        yield Example(
            text=text,
            language=unit.language,
            secrets=tuple(Secret(start=s.start, end=s.end, kind=s.kind) for s in spans),
            before=before,
            source=Source(file=file, first_line=unit.first_line, last_line=unit.last_line),
        )


def _record(probe: Probe, form: tuple[str, Order] | None) -> dict[str, Any] | None:
    """Return a probe as data, with its prompt if one is asked for; None if it cannot have one, or cannot be met."""
    record = probe.record()
    if form is not None and probe.suffix is not None:
        if middle(probe.target, format=form[0]) != probe.target:
            return None
        try:
            record["prompt"] = prompt(probe.prefix, probe.suffix, format=form[0], order=form[1])
        except HoldsSentinel:
            return None
    return record


def _drawn(
    records: list[tuple[Probe, dict[str, Any]]], limit: int | None, seed: int
) -> list[tuple[Probe, dict[str, Any]]]:
    """Draw by hash, so that more probes only add to fewer, and other examples do not change which are drawn."""
    if limit is None or limit >= len(records):
        return records
    ranks = {probe.id: sha256(f"{seed} {probe.id}".encode()).digest() for probe, _ in records}
    last = sorted(ranks.values())[limit - 1]
    return [pair for pair in records if ranks[pair[0].id] <= last]


def _write(text: str, output: str) -> None:
    """Write all or nothing."""
    if output == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    part = Path(f"{output}.{os.getpid()}.part")
    try:
        try:
            part.write_text(text, encoding="ascii", newline="\n")
            os.replace(part, output)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(f"--output: expected to write {output}, got: {error.strerror}") from None


def _table(kept: Sequence[Probe]) -> Table:
    """How many probes there are of each kind in each language, and how many hold a secret."""
    counts = Counter((probe.language, probe.kind) for probe in kept)
    secrets = Counter(probe.language for probe in kept if probe.secrets)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("language")
    for title in (*KINDS, "with a secret"):
        table.add_column(title, justify="right")
    for name in sorted({probe.language for probe in kept}):
        numbers = [counts[name, kind] for kind in KINDS]
        table.add_row(escape(printable(name)), *(f"{number:,}" for number in [*numbers, secrets[name]]))
    return table
