"""Forest plots: one line for one estimate with its interval, and zero as a line to set them against."""

from dataclasses import dataclass
from typing import Any

from reports.findings import Exposure
from reports.theme import EXPOSED, INDIRECT, INK, NEITHER, Panel, axis, error_bars, layout

_LOOKS: tuple[tuple[Exposure, str, str], ...] = (
    ("direct", EXPOSED, "circle"),
    ("indirect", INDIRECT, "diamond"),
    ("none", NEITHER, "circle-open"),
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a forest plot, in the unit of its axis."""

    group: str
    """Lines of one group stand together. Hostile."""
    name: str
    """As it stands on the axis: a label already."""
    exposure: Exposure
    low: float
    value: float
    high: float
    words: str
    """What is estimated here: a label already."""
    seeds: tuple[float, ...] = ()
    """The value with each seed."""


def draw(
    lines: list[Line], title: str, unit: str, *, headings: dict[str, str] | None = None, caption: str = ""
) -> Panel | None:
    """Draw lines in their order; `headings` puts a label above each group. Nothing where there is no line."""
    if not lines:
        return None
    heights, heads = _heights(lines, headings or {})
    traces = [_seeds(heights, lines)] if any(line.seeds for line in lines) else []
    for exposure, colour, symbol in _LOOKS:
        drawn = [pair for pair in zip(heights, lines, strict=True) if pair[1].exposure == exposure]
        spans = [(line.low, line.value, line.high) for _, line in drawn]
        traces.append(
            {
                "type": "scatter",
                "x": [value for _, value, _ in spans],
                "y": [height for height, _ in drawn],
                "mode": "markers",
                "error_x": error_bars(spans) | {"color": colour},
                "marker": {"color": colour, "size": 8, "symbol": symbol},
                "text": [line.words for _, line in drawn],
                "hoverinfo": "text",
            }
        )
    marks = sorted([*zip(heights, (line.name for line in lines), strict=True), *heads])
    across = axis(unit, zeroline=True, zerolinecolor=INK, zerolinewidth=1)
    up = axis(
        tickvals=[height for height, _ in marks],
        ticktext=[name for _, name in marks],
        range=[heights[-1] + 0.8, -0.8],
        showgrid=False,
    )
    margin = {"l": 10, "r": 14, "t": 8, "b": 46}
    height = int(92 + 22 * heights[-1])
    above = sum(line.low > 0 for line in lines)
    return Panel(
        title=title,
        caption=caption or f"In {above} of {len(lines)} rows the whole interval lies above zero.",
        figure={"data": traces, "layout": layout(height=height, margin=margin, xaxis=across, yaxis=up)},
    )


def _heights(lines: list[Line], headings: dict[str, str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where each line stands, and where each heading."""
    heights: list[float] = []
    heads: list[tuple[float, str]] = []
    group, at = None, -1.0
    for line in lines:
        if line.group != group:
            at += 1.0 if group is None else 1.7
            if line.group in headings:
                heads.append((at, f"<b>{headings[line.group]}</b>"))
                at += 1.0
        else:
            at += 1.0
        group = line.group
        heights.append(at)
    return heights, heads


def _seeds(heights: list[float], lines: list[Line]) -> dict[str, Any]:
    """Return small strokes for the single seeds, under the estimates."""
    at = [(height, value) for height, line in zip(heights, lines, strict=True) for value in line.seeds]
    return {
        "type": "scatter",
        "x": [value for _, value in at],
        "y": [height for height, _ in at],
        "mode": "markers",
        "marker": {"color": NEITHER, "size": 9, "symbol": "line-ns-open", "line": {"width": 1.2}},
        "hoverinfo": "skip",
    }
