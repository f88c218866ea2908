"""The graph of stages with the rates on it, as places in a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from reports import selection
from reports.escape import visible
from reports.findings import Exposure, Findings, RateRow
from reports.phrases import measured, percent

WIDTH, HEAD, LINE = 178, 46, 22
"""Of a stage's box: its width, the height of its head, and that of each cohort's line."""
_ACROSS, _DOWN, _EDGE = 62, 18, 6
_BAR = 52  # width of the bar of a rate of 1
_SHORT, _SHORTER = 21, 9  # characters of a stage's and of a cohort's name that fit


@dataclass(frozen=True, kw_only=True)
class Line:
    """What comes out of a stage of one cohort."""

    name: str
    """Shortened. Hostile."""
    y: float
    exposed: float
    """Width of the bar."""
    control: float
    """Place of the control's mark on the same scale."""
    exposure: Exposure
    text: str
    words: str
    """The same in full, for people who cannot see it. Hostile."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """A stage."""

    name: str
    """Shortened. Hostile."""
    about: str
    """Its method, and what it shows. Hostile."""
    x: float
    y: float
    height: float
    lines: list[Line]


@dataclass(frozen=True, kw_only=True)
class Edge:
    """From a stage to one that starts from it, or that needs its result besides."""

    path: str
    steered: bool
    """Needed besides: a reward model, a judge."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The picture: boxes and lines between them, in units of a pixel."""

    width: float
    height: float
    nodes: list[Node]
    edges: list[Edge]
    words: str
    """What it shows, for people who cannot see it. Hostile."""


def graph(findings: Findings) -> Graph | None:
    """Place every stage to the right of what it starts from; None where there are no stages."""
    stages = {stage.name: stage for stage in findings.stages}
    if not stages:
        return None
    view = selection.default_view(findings)
    rows = {} if view is None else selection.cells(findings, view)
    found = {name: [row for (stage, _), row in rows.items() if stage == name] for name in stages}
    heights = {
        name: HEAD + LINE * len([row for row in of if row.exposure != "none"]) for name, of in found.items()
    }
    depth: dict[str, int] = {}
    for name, stage in stages.items():
        depth[name] = depth.get(stage.parent or "", -1) + 1
    lanes = _lanes(findings)
    tops, y = {}, float(_EDGE)
    for lane in range(max(lanes.values()) + 1):
        members = [name for name in stages if lanes[name] == lane]
        tops[lane] = y
        y += max(heights[name] for name in members) + _DOWN
    nodes = {
        name: Node(
            name=_short(name, _SHORT),
            about=_short(_about(findings, name), 27),
            x=_EDGE + depth[name] * (WIDTH + _ACROSS),
            y=tops[lanes[name]],
            height=heights[name],
            lines=_lines([row for row in found[name] if row.exposure != "none"]),
        )
        for name in stages
    }
    edges = [
        Edge(path=_path(nodes[other], nodes[name], steered), steered=steered)
        for name, stage in stages.items()
        for other, steered in [(stage.parent, False), *((use, True) for use in stage.uses)]
        if other in nodes
    ]
    return Graph(
        width=max(node.x for node in nodes.values()) + WIDTH + _ACROSS / 2 + _EDGE,
        height=y - _DOWN + _EDGE,
        nodes=list(nodes.values()),
        edges=edges,
        words=" ".join(_told(findings, name, found[name]) for name in stages),
    )


def _lanes(findings: Findings) -> dict[str, int]:
    """A row for each path: a stage stands in the row of what it starts from, or opens one if another is there."""
    lanes: dict[str, int] = {}
    taken: set[str | None] = set()
    for stage in findings.stages:
        if stage.parent in lanes and stage.parent not in taken:
            lanes[stage.name] = lanes[stage.parent]
        else:
            lanes[stage.name] = max(lanes.values(), default=-1) + 1
        taken.add(stage.parent)
    return lanes


def _about(findings: Findings, name: str) -> str:
    stage = selection.stage_named(findings, name)
    assert stage is not None, "it is asked of stages only"
    if stage.cohort is None:
        return f"{stage.method} · public data"
    return f"{stage.method} · {stage.cohort}{f' as {stage.role}' if stage.role else ''}"


def _lines(rows: Sequence[RateRow]) -> list[Line]:
    return [
        Line(
            name=_short(row.cohort, _SHORTER),
            y=HEAD + LINE * place,
            exposed=round(_BAR * row.exposed.rate, 1),
            control=round(_BAR * row.control.rate, 1),
            exposure=row.exposure,
            text=f"{percent(row.exposed.rate)} %",
            words=_words(row),
        )
        for place, row in enumerate(rows)
    ]


def _words(row: RateRow) -> str:
    return (
        f"cohort {row.cohort}: {row.exposed.count} of {row.exposed.total} ({measured(row.exposed)}), "
        f"control {row.control.count} of {row.control.total}"
    )


def _told(findings: Findings, name: str, rows: Sequence[RateRow]) -> str:
    stage = selection.stage_named(findings, name)
    start = f" from {stage.parent}" if stage is not None and stage.parent else ""
    said = "; ".join(_words(row) for row in rows if row.exposure != "none") or "nothing shown yet"
    return f"{name}{start}: {said}."


def _path(one: Node, other: Node, steered: bool) -> str:
    """A curve between two boxes; where both stand in one column, around them."""
    y, end = one.y + HEAD / 2 - 6 * steered, other.y + HEAD / 2 + 8 * steered
    if one.x >= other.x:
        x = one.x + WIDTH
        side = x + _ACROSS * 0.6
        return f"M{x:g} {y:g} C{side:g} {y:g} {side:g} {end:g} {other.x + WIDTH:g} {end:g}"
    start = one.x + WIDTH
    middle = other.x - _ACROSS / 2
    return (
        f"M{start:g} {y:g} H{middle - _ACROSS / 2:g} C{middle:g} {y:g} {middle:g} {end:g} {other.x:g} {end:g}"
    )


def _short(text: str, most: int) -> str:
    shown = visible(text, lines=False)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
