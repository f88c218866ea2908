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
    reveal: Annotated[
        bool,
        typer.Option("--reveal", help="Do not mask secrets; the file is for its owner alone."),
    ] = False,
) -> None:
    """Make a report of a run or an audit anew from its ledger. Nothing is trained or asked again.

    Examples:

    `memaudit report runs/quickstart`

    `memaudit report runs/quickstart --format md --output -`

    `memaudit report runs/quickstart --format sarif`

    `memaudit report runs/quickstart --reveal`
    """
    from memaudit.documents import (
        DOCUMENTS,
        EXPORTS,
        REVEALABLE,
        conclusion,
        open_ledger,
        render,
        revealed_name,
        write_report,
    )
    from memaudit.sources import printable

    if reveal and form not in REVEALABLE:
        raise BadInput(
            f"--reveal: expected a --format with texts in it ({', '.join(REVEALABLE)}), got {form.value}"
        )
    if reveal and output == "-":
        # What is printed ends in logs and in the scrollback of a terminal.
        raise BadInput("--reveal: expected --output FILE, which only you can read, got -")
    if output == "-":
        if form is Format.parquet:
            raise BadInput("--output: expected a file for --format parquet, which is no text, got -")
        with open_ledger(run) as ledger:
            found = conclusion(ledger, run)
        sys.stdout.write(render(found, form))
        return
    name = (DOCUMENTS | EXPORTS)[form]
    path = Path(output) if output else run / (revealed_name(name) if reveal else name)
    if output and not path.parent.is_dir():
        raise BadInput(f"--output: expected a file in a directory that exists, got {path}")
    write_report(run, form, path, reveal=reveal)
    if reveal:
        print(
            f"warning: {printable(str(path))} holds secrets of the training data as they are; only you can read it: "
            "do not share it",
            file=sys.stderr,
        )
    print(printable(str(path)))
