"""`memaudit compare`."""

import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from memaudit.errors import BadInput
from memaudit.sources import printable
from reports.comparison import Change, Comparison, Row, StagePair
from reports.comparison_html import render_comparison_html
from reports.comparison_markdown import render_comparison_markdown
from reports.comparison_statements import statements
from reports.document import render_json
from reports.escape import visible
from reports.findings import Difference
from reports.phrases import chance, shares
from reports.statement import Statement
from reports.study_tables import signed

_WIDTH = 100  # of a table in a file
_WORDS = ("stage", "cohort", "example", "secret whole")  # columns that hold no numbers
_LISTED = 10  # examples of each list that are printed; the other formats have more


class Format(StrEnum):
    """What a comparison may be."""

    table = "table"
    md = "md"
    html = "html"
    json = "json"


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Directory of a run or of an audit.")],
    run_b: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_B", help="The one that is set beside it; the same, to compare its stages."
        ),
    ],
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare after this stage; A=B where it is called differently in the two. May be repeated.",
            show_default="all whose name both have",
        ),
    ] = None,
    level: Annotated[str, typer.Option(metavar="LEVEL", help="At which completions are compared.")] = "exact",
    definition: Annotated[
        str, typer.Option(metavar="NAME", help="Of memorization: near, equal or secret.")
    ] = "near",
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.table,
    output: Annotated[str, typer.Option(metavar="FILE", help="Where to; - for standard output.")] = "-",
) -> None:
    """Compare two runs, or two audits of models: what became memorized from A to B, and what no longer is.

    Examples that are in both are paired, with exact tests that are adjusted for their number. Where none is in both,
    the difference of the two rates is given with its interval, unpaired. The runs of a study are runs like any other.
    Nothing is trained or asked again, and no text of an example is shown.

    Examples:

    `memaudit compare runs/before runs/after`

    `memaudit compare runs/before runs/after --format html --output changes.html`

    `memaudit compare runs/kl/base-1 runs/kl/base-1 --stage ppo=ppo-kl-0`
    """
    if output != "-" and (Path(output).is_dir() or not Path(output).parent.is_dir()):
        raise BadInput(f"--output: expected a file in a directory that exists, got {printable(output)}")
    from memaudit.comparison import compare as compare_ledgers
    from memaudit.documents import open_ledger, write_whole

    with open_ledger(run_a) as first, open_ledger(run_b) as second:
        found = compare_ledgers(
            (first, second),
            (run_a, run_b),
            stages=stage or (),
            level=level,
            definition=definition,
            command=_command(run_a, run_b, stage or (), level, definition),
        )
    if form is Format.table and output == "-":
        show(found, Console())
        return
    text = _rendered(found, form)
    if output == "-":
        sys.stdout.write(text)
        return
    write_whole(Path(output), text, option="--output")
    print(printable(output))


def _command(run_a: Path, run_b: Path, stages: Sequence[str], level: str, definition: str) -> str:
    words = [
        "memaudit",
        "compare",
        str(run_a),
        str(run_b),
        *(word for name in stages for word in ("--stage", name)),
    ]
    words += [] if level == "exact" else ["--level", level]
    words += [] if definition == "near" else ["--definition", definition]
    return printable(shlex.join(words))


def _rendered(found: Comparison, form: Format) -> str:
    if form is Format.table:
        drawn = io.StringIO()
        show(found, Console(file=drawn, width=_WIDTH, color_system=None))
        return drawn.getvalue()
    render = {
        Format.md: render_comparison_markdown,
        Format.html: render_comparison_html,
        Format.json: render_json,
    }[form]
    return render(found)


def show(found: Comparison, console: Console) -> None:
    """Print a comparison for people: what is shown, the tables, and the worst of what changed."""
    for side, name in ((found.a, "A"), (found.b, "B")):
        console.print(
            escape(f"{name}: {_plain(side.name)} in {_plain(side.place)}"), highlight=False, soft_wrap=True
        )
    console.print()
    for said in statements(found):
        console.print(escape(_sentence(said)), highlight=False)
    for drawn in tables(found):
        if drawn.row_count:
            console.print()
            console.print(drawn)


def tables(found: Comparison) -> Iterator[Table]:
    """The tables of a comparison: pairs, rates, and the examples that changed."""
    yield _pairs(found)
    if any(row.unpaired for row in found.rows):
        yield _unpaired(found)
    yield _changes("Became memorized: in B, and not in A", found.became, found.became_total)
    yield _changes("No longer memorized: in A, and not in B", found.gone, found.gone_total)


def _table(title: str, *columns: str, caption: str | None = None) -> Table:
    table = Table(
        title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False,
        title_justify="left", caption_justify="left",
    )  # fmt: skip
    for name in columns:
        left = name in _WORDS
        table.add_column(
            name, justify="left" if left else "right", no_wrap=not left, overflow="fold", min_width=8 * left
        )
    return table


def _marks(found: Comparison) -> str | None:
    return "( ) not shown to either yet   * only indirectly" if found.kind == "run" else None


def _pairs(found: Comparison) -> Table:
    table = _table(
        "Paired: memorized in both, only in A, only in B",
        *("stage", "cohort", "pairs", "both", "A", "B", "B − A, points", "p, Holm"),
        caption=_marks(found),
    )
    for row in found.rows:
        if (pairs := row.paired) is not None:
            counts = (pairs.both, pairs.only_a, pairs.only_b)
            table.add_row(
                *_where(row),
                *map(str, (sum(counts) + pairs.neither, *counts)),
                pairs.untested or _points(pairs.difference),
                "" if pairs.p_adjusted is None else chance(pairs.p_adjusted),
            )
    return table


def _unpaired(found: Comparison) -> Table:
    table = _table(
        "Unpaired: memorized, of all examples of each",
        *("stage", "cohort", "in A", "in B", "B − A, points"),
        caption=_marks(found),
    )
    for row in found.rows:
        if row.unpaired is not None:
            counts = [f"{rate.count} of {rate.total}" for rate in (row.a, row.b)]
            table.add_row(*_where(row), *counts, _points(row.unpaired))
    return table


def _changes(title: str, changes: Sequence[Change], total: int) -> Table:
    shown = changes[:_LISTED]
    table = _table(
        f"{title} ({f'{len(shown)} of {total}, ' if len(shown) < total else ''}worst first)",
        *("example", "cohort", "stage", "distance, A", "B", "secret whole"),
    )
    for change in shown:
        whole = [name for name, out in (("A", change.secret_a), ("B", change.secret_b)) if out]
        table.add_row(
            escape(f"{_plain(change.source)}:{change.first_line}-{change.last_line}"),
            escape(_plain(change.cohort or "")),
            _stage(change.stage),
            *(
                f"{'≥ ' if bound else ''}{distance:.3f}{' guessed' if guessed else ''}"
                for distance, bound, guessed in (
                    (change.distance_a, change.at_least_a, change.guessed_a),
                    (change.distance_b, change.at_least_b, change.guessed_b),
                )
            ),
            f"in {' and '.join(whole)}" if whole else "",
        )
    return table


def _where(row: Row) -> tuple[str, str]:
    cohort = "all probes" if row.cohort is None else escape(_plain(row.cohort))
    met = {row.exposure_a, row.exposure_b}
    if met == {"none"}:
        cohort = f"({cohort})"
    elif "direct" not in met and "indirect" in met:
        cohort = f"*{cohort}"
    return _stage(row.stage), cohort


def _stage(pair: StagePair) -> str:
    names = [escape(_plain(name)) for name in dict.fromkeys((pair.a, pair.b))]
    return " →\n".join(names)


def _points(found: Difference) -> str:
    return f"{signed(found.value)} ({shares(found.low, found.high)})"


def _sentence(said: Statement) -> str:
    return _plain(f"{said.topic}: {said}")


def _plain(text: str) -> str:
    """Names can hold what a terminal would act on."""
    return visible(text, lines=False)
