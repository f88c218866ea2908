"""The tables and plots of a comparison."""

from collections.abc import Callable, Iterable, Sequence

from reports.comparison import Change, Comparison, PopulationRow, Row, Setting, Side, StagePair
from reports.comparison_statements import staged
from reports.findings import Difference, Exposure
from reports.forest import Line, draw
from reports.grid import Body, Cell, Grid, heads, named, number, text
from reports.phrases import chance, confident, portion, shares
from reports.statement import Name, Part, Quoted, judged
from reports.study_tables import EXPOSURES, signed
from reports.theme import Panel, label

_STRENGTH: tuple[Exposure, ...] = ("direct", "indirect", "none")


def _by_stage(rows: Iterable[Row], cells: Callable[[Row], Sequence[Cell]]) -> list[Body]:
    found: dict[tuple[str, str], tuple[StagePair, list[Sequence[Cell]]]] = {}
    for row in rows:
        found.setdefault((row.stage.a, row.stage.b), (row.stage, []))[1].append(cells(row))
    return [Body(heading=staged(pair), rows=group) for pair, group in found.values()]


def _where(row: Row) -> list[Cell]:
    """The cells that say what a row is about; an audit of a model has no cohorts."""
    if row.cohort is None:
        return [text("all probes")]
    exposures = (row.exposure_a, row.exposure_b)
    if None in exposures:
        return [named(row.cohort)]
    a, b = (EXPOSURES[one] for one in exposures if one is not None)
    words = a if a == b else f"A: {a}; B: {b}"
    return [named(row.cohort), text(words, look=_strongest(row))]


def _wheres(report: Comparison) -> list[str]:
    return ["Cohort", "Exposure"] if report.kind == "run" else ["Of"]


def _strongest(row: Row) -> Exposure:
    met = (row.exposure_a or "direct", row.exposure_b or "direct")
    return next(exposure for exposure in _STRENGTH if exposure in met)


def pairs(report: Comparison) -> Grid:
    """Return what is memorized of the examples that are in both."""
    interval = f"#B − A, points ({confident(report.confidence)} interval)"
    return Grid(
        caption=(
            "Examples that are in both, each beside itself. p: McNemar’s exact test of “only B” against “only A”, "
            "adjusted for the number of rows that were tested (Holm).",
        ),
        head=heads(
            *_wheres(report),
            "#Pairs",
            "#Memorized in both",
            "#Only A",
            "#Only B",
            "#Neither",
            interval,
            "#p, Holm",
        ),
        bodies=_by_stage([row for row in report.rows if row.paired], _paired),
        common="After stage",
        look="compared",
    )


def _paired(row: Row) -> list[Cell]:
    found = row.paired
    assert found is not None
    if found.p_value is None or found.p_adjusted is None:
        p = number("–", aside=f"not tested: {found.untested}")
    else:
        p = number(chance(found.p_adjusted), aside=f"alone: {chance(found.p_value)}")
    same = found.untested == "same checkpoint"
    gap = number(signed(found.difference.value)) if same else _gap(found.difference)
    counts = (found.both, found.only_a, found.only_b, found.neither)
    return [*_where(row), *(number(str(count)) for count in (sum(counts), *counts)), gap, p]


def _gap(found: Difference | None) -> Cell:
    if found is None:
        return number("–", aside="all are paired")
    return text(signed(found.value), aside=f"{shares(found.low, found.high)}", look=f"number {judged(found)}")


def rates(report: Comparison) -> Grid:
    """Return what is memorized of all examples, whether they are in both or not."""
    some = any(row.unpaired for row in report.rows)
    more = [f"#Unpaired: B − A, points ({confident(report.confidence)} interval)"] if some else []

    def cells(row: Row) -> list[Cell]:
        told = [
            number(portion(one.count, one.total), aside=f"{shares(one.low, one.high)} %")
            for one in (row.a, row.b)
        ]
        return [*_where(row), *told, *([_gap(row.unpaired)] if some else [])]

    unpaired = (
        " Unpaired: as if the examples of A and of B had nothing to do with each other; p-values are not given, and "
        "nothing is adjusted for the number of rows."
    )
    return Grid(
        caption=(
            "All examples that each of the two was asked for, with the interval of each rate."
            f"{unpaired if some else ''}",
        ),
        head=heads(*_wheres(report), "#Memorized in A", "#Memorized in B", *more),
        bodies=_by_stage(report.rows, cells),
        common="After stage",
        look="compared",
    )


def forest(report: Comparison, *, paired: bool) -> list[Panel]:
    """Return the differences as a plot: of what is paired, or of what is not."""
    found = [(row, gap) for row in report.rows if (gap := _tested(row) if paired else row.unpaired)]
    lines = [
        Line(
            group=_heading(row.stage),
            name=label(row.cohort) if row.cohort is not None else "all probes",
            exposure=_strongest(row),
            low=100 * gap.low,
            value=100 * gap.value,
            high=100 * gap.high,
            words=f"{signed(gap.value)} points ({shares(gap.low, gap.high)})",
        )
        for row, gap in found
    ]
    above, below = sum(line.low > 0 for line in lines), sum(line.high < 0 for line in lines)
    panel = draw(
        lines,
        "Paired difference" if paired else "Unpaired difference",
        "B minus A, percentage points",
        headings={line.group: line.group for line in lines},
        caption=f"In {above} of {len(lines)} rows the whole interval lies above zero (more is memorized in B), in "
        f"{below} below it.",
    )
    return [] if panel is None else [panel]


def _tested(row: Row) -> Difference | None:
    """The paired difference, where there was something to test."""
    return row.paired.difference if row.paired and row.paired.untested is None else None


def _heading(pair: StagePair) -> str:
    return label(pair.a) if pair.a == pair.b else f"{label(pair.a)} → {label(pair.b)}"


def changes(report: Comparison, found: Sequence[Change], total: int) -> Grid:
    """Return examples that changed, as they stand; `total` is how many there are."""
    secrets = any(change.secret_a is not None for change in found)
    cohorts, times = report.kind == "run", any(change.times_a is not None for change in found)
    kept = f"{len(found)} of {total}, worst first. " if len(found) < total else "Worst first. "
    head = [
        *("Example", "Kind"),
        *(["Cohort"] if cohorts else []),
        *("After stage", "#Distance in A", "#Distance in B"),
        *(["Secret whole"] if secrets else []),
        *(["#To be shown"] if times else []),
    ]
    return Grid(
        caption=(
            f"{kept}Distance: normalised, at level ",
            Name(report.level),
            ", after the first stage named; ≥ where it is a lower bound. Guessed: its control says it as well.",
        ),
        head=heads(*head),
        bodies=[
            Body(rows=[_change(change, cohorts=cohorts, secrets=secrets, times=times) for change in found])
        ],
        look="changes",
    )


def _change(change: Change, *, cohorts: bool, secrets: bool, times: bool) -> list[Cell]:
    rest = [pair for pair in change.stages if pair != change.stage]
    also: list[Part] = [part for pair in rest for part in (", ", *staged(pair))]
    return [
        text(
            Name(change.source),
            f", lines {change.first_line} to {change.last_line}",
            aside=Name(change.example),
        ),
        text(Quoted(change.kind)),
        *([named(change.cohort or "")] if cohorts else []),
        text(*staged(change.stage), aside=("also ", *also[1:]) if also else ()),
        number(_distance(change.distance_a, change.at_least_a), aside=_guessed(change.guessed_a)),
        number(_distance(change.distance_b, change.at_least_b), aside=_guessed(change.guessed_b)),
        *([text(_secret(change))] if secrets else []),
        *([number(_times(change))] if times else []),
    ]


def _distance(value: float, at_least: bool) -> str:
    return f"{'≥ ' if at_least else ''}{value:.3f}"


def _guessed(guessed: bool) -> str:
    return "guessed" if guessed else ""


def _secret(change: Change) -> str:
    if change.secret_a is None:
        return "has none"
    told = [name for name, whole in (("A", change.secret_a), ("B", change.secret_b)) if whole]
    return f"in {' and '.join(told)}" if told else "in neither"


def _times(change: Change) -> str:
    a, b = (("–" if times is None else f"{times} ×") for times in (change.times_a, change.times_b))
    return a if a == b else f"A {a}, B {b}"


def population(report: Comparison) -> Grid:
    """Return which examples are in both."""
    rows = report.population
    unlike = any(row.otherwise_often or row.recut for row in rows)

    def cells(row: PopulationRow) -> list[Cell]:
        counts = [row.both, row.crossed, row.only_a, row.only_b]
        counts += [row.otherwise_often, row.recut] if unlike else []
        who = text("all probes") if row.cohort is None else named(row.cohort)
        return [who, *(number(str(count)) for count in counts)]

    more = ["#Shown otherwise often", "#Cut elsewhere"] if unlike else []
    return Grid(
        caption=(
            "Matched by id and text within a cohort. Other halves: in both, and left out of what is paired.",
        ),
        head=heads(*_wheres(report)[:1], "#Paired", "#Other halves", "#Only in A", "#Only in B", *more),
        bodies=[Body(rows=[cells(row) for row in rows])],
    )


def sides(report: Comparison) -> Grid:
    """Return what the two are."""
    told: list[tuple[str, Callable[[Side], tuple[Part, ...]]]] = [
        ("Directory", lambda one: (Name(one.place),)),
        ("Run" if report.kind == "run" else "Model", lambda one: (Name(one.name),)),
        ("Seed", lambda one: ("–" if one.seed is None else str(one.seed),)),
        ("Corpus", lambda one: ("–",) if one.corpus is None else (Quoted(one.corpus),)),
        ("Examples asked for", lambda one: (str(one.examples),)),
        (
            "Verdicts that flipped",
            lambda one: (portion(one.flips.count, one.flips.total) if one.flips else "–",),
        ),
    ]
    flips = report.a.flips or report.b.flips
    left = {
        *(() if report.kind == "run" else ("Seed", "Corpus")),
        *(() if flips else ("Verdicts that flipped",)),
    }
    kept = [line for line in told if line[0] not in left]
    return Grid(
        caption=(
            "The two."
            + (
                " Flipped: after the compared stages, when the same probes were asked once more."
                if flips
                else ""
            ),
        ),
        head=heads("What", "A", "B"),
        bodies=[
            Body(
                rows=[[text(title), *(text(*of(one)) for one in (report.a, report.b))] for title, of in kept]
            )
        ],
    )


def differing(found: Sequence[Setting], what: str, caption: str) -> Grid:
    """Return settings or versions that differ."""
    rows = [
        [named(row.key), *(named(one) if one is not None else text("–") for one in (row.a, row.b))]
        for row in found
    ]
    return Grid(caption=(caption,), head=heads(what, "A", "B"), bodies=[Body(rows=rows)])
