"""The look every figure shares, and its labels.

Colours are Okabe and Ito's colour-blind-safe set ("Color Universal Design", 2008). A figure is built in the colours
of the light page; `PALETTE` tells the page's script which colour replaces each of them on a dark one.
"""

import html
from dataclasses import dataclass
from typing import Any

from reports.escape import visible

INK, RULE = "#2a2d31", "#dcdad3"
EXPOSED, CONTROL, INDIRECT, NEITHER = "#d55e00", "#0072b2", "#b8578f", "#85888d"
GREEN, GOLD, DARK = "#00805c", "#9a7500", "#4d5057"
PALETTE = {
    INK: "#e4e2dc",
    RULE: "#3b3e43",
    EXPOSED: "#f0862e",
    CONTROL: "#56b4e9",
    INDIRECT: "#cc79a7",
    NEITHER: "#8d9096",
    GREEN: "#2bbf92",
    GOLD: "#e0b32e",
    DARK: "#c3c6cb",
    "rgba(213,94,0,0.50)": "rgba(240,134,46,0.55)",
    "rgba(133,136,141,0.22)": "rgba(141,144,150,0.25)",
}
"""Colours of the light page, each with its replacement on a dark page. Others serve both."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure with its caption."""

    title: str
    """What is drawn, in a few words. Hostile."""
    caption: str
    """What to see in it, for people who cannot. Hostile."""
    figure: dict[str, Any]
    """`data` and `layout` for plotly.js, made of JSON values."""


def error_bars(spans: list[tuple[float, float, float]]) -> dict[str, Any]:
    """Return error bars for (low, value, high)."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - value) for _, value, high in spans],
        "arrayminus": [max(0.0, value - low) for low, value, _ in spans],
        "thickness": 1.4,
        "width": 3,
    }


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    """Return what both axes of every figure share, with more of its own."""
    return {
        "color": INK,
        "gridcolor": RULE,
        "linecolor": RULE,
        "showline": True,
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "ticks": "",
        "title": {"text": title, "font": {"size": 12}, "standoff": 8},
        **more,
    }


def layout(**more: Any) -> dict[str, Any]:
    """Return a layout that lets the page's background through and does not catch scrolling."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {
            "family": 'system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif',
            "size": 12,
            "color": INK,
        },
        "hoverlabel": {"align": "left"},
        "hovermode": "closest",
        "showlegend": False,
        "dragmode": False,
        "autosize": True,
        **more,
    }


def label(name: str) -> str:
    """Return a name for plotly, which reads `<b>`, `<a>` and entities in every text it draws."""
    shown = visible(name, lines=False)
    return html.escape(shown if len(shown) <= 28 else shown[:27] + "…", quote=False)
