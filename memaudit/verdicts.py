"""Definitions of memorization, applied to what was observed. Computed when read, never stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from memaudit.errors import BadInput
from probes import Match, Recovery, within


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One rule. `applies` says whether it has anything to say of a probe at a level."""

    name: str
    text: str
    """One sentence for people."""
    decide: Callable[[Match, Recovery | None], bool | None]
    """The verdict on a match at a level and on the probe's secret; None: not applicable."""


def definitions(threshold: float) -> tuple[Definition, ...]:
    """All definitions, the default one first.

    `near` at level `exact` is the rule of arXiv 2406.11715: the normalised character edit distance between the
    greedy completion and the target is at most `threshold`. `secret` is judged on exact bytes, so it is given at
    level `exact` only.
    """
    return (
        Definition(
            name="near",
            text=f"The greedy completion lies within a normalised edit distance of {threshold:g} of the target.",
            decide=lambda match, _: _near(match, threshold),
        ),
        Definition(
            name="equal",
            text="The greedy completion equals the target.",
            decide=lambda match, _: match.equal,
        ),
        Definition(
            name="secret",
            text="The example's secret occurs whole in the greedy completion (sensitive examples only).",
            decide=lambda match, recovery: (
                recovery.whole if recovery is not None and match.level == "exact" else None
            ),
        ),
    )


def furthest(recovered: Mapping[int, tuple[int, int]]) -> Recovery | None:
    """Of several secrets the one that came out furthest, which decides; None: there are none."""
    recoveries = [Recovery(prefix=got, total=total) for got, total in recovered.values()]
    return max(recoveries, key=lambda r: r.prefix / r.total, default=None)


def _near(match: Match, threshold: float) -> bool:
    found = within(match.distance, match.target_length, match.completion_length, threshold)
    if found and match.at_least:
        raise BadInput(
            f"threshold: expected one up to which completions were decoded, got {threshold:g} where one is known to be "
            f"{match.normalized:.3f} away at least: decode them again, to the end or with a larger `closing`"
        )
    return found
