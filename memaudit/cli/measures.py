"""`memaudit measures`."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit.cli.terminal import plain_table
from memaudit.errors import BadInput

if TYPE_CHECKING:
    from memaudit.measures import Extractable
    from memaudit.measuring import Measures
    from memaudit.roc import Operating
    from memaudit.statistics import Interval, Rate

_NUMBER = re.compile(r"\d{4}\.\d{5}")
_CHANCE = 0.5  # the column of the (n, p) table that is printed; --json has all


def measures(
    run: Annotated[
        Path, typer.Argument(help="Directory of a run, or of an audit with --full.", metavar="RUN")
    ],
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only after this stage.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it, for programs.")] = False,
) -> None:
    """Print every measure of memorization of what is in the ledger. Nothing is asked again.

    Extraction by the rule of arXiv 2406.11715 over thresholds, (n, p)-extraction under samplers, counterfactual and
    k-eidetic memorization, exposure of secrets, and membership attacks with their intervals beside what can be told
    without any model. Tables have the cohorts that were shown to the model, or to one that steered it; --json has all.

    Examples:

    `memaudit measures runs/quickstart`

    `memaudit measures runs/quickstart --stage ppo --json`
    """
    from memaudit.documents import open_ledger
    from memaudit.measuring import measure, plain

    with open_ledger(run) as ledger:
        known = sorted({name for _, name in ledger.walks()})
        if stage is not None and stage not in known:
            raise BadInput(f"--stage: expected one of {', '.join(known)}, got {stage!r}")
        found = measure(ledger)
    if as_json:
        data = plain(found)
        if stage is not None:
            data = {
                name: [row for row in rows if row.get("stage", stage) == stage] for name, rows in data.items()
            }
        print(json.dumps(data, indent=1))
        return
    console = Console()
    for drawn in tables(found, stage):
        if drawn.row_count:
            console.print(drawn)


def tables(found: "Measures", stage: str | None = None) -> Iterator[Table]:
    """The measures for people, of one stage or of all."""

    def of(rows: Sequence) -> list:
        return [row for row in rows if row.exposure != "none" and (stage is None or row.stage == stage)]

    curves = of(found.profile)
    thresholds = [f"{point.threshold:g}" for point in curves[0].points] if curves else []
    table = plain_table(
        "pappu-2024: came out of the model that saw it | of its control | of the first and not of the second, "
        "within distance",
        "stage",
        "cohort",
        *thresholds,
    )
    for row in curves:
        table.add_row(
            escape(row.stage),
            escape(row.cohort),
            *(_counts(point.exposed, point.control, point.counterfactual) for point in row.points),
        )
    yield table

    sampled = of(found.sampled)
    cells = [cell for cell in sampled[0].exposed if cell.chance == _CHANCE] if sampled else []
    table = plain_table(
        f"(n, p)-extraction: n samples hold the target with a chance of {_CHANCE:g} at least, exposed | control",
        "stage",
        "cohort",
        "sampler",
        *(f"n={cell.samples:,}" for cell in cells),
    )
    for row in sampled:
        table.add_row(
            escape(row.stage),
            escape(row.cohort),
            row.sampler,
            *(_pair(*both) for both in _cells(row.exposed, row.control)),
        )
    yield table

    table = plain_table(
        "Membership attacks: members are those that were shown, others the same under the control",
        "stage",
        "cohort",
        "attack",
        "AUC",
        "TPR at 1 % FPR",
        "TPR at 0.1 % FPR",
        "from",
    )
    for row in of(found.attacks):
        table.add_row(
            escape(row.stage),
            escape(row.cohort),
            row.attack,
            _interval(row.area.interval),
            *map(_point, row.points),
            _source(row.source),
        )
    for row in found.blind:
        table.add_row(
            "",
            escape(row.cohort),
            "no model",
            _interval(row.area.interval),
            *map(_point, row.points),
            "2406.16201",
        )
    table.caption = "* fewer others than it takes: at the highest of them, where none of the sample is above"
    yield table

    table = plain_table(
        "Exposure of secrets in bits, and counterfactual memorization (share of tokens)",
        "stage",
        "cohort",
        "what",
        "exposed",
        "control",
        "difference",
    )
    for row in of(found.secrets):
        table.add_row(
            escape(row.stage),
            escape(row.cohort),
            f"exposure of {row.secrets}, {row.references} fillings",
            f"{row.exposed:.2f}",
            f"{row.control:.2f}",
            _interval(row.difference),
        )
    for row in of(found.known):
        table.add_row(
            escape(row.stage),
            escape(row.cohort),
            "counterfactual",
            f"{row.exposed:.3f}",
            f"{row.control:.3f}",
            _interval(row.difference),
        )
    yield table

    rare = of(found.rare)
    ks = [f"k={count.documents}" for count in rare[0].counts] if rare else []
    table = plain_table(
        "k-eidetic: clusters that came out, of those in at most k documents", "stage", "cohort", *ks
    )
    for row in rare:
        table.add_row(escape(row.stage), escape(row.cohort), *(_counts(count.rate) for count in row.counts))
    yield table


def _source(text: str) -> str:
    """The number of a paper, where the source is one."""
    found = _NUMBER.search(text)
    return found[0] if found and not text.startswith("memaudit") else "ours"


def _counts(*rates: "Rate | None") -> str:
    given = [rate for rate in rates if rate is not None]
    return f"{' | '.join(str(rate.count) for rate in given)} of {given[0].total}"


def _cells(
    exposed: "Sequence[Extractable]", control: "Sequence[Extractable] | None"
) -> Iterator[tuple["Rate", "Rate | None"]]:
    for place, cell in enumerate(exposed):
        if cell.chance == _CHANCE:
            yield cell.rate, control[place].rate if control else None


def _pair(exposed: "Rate", control: "Rate | None") -> str:
    return f"{exposed.count} | {control.count}" if control else str(exposed.count)


def _interval(interval: "Interval") -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _point(point: "Operating") -> str:
    rate = point.true_positives
    mark = "" if point.resolved else "*"
    return f"{100 * rate.value:.0f} % ({100 * rate.low:.0f} to {100 * rate.high:.0f}){mark}"
