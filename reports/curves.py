"""How a stage was trained: each of its metrics over its steps, one small picture a metric."""

from reports.findings import Curve, Findings
from reports.theme import CONTROL, EXPOSED, Panel, axis, label, layout

_HEIGHT = 150
# The twins are alike but for what they saw: neither is the exposed one here, so two colours that say nothing else.
_LOOKS = ((EXPOSED, "solid"), (CONTROL, "dot"))


def curves(findings: Findings, stage: str) -> list[Panel]:
    """Draw a stage's metrics, its loss first, then by name; every twin is a line of its own."""
    by_metric: dict[str, list[Curve]] = {}
    for curve in findings.curves:
        if curve.stage == stage:
            by_metric.setdefault(curve.metric, []).append(curve)
    order = sorted(by_metric, key=lambda name: (name != "loss", name))
    return [_panel(name, by_metric[name]) for name in order]


def _panel(metric: str, lines: list[Curve]) -> Panel:
    traces = []
    for curve, (colour, dash) in zip(lines, _LOOKS, strict=False):
        twins = " and ".join(curve.twins)
        traces.append(
            {
                "type": "scatter",
                "x": curve.steps,
                "y": curve.values,
                "mode": "lines" if len(curve.steps) > 1 else "markers",
                "line": {"color": colour, "width": 1.3, "dash": dash},
                "marker": {"color": colour, "size": 6},
                "text": [
                    f"twin {label(twins)}, step {step}: {value:.4g}"
                    for step, value in zip(curve.steps, curve.values, strict=True)
                ],
                "hoverinfo": "text",
            }
        )
    ends = [
        f"Twins {' and '.join(curve.twins)} end at {curve.values[-1]:.4g}"
        if len(curve.twins) > 1
        else f"Twin {curve.twins[0]} ends at {curve.values[-1]:.4g}"
        for curve in lines
    ]
    figure = {
        "data": traces,
        "layout": layout(
            height=_HEIGHT,
            margin={"l": 44, "r": 10, "t": 6, "b": 34},
            xaxis=axis("step", nticks=4, tickformat="d"),
            yaxis=axis(nticks=4),
        ),
    }
    return Panel(title=metric, caption=f"{'; '.join(ends)}.", figure=figure)
