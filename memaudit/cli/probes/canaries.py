"""`memaudit probes canaries`."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from memaudit.errors import BadInput
from memaudit.sources import printable
from probes.canaries import KINDS, Canary, plan
from probes.safety import check


def canaries(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write the texts, a .jsonl corpus."),
    ],
    count: Annotated[int, typer.Option(help="How many canaries.")] = 60,
    seed: Annotated[int, typer.Option(help="Every random choice follows from it.")] = 0,
    strata: Annotated[
        str, typer.Option(metavar="N,N,...", help="How often to show a canary; each gets an equal share.")
    ] = "1,4,16,64",
    registry: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write what is known of each canary.",
            show_default="OUTPUT with .registry.jsonl",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Write synthetic secrets in code, safe by construction, to train on and to look for.

    The output has a line `{"text", "language", "id", "secrets"}` for each canary, and is a corpus for
    `memaudit run --set corpus.source=jsonl`. The registry has a line with the same id that says how often a canary is
    to be shown (`repetition`) and to which twin (`half`), its kind, template and slot, and the text of its control,
    the same with another secret, which no model must see. Keep the registry out of the training data.

    Examples:

    `memaudit probes canaries -o canaries.jsonl`

    `memaudit probes canaries --count 200 --seed 7 --strata 1,10,100 -o canaries.jsonl --registry kept/registry.jsonl`
    """
    repetitions = _repetitions(strata)
    if count < 1:
        raise BadInput(f"--count: expected at least 1, got {count}")
    if seed < 0:
        raise BadInput(f"--seed: expected at least 0, got {seed}")
    _check_target("--output", output, force)
    registry = registry or output.with_suffix(".registry.jsonl")
    _check_target("--registry", registry, force)
    if output.resolve() == registry.resolve():
        raise BadInput(f"--registry: expected another file than --output, got {output} for both")
    try:
        planned = plan(count=count, seed=seed, strata=repetitions)
    except ValueError as error:
        raise BadInput(f"--count: {error}; set --count lower, or another --seed") from None
    for canary in planned:
        if reasons := check(canary):
            raise RuntimeError(
                f"canary {canary.id} is not safe, and nothing was written: {'; '.join(reasons)}"
            )
    _write({output: map(_line, planned), registry: map(_entry, planned)})
    console = Console()
    console.print(_table(planned, repetitions))
    for path in (output, registry):
        console.print(printable(str(path)), markup=False, highlight=False, soft_wrap=True)


def _repetitions(strata: str) -> list[int]:
    parts = [part.strip() for part in strata.split(",")]
    if not all(re.fullmatch(r"0*[1-9][0-9]{0,8}", part, re.ASCII) for part in parts):
        raise BadInput(
            "--strata: expected numbers from 1 to 999999999 with commas between, such as 1,4,16,64, "
            f"got {_brief(strata)}"
        )
    repetitions = sorted(map(int, parts))
    if len(set(repetitions)) < len(repetitions):
        raise BadInput(f"--strata: expected every number once, got {_brief(strata)}")
    return repetitions


def _brief(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _check_target(option: str, path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise BadInput(f"{option}: expected a file in a directory that exists, got {path}")
    try:
        exists = path.exists()
    except OSError as error:
        raise BadInput(f"{option}: expected the name of a file, got {path}: {error.strerror}") from None
    if exists and not path.is_file():
        got = "a directory" if path.is_dir() else "no regular file"
        raise BadInput(f"{option}: expected a file, got {path}, which is {got}")
    if exists and not force:
        raise BadInput(
            f"{option}: expected a file that is not there yet, got {path}; set --force to replace it"
        )


def _line(canary: Canary) -> dict[str, Any]:
    """What the reader of .jsonl corpora takes, and no more."""
    secret = canary.secret
    return {
        "id": canary.id,
        "language": canary.language,
        "text": canary.text,
        "secrets": [{"start": secret.start, "end": secret.end, "kind": secret.kind}],
    }


def _entry(canary: Canary) -> dict[str, Any]:
    slot = canary.slot
    return {
        "id": canary.id,
        "half": canary.half,
        "repetition": canary.repetition,
        "kind": canary.kind,
        "template": canary.template,
        "language": canary.language,
        "secret": [canary.secret.start, canary.secret.end],
        "slot": {
            "start": slot.start,
            "end": slot.end,
            "form": slot.form,
            "number": slot.number,
            "size": slot.size,
            "bits": slot.bits,
        },
        "text": canary.text,
        "control": canary.control,
    }


def _write(files: dict[Path, Iterable[dict[str, Any]]]) -> None:
    """Write all files, or none: they lie complete beside their places before the first takes its place."""
    beside = {path: path.with_name(f"{path.name}.{os.getpid()}.partial") for path in files}
    try:
        for path, records in files.items():
            lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            beside[path].write_text("".join(lines), encoding="utf-8", newline="\n")
        for path, partial in beside.items():
            partial.replace(path)
    except OSError as error:
        where = error.filename or next(iter(files))
        raise BadInput(f"{where}: expected to write it, got: {error.strerror}; make it writable") from None
    finally:
        for partial in beside.values():
            partial.unlink(missing_ok=True)


def _table(planned: Sequence[Canary], repetitions: Sequence[int]) -> Table:
    """Kinds by strata: how many are for twin A | twin B."""
    cells = Counter((c.kind, c.repetition, c.half) for c in planned)
    table = Table(title="Canaries for twin A | twin B", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    for repetition in repetitions:
        table.add_column(f"shown {repetition}x", justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    rows = [[kind] for kind in KINDS if any(c.kind == kind for c in planned)] + [list(KINDS)]
    for kinds in rows:
        counts = [
            [sum(cells[kind, repetition, half] for kind in kinds) for half in "AB"]
            for repetition in repetitions
        ]
        counts.append([sum(column) for column in zip(*counts, strict=True)])
        table.add_row(kinds[0] if len(kinds) == 1 else "all", *(f"{a} | {b}" for a, b in counts))
    return table
