"""`memaudit recipe`."""

from typing import Annotated

import typer

from memaudit.recipe import RECIPES

app = typer.Typer(help="Look at the recipes that come with memaudit.", no_args_is_help=True)


@app.callback()
def _recipes() -> None:
    """Look at the recipes that come with memaudit."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(RECIPES.names())}.")],
) -> None:
    """Print a recipe's TOML, to copy and change.

    Example:

    `memaudit recipe show quickstart > mine.toml && memaudit run mine.toml`
    """
    print(RECIPES.text(name), end="")
