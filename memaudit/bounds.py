"""The end of a rate's interval that a bound is set against, and how many examples a bound needs at least."""

import math
from typing import Literal, TypeAlias

from memaudit.statistics import CONFIDENCE, upper_bound, wilson
from reports.phrases import confident

Method: TypeAlias = Literal["exact", "wilson"]


def upper(count: int, total: int, method: Method, confidence: float) -> float:
    """The upper end: exact and one-sided (Clopper and Pearson), or Wilson's two-sided at 95 %."""
    if method == "wilson":
        return wilson(count, total).high
    return upper_bound(count, total, confidence=confidence)


def lower(count: int, total: int, confidence: float) -> float:
    """The lower end, exact and one-sided."""
    return 1 - upper_bound(total - count, total, confidence=confidence)


def named(method: Method, confidence: float) -> str:
    """How a bound is called."""
    if method == "wilson":
        return f"upper end of Wilson's two-sided {confident(CONFIDENCE)} interval"
    return f"exact one-sided {confident(confidence)} bound, Clopper-Pearson"


def least_for_upper(at_most: float, method: Method, confidence: float) -> int:
    """The smallest sample of which nothing coming out shows the rate to be at most so much."""
    if method == "wilson":
        # z^2 / (n + z^2) <= b, with z^2 from the interval of one item, whose upper end is z^2 / (1 + z^2).
        end = wilson(0, 1).high
        guess = end / (1 - end) * (1 - at_most) / at_most
    else:
        # 1 - (1 - confidence)^(1 / n) <= b
        guess = math.log1p(-confidence) / math.log1p(-at_most)
    needs = max(1, math.floor(guess))
    while upper(0, needs, method, confidence) > at_most:
        needs += 1
    return needs


def least_for_lower(at_least: float, confidence: float) -> int:
    """The smallest sample of which everything coming out shows the rate to be at least so much."""
    return least_for_upper(1 - at_least, "exact", confidence)


def least_pairs(alpha: float, places: int) -> int:
    """Pairs of which an exact McNemar test can come below `alpha` after Holm's adjustment for so many places.

    If all n changed in one way, its p-value is 2 / 2^n.
    """
    needs = 1
    while places * 2.0 ** (1 - needs) >= alpha:
        needs += 1
    return needs
