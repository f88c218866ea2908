"""`memaudit run`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from memaudit.cli.terminal import Terminal, complain, table
from memaudit.recipe import load
from memaudit.sources import printable


def run(
    recipe: Annotated[
        str, typer.Argument(metavar="[RECIPE]", help="Name of a built-in recipe, or a TOML file.")
    ] = "quickstart",
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the run.", show_default="runs/NAME of the recipe", metavar="DIR"),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."),
    ] = None,
) -> None:
    """Train the recipe's stages for both twins, audit each, and write the report.

    A run that was stopped, however, goes on from its last saved state when it is started again.

    Examples:

    `memaudit run`

    `memaudit run quickstart --out runs/high-kl --set stages.ppo.kl_coefficient=0.3`

    `memaudit run --out runs/mine --set corpus.source=directory --set corpus.path=src`
    """
    checked = load(recipe, changes or ())
    folder = out or Path("runs") / checked.name
    with Terminal() as terminal:
        # jax takes a second to import: not for --help, nor for a recipe with a typing error.
        from memaudit.documents import DOCUMENTS
        from memaudit.run import run as run_recipe

        try:
            findings = run_recipe(checked, folder, terminal)
        except KeyboardInterrupt:
            complain("interrupted: the same command goes on from the last saved state")
            raise typer.Exit(130) from None
    console = Console()
    console.print(table(findings))
    for form in ("json", "md", "html"):
        console.print(printable(str(folder / DOCUMENTS[form])), markup=False, highlight=False, soft_wrap=True)
