"""Whether items can be answered without what they are about: solvers that see no code, and a filter.

CityEval's distances have the options d/2, d, 2d and d + 500 (arXiv 2406.13948, as published in code): whoever picks the
number whose half and double are listed too is always right. `arithmetic` finds it. Such solvers cost nothing, so a
quiz is to be held to them before a model is asked.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean

from probes.quiz import OPTIONS, Item

Solver = Callable[[Item], Sequence[float]]
"""An item -> a score of each of its options; the highest is its answer, and of equal ones each by its share."""

CHANCE = 1 / OPTIONS


def _numbers(item: Item) -> list[float] | None:
    found = [re.fullmatch(r"\D*?(-?\d+(?:\.\d+)?)\D*", option) for option in item.options]
    return [float(m[1]) for m in found if m] if all(found) else None


def arithmetic(item: Item) -> list[float]:
    """How many of the other numbers are half or double a number: wrong options are often made from the right one."""
    numbers = _numbers(item)
    if numbers is None:
        return [0.0] * len(item.options)
    return [float(sum(n != 0 and o in (n / 2, n * 2) for o in numbers)) for n in numbers]


def longest(item: Item) -> list[float]:
    """Characters: right options are often the most careful ones."""
    return [float(len(option)) for option in item.options]


def shortest(item: Item) -> list[float]:
    """The other way round."""
    return [-float(len(option)) for option in item.options]


def _pieces(text: str) -> set[str]:
    small = text.lower()
    return {small[at : at + 3] for at in range(len(small) - 2)}


def central(item: Item) -> list[float]:
    """Three-letter pieces shared with the other options: wrong options are often variations of the right one."""
    pieces = [_pieces(option) for option in item.options]
    return [float(sum(len(own & o) for o in pieces) - len(own)) for own in pieces]


def first(item: Item) -> list[float]:
    """The first place."""
    return [-float(place) for place in range(len(item.options))]


def popular(known: Sequence[Item]) -> Solver:
    """A solver that has seen other items with their answers: how often a text was right where it was an option."""
    right = Counter((i.fact.kind, i.options[i.right]) for i in known)
    listed = Counter((i.fact.kind, option) for i in known for option in i.options)

    def scores(item: Item) -> list[float]:
        keys = [(item.fact.kind, option) for option in item.options]
        return [right[key] / listed[key] if listed[key] else 0.0 for key in keys]

    return scores


def echo(item: Item) -> list[float]:
    """Three-letter pieces shared with the question. It sees more than the options, and no code: names that tell."""
    asked = _pieces(item.question)
    return [len(asked & _pieces(option)) / max(1, len(_pieces(option))) for option in item.options]


OPTION_ONLY: dict[str, Solver] = {
    "arithmetic": arithmetic,
    "longest": longest,
    "shortest": shortest,
    "central": central,
    "first": first,
}
"""Solvers that see an item's options alone."""


def accuracy(given: Sequence[Item], solver: Solver) -> float:
    """Share of items that a solver answers right; NaN of none."""
    shares = []
    for item in given:
        scores = solver(item)
        best = [place for place, score in enumerate(scores) if score == max(scores)]
        shares.append((item.right in best) / len(best))
    return fmean(shares) if shares else math.nan


def margin(count: int, errors: float = 3.0) -> float:
    """How far so many items may be off chance: standard errors of a share of 1/4."""
    return errors * math.sqrt(CHANCE * (1 - CHANCE) / count)


def leaking(given: Sequence[Item], solver: Solver) -> frozenset[str]:
    """The kinds of questions that a solver answers better than chance, by more than three standard errors.

    Whole kinds, not items: leaving out the items that a solver happens to have right would put it below chance.
    """
    kinds = {item.fact.kind for item in given}
    found = set()
    for kind in kinds:
        own = [item for item in given if item.fact.kind == kind]
        if accuracy(own, solver) > CHANCE + margin(len(own)):
            found.add(kind)
    return frozenset(found)


def filtered(given: Sequence[Item], blind: Sequence[Sequence[bool]]) -> tuple[Item, ...]:
    """The items that not all controls have right without any code; `blind` is ``[controls, items]``.

    The controls have not been shown the repository. The more there are, the fewer items go by chance: of n controls
    4^-n of the items. Whether the filter was enough another control has to say.
    """
    answers = [len(control) for control in blind]
    if not answers or set(answers) != {len(given)}:
        raise ValueError(
            f"expected answers of one control or more to {len(given)} items each, got {answers or 'none'}"
        )
    return tuple(item for item, known in zip(given, zip(*blind, strict=True), strict=True) if not all(known))
