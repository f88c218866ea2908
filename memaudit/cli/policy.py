"""`memaudit policy`."""

from typing import Annotated

import typer

from memaudit.policy import POLICIES

app = typer.Typer(help="Look at the policies that come with memaudit.", no_args_is_help=True)


@app.callback()
def _policies() -> None:
    """Look at the policies that come with memaudit."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(POLICIES.names())}.")],
) -> None:
    """Print a policy's TOML, to copy and change.

    Example:

    `memaudit policy show user-code > policy.toml && memaudit check runs/quickstart --policy policy.toml`
    """
    print(POLICIES.text(name), end="")
