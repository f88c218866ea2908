"""`memaudit probes`."""

import typer

from memaudit.cli.probes.build import build
from memaudit.cli.probes.canaries import canaries
from memaudit.cli.probes.match import match

app = typer.Typer(help="Build probes, and compare code the way the audit does.", no_args_is_help=True)
app.command("build")(build)
app.command("canaries")(canaries)
app.command("match")(match)


@app.callback()
def _probes() -> None:
    """Build probes, and compare code the way the audit does."""
