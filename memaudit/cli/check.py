"""`memaudit check`."""

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit.errors import BadInput
from memaudit.policy import POLICIES, load
from memaudit.sources import printable
from reports.document import render_json
from reports.escape import visible
from reports.gate import Gate
from reports.gate_markdown import render_gate_markdown
from reports.gate_statements import bound, ordered, outcome, places, plain, sentences, short, subject, title
from reports.junit import render_junit
from reports.statement import Part

_RENDERERS: dict[str, Callable[[Gate], str]] = {
    "--junit": render_junit,
    "--json": render_json,
    "--md": render_gate_markdown,
}
_WIDE = 10_000  # columns: a line of a log is not folded


def check(
    run: Annotated[Path, typer.Argument(help="Directory of a run or an audit.", metavar="RUN")],
    policy: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help=f"TOML file of rules, or the name of a built-in policy: {', '.join(POLICIES.names())}.",
        ),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A run or an audit that the rule `regression` compares with."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write JUnit XML: a test case for each rule.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all numbers as JSON.")] = None,
    md: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write Markdown, for a pull request.")
    ] = None,
) -> None:
    """Hold a run or an audit against a policy: a gate for CI.

    Exit code 0: all rules hold; 1: one does not, or could not be applied; 2: bad input. It is the upper end of an
    interval that is judged, never the estimate. Nothing is trained or asked again, and no text of an example is shown.

    Examples:

    `memaudit check runs/quickstart --policy user-code`

    `memaudit check runs/new --policy policy.toml --baseline runs/old --junit gate.xml --md gate.md`
    """
    checked = load(policy)
    wanted = {"--junit": junit, "--json": json, "--md": md}
    files = {option: path for option, path in wanted.items() if path is not None}
    for option, path in files.items():
        if path.is_dir() or not path.parent.is_dir():
            raise BadInput(
                f"{option}: expected a file in a directory that exists, got {printable(str(path))}"
            )
    # numpy and scipy take a while to import: not for a policy with a typing error.
    from memaudit.documents import open_ledger, write_whole
    from memaudit.gate import check as hold

    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(run))
        beside = None if baseline is None else (stack.enter_context(open_ledger(baseline)), baseline)
        gate = hold(ledger, run, checked, baseline=beside, command=_command(run, policy, baseline))
    for option, path in files.items():
        write_whole(path, _RENDERERS[option](gate), option=option)
    show(gate, Console(width=_WIDE))
    if not gate.passed:
        raise typer.Exit(1)


def _command(run: Path, policy: str, baseline: Path | None) -> str:
    words = ["memaudit", "check", str(run), "--policy", policy]
    words += [] if baseline is None else ["--baseline", str(baseline)]
    return printable(shlex.join(words))


def show(gate: Gate, console: Console) -> None:
    """Print a gate for people: a line for each rule, failing ones first, and what is behind those that fail."""
    for parts in (title(gate), subject(gate)):
        console.print(_shown(parts), highlight=False)
    console.print(_table(gate))
    for row in ordered(gate):
        if not row.passed:
            console.print(escape(f"{_plain(row.name)} ({row.rule}: {row.quantity})"), highlight=False)
            for parts in sentences(row):
                console.print(f"  {_shown(parts)}", highlight=False)
            if row.why:
                console.print(f"  Why: {escape(_plain(row.why))}", highlight=False)
    if gate.not_shown:
        console.print("\nWhat this does not show:", highlight=False)
        for said in gate.not_shown:
            console.print(f"  - {escape(_plain(said))}", highlight=False)


def _table(gate: Gate) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("", "rule", "measured", "bound", "where"):
        table.add_column(name, no_wrap=True)
    for row in ordered(gate):
        cells = (_shown(short(row)), escape(bound(row)), _shown(places(row)))
        table.add_row(outcome(row), escape(_plain(row.name)), *cells)
    return table


def _shown(parts: list[Part]) -> str:
    return escape(_plain(plain(parts)))


def _plain(text: str) -> str:
    """Names can hold what a terminal would act on."""
    return visible(text, lines=False)
