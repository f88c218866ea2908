"""A sentence of a headline: its words, the names in it kept apart, and how much it claims."""

from dataclasses import dataclass
from typing import Literal

from reports.findings import Difference
from reports.phrases import points


@dataclass(frozen=True)
class Name:
    """A stage, cohort or model inside a sentence. Hostile, so each page writes it in its own way."""

    text: str


class Quoted(str):
    """Words inside a sentence that are not this package's own. Hostile: each page escapes them as plain text."""

    __slots__ = ()


Part = str | Name
Verdict = Literal["more", "less", "open", "fact"]


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One or more sentences about one thing."""

    cohort: str | None = None
    """The cohort it is about; None where it is about several, or there are none. Hostile."""
    topic: str
    """What it is about, in a few words. Hostile, because it can hold the name of a role."""
    verdict: Verdict
    """Whether it claims more than the control, less, shows no difference, or only counts."""
    parts: tuple[Part, ...]
    """The words, with names kept apart."""

    def __str__(self) -> str:
        return "".join(f"`{part.text}`" if isinstance(part, Name) else part for part in self.parts)


def fact(topic: str, *parts: Part, cohort: str | None = None) -> Statement:
    """Return a statement that only counts."""
    return Statement(cohort=cohort, topic=topic, verdict="fact", parts=parts)


def judged(difference: Difference) -> Verdict:
    """Claim more or less only where the whole interval lies on one side of zero."""
    if difference.low > 0:
        return "more"
    return "less" if difference.high < 0 else "open"


def claim(difference: Difference) -> str:
    """Write what a paired difference from the control shows: one sentence with its interval."""
    if difference.low > 0:
        return f"That is more than the control, by {points(difference).removeprefix('+')}."
    if difference.high < 0:
        less = Difference(value=-difference.value, low=-difference.high, high=-difference.low)
        return f"That is less than the control, by {points(less).removeprefix('+')}: the contrary of a leak."
    return f"No difference from the control is shown: {points(difference)}."


def manner(level: str, definition: str) -> list[Part]:
    """Write how something comes out: `verbatim or nearly`, or by the names of definition and level."""
    words = {"near": "verbatim or nearly", "equal": "verbatim", "verbatim": "verbatim"}.get(definition)
    how: list[Part] = ["by definition ", Name(definition)] if words is None else [words]
    return how if level == "exact" else [*how, " at level ", Name(level)]


def come(count: int) -> str:
    """Return the verb that follows a count."""
    return "comes" if count == 1 else "come"
