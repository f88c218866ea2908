"""Dose-response, distances and forest plots, as data for the page's own copy of plotly.js."""

from collections.abc import Iterable
from typing import TypeVar

from reports import selection
from reports.findings import (
    Arm,
    Difference,
    DistanceRow,
    Exposure,
    Findings,
    LikelihoodRow,
    Proportion,
    RateRow,
)
from reports.forest import Line, draw
from reports.phrases import measured, nats, often, points
from reports.selection import View
from reports.theme import CONTROL, EXPOSED, INK, Panel, axis, error_bars, label, layout

Row = TypeVar("Row", RateRow, LikelihoodRow)


def dose_response(findings: Findings, cohort: str) -> list[Panel]:
    """Draw the rate against the number of times an example was shown, one panel for each stage."""
    view = selection.default_view(findings)
    if view is None:
        return []
    rows = selection.strata(findings, view)
    return [
        _dose_panel(stage, rows[stage, cohort])
        for stage in selection.stage_names(findings)
        if (stage, cohort) in rows
    ]


def _dose_panel(stage: str, rows: list[RateRow]) -> Panel:
    times = [row.repetition or 0 for row in rows]
    logarithmic = min(times) > 0
    traces = []
    # Drawn a little apart, so that the error bars of both arms can be seen where they lie at one height.
    arms: tuple[tuple[Arm, float], ...] = (("control", 0.94), ("exposed", 1 / 0.94))
    for arm, apart in arms:
        rates: list[Proportion] = [getattr(row, arm) for row in rows]
        colour = EXPOSED if arm == "exposed" else CONTROL
        traces.append(
            {
                "type": "scatter",
                "x": [time * apart if logarithmic else time for time in times],
                "y": [100 * rate.rate for rate in rates],
                "error_y": error_bars([(100 * rate.low, 100 * rate.rate, 100 * rate.high) for rate in rates]),
                "mode": "lines+markers",
                "marker": {
                    "color": colour,
                    "size": 8,
                    "symbol": "circle" if arm == "exposed" else "diamond-open",
                },
                "line": {"color": colour, "width": 1.5, "dash": "solid" if arm == "exposed" else "dot"},
                "text": [
                    f"{arm}, shown {often(time)}: {rate.count} of {rate.total} ({measured(rate)})"
                    for time, rate in zip(times, rates, strict=True)
                ],
                "hoverinfo": "text",
            }
        )
    kind = "log" if logarithmic else "linear"
    across = axis("times shown", type=kind, tickvals=times, ticktext=[str(time) for time in times])
    up = axis(range=[-4, 104], tickvals=[0, 25, 50, 75, 100], ticktext=["0", "25", "50", "75", "100 %"])
    last, first = rows[-1], rows[0]
    caption = (
        f"Shown {often(times[-1])}: {last.exposed.count} of {last.exposed.total} exposed, "
        f"{last.control.count} of {last.control.total} controls; "
        f"shown {often(times[0])}: {first.exposed.count} of {first.exposed.total} exposed."
    )
    margin = {"l": 44, "r": 10, "t": 10, "b": 40}
    return Panel(
        title=f"after {stage}{_aside(last.exposure)}",
        caption=caption,
        figure={"data": traces, "layout": layout(height=230, margin=margin, xaxis=across, yaxis=up)},
    )


def distance_histograms(findings: Findings, cohort: str) -> list[Panel]:
    """Draw the normalised distances of both arms with the threshold, one panel for each stage."""
    view = selection.default_view(findings)
    if view is None:
        return []
    rows, exposures = selection.distances(findings, view), selection.cells(findings, view)
    panels = []
    for stage in selection.stage_names(findings):
        exposed, control = rows.get((stage, cohort, "exposed")), rows.get((stage, cohort, "control"))
        if exposed is not None and control is not None:
            cell = exposures.get((stage, cohort))
            title = f"after {stage}{_aside(cell.exposure) if cell is not None else ''}"
            panels.append(_distance_panel(title, exposed, control, findings.threshold))
    return panels


def _distance_panel(title: str, exposed: DistanceRow, control: DistanceRow, threshold: float) -> Panel:
    bins, steps = len(exposed.counts), len(control.counts)
    bars = {
        "type": "bar",
        "x": [(place + 0.5) / bins for place in range(bins)],
        "y": exposed.counts,
        "width": 1 / max(1, bins),
        "marker": {"color": EXPOSED, "opacity": 0.8, "line": {"width": 0}},
        "text": [_bin(place, bins, count, "exposed") for place, count in enumerate(exposed.counts)],
        "textposition": "none",
        "hoverinfo": "text",
    }
    outline = {
        "type": "scatter",
        "x": [0.0, *(place / steps for place in range(steps)), 1.0],
        "y": [0, *control.counts, *control.counts[-1:]],
        "mode": "lines",
        "line": {"color": CONTROL, "width": 2, "shape": "hv"},
        "text": [
            "",
            *(_bin(place, steps, count, "control") for place, count in enumerate(control.counts)),
            "",
        ],
        "hoverinfo": "text",
    }
    at = {"x0": threshold, "x1": threshold, "y0": 0, "y1": 1, "yref": "paper"}
    line = {"type": "line", **at, "line": {"color": INK, "width": 1.2, "dash": "dash"}}
    note = {
        "text": f"threshold {threshold:g}",
        "x": threshold,
        "y": 1,
        "yref": "paper",
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }
    caption = (
        f"At or under {threshold:g}: {exposed.within} of {sum(exposed.counts)} exposed, "
        f"{control.within} of {sum(control.counts)} controls."
    )
    figure = {
        "data": [bars, outline],
        "layout": layout(
            height=210,
            margin={"l": 36, "r": 10, "t": 18, "b": 40},
            xaxis=axis("distance", range=[-0.01, 1.01], tickvals=[0, 0.25, 0.5, 0.75, 1]),
            yaxis=axis(rangemode="tozero", nticks=4, tickformat="d"),
            shapes=[line],
            annotations=[note],
        ),
    }
    return Panel(title=title, caption=caption, figure=figure)


def forest(findings: Findings, view: View) -> Panel | None:
    """Draw the paired difference with its interval for every cohort and stage of a view."""
    lines = [
        _line(row, Difference(**{name: 100 * size for name, size in row.difference}), points(row.difference))
        for row in _ordered(findings, selection.cells(findings, view).values())
    ]
    return draw(lines, "Exposed minus control", "percentage points")


def likelihood_forest(findings: Findings) -> Panel | None:
    """Draw the difference of mean log-probabilities with its interval for every cohort and stage."""
    lines = [
        _line(row, gap, f"{nats(gap.value)} nats per token ({nats(gap.low)} to {nats(gap.high)})")
        for row in _ordered(findings, selection.likelihoods(findings).values())
        for gap in [row.difference]
    ]
    return draw(lines, "How much likelier than under the control", "nats per token")


def _line(row: RateRow | LikelihoodRow, difference: Difference, words: str) -> Line:
    return Line(
        group=row.cohort,
        name=f"{label(row.cohort)} · after {label(row.stage)}",
        exposure=row.exposure,
        low=difference.low,
        value=difference.value,
        high=difference.high,
        words=f"{label(row.cohort)} after {label(row.stage)}: {words}",
    )


def _ordered(findings: Findings, rows: Iterable[Row]) -> list[Row]:
    found = list(rows)
    cohorts = list(dict.fromkeys([*selection.cohort_names(findings), *(row.cohort for row in found)]))
    stages = list(dict.fromkeys([*selection.stage_names(findings), *(row.stage for row in found)]))
    return sorted(found, key=lambda row: (cohorts.index(row.cohort), stages.index(row.stage)))


def _bin(place: int, bins: int, count: int, arm: str) -> str:
    return f"{count} {arm} between {place / bins:.2f} and {(place + 1) / bins:.2f}"


def _aside(exposure: Exposure) -> str:
    return {"direct": "", "indirect": " (seen only indirectly)", "none": " (not shown yet)"}[exposure]
