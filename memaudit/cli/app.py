"""The commands put together, and the one place where an error becomes an exit code."""

import os
import sys

import typer

from memaudit.cli import audit, check, compare, measures, policy, probes, recipe, report, run, study, view
from memaudit.cli.pages import restart_with_huge_pages
from memaudit.cli.terminal import complain
from memaudit.errors import BadInput

app = typer.Typer(
    name="memaudit",
    help="Audit what a code model memorizes while it is aligned, stage by stage.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("run")(run.run)
app.command("study")(study.study)
app.command("audit")(audit.audit)
app.command("measures")(measures.measures)
app.command("report")(report.report)
app.command("view")(view.view)
app.command("compare")(compare.compare)
app.command("check")(check.check)
app.add_typer(probes.app, name="probes")
app.add_typer(recipe.app, name="recipe")
app.add_typer(policy.app, name="policy")


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 a gate does not hold, 2 bad input, 130 interrupted."""
    if sys.argv[1:2] in (["run"], ["audit"]) and "--help" not in sys.argv:
        restart_with_huge_pages()
    try:
        app(prog_name="memaudit")
    except BadInput as error:
        complain(f"error: {error}")
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
