"""The plots of a study, as data for the page's own copy of plotly.js."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from reports.forest import Line, draw
from reports.phrases import between, often, portion, quantity, share, shares
from reports.statement import Name, Part
from reports.study import DoseRow, Estimate, KeptRow, StudyReport, SurvivalRow, Sweep
from reports.study_tables import by_arm
from reports.theme import (
    CONTROL,
    DARK,
    EXPOSED,
    GOLD,
    GREEN,
    INDIRECT,
    INK,
    NEITHER,
    Panel,
    axis,
    error_bars,
    label,
    layout,
)

_COLOURS = (EXPOSED, CONTROL, GREEN, INDIRECT, GOLD, DARK)
_SYMBOLS = (
    ("circle", "●"),
    ("diamond", "◆"),
    ("square", "■"),
    ("triangle-up", "▲"),
    ("x", "✖"),
    ("cross", "✚"),
)
_DASHES = ("solid", "dash", "dot")
_MARGIN = {"l": 48, "r": 10, "t": 10, "b": 44}
_PERCENT = {
    "range": [-4, 104],
    "tickvals": [0, 25, 50, 75, 100],
    "ticktext": ["0", "25", "50", "75", "100 %"],
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a mark or line stands for."""

    look: str
    """Its class in the page's style."""
    sign: str
    """A character that looks like the mark; empty: the style draws it."""
    words: tuple[Part, ...]


class _Placed(Protocol):
    @property
    def arm(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def cohort(self) -> str: ...


Row = TypeVar("Row", bound=_Placed)


def sweep(found: Sweep) -> Panel:
    """Draw a claim's measure by arm: points with intervals, and the single seeds beside them."""
    scale = 100 if found.unit == "share" else 1
    points, places = found.points, list(range(len(found.points)))
    spans = [_span(point.estimate, scale) for point in points]
    singles = [(at, value) for at, point in enumerate(points) for value in point.estimate.seeds]
    seeds = {
        "type": "scatter",
        "x": [at + 0.14 for at, _ in singles],
        "y": [scale * value for _, value in singles],
        "mode": "markers",
        "marker": {"color": NEITHER, "size": 5, "symbol": "circle-open"},
        "text": [f"one seed: {label(quantity(value, found.unit))}" for _, value in singles],
        "hoverinfo": "text",
    }
    estimates = {
        "type": "scatter",
        "x": places,
        "y": [value for _, value, _ in spans],
        "error_y": error_bars(spans) | {"color": EXPOSED},
        "mode": "lines+markers",
        "marker": {"color": EXPOSED, "size": 8},
        "line": {"color": EXPOSED, "width": 1, "dash": "dot"},
        "text": [f"{label(point.arm)}: {label(_estimated(point.estimate, found.unit))}" for point in points],
        "hoverinfo": "text",
    }
    across = axis(
        label(found.setting),
        tickvals=places,
        ticktext=[label(point.label) for point in points],
        range=[-0.5, len(points) - 0.5],
    )
    unit = "%" if found.unit == "share" else label(found.unit)
    up = axis(unit, nticks=6, zeroline=True, zerolinecolor=INK, zerolinewidth=1)
    figure = {
        "data": [seeds, estimates],
        "layout": layout(height=270, margin=_MARGIN, xaxis=across, yaxis=up),
    }
    return Panel(title=f"{found.claim}: {found.title}", caption=_sweep_caption(found), figure=figure)


def _sweep_caption(found: Sweep) -> str:
    ends = found.points[:1] + found.points[1:][-1:]
    told = [f"{point.label}: {_estimated(point.estimate, found.unit)}" for point in ends]
    return f"By {found.setting}. {'; '.join(told)}."


def _span(found: Estimate, scale: float) -> tuple[float, float, float]:
    return scale * found.low, scale * found.value, scale * found.high


def _estimated(found: Estimate, unit: str) -> str:
    return f"{quantity(found.value, unit)} ({between(found.low, found.high, unit)})"


def kept(report: StudyReport) -> list[Panel]:
    """Draw what is kept from stage to stage, arm by arm, one panel for each cohort."""
    panels = []
    for cohort in dict.fromkeys(row.cohort for row in report.kept):
        rows = by_arm(report, [row for row in report.kept if row.cohort == cohort and row.total])
        steps = list(dict.fromkeys((row.before, row.stage) for row in rows))
        heads = {_step(*step): f"{label(step[0])} → {label(step[1])}" for step in steps}
        lines = [
            Line(
                group=_step(row.before, row.stage),
                name=label(row.arm),
                exposure="direct",
                low=100 * row.share.low,
                value=100 * row.share.value,
                high=100 * row.share.high,
                words=f"{label(row.arm)}: {portion(row.kept, row.total)}, {shares(row.share.low, row.share.high)} %",
                seeds=tuple(100 * value for value in row.share.seeds),
            )
            for row in sorted(rows, key=lambda row: steps.index((row.before, row.stage)))
        ]
        caption = _range(rows)
        panels.append(draw(lines, f"Cohort {cohort}", "% still memorized", headings=heads, caption=caption))
    return [panel for panel in panels if panel is not None]


def _range(rows: Sequence[KeptRow]) -> str:
    if not rows:
        return ""
    least, most = (find(rows, key=lambda row: row.share.value) for find in (min, max))
    return f"Between {share(least.share.value)} % ({least.arm}) and {share(most.share.value)} % ({most.arm})."


def _step(before: str, stage: str) -> str:
    return f"{len(before)} {before} {stage}"


def shifts(report: StudyReport) -> list[Panel]:
    """Draw how much likelier the targets became, arm by arm, one panel for each cohort."""
    panels = []
    for cohort in dict.fromkeys(row.cohort for row in report.shifts):
        rows = by_arm(report, [row for row in report.shifts if row.cohort == cohort])
        stages = list(dict.fromkeys(row.stage for row in report.shifts))
        lines = [
            Line(
                group=row.stage,
                name=label(row.arm),
                exposure=row.exposure,
                low=row.difference.low,
                value=row.difference.value,
                high=row.difference.high,
                words=f"{label(row.arm)}: {_estimated(row.difference, 'nats per token')}; "
                f"listed {portion(row.listed, row.total)}",
                seeds=tuple(row.difference.seeds),
            )
            for row in sorted(rows, key=lambda row: stages.index(row.stage))
        ]
        heads = {stage: f"after {label(stage)}" for stage in stages}
        panels.append(draw(lines, f"Cohort {cohort}", "nats per token", headings=heads))
    return [panel for panel in panels if panel is not None]


def doses(report: StudyReport) -> list[Panel]:
    """Draw what is memorized against how often it was shown: a panel for each stage and cohort, a line for each arm."""
    return [
        _dose(report, stage, cohort, rows)
        for (stage, cohort), rows in _placed(by_arm(report, report.doses)).items()
    ]


def _dose(report: StudyReport, stage: str, cohort: str, rows: Sequence[DoseRow]) -> Panel:
    traces = []
    for row in rows:
        points = [point for point in zip(row.times, row.memorized, row.totals, strict=True) if point[2]]
        traces.append(
            {
                "type": "scatter",
                "x": [times for times, _, _ in points],
                "y": [100 * count / total for _, count, total in points],
                "mode": "lines+markers",
                "text": [
                    f"{label(row.arm)}, shown {often(times)}: {portion(count, total)}"
                    for times, count, total in points
                ],
                "hoverinfo": "text",
                **_look(report, row.arm),
            }
        )
    times = sorted({shown for row in rows for shown in row.times})
    kind = "log" if times and times[0] > 0 else "linear"
    across = axis("times shown", type=kind, tickvals=times, ticktext=[str(shown) for shown in times])
    figure = {
        "data": traces,
        "layout": layout(height=240, margin=_MARGIN, xaxis=across, yaxis=axis(**_PERCENT)),
    }
    first = rows[0]
    ends = list(zip(first.times, first.memorized, first.totals, strict=True))
    told = [f"shown {often(shown)}: {count} of {total}" for shown, count, total in ends[:1] + ends[1:][-1:]]
    return Panel(
        title=f"{cohort}, after {stage}", caption=f"Arm {first.arm}, {'; '.join(told)}.", figure=figure
    )


def survival(report: StudyReport) -> list[Panel]:
    """Draw how much still comes out over a stage’s steps: a panel for each stage and cohort, a line for each arm."""
    rows = [row for row in report.survival if row.steps]
    return [
        _course(report, stage, cohort, found)
        for (stage, cohort), found in _placed(by_arm(report, rows)).items()
    ]


def _course(report: StudyReport, stage: str, cohort: str, rows: Sequence[SurvivalRow]) -> Panel:
    bands, lines = [], []
    for row in rows:
        look = _look(report, row.arm)
        bands.append(
            {
                "type": "scatter",
                "x": _stairs_across(row.steps) + _stairs_across(row.steps)[::-1],
                "y": [100 * size for size in _stairs_up(row.high) + _stairs_up(row.low)[::-1]],
                "mode": "lines",
                "fill": "toself",
                "fillcolor": look["line"]["color"],
                "opacity": 0.13,
                "line": {"width": 0},
                "hoverinfo": "skip",
            }
        )
        lines.append(
            {
                "type": "scatter",
                "x": row.steps,
                "y": [100 * size for size in row.survival],
                "mode": "lines+markers",
                "text": [
                    f"{label(row.arm)}, step {step}: {share(size)} % ({shares(low, high)} %)"
                    for step, size, low, high in zip(row.steps, row.survival, row.low, row.high, strict=True)
                ],
                "hoverinfo": "text",
                **look,
                "line": {**look["line"], "shape": "hv"},
            }
        )
    figure = {
        "data": [*bands, *lines],
        "layout": layout(
            height=260, margin=_MARGIN, xaxis=axis("step", nticks=6, tickformat="d"), yaxis=axis(**_PERCENT)
        ),
    }
    told = [f"{row.arm}: {share(row.survival[-1])} % at step {row.steps[-1]}" for row in rows]
    return Panel(title=f"{cohort}, during {stage}", caption=f"{'; '.join(told)}.", figure=figure)


def _stairs_across(steps: list[int]) -> list[int]:
    return [step for pair in pairwise(steps) for step in pair] + steps[-1:]


def _stairs_up(sizes: list[float]) -> list[float]:
    return [size for size in sizes[:-1] for _ in range(2)] + sizes[-1:]


def _placed(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row.stage, row.cohort), []).append(row)
    return found


def _look(report: StudyReport, arm: str) -> dict[str, Any]:
    """Return marker and line of an arm, the same in every plot."""
    place = _place(report, arm)
    colour = _COLOURS[place % len(_COLOURS)]
    dash = _DASHES[place // len(_COLOURS) % len(_DASHES)]
    return {
        "marker": {"color": colour, "size": 7, "symbol": _SYMBOLS[place % len(_SYMBOLS)][0]},
        "line": {"color": colour, "width": 1.6, "dash": dash},
    }


def key(report: StudyReport, arms: Sequence[str]) -> list[Key]:
    """Say which mark is which arm's."""
    found = sorted(dict.fromkeys(arms), key=lambda arm: _place(report, arm))
    return [
        Key(
            look=f"sign look-{_place(report, arm) % len(_COLOURS)}",
            sign=_SYMBOLS[_place(report, arm) % len(_SYMBOLS)][1],
            words=(Name(arm), _DASHED[_place(report, arm) // len(_COLOURS) % len(_DASHES)]),
        )
        for arm in found
    ]


_DASHED = ("", ", dashed", ", dotted")


def _place(report: StudyReport, arm: str) -> int:
    names = [row.name for row in report.arms]
    return names.index(arm) if arm in names else len(names)
