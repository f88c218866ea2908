"""`memaudit view`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def view(
    run: Annotated[Path, typer.Argument(help="Directory of a run or an audit.", metavar="RUN")],
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Of the loopback address; 0 for any that is free."),
    ] = 0,
) -> None:
    """Page through all examples of a run or an audit in a browser, each with all that was said. Ctrl-C ends it.

    The page is served to this machine alone, and only to those who have the address that is printed. It is read from
    the ledger as it is, also while the run goes on; nothing is written. Secrets are masked.

    Examples:

    `memaudit view runs/quickstart`

    `memaudit view runs/quickstart --port 8000`
    """
    from memaudit.serving import Server

    with Server(run, port=port) as server:
        # No browser is started: its command line, and with it the token, is for all users of a machine to read.
        print(server.address, flush=True)
        print(
            "memaudit: open this address in a browser of this machine; Ctrl-C ends it",
            file=sys.stderr,
            flush=True,
        )
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return
