"""The flow of examples through the stages, as Sankey diagrams."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from reports import selection
from reports.findings import Findings, TransitionRow
from reports.theme import EXPOSED, NEITHER, Panel, label, layout

_FLOWS = {
    "persisted": "rgba(213,94,0,0.50)",
    "acquired": "rgba(230,159,0,0.60)",
    "forgotten": "rgba(86,180,233,0.60)",
    "never": "rgba(133,136,141,0.22)",
}


def flow(findings: Findings, cohort: str) -> list[Panel]:
    """Draw where a cohort's exposed examples go, one panel for each path through the stage graph.

    A stage with two successors lies on two paths, so that in each panel as many examples leave a stage as enter it.
    """
    view = selection.default_view(findings)
    if view is None:
        return []
    parents = {stage.name: stage.parent for stage in findings.stages}
    edges = {
        (row.before, row.after): row
        for row in selection.transitions(findings, view)
        if row.cohort == cohort and row.arm == "exposed" and parents.get(row.after) == row.before
    }
    return [_flow_panel(path, edges) for path in _paths(list(edges)) if len(path) > 1]


def _paths(edges: list[tuple[str, str]]) -> Iterator[list[str]]:
    after: dict[str, list[str]] = {}
    for before, name in edges:
        after.setdefault(before, []).append(name)
    reached = {name for _, name in edges}

    def walk(path: list[str]) -> Iterator[list[str]]:
        following = [name for name in after.get(path[-1], []) if name not in path]
        if not following:
            yield path
        for name in following:
            yield from walk([*path, name])

    for root in after:
        if root not in reached:
            yield from walk([root])


def _flow_panel(path: list[str], edges: dict[tuple[str, str], TransitionRow]) -> Panel:
    steps = [edges[pair] for pair in pairwise(path)]
    out = [steps[0].persisted + steps[0].forgotten] + [step.persisted + step.acquired for step in steps]
    total = max(1, out[0] + steps[0].acquired + steps[0].never)
    # Plotly drops a node without flow but not its position, so only nodes that hold examples are given.
    nodes: dict[tuple[int, str], dict[str, Any]] = {}
    for column, count in enumerate(out):
        for state, size in (("out", count), ("not out", total - count)):
            # Plotly places a node by its middle, and takes 0 and 1 for "not given".
            middle = size / 2 if state == "out" else total - size / 2
            if size:
                nodes[column, state] = {
                    "label": f"{size} {state}",
                    "color": EXPOSED if state == "out" else NEITHER,
                    "x": min(0.999, max(0.001, column / (len(out) - 1))),
                    "y": min(0.999, max(0.001, middle / total)),
                }
    places = {node: place for place, node in enumerate(nodes)}
    links = []
    for column, step in enumerate(steps):
        for name, before, after in (
            ("persisted", "out", "out"),
            ("acquired", "not out", "out"),
            ("forgotten", "out", "not out"),
            ("never", "not out", "not out"),
        ):
            size = getattr(step, name)
            if size:
                links.append(
                    {
                        "source": places[column, before],
                        "target": places[column + 1, after],
                        "value": size,
                        "color": _FLOWS[name],
                        "customdata": f"{name}: {size} of {total}, {label(step.before)} to {label(step.after)}",
                    }
                )
    sankey = {
        "type": "sankey",
        "arrangement": "fixed",
        "node": {
            **{key: [node[key] for node in nodes.values()] for key in ("label", "color", "x", "y")},
            "pad": 14,
            "thickness": 12,
            "line": {"width": 0},
            "hoverinfo": "none",
        },
        "link": {
            **{
                key: [link[key] for link in links]
                for key in ("source", "target", "value", "color", "customdata")
            },
            "hovertemplate": "%{customdata}<extra></extra>",
        },
    }
    heads = [
        {
            "text": f"<b>{label(name)}</b>",
            "x": column / (len(path) - 1),
            "y": 1,
            "xref": "paper",
            "yref": "paper",
            "xanchor": "left" if column == 0 else "right" if column == len(path) - 1 else "center",
            "yanchor": "bottom",
            "yshift": 8,
            "showarrow": False,
        }
        for column, name in enumerate(path)
    ]
    margin = {"l": 6, "r": 6, "t": 34, "b": 14}
    counts = ", ".join(f"{count} after {name}" for name, count in zip(path, out, strict=True))
    return Panel(
        title=" → ".join(path),
        caption=f"Of {total} examples come out: {counts}.",
        figure={"data": [sankey], "layout": layout(height=250, margin=margin, annotations=heads)},
    )
