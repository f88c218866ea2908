"""`memaudit audit`."""

import json
import os
import re
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit.cli.terminal import Terminal, complain
from memaudit.errors import BadInput
from memaudit.sources import printable
from probes import VERDICT_LEVELS

if TYPE_CHECKING:
    from reports import Tally


class Kind(StrEnum):
    """What asks a model folder."""

    auto = "auto"
    jax = "jax"
    transformers = "transformers"


def audit(
    model: Annotated[
        str,
        typer.Option(metavar="PATH|URL", help="Model folder, or address of an OpenAI-compatible endpoint."),
    ],
    probes: Annotated[
        Path, typer.Option(metavar="FILE", help="Probes, as `memaudit probes build` writes them.")
    ],
    control: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL", help="A model that has not seen the texts: what it says too was guessed."
        ),
    ] = None,
    levels: Annotated[
        str, typer.Option(metavar="LEVELS", help="At which completions are compared, by commas.")
    ] = ",".join(VERDICT_LEVELS),
    threshold: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Normalised distance up to which a completion is a near copy."),
    ] = 0.1,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Decode every completion to its end, and score every target: all distances, and what "
            "`memaudit measures` needs.",
        ),
    ] = False,
    verdicts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write each probe's completion and verdicts, one JSON object a line."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory of the audit.", show_default="audits/NAME of the model"),
    ] = None,
    backend: Annotated[Kind, typer.Option(help="What asks a model folder.")] = Kind.auto,
    batch: Annotated[
        int, typer.Option(metavar="N", help="Probes asked at once; fewer where they are long.")
    ] = 64,
    twice: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of probes asked once more, in another order and batch size."
        ),
    ] = 0.1,
    served: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Model at the endpoint.", show_default="the one that it has"),
    ] = None,
    parallel: Annotated[int, typer.Option(metavar="N", help="Requests sent to an endpoint at once.")] = 4,
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", help="Requests a second to an endpoint.", show_default="any number"),
    ] = None,
) -> None:
    """Put probes to a finished model, and say which of their targets it has memorized.

    Stopped, however, it goes on with the probes that are open when the same command is given again. A key for an
    endpoint is read from the environment variable MEMAUDIT_API_KEY. The directory and the file of verdicts hold
    completions as they are, secrets included.

    Examples:

    `memaudit probes build src -o probes.jsonl`

    `memaudit audit --model models/tuned --control models/base --probes probes.jsonl --verdicts verdicts.jsonl`

    `memaudit audit --model http://localhost:8000/v1 --probes probes.jsonl --rate 5`
    """
    _check(levels, threshold, batch, twice, parallel, rate, verdicts)
    folder = out or Path("audits") / _name_of(model)
    with Terminal() as terminal:
        # jax takes a second to import: not for --help, nor for a typing error.
        from memaudit.audit import Terms
        from memaudit.audit import audit as run_audit
        from memaudit.backends.opening import Manner, open_backend
        from memaudit.documents import write_documents
        from memaudit.rules import Audit
        from memaudit.tally import tally, verdict_lines
        from rlhf.sampling import Sampler

        terms = Terms(levels=tuple(levels.split(",")), threshold=threshold, full=full, twice=twice)
        manner = Manner(
            kind=backend.value,
            batch=batch,
            samplers=tuple(Sampler(**s.model_dump()) for s in Audit().samplers) if full else (),
            served=served,
            parallel=parallel,
            rate=rate,
        )
        try:
            asked = open_backend(model, manner)
            beside = None if control is None else open_backend(control, manner)
            with run_audit(str(probes), asked, beside, folder, terms, terminal) as ledger:
                found = tally(ledger)
                if verdicts is not None:
                    _write(verdicts, verdict_lines(ledger))
        except KeyboardInterrupt:
            complain("interrupted: the same command goes on with the probes that are open")
            raise typer.Exit(130) from None
        paths = write_documents(found, folder)
    console = Console()
    console.print(table(found))
    for path in [*paths, *([verdicts] if verdicts else [])]:
        console.print(printable(str(path)), markup=False, highlight=False, soft_wrap=True)


def _name_of(model: str) -> str:
    """A directory's name for a model: the last part of its path, or the host of its address."""
    name = re.sub(r"^https?://([^/@]*@)?", "", model) if "://" in model else Path(model).absolute().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"


def _check(
    levels: str,
    threshold: float,
    batch: int,
    twice: float,
    parallel: int,
    rate: float | None,
    verdicts: Path | None,
) -> None:
    named = levels.split(",")
    wrong = [level for level in named if level not in VERDICT_LEVELS]
    if wrong or "exact" not in named or len(set(named)) < len(named):
        raise BadInput(
            f"--levels: expected some of {','.join(VERDICT_LEVELS)}, exact among them and none twice, got "
            f"{printable(levels)}"
        )
    if not 0 <= threshold < 1:
        raise BadInput(f"--threshold: expected a share from 0 and below 1, got {threshold:g}")
    if not 0 <= twice <= 1:
        raise BadInput(f"--twice: expected a share from 0 to 1, got {twice:g}")
    for option, number in (("--batch", batch), ("--parallel", parallel)):
        if number < 1:
            raise BadInput(f"{option}: expected 1 or more, got {number}")
    if rate is not None and not rate > 0:
        raise BadInput(f"--rate: expected more than 0 requests a second, got {rate:g}")
    if verdicts is not None and (verdicts.is_dir() or not verdicts.parent.is_dir()):
        raise BadInput(
            f"--verdicts: expected a file in a directory that exists, got {printable(str(verdicts))}"
        )


def _write(path: Path, records: Iterator[dict]) -> None:
    """Write all or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            with part.open("w", encoding="ascii", newline="\n") as stream:
                # In ASCII no character but the line end can pass for one.
                stream.writelines(f"{json.dumps(record)}\n" for record in records)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(
            f"--verdicts: expected to write {printable(str(path))}, got: {error.strerror}"
        ) from None


def table(found: "Tally") -> Table:
    """Levels by definition, for each kind of probe: model | control, and what was noise."""
    control = " | of its control" if any(row.control for row in found.rows) else ""
    drawn = Table(
        title=f"Came out of the model{control}, within distance {found.threshold:g}",
        caption=None if control else "no control: what comes out may have been guessed",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column("probes", no_wrap=True)
    for title in ("level", "near", "equal", "secret whole", "verdicts that flipped"):
        drawn.add_column(title, no_wrap=True, justify="left" if title == "level" else "right")
    groups = dict.fromkeys((row.stage, row.step, row.kind, row.level) for row in found.rows)
    for stage, step, kind, level in groups:
        rows = {
            row.definition: row
            for row in found.rows
            if (row.stage, row.step, row.kind, row.level) == (stage, step, kind, level)
        }
        near = rows["near"]
        drawn.add_row(
            escape(f"{kind} ({near.model.total:,})"),
            level,
            *(
                f"{row.model.count:,}" + (f" | {row.control.count:,}" if row.control else "")
                if (row := rows.get(name))
                else ""
                for name in ("near", "equal", "secret")
            ),
            f"{near.flips.count} of {near.flips.total}" if near.flips else "",
        )
    return drawn
