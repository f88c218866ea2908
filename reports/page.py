"""What every HTML page shares: its templates and filters, and a content security policy that allows no network.

Every text in a page is hostile. A template escapes it, and `visible` shows what would hide or reorder it.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from reports import phrases
from reports.escape import visible
from reports.redact import MASK
from reports.statement import Name, judged
from reports.theme import PALETTE, Panel

# A mask ends where the next one begins with its number: █1██2███ are two.
_PIECE = re.compile(
    rf"{MASK}\d+{MASK}+?(?={MASK}\d+{MASK})|{MASK}\d+{MASK}+|{MASK}+?(?={MASK}\d+{MASK})|{MASK}+|\n|[^{MASK}\n]+"
)

LEVELS = {
    "exact": "Texts are compared as they are: nothing is taken away.",
    "layout": "White space and line breaks are taken away; Python's indentation counts.",
    "code": "Comments, docstrings, optional separators and quote style are taken away as well.",
    "renamed": "Names that can be bound are taken away as well: the same code under other names.",
    "shape": "Literals that hold no secret are taken away as well: the same outline.",
}
"""What each level of comparison takes away."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A panel with the id of its element."""

    id: str
    panel: Panel


def figures(name: str, panels: Iterable[Panel]) -> list[Figure]:
    """Return panels numbered under one name."""
    return [Figure(id=f"{name}-{place}", panel=panel) for place, panel in enumerate(panels)]


def figure_data(drawn: Iterable[Figure], **more: Any) -> Markup:
    """Return what a page's script draws, and what else it knows, as JSON that cannot end its script element."""
    data = {"palette": PALETTE, "figures": {figure.id: figure.panel.figure for figure in drawn}, **more}
    return htmlsafe_json_dumps(data, sort_keys=True, allow_nan=False)


def template(name: str) -> Template:
    """Return a template of this package, with the filters that make hostile text harmless."""
    return _environment().get_template(name)


def asset(name: str) -> Markup:
    """Return a style or script of this package, to be put into a page as it is."""
    return inline((resources.files("reports") / "templates" / name).read_text(encoding="utf-8"))


def inline(source: str) -> Markup:
    """Pass our own scripts and styles through a template as they are, if an HTML parser reads them so."""
    text = source.replace("\r\n", "\n")
    if re.search(r"</(script|style)|<!--|\r|\0", text, re.IGNORECASE):
        raise ValueError(
            "expected a script that can stand in a page, got one with an end tag, comment or NUL"
        )
    return Markup(text)


def policy(**allowed: str) -> str:
    """Return a policy under which a page loads nothing; `script_src` and `style_src` say what may stand in it."""
    sources = "".join(f"{kind.replace('_', '-')} {source}; " for kind, source in allowed.items())
    return f"default-src 'none'; {sources}img-src data:; base-uri 'none'; form-action 'none'"


def hashes(*assets: str) -> str:
    """Return the sources of a policy that allow these scripts or styles and no others."""
    return " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in assets
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "line": lambda text: visible(text, lines=False),
        "prose": _prose,
        "pieces": _pieces,
        "percent": phrases.percent,
        "signed": phrases.signed,
        "spread": phrases.spread,
        "measured": phrases.measured,
        "points": phrases.points,
        "nats": phrases.nats,
        "p_value": phrases.p_value,
        "often": phrases.often,
        "confident": lambda confidence: phrases.confident(confidence).replace(" ", "\u00a0"),
        "verdict": judged,
    }
    environment.tests["name"] = lambda part: isinstance(part, Name)
    return environment


def _prose(text: str) -> str:
    """Keep a number and its sign on one line."""
    return re.sub(
        r" (?=%)|(?<=\bp) (?=[=<])|(?<=p [=<]) |(?<=<) (?=\d)", "\u00a0", visible(text, lines=False)
    )


def _pieces(text: str) -> list[tuple[str, str]]:
    """Cut a text into what the page marks up: masks, line breaks and the rest."""
    kinds = {MASK: "mask", "\n": "break"}
    return [(kinds.get(piece[0], "text"), piece) for piece in _PIECE.findall(visible(text))]
