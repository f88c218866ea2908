"""What scores tell of having been shown, though no text comes out: ROC curves of attacks, and exposure of canaries."""

from reports import selection
from reports.findings import AttackRow, CanaryRow, Findings
from reports.forest import Line, draw
from reports.theme import EXPOSED, NEITHER, RULE, Panel, axis, label, layout


def attacked(findings: Findings, cohort: str) -> list[AttackRow]:
    """Return the attacks on a cohort, by stage, the one that tells most first."""
    order = {name: place for place, name in enumerate(selection.stage_names(findings))}
    rows = [row for row in findings.attacks if row.cohort == cohort]
    return sorted(rows, key=lambda row: (order.get(row.stage, len(order)), -row.area, row.attack))


def roc(findings: Findings, cohort: str) -> list[Panel]:
    """Draw the ROC curves of all attacks on a cohort, the best one marked; one panel for each stage."""
    groups: dict[str, list[AttackRow]] = {}
    for row in attacked(findings, cohort):
        groups.setdefault(row.stage, []).append(row)
    blind = next((row for row in findings.blind if row.cohort == cohort), None)
    beside = "" if blind is None else f" The texts alone, with no model: {blind.area:.2f}."
    return [_panel(stage, rows, beside) for stage, rows in groups.items()]


def _panel(stage: str, rows: list[AttackRow], beside: str) -> Panel:
    best = rows[0]
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": RULE, "width": 1, "dash": "dash"},
            "hoverinfo": "skip",
        }
    ]
    for row in reversed(rows):
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [false for false, _ in row.curve],
                "y": [true for _, true in row.curve],
                "line": {
                    "color": EXPOSED if row is best else NEITHER,
                    "width": 2.2 if row is best else 1,
                },
                "text": [
                    f"{label(row.attack)}: {100 * true:.0f} % of members at {100 * false:.1f} % of the others"
                    for false, true in row.curve
                ],
                "hoverinfo": "text",
            }
        )
    marks = {"range": [-0.01, 1.01], "tickvals": [0, 0.5, 1]}
    return Panel(
        title=f"after {stage}",
        caption=f"Best of {len(rows)}: {best.attack}, area {best.area:.2f} ({best.low:.2f} to {best.high:.2f})."
        f"{beside}",
        figure={
            "data": traces,
            "layout": layout(
                height=230,
                margin={"l": 40, "r": 10, "t": 10, "b": 40},
                xaxis=axis("false positives", **marks),
                yaxis=axis("true positives", **marks),
            ),
        },
    )


def canaries(findings: Findings) -> Panel | None:
    """Draw the difference of exposures in bits, for every cohort and stage."""
    cohorts, stages = selection.cohort_names(findings), selection.stage_names(findings)
    rows = sorted(findings.canaries, key=lambda row: (_at(cohorts, row.cohort), _at(stages, row.stage)))
    return draw([_line(row) for row in rows], "Exposed minus control", "bits of exposure")


def _at(names: list[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _line(row: CanaryRow) -> Line:
    gap = row.difference
    words = f"{gap.value:+.2f} bits ({gap.low:.2f} to {gap.high:.2f}), {row.exposed:.2f} against {row.control:.2f}"
    return Line(
        group=row.cohort,
        name=f"{label(row.cohort)} · after {label(row.stage)}",
        exposure=row.exposure,
        low=gap.low,
        value=gap.value,
        high=gap.high,
        words=f"{label(row.cohort)} after {label(row.stage)}: {words}",
    )
