"""Before a study: what it can see. Power of comparisons that are mixed over seeds, and the smallest effects.

All are two-sided tests of Student's t at k - 1 degrees of freedom (`seeds.over_seeds`), k the seeds. If the truth is
off by `effect` and the value of one seed has the standard deviation s, the statistic has the noncentral t distribution
with noncentrality effect sqrt(k) / s (Johnson and Welch 1940, Biometrika 31, 362). s^2 is what seeds differ by plus
what chance makes of the examples of one seed. Rates near 0 or 1 with few examples are not normal: below about 5
expected events for each seed take the numbers as rough, and see `zero_bound`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from scipy.special import nctdtr, stdtrit

from memaudit.statistics.intervals import CONFIDENCE, upper_bound

LEVEL = 1 - CONFIDENCE
POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class Comparison(ABC):
    """A comparison of a study that is being planned."""

    examples: int
    """For each arm and seed."""
    seeds: int
    between: float = 0.0
    """Standard deviation between seeds of what is compared, beyond chance among examples, in rates (0.05: 5 points)."""

    def __post_init__(self) -> None:
        if self.examples < 1 or self.seeds < 2 or not self.between >= 0:
            raise ValueError(
                f"expected 1 example and 2 seeds at least and no negative spread, got {self.examples}, {self.seeds} "
                f"and {self.between}"
            )

    @property
    @abstractmethod
    def most(self) -> float:
        """The largest effect there can be."""

    @abstractmethod
    def spread(self, effect: float) -> float:
        """Standard deviation of the value of one seed if this is the effect, in the unit of the effect."""

    def power(self, effect: float, *, level: float = LEVEL) -> float:
        """Chance that the two-sided test tells so large a true effect from none.

        Args:
            effect: As rates: 0.1 is 10 points. At 0 the power is the level.
            level: Of the test. Where m hypotheses are adjusted, level / m is on the safe side.
        """
        spread = self.spread(effect)
        if spread == 0:
            return 1.0 if effect else level
        free = self.seeds - 1
        bound = float(stdtrit(free, 1 - level / 2))
        off = abs(effect) * math.sqrt(self.seeds) / spread
        # Far out in either tail, where the chance is below 1e-9, scipy says NaN.
        below, missed = (0.0 if math.isnan(p := float(nctdtr(free, off, t))) else p for t in (-bound, bound))
        return min(1.0, 1 - missed + below)

    def smallest(self, *, power: float = POWER, level: float = LEVEL) -> float | None:
        """The smallest effect from which on the power is reached, to 6 digits; None: not even by the largest."""
        if self.power(self.most, level=level) < power:
            return None
        missed, seen = 0.0, self.most
        while seen - missed > 1e-7 * self.most:
            middle = (missed + seen) / 2
            if self.power(middle, level=level) < power:
                missed = middle
            else:
                seen = middle
        return seen


@dataclass(frozen=True, kw_only=True)
class RateAgainstBound(Comparison):
    """A rate against a fixed bound, such as 1 %. The effect is how far the true rate is above the bound.

    Variance of one seed: between^2 + p (1 - p) / n at the true rate p = bound + effect.
    """

    bound: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _rate(self.bound, "bound")

    @property
    def most(self) -> float:
        """Up to a rate of 1."""
        return 1 - self.bound

    def spread(self, effect: float) -> float:
        """See the class. A negative effect is a rate below the bound."""
        rate = min(max(self.bound + effect, 0.0), 1.0)
        return math.sqrt(self.between**2 + rate * (1 - rate) / self.examples)


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Comparison):
    """Exposed against control over the same examples. The effect is the difference of their rates.

    Variance of one seed: between^2 + (d - effect^2) / n, d the discordance. An effect needs that much discordance: of
    a larger effect, d is taken to be the effect itself.
    """

    discordance: float
    """Share of pairs of which one alone is memorized, either of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _rate(self.discordance, "discordance")

    @property
    def most(self) -> float:
        """All pairs."""
        return 1.0

    def spread(self, effect: float) -> float:
        """See the class."""
        apart = max(self.discordance, abs(effect))
        return math.sqrt(self.between**2 + (apart - effect**2) / self.examples)


@dataclass(frozen=True, kw_only=True)
class Trend(Comparison):
    """A straight line over m ordered, evenly spaced arms. The effect is the last arm's rate minus the first's.

    The slope of one seed is that of least squares over scores x = 0 to m - 1 (`seeds.slopes`). Its variance
    is (between^2 + p (1 - p) / n) / sum (x - mean)^2, and that of the effect (m - 1)^2 times as much. Here `between` is
    of each arm by itself; what all arms of a seed have in common falls out.
    """

    arms: int
    rate: float
    """Assumed on average over arms."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _rate(self.rate, "rate")
        if self.arms < 2:
            raise ValueError(f"expected 2 arms at least, got {self.arms}")

    @property
    def most(self) -> float:
        """As far as the average allows, with no arm below 0 or above 1."""
        return 2 * min(self.rate, 1 - self.rate)

    def spread(self, effect: float) -> float:
        """See the class; p (1 - p) is each arm's own, on the line that has this effect."""
        arms = [self.rate + effect * (arm / (self.arms - 1) - 0.5) for arm in range(self.arms)]
        weights = [(arm - (self.arms - 1) / 2) ** 2 for arm in range(self.arms)]
        square = math.fsum(weights)
        variance = math.fsum(
            w * (self.between**2 + max(p * (1 - p), 0.0) / self.examples)
            for w, p in zip(weights, arms, strict=True)
        )
        return (self.arms - 1) * math.sqrt(variance) / square


def zero_bound(examples: int, seeds: int, *, confidence: float = CONFIDENCE) -> float:
    """The one-sided upper bound of the rate that will be quoted if nothing comes out in any seed.

    `intervals.upper_bound` of 0 out of examples * seeds: about 3 / (examples * seeds) at 95 %. Takes the items of all
    seeds to be independent; of one set of examples asked in every seed it bounds the rate over both.
    """
    return upper_bound(0, examples * seeds, confidence=confidence)


def _rate(value: float, name: str) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"expected a {name} from 0 to 1, got {value}")
