"""`memaudit study`."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit.cli.terminal import Terminal, complain, plain_table
from memaudit.sources import printable
from memaudit.study.design import load

if TYPE_CHECKING:
    from memaudit.study.conduct import Row, Schedule
    from reports.study import ClaimRow, Estimate, PowerRow


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY", help="TOML file of the study.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of its runs.", show_default="runs/NAME of the study", metavar="DIR"),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is to be done and what it could see, and stop.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where stages are trained: processes of this machine, or a Ray cluster."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Stages at a time, a thread each.",
            show_default="as many as there are CPUs",
        ),
    ] = None,
    address: Annotated[
        str,
        typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; `auto` finds the one of this machine."),
    ] = "auto",
) -> None:
    """Run a recipe with arms, seeds and twins, and say what came of the claims that were stated beforehand.

    Stages that arms have in common are trained once. It prints its plan first; a study that was stopped, however, goes
    on with what is missing. It ends with the claims, each with its interval, and writes a report.

    Examples:

    `memaudit study studies/pappu-2024/study.toml --plan`

    `memaudit study studies/pappu-2024/study.toml --workers 8`
    """
    design, text = load(file)
    folder = out or Path("runs") / design.name
    with Terminal() as terminal:
        # jax takes a second to import: not for --help, nor for a study with a typing error.
        from memaudit.documents import write_documents
        from memaudit.study.claims import check
        from memaudit.study.cluster import cluster
        from memaudit.study.conduct import conduct, schedule
        from memaudit.study.engines import local
        from memaudit.study.power import power
        from memaudit.study.report import report

        planned = schedule(design, text, folder, terminal)
        cells = list({row.cell.name: row.cell for row in planned.rows}.values())
        check(design, cells)
        count = workers or os.cpu_count() or 1
        console = Console()
        console.print(_stages(planned.rows))
        if design.claims:
            console.print(_powers(power(design, cells)))
        console.print(_outlook(planned, count), highlight=False, soft_wrap=True)
        if plan:
            return
        try:
            if planned.missing:
                with local(count) if engine == "local" else cluster(address, workers) as used:
                    conduct(planned, used, terminal, design.name)
        except KeyboardInterrupt:
            complain("interrupted: the same command goes on with the stages that are missing")
            raise typer.Exit(130) from None
        terminal.say("reading the ledgers")
        found = report(design, cells, folder, printable(shlex.join(["memaudit", "study", str(file)])))
    if found.claims:
        console.print(_claims(found.claims))
    for path in write_documents(found, folder):
        console.print(printable(str(path)), markup=False, highlight=False, soft_wrap=True)


def _stages(rows: "Sequence[Row]") -> Table:
    table = plain_table("What is to be trained", "stage", "arms", "to do", "done", "s each")
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        # The runs of one group of arms differ in their seed, and in arms that have fewer seeds.
        groups.setdefault((row.leg.stage, row.arms[0]), []).append(row)
    for (stage, first), group in groups.items():
        others = max(len(row.arms) for row in group) - 1
        table.add_row(
            escape(stage),
            escape(first) + (f" and {others} more" if others else ""),
            str(sum(not row.done for row in group)),
            str(sum(row.done for row in group)),
            f"{sum(row.seconds for row in group) / len(group):.0f}",
        )
    return table


def _powers(rows: "Sequence[PowerRow]") -> Table:
    table = plain_table(
        "Smallest true difference seen with a chance of 80 %",
        "claim",
        "unit",
        "examples a seed",
        "seeds",
        "difference",
    )
    for row in rows:
        seen = "none" if row.detectable is None else _number(row.detectable, row.unit)
        table.add_row(escape(row.claim), row.unit, str(row.examples), str(row.seeds), seen)
    return table


def _outlook(planned: "Schedule", workers: int) -> str:
    missing = len(planned.missing)
    if not missing:
        return f"{len(planned.rows)} stages, all done."
    return (
        f"{missing} stages to train, {len(planned.rows) - missing} done, {planned.shared} spared because arms share "
        f"them: about {planned.seconds(workers) / 60:.0f} min with {workers} worker{'s' if workers > 1 else ''}."
    )


def _claims(rows: "Sequence[ClaimRow]") -> Table:
    table = plain_table(
        "What came of the claims", "claim", "expected", "measured", "95 % interval", "p", "verdict"
    )
    for row in rows:
        value, interval = _estimate(row.estimate, row.unit) if row.estimate else ("", "")
        p = row.p_adjusted if row.p_adjusted is not None else row.estimate.p_value if row.estimate else None
        table.add_row(
            escape(row.name),
            escape(row.expected),
            value,
            interval,
            "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
            row.verdict,
        )
    return table


def _estimate(estimate: "Estimate", unit: str) -> tuple[str, str]:
    low, high = (_number(bound, unit) if abs(bound) < 1e6 else "?" for bound in (estimate.low, estimate.high))
    return _number(estimate.value, unit), f"{low} to {high}"


def _number(value: float, unit: str) -> str:
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.2f}"
