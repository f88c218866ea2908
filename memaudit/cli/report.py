"""`memaudit report`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from memaudit.errors import BadInput


class Format(StrEnum):
    """What a report may be."""

    html = "html"
    md = "md"
    json = "json"
    sarif = "sarif"
    card = "card"
    parquet = "parquet"


def report(
    run: Annotated[Path, typer.Argument(help="Directory of a run or an audit.", metavar="RUN")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.html,
    output: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where to; - for standard output.", show_default="in RUN"),
    ] = None,
) -> None:
    """Make a report of a run or an audit anew from its ledger. Nothing is trained or asked again.

    Examples:

    `memaudit report runs/quickstart`

    `memaudit report runs/quickstart --format md --output -`

    `memaudit report runs/quickstart --format sarif`
    """
    from memaudit.documents import DOCUMENTS, EXPORTS, conclusion, open_ledger, render, write_report

    if output == "-":
        if form is Format.parquet:
            raise BadInput("--output: expected a file for --format parquet, which is no text, got -")
        with open_ledger(run) as ledger:
            found = conclusion(ledger, run)
        sys.stdout.write(render(found, form))
        return
    path = Path(output) if output else run / (DOCUMENTS | EXPORTS)[form]
    if output and not path.parent.is_dir():
        raise BadInput(f"--output: expected a file in a directory that exists, got {path}")
    write_report(run, form, path)
    print(path)
