"""A tally as one HTML file: it opens from a disk with the network off, and holds no script at all.

Every text in it is hostile and is escaped by the template. The content security policy allows no request, no script
and no style but the page's own.
"""

from itertools import groupby

from reports import steps
from reports.audited import (
    checkpoints,
    controlled,
    default,
    distances,
    ends,
    finished,
    model_name,
    others,
    passages,
)
from reports.headline import reading
from reports.leakage import answers, caveats
from reports.page import LEVELS, asset, hashes, policy, template
from reports.statement import Statement
from reports.tally import Tally


def render_tally_html(tally: Tally) -> str:
    """Return the tally as one self-contained page. Equal tallies give equal bytes."""
    style = asset("report.css") + asset("audited.css")
    found = checkpoints(tally)
    usual = default(tally)
    return template("audited.html.j2").render(
        tally=tally,
        name=model_name(tally),
        answers=_by_topic(answers(tally)),
        caveats=_by_topic(caveats(tally)),
        reading=reading(tally.confidence),
        ends=ends(found),
        checkpoints=found,
        finished=finished(tally),
        controlled=controlled(tally),
        definition=next((item for item in tally.definitions if item.name == usual), None),
        others=others(tally),
        passages=passages(tally),
        rates=steps.rates(tally),
        passing=steps.passing(tally),
        drawing=steps,
        leaks=[(leak, distances(leak, tally)) for leak in tally.leaks],
        levels=LEVELS,
        policy=policy(style_src=hashes(style)),
        style=style,
    )


def _by_topic(said: list[Statement]) -> list[tuple[str, list[Statement]]]:
    return [(topic, list(group)) for topic, group in groupby(said, lambda statement: statement.topic)]
