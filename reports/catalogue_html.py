"""The pages of a catalogue as HTML without a script: what is chosen stands in the address, and links lead on.

Every text in them is hostile: a template escapes it, and what goes into an address is quoted.
"""

from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup

from reports import page
from reports.catalogue import Life, Listing, Question, Sort
from reports.phrases import often

LIST, EXAMPLE, REPORT = "./", "example", "report"
"""Addresses of the pages, next to each other."""
_HEADS: dict[Sort, str] = {"source": "Source", "cohort": "Cohort", "times": "Times"}
"""Columns besides those of the stages."""
_ORDERS: dict[Sort, str] = {
    "id": "id",
    "source": "source",
    "cohort": "cohort",
    "times": "times to be shown",
    "nearest": "nearest distance",
}
_DESCENDING = ("times",)  # heads that sort the greatest to the top when first followed


def render_listing(listing: Listing) -> str:
    """Return a page of the list. Equal listings give equal bytes."""
    asked = listing.question
    # An audited model's probes were given to it, not drawn into cohorts.
    drawn = not listing.subject.audited
    return _rendered(
        "listing.html.j2",
        listing.subject.name,
        listing=listing,
        heads=[_head(asked, title, sort) for sort, title in _HEADS.items() if drawn or sort == "source"],
        stages=[_head(asked, stage, "stage", stage) for stage in listing.choices.stages],
        counts=[(times, often(times)) for times in listing.choices.times],
        orders=[(sort, title) for sort, title in _ORDERS.items() if drawn or sort not in ("cohort", "times")]
        + ([("stage", f"distance after {asked.by}")] if asked.by is not None else []),
        turn=lambda number: _at(LIST, asked.query(page=number)),
        lead=lambda example: _at(EXAMPLE, _of_example(asked, example)),
    )


def render_life(life: Life) -> str:
    """Return the page of one example."""
    return _rendered(
        "life.html.j2",
        life.subject.name,
        life=life,
        to=lambda **changes: _at(EXAMPLE, life.query(**changes)),
    )


def render_refusal(name: str, message: str) -> str:
    """Return what stands in place of a page that was asked for wrongly, or cannot be had."""
    return _rendered("refusal.html.j2", name, message=message)


def policy() -> str:
    """Return the policy of all of them: no script, no request, and one style sheet; forms lead to where they are."""
    strict = page.policy(style_src=page.hashes(_style()))
    return strict.removesuffix("form-action 'none'") + "form-action 'self'"


def _style() -> Markup:
    return page.asset("report.css") + page.asset("catalogue.css")


def _rendered(name: str, title: str, **values: Any) -> str:
    addresses = {"home": LIST, "report": REPORT}
    return page.template(name).render(name=title, policy=policy(), style=_style(), **addresses, **values)


def _head(asked: Question, title: str, sort: Sort, by: str | None = None) -> dict[str, Any]:
    """A column's title, with the address that sorts by it, and how it sorts now."""
    sorts = asked.sort == sort and asked.by == by
    descending = not asked.descending if sorts else sort in _DESCENDING
    return {
        "title": title,
        "number": sort in ("times", "stage"),
        "sorted": ("descending" if asked.descending else "ascending") if sorts else None,
        "address": _at(LIST, asked.query(sort=sort, by=by, descending=descending, page=1)),
    }


def _of_example(asked: Question, example: str) -> dict[str, str]:
    stage = {"stage": asked.stage} if asked.stage is not None else {}
    return {"id": example, "level": asked.level, **stage}


def _at(address: str, query: Any) -> str:
    return f"{address}?{urlencode(query)}" if query else address
