"""Two ways the rate depends on a choice: on how much of the writing is compared, and on a setting that was swept."""

from collections.abc import Iterator, Sequence
from typing import Any

from reports import selection
from reports.findings import Findings, Proportion, RateRow, Stage
from reports.phrases import measured
from reports.selection import View
from reports.theme import CONTROL, EXPOSED, Panel, axis, error_bars, label, layout

Setting = str | int | float | bool
_SAME = ("randomness",)  # says whose draws are shared, not what is done


def ladder(findings: Findings, cohort: str) -> list[Panel]:
    """Draw the rate over the levels, one panel for each stage by which the cohort had been shown."""
    default = selection.default_view(findings)
    if default is None:
        return []
    tables = {
        level: selection.cells(findings, View(level=level, definition=default.definition))
        for level in findings.levels
    }
    panels = []
    for stage in selection.stage_names(findings):
        rows = [(level, table[stage, cohort]) for level, table in tables.items() if (stage, cohort) in table]
        if len(rows) > 1 and rows[0][1].exposure != "none":
            panels.append(_panel(f"after {stage}", rows, axis(type="category")))
    return panels


def sweeps(findings: Findings) -> list[Panel]:
    """Draw the rate over a setting, where stages differ in nothing else: a panel for each cohort shown by then."""
    view = selection.default_view(findings)
    rows = {} if view is None else selection.cells(findings, view)
    return [panel for key, stages in _swept(findings.stages) for panel in _sweep(findings, rows, key, stages)]


def _swept(stages: Sequence[Stage]) -> Iterator[tuple[str, list[Stage]]]:
    """Each setting with the stages that differ in it alone, in its order."""
    groups: dict[Any, list[Stage]] = {}
    for stage in stages:
        groups.setdefault((stage.method, stage.parent, tuple(stage.uses), stage.cohort), []).append(stage)
    for group in groups.values():
        keys = sorted({key for stage in group for key in stage.settings} - set(_SAME))
        differ = [key for key in keys if len({repr(stage.settings.get(key)) for stage in group}) > 1]
        if len(differ) == 1 and all(isinstance(s.settings.get(differ[0]), int | float) for s in group):
            yield differ[0], sorted(group, key=lambda stage: float(stage.settings[differ[0]]))


def _sweep(
    findings: Findings, rows: dict[tuple[str, str], RateRow], key: str, stages: list[Stage]
) -> Iterator[Panel]:
    for cohort in selection.cohort_names(findings):
        found = [
            (f"{stage.settings[key]:g}", rows[stage.name, cohort])
            for stage in stages
            if (stage.name, cohort) in rows
        ]
        if len(found) > 1 and all(row.exposure != "none" for _, row in found):
            title = f"{cohort}, over {key} of {stages[0].method}"
            yield _panel(title, found, axis(key, type="category"))


def _panel(title: str, rows: list[tuple[str, RateRow]], across: dict[str, Any]) -> Panel:
    traces = []
    for arm, colour, symbol, dash in (
        ("control", CONTROL, "diamond-open", "dot"),
        ("exposed", EXPOSED, "circle", "solid"),
    ):
        rates: list[Proportion] = [getattr(row, arm) for _, row in rows]
        traces.append(
            {
                "type": "scatter",
                "x": [label(name) for name, _ in rows],
                "y": [100 * rate.rate for rate in rates],
                "error_y": error_bars([(100 * rate.low, 100 * rate.rate, 100 * rate.high) for rate in rates]),
                "mode": "lines+markers",
                "marker": {"color": colour, "size": 8, "symbol": symbol},
                "line": {"color": colour, "width": 1.5, "dash": dash},
                "text": [
                    f"{arm}, {label(name)}: {rate.count} of {rate.total} ({measured(rate)})"
                    for (name, _), rate in zip(rows, rates, strict=True)
                ],
                "hoverinfo": "text",
            }
        )
    counts = ", ".join(f"{row.exposed.count} at {name}" for name, row in rows)
    controls = ", ".join(str(row.control.count) for _, row in rows)
    up = axis(range=[-4, 104], tickvals=[0, 25, 50, 75, 100], ticktext=["0", "25", "50", "75", "100 %"])
    return Panel(
        title=title,
        caption=f"Of {rows[0][1].exposed.total} come out: {counts}; of their controls {controls}.",
        figure={
            "data": traces,
            "layout": layout(height=230, margin={"l": 44, "r": 10, "t": 10, "b": 40}, xaxis=across, yaxis=up),
        },
    )
