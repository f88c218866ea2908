"""The tables of a study: what came out, what became of it, and what was run."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from reports.findings import Difference, Exposure
from reports.grid import Body, Cell, Grid, grouped, heads, named, number, text
from reports.phrases import between, chance, confident, nats, plain, portion, quantity, share, shares
from reports.statement import Name, Part, Quoted, judged
from reports.study import ArmRow, CellRow, DoseRow, Estimate, LadderRow, StudyReport, SurvivalRow

EXPOSURES: dict[Exposure, str] = {"direct": "shown", "indirect": "only indirectly", "none": "not shown yet"}
"""How a model met a cohort."""
LEVEL = "exact"
"""The level whose numbers the page shows; the ladder compares the others with it."""


class _OfArm(Protocol):
    @property
    def arm(self) -> str: ...


Row = TypeVar("Row", bound=_OfArm)


def by_arm(report: StudyReport, rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of the arms, and else as they come."""
    found = list(rows)
    order = list(dict.fromkeys([*(arm.name for arm in report.arms), *(row.arm for row in found)]))
    return sorted(found, key=lambda row: order.index(row.arm))


def cells(report: StudyReport, kind: str, definition: str) -> list[CellRow]:
    """Return what came out of examples of a kind by a definition, at the page's level."""
    chosen = (kind, definition, LEVEL)
    return [row for row in report.cells if (row.kind, row.definition, row.level) == chosen]


def outcomes(report: StudyReport, kind: str, definition: str, caption: str) -> Grid:
    """Return exposed against control, by arm and stage, a column for each cohort."""
    rows = by_arm(report, cells(report, kind, definition))
    cohorts = list(dict.fromkeys(row.cohort for row in rows))
    found: dict[tuple[str, str], dict[str, CellRow]] = {}
    for row in rows:
        found.setdefault((row.arm, row.stage), {})[row.cohort] = row
    lines = [
        (arm, [named(stage), *(_outcome(there.get(cohort)) for cohort in cohorts)])
        for (arm, stage), there in found.items()
    ]
    return Grid(
        caption=(
            f"{caption} Exposed against control of all, over all seeds, and the paired difference in percentage "
            f"points with its {confident(report.confidence)} interval.",
        ),
        head=[text("After stage"), *(text("Cohort ", Name(cohort)) for cohort in cohorts)],
        bodies=grouped(lines),
        common="Arm",
        look="outcomes",
    )


def _outcome(row: CellRow | None) -> Cell:
    if row is None:
        return text("–", look="blank")
    gap = row.difference
    return text(
        f"{row.exposed} against {row.control} of {row.total}",
        aside=f"{signed(gap.value)} points ({shares(gap.low, gap.high)})",
        tag=EXPOSURES[row.exposure],
        look=f"{row.exposure} {_judged(gap)}",
    )


def signed(value: float) -> str:
    """Write a difference of shares with its sign."""
    written = share(value)
    return f"+{written}" if value > 0 and not written.startswith("<") else written


def _judged(found: Estimate) -> str:
    return judged(Difference(value=found.value, low=found.low, high=found.high))


def sweeps(report: StudyReport) -> Grid:
    """Return the points of every sweep."""
    bodies = [
        Body(
            heading=(Name(sweep.claim), " ", Quoted(sweep.title), ", by ", Quoted(sweep.setting)),
            rows=[
                [
                    text(Quoted(point.label)),
                    named(point.arm),
                    number(quantity(point.estimate.value, sweep.unit)),
                    number(between(point.estimate.low, point.estimate.high, sweep.unit)),
                    number(by_seed(point.estimate, sweep.unit)),
                ]
                for point in sweep.points
            ],
        )
        for sweep in report.sweeps
        if sweep.points
    ]
    head = heads("Setting", "Arm", "#Measured", f"#{confident(report.confidence)} interval", "#By seed")
    return Grid(caption=("Over all seeds, and by seed.",), head=head, bodies=bodies)


def by_seed(found: Estimate, unit: str) -> str:
    """Write what was found with each seed; its unit is said elsewhere."""
    write: Callable[[float], str] = {"share": share, "nats per token": nats}.get(unit, plain)
    return ", ".join(write(value) for value in found.seeds) or "–"


def kept(report: StudyReport) -> Grid:
    """Return what became of what was memorized."""
    lines = [
        (
            row.arm,
            [
                text(Name(row.before), " → ", Name(row.stage)),
                named(row.cohort),
                number(portion(row.kept, row.total)),
                number(f"{shares(row.share.low, row.share.high)} %" if row.total else "–"),
                number(by_seed(row.share, "share")),
                number(str(row.acquired)),
                number(chance(row.p_value)),
            ],
        )
        for row in by_arm(report, report.kept)
    ]
    interval = f"#{confident(report.confidence)} interval"
    return Grid(
        caption=(
            "Acquired: memorized after the later stage and not after the earlier one. p: McNemar’s exact test of "
            "acquired against forgotten.",
        ),
        head=heads("From → to", "Cohort", "#Kept", interval, "#By seed, %", "#Acquired", "#p"),
        bodies=grouped(lines),
        common="Arm",
    )


def shifts(report: StudyReport) -> Grid:
    """Return how much likelier the targets became."""
    lines = [
        (
            row.arm,
            [
                named(row.stage),
                named(row.cohort),
                text(EXPOSURES[row.exposure], look=row.exposure),
                number(nats(row.difference.value)),
                number(between(row.difference.low, row.difference.high, "nats per token")),
                number(by_seed(row.difference, "nats per token")),
                number(portion(row.listed, row.total)),
            ],
        )
        for row in by_arm(report, report.shifts)
    ]
    interval = f"#{confident(report.confidence)} interval"
    return Grid(
        caption=(
            "Nats per token, exposed minus control. Listed: examples that are likelier than twins differ by chance, "
            "at a false discovery rate of 5 %.",
        ),
        head=heads("After stage", "Cohort", "Exposure", "#Difference", interval, "#By seed", "#Listed"),
        bodies=grouped(lines),
        common="Arm",
    )


def doses(report: StudyReport) -> Grid:
    """Return what is memorized by how often it was shown."""
    rows = by_arm(report, report.doses)
    times = sorted({shown for row in rows for shown in row.times})
    lines = [(row.arm, _dose(row, times)) for row in rows]
    columns = [f"#Shown {shown} ×" for shown in times]
    return Grid(
        caption=(
            "Slope: log-odds for each doubling of the showings, of the logistic fit. Half: the showings after which "
            "half come out.",
        ),
        head=heads("After stage", "Cohort", *columns, "#Slope", "#Half"),
        bodies=grouped(lines),
        common="Arm",
    )


def _dose(row: DoseRow, times: list[int]) -> list[Cell]:
    found = dict(zip(row.times, zip(row.memorized, row.totals, strict=True), strict=True))
    shown = [
        number(f"{found[time][0]} of {found[time][1]}", aside=_rate(*found[time]))
        if time in found
        else number("–")
        for time in times
    ]
    return [named(row.stage), named(row.cohort), *shown, *(_fitted(part) for part in (row.slope, row.half))]


def _rate(count: int, total: int) -> str:
    return f"{share(count / total)} %" if total else ""


def _fitted(found: Estimate | None) -> Cell:
    if found is None:
        return number("–")
    return number(plain(found.value), aside=f"{plain(found.low)} to {plain(found.high)}")


def survival(report: StudyReport, *, ends: bool) -> Grid:
    """Return how much still came out after so many steps: after all of them (`ends`), or after each."""
    lines = [
        (
            row.arm,
            [
                named(row.stage),
                named(row.cohort),
                number(str(row.steps[place])),
                number(f"{share(row.survival[place])} %"),
                number(f"{shares(row.low[place], row.high[place])} %"),
                number(str(row.at_risk[place])),
            ],
        )
        for row in by_arm(report, report.survival)
        for place in _places(row, ends=ends)
    ]
    when = "At the end of each curve." if ends else "At each step of each curve."
    interval = f"#{confident(report.confidence)} interval"
    return Grid(
        caption=(when,),
        head=heads("Stage", "Cohort", "#Steps", "#Still out", interval, "#At risk"),
        bodies=grouped(lines),
        common="Arm",
    )


def _places(row: SurvivalRow, *, ends: bool) -> Sequence[int]:
    places = range(len(row.steps))
    return places[-1:] if ends else places


def ladder(report: StudyReport) -> Grid:
    """Return what each level finds, and what only it finds."""
    rows = by_arm(report, report.ladder)
    levels = _levels(report, (row.level for row in rows))
    found: dict[tuple[str, str, str], dict[str, LadderRow]] = {}
    for row in rows:
        found.setdefault((row.arm, row.stage, row.cohort), {})[row.level] = row
    lines = [
        (arm, [named(stage), named(cohort), *(_rung(there.get(level)) for level in levels)])
        for (arm, stage, cohort), there in found.items()
    ]
    return Grid(
        caption=("Near copies of the exposed twin and not of its control, by level; what no other level finds; and "
                 "near copies of the control, which were guessed.",),
        head=[*heads("After stage", "Cohort"), *(number("Level ", Name(level)) for level in levels)],
        bodies=grouped(lines),
        common="Arm",
    )  # fmt: skip


def _rung(row: LadderRow | None) -> Cell:
    if row is None:
        return number("–")
    return number(f"{row.memorized} of {row.total}", aside=f"{row.only} only here; {row.guessed} guessed")


def lengths(report: StudyReport) -> Grid:
    """Return what was guessed, by level and length of the target."""
    levels = _levels(report, (row.level for row in report.lengths))
    spans = sorted({(row.shortest, row.longest) for row in report.lengths})
    found = {(row.level, row.shortest, row.longest): row for row in report.lengths}
    rows = []
    for shortest, longest in spans:
        there = [found.get((level, shortest, longest)) for level in levels]
        rows.append(
            [
                text(str(shortest) if shortest == longest else f"{shortest} to {longest}"),
                *(number("–" if row is None else portion(row.guessed, row.total)) for row in there),
            ]
        )
    return Grid(
        caption=(
            "What was guessed by models that had not met the cohort, by the length of the target, over all arms and "
            "seeds.",
        ),
        head=[text("Tokens of the target"), *(number("Level ", Name(level)) for level in levels)],
        bodies=[Body(rows=rows)],
    )


def _levels(report: StudyReport, found: Iterable[str]) -> list[str]:
    there = list(dict.fromkeys(found))
    return sorted(
        there, key=lambda level: report.levels.index(level) if level in report.levels else len(there)
    )


def sampled(report: StudyReport) -> Grid:
    """Return (n, p)-extraction beside what comes out greedily."""
    rows = by_arm(report, report.sampled)
    kinds = sorted({(row.samples, row.sampler) for row in rows})
    found: dict[tuple[str, str, str], dict[tuple[int, str], Cell]] = {}
    for row in rows:
        there = found.setdefault((row.arm, row.stage, row.cohort), {})
        there[row.samples, row.sampler] = _against(row.exposed, row.control, row.total)
    greedy = {
        (row.arm, row.stage, row.cohort, row.definition): _against(row.exposed, row.control, row.total)
        for definition in ("near", "equal")
        for row in cells(report, "all", definition)
    }
    definitions = [name for name in ("near", "equal") if any(key[3] == name for key in greedy)]
    lines = [
        (
            arm,
            [
                *(named(stage), named(cohort)),
                *(greedy.get((arm, stage, cohort, name), number("–")) for name in definitions),
                *(there.get(kind, number("–")) for kind in kinds),
            ],
        )
        for (arm, stage, cohort), there in found.items()
    ]
    return Grid(
        caption=(
            "Exposed against control of all. Sampled: the target itself is among n samples with a probability of at "
            "least p = 0.5 (arXiv 2410.19482).",
        ),
        head=[
            *heads("After stage", "Cohort"),
            *(number("Greedy, ", Name(name)) for name in definitions),
            *(text(f"n = {samples}", aside=Quoted(sampler), look="number") for samples, sampler in kinds),
        ],
        bodies=grouped(lines),
        common="Arm",
    )


def _against(exposed: int, control: int, total: int) -> Cell:
    return number(f"{exposed} against {control} of {total}")


def power(report: StudyReport) -> Grid:
    """Return what the study could see, reckoned before it ran."""
    rows = [
        [
            named(row.claim),
            number(str(row.examples)),
            number(str(row.seeds)),
            number(_seen(row.detectable, row.unit)),
        ]
        for row in report.power
    ]
    return Grid(
        caption=("The smallest true difference that is seen with a chance of 80 %.",),
        head=heads("Claim", "#Examples with each seed", "#Seeds", "#Smallest difference seen"),
        bodies=[Body(rows=rows)],
    )


def _seen(least: float | None, unit: str) -> str:
    return "none" if least is None else quantity(least, unit).removeprefix("+")


def arms(report: StudyReport) -> Grid:
    """Return the arms with their settings."""
    return Grid(
        caption=("Settings that differ from the recipe’s. Stages that are alike are trained once.",),
        head=heads("Arm", "About", "Settings", "#Seeds", "Stages"),
        bodies=[Body(rows=[_arm(arm) for arm in report.arms])],
    )


def _arm(arm: ArmRow) -> list[Cell]:
    settings: list[Part] = []
    for key in sorted(arm.changes):
        settings += [", " if settings else "", Name(key), " = ", Name(arm.changes[key])]
    return [
        named(arm.name),
        text(Quoted(arm.about)) if arm.about else text("–"),
        text(*settings) if settings else text("as in the recipe"),
        number(", ".join(map(str, arm.seeds)) or "–"),
        text("shared where they are alike" if arm.shares else "its own"),
    ]
