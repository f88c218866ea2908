"""How long it took within a stage until texts came out, and how long others went on to: survival curves."""

from reports.findings import Findings, SurvivalRow
from reports.theme import CONTROL, EXPOSED, Panel, axis, layout

_BAND = {EXPOSED: "rgba(213,94,0,0.16)", CONTROL: "rgba(0,114,178,0.16)"}
_TITLES = {"first out": "not yet out", "gone": "still out"}


def waits(findings: Findings, cohort: str) -> list[Panel]:
    """Draw the share that is as it was when the stage began, over its steps; one panel for each stage and event."""
    groups: dict[tuple[str, str], list[SurvivalRow]] = {}
    for row in findings.survival:
        if row.cohort == cohort:
            groups.setdefault((row.stage, row.event), []).append(row)
    return [_panel(stage, event, rows) for (stage, event), rows in groups.items()]


def _panel(stage: str, event: str, rows: list[SurvivalRow]) -> Panel:
    traces = []
    for row in sorted(rows, key=lambda row: row.arm):
        colour = EXPOSED if row.arm == "exposed" else CONTROL
        steps, share, low, high = row.steps, row.share, row.low, row.high
        if steps[0] > 0:
            steps, share, low, high = [0, *steps], [1.0, *share], [1.0, *low], [1.0, *high]
        band = {"type": "scatter", "mode": "lines", "line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip"}
        traces += [
            {**band, "x": steps, "y": [100 * value for value in high]},
            {
                **band,
                "x": steps,
                "y": [100 * value for value in low],
                "fill": "tonexty",
                "fillcolor": _BAND[colour],
            },
            {
                "type": "scatter",
                "mode": "lines",
                "x": steps,
                "y": [100 * value for value in share],
                "line": {
                    "color": colour,
                    "width": 2,
                    "shape": "hv",
                    "dash": "solid" if row.arm == "exposed" else "dot",
                },
                "text": [
                    f"{row.arm}, step {step}: {100 * value:.0f} %"
                    for step, value in zip(steps, share, strict=True)
                ],
                "hoverinfo": "text",
            },
        ]
    said = "; ".join(
        f"{row.arm}: {100 * row.share[-1]:.0f} % ({100 * row.low[-1]:.0f} to {100 * row.high[-1]:.0f}) of {row.total} "
        f"after step {row.steps[-1]}"
        for row in rows
    )
    return Panel(
        title=f"{_TITLES[event]}, in {stage}",
        caption=f"Share that is {_TITLES[event]}: {said}.",
        figure={
            "data": traces,
            "layout": layout(
                height=210,
                margin={"l": 44, "r": 10, "t": 10, "b": 40},
                xaxis=axis("step", nticks=5, tickformat="d", rangemode="tozero"),
                yaxis=axis(
                    range=[-4, 104], tickvals=[0, 25, 50, 75, 100], ticktext=["0", "25", "50", "75", "100 %"]
                ),
            ),
        },
    )
