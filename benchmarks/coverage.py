"""Do intervals hold what they say? `python -m benchmarks.coverage [--replicates 2000] [--seed 0] [--json]`.

Data are made up with a known truth, as often as `--replicates` says, and every 95 % interval of `memaudit.statistics`
is asked whether it has the truth in it. The bar is 93 to 97 %. Exact intervals of counts hold more by construction
(counts are whole, and the least favourable rate has to be held as well): of these the bar is a lower one. So it is of
intervals that fall back on them where events are few. The slow ones, resampling and dose, have half of the
replicates; the error of each number is beside it.

Then the tests: p-values of data in which nothing distinguishes the labels, which are dealt out anew each time. They
have to be uniform: the Kolmogorov-Smirnov distance from that, with its p-value, and the share below 5 %. p-values of
counts come in steps, so that plain ones are not quite uniform; the distance is that of randomised ones, which spread
each over its step (or the counts of seeds over theirs), and the share that of plain ones, which must not pass 5 %.
Last, the power that is promised before a study is compared with that of simulated studies.

The exit code is 0 even if a bar is missed; what missed is named.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, logit
from scipy.stats import kstest

from benchmarks.commandline import machine, parser, sized, teller
from memaudit.statistics import (
    Interval,
    PairedDifference,
    RateAgainstBound,
    Trend,
    clopper_pearson,
    cluster_difference,
    cluster_mean,
    cluster_ratio,
    difference_over_seeds,
    dose_response,
    kaplan_meier,
    mcnemar,
    over_seeds,
    paired_difference,
    paired_mean,
    rate_over_seeds,
    sign_flip,
    slopes,
    upper_bound,
    wilson,
)
from memaudit.statistics.dose import Response
from memaudit.statistics.seeds import Estimate
from memaudit.statistics.significance import ENUMERATED

LEAST, MOST = 0.93, 0.97
SEEDS, EXAMPLES = 5, 100  # of a study, where nothing else is said
DOSES, STRATA = (1, 4, 16, 64), (32, 24, 24, 20)
_SLOW = 2  # times fewer replicates

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is simulated."""

    replicates: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One interval, test or plan in one setting."""

    table: Literal["coverage", "uniformity", "power"]
    name: str
    setting: str
    figures: dict[str, float]
    """What was found, with the standard error of the simulated share."""
    reached: bool
    """Within the bar, as far as the replicates can tell: by twice the error."""

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.3f}" for name, value in self.figures.items())
        return f"{self.name:<22} {self.setting:<68} {figures}{'' if self.reached else '  MISSED'}"


Held = Callable[[Rng], bool]
Case = tuple[str, str, bool, bool, Held]
"""Name, setting, whether it is conservative, whether it is slow, and one replicate."""


def holds(interval: Interval | Estimate, truth: float) -> bool:
    """Whether the truth is in it."""
    return interval.low <= truth <= interval.high


def mixed_rate(intercept: float, sd: float) -> float:
    """The rate over seeds whose log-odds are normal around `intercept`, by quadrature."""
    at, weight = np.polynomial.hermite_e.hermegauss(60)
    return float(weight @ expit(intercept + sd * at) / weight.sum())


def of_rates() -> Iterator[Case]:
    """One sample, independent items."""
    for rate, total in ((0.3, 100), (0.05, 100), (0.01, 500)):
        setting = f"rate {rate:g} of {total}"
        for name, made, exact in (("wilson", wilson, False), ("clopper_pearson", clopper_pearson, True)):
            yield (
                name,
                setting,
                exact,
                False,
                lambda rng, made=made, n=total, p=rate: holds(made(int(rng.binomial(n, p)), n), p),
            )
        yield (
            "upper_bound",
            setting,
            True,
            False,
            lambda rng, n=total, p=rate: upper_bound(int(rng.binomial(n, p)), n) >= p,
        )


def of_pairs() -> Iterator[Case]:
    """Paired items, independent of each other."""
    for cells in ((0.2, 0.25, 0.05, 0.5), (0.02, 0.06, 0.02, 0.9)):
        yield (
            "paired_difference",
            f"100 pairs, both/first/second/neither {'/'.join(f'{c:g}' for c in cells)}",
            False,
            False,
            lambda rng, c=cells: holds(paired_difference(*map(int, rng.multinomial(100, c))), c[1] - c[2]),
        )

    def exponential(rng: Rng) -> bool:
        values = rng.exponential(size=(2, 40))
        return holds(paired_mean(values[0].tolist(), (values[1] + 1).tolist()), -1.0)

    yield "paired_mean", "40 pairs, exponential values", False, False, exponential


def of_seeds() -> Iterator[Case]:
    """Mixed over seeds; log-odds of a seed are normal with the standard deviation that is said."""

    def bare(rng: Rng) -> bool:
        return holds(over_seeds(rng.normal(1, 2, SEEDS).tolist(), null=0), 1.0)

    yield "over_seeds", f"{SEEDS} seeds, normal values", False, False, bare

    for rate in (0.3, 0.1, 0.02, 0.005):
        for sd in (0.0, 0.4, 0.7):

            def rates(rng: Rng, a: float = float(logit(rate)), sd: float = sd) -> bool:
                counts = rng.binomial(EXAMPLES, expit(a + sd * rng.normal(size=SEEDS)))
                return holds(rate_over_seeds(counts.tolist(), [EXAMPLES] * SEEDS), mixed_rate(a, sd))

            setting = f"{SEEDS} seeds of {EXAMPLES}, rate {rate:g}, sd {sd:g}"
            yield "rate_over_seeds", setting, rate * EXAMPLES <= 5, False, rates

    for first, second in ((0.2, 0.1), (0.05, 0.05), (0.02, 0.0), (0.002, 0.002)):

        def pairs(rng: Rng, first: float = first, second: float = second) -> bool:
            # What a seed does to the first side is random as well, by 3/10 of its rate.
            here = first * np.clip(1 + 0.3 * rng.normal(size=SEEDS), 0, 2)
            table = [rng.multinomial(EXAMPLES, (f, second, 1 - f - second)).tolist() for f in here]
            found = difference_over_seeds([t[0] for t in table], [t[1] for t in table], [EXAMPLES] * SEEDS)
            return holds(found, first - second)

        setting = f"{SEEDS} seeds of {EXAMPLES}, only first {first:g}, only second {second:g}"
        yield "difference_over_seeds", setting, first * EXAMPLES < 5, False, pairs

    def trend(rng: Rng) -> bool:
        return holds(over_seeds(slopes(_arms(rng, 0.05).tolist())), 0.05)

    yield (
        "slopes over seeds",
        f"{SEEDS} seeds, 4 arms of {EXAMPLES}, 5 points each, sd 0.05",
        False,
        False,
        trend,
    )


def _arms(rng: Rng, step: float, start: float = 0.2, arms: int = 4, sd: float = 0.05) -> np.ndarray:
    """Rates of ``[seeds, arms]``; seeds differ by a constant."""
    chance = start + sd * rng.normal(size=(SEEDS, 1)) + step * np.arange(arms)
    return rng.binomial(EXAMPLES, np.clip(chance, 0, 1)) / EXAMPLES


def of_clusters() -> Iterator[Case]:
    """Items within clusters of uneven sizes: geometric with mean 6, one in ten four times as large."""
    for clusters in (20, 50, 100):
        for rate, within in ((0.3, 0.2), (0.3, 0.5), (0.1, 0.2), (0.05, 0.1)):

            def mean(rng: Rng, m: int = clusters, rate: float = rate, within: float = within) -> bool:
                values, labels = _clustered(rng, m, rate, within)
                return holds(cluster_mean(values, labels, within=(0, 1), resamples=999), rate)

            setting = f"{clusters} clusters, rate {rate:g}, correlation {within:g}"
            yield "cluster_mean", setting, rate * clusters <= 2, True, mean

    def ratio(rng: Rng) -> bool:
        # Matched tokens over all tokens of files: both add up over the items of a cluster.
        values, labels = _clustered(rng, 40, 0.3, 0.2)
        weights = rng.exponential(size=len(values))
        tops = (np.array(values) * weights).tolist()
        return holds(cluster_ratio(tops, weights.tolist(), labels, within=(0, 1), resamples=999), 0.3)

    yield "cluster_ratio", "40 clusters, rate 0.3, correlation 0.2, exponential weights", False, True, ratio

    def difference(rng: Rng) -> bool:
        first, labels = _clustered(rng, 40, 0.3, 0.2)
        second, others = _clustered(rng, 40, 0.2, 0.2)
        found = cluster_difference(first, second, (labels, others), within=(-1, 1), resamples=999)
        return holds(found, 0.1)

    yield "cluster_difference", "40 clusters, rates 0.3 and 0.2, correlation 0.2", False, True, difference


def _clustered(rng: Rng, clusters: int, rate: float, within: float) -> tuple[list[float], list[int]]:
    sizes = rng.geometric(1 / 6, clusters) * np.where(rng.random(clusters) < 0.1, 4, 1)
    alike = (1 - within) / within
    chance = np.repeat(rng.beta(rate * alike, (1 - rate) * alike, clusters), sizes)
    return (rng.random(len(chance)) < chance).astype(float).tolist(), np.repeat(
        np.arange(clusters), sizes
    ).tolist()


def of_survival() -> Iterator[Case]:
    """Exponential times, seen at 12 checkpoints, half of them cut off at random."""
    for items in (30, 100):
        for share in (0.9, 0.5, 0.25):

            def curve(rng: Rng, items: int = items, share: float = share) -> bool:
                # Asked at checkpoint 4, where `share` of them last.
                ends = np.ceil(rng.exponential(-4 / math.log(share), items))
                cut = rng.integers(1, 13, items)
                last = np.minimum(ends, cut)
                found = kaplan_meier(last.tolist(), (ends <= cut).tolist()).at(4)
                return holds(found, share)

            yield "kaplan_meier", f"{items} items, {share:g} last", share == 0.9, False, curve


def of_doses() -> Iterator[Case]:
    """Strata at 1, 4, 16 and 64 times; seed intercepts normal with the standard deviation that is said."""
    for slope, half in ((0.5, 8), (1.0, 8), (1.0, 32), (1.5, 8), (2.0, 8), (2.5, 16)):
        for sd in (0.0, 0.7):
            for what in ("slope", "half"):

                def dose(
                    rng: Rng, slope: float = slope, half: int = half, sd: float = sd, what: str = what
                ) -> bool:
                    found = _dosed(rng, slope, half, sd)
                    return holds(found.slope, slope) if what == "slope" else holds(found.half, half)

                setting = f"{SEEDS} seeds, slope {slope:g}, half at {half}, sd {sd:g}"
                yield f"dose_response {what}", setting, slope > 2, True, dose


def _dosed(rng: Rng, slope: float, half: float, sd: float) -> Response:
    line = slope * (np.log2(DOSES) - math.log2(half)) + sd * rng.normal(size=(SEEDS, 1))
    return dose_response(DOSES, rng.binomial(STRATA, expit(line)).tolist(), [STRATA] * SEEDS)


Tested = tuple[float, float]
"""A p-value as it is, and randomised."""


def of_nothing() -> Iterator[tuple[str, str, Callable[[Rng], Tested]]]:
    """Tests of data whose labels are dealt out anew: name, setting, one replicate."""

    def changed(rng: Rng) -> Tested:
        # 30 of 100 pairs disagree; which of a pair was exposed is a coin.
        up = int(rng.binomial(30, 0.5))
        p, less = mcnemar(up, 30 - up), min(up, 30 - up)
        return p, p - rng.random() * (p - (mcnemar(less - 1, 31 - less) if less else 0.0))

    yield "mcnemar", "30 of 100 pairs disagree", changed

    def flipped(rng: Rng, items: int, clusters: int) -> Tested:
        labels = np.arange(items) % clusters
        values = (_FIXED[:items] + (labels < items - clusters) * _FIXED[labels]) * rng.choice(
            (-1, 1), clusters
        )[labels]
        p = sign_flip(
            values.tolist(), clusters=labels.tolist(), seed=int(rng.integers(1 << 30)), resamples=999
        )
        return p, p - rng.random() * (2 / 2**clusters if clusters <= ENUMERATED else 1 / 1000)

    for items, clusters, setting in (
        (12, 12, "12 skewed differences, all settings"),
        (60, 60, "60 skewed differences, 999 settings drawn"),
        (60, 15, "60 skewed differences in 15 clusters, 999 settings drawn"),
    ):
        yield "sign_flip", setting, lambda rng, items=items, clusters=clusters: flipped(rng, items, clusters)

    def seeds(rng: Rng) -> Tested:
        chance = np.clip(0.3 + 0.1 * rng.normal(size=(SEEDS, 1)), 0, 1)
        counts = rng.permuted(rng.binomial(EXAMPLES, chance, (SEEDS, 2)), axis=1)
        apart = counts[:, 0] - counts[:, 1]
        return over_seeds((apart / EXAMPLES).tolist()).p_value, over_seeds(_spread(apart, 1, rng)).p_value

    yield "over_seeds", f"{SEEDS} seeds, two arms of {EXAMPLES}, rate 0.3", seeds

    def paired(rng: Rng) -> Tested:
        apart = rng.binomial(EXAMPLES, 0.1, SEEDS)
        first = rng.binomial(apart, 0.5)
        found = difference_over_seeds(first.tolist(), (apart - first).tolist(), [EXAMPLES] * SEEDS)
        return found.p_value, over_seeds(_spread(2 * first - apart, 2, rng)).p_value

    yield "difference_over_seeds", f"{SEEDS} seeds of {EXAMPLES} pairs, 10 % disagree", paired

    def trend(rng: Rng) -> Tested:
        counts = rng.permuted(_arms(rng, 0.0, start=0.3) * EXAMPLES, axis=1)
        spread = counts + rng.uniform(-0.5, 0.5, counts.shape)
        return over_seeds(slopes(counts.tolist())).p_value, over_seeds(slopes(spread.tolist())).p_value

    yield "slopes over seeds", f"{SEEDS} seeds, 4 arms of {EXAMPLES}, rate 0.3", trend


def _spread(counts: np.ndarray, step: int, rng: Rng) -> list[float]:
    return (counts + step * rng.uniform(-0.5, 0.5, len(counts))).tolist()


_FIXED = np.random.default_rng(11).exponential(size=60)


def of_plans() -> Iterator[tuple[str, str, float, Callable[[Rng], bool]]]:
    """Power: name, setting, what is promised, and whether one replicate finds the effect."""
    bound = RateAgainstBound(examples=EXAMPLES, seeds=SEEDS, bound=0.1, between=0.03)
    effect = bound.smallest() or 1.0

    def above(rng: Rng, effect: float = effect) -> bool:
        chance = np.clip(rng.normal(0.1 + effect, 0.03, SEEDS), 0, 1)
        return over_seeds((rng.binomial(EXAMPLES, chance) / EXAMPLES).tolist(), null=0.1).p_value <= 0.05

    yield "RateAgainstBound", f"bound 0.1, sd 0.03, effect {effect:.3f}", bound.power(effect), above

    pairs = PairedDifference(examples=EXAMPLES, seeds=SEEDS, discordance=0.2, between=0.02)
    effect = pairs.smallest() or 1.0

    def differs(rng: Rng, effect: float = effect) -> bool:
        shift = np.clip(rng.normal(effect, 0.02, SEEDS), -0.2, 0.2)
        counts = [rng.multinomial(EXAMPLES, (0.1 + s / 2, 0.1 - s / 2, 0.8)).tolist() for s in shift]
        return (
            difference_over_seeds([c[0] for c in counts], [c[1] for c in counts], [EXAMPLES] * SEEDS).p_value
            <= 0.05
        )

    yield "PairedDifference", f"discordance 0.2, sd 0.02, effect {effect:.3f}", pairs.power(effect), differs

    line = Trend(examples=EXAMPLES, seeds=SEEDS, arms=4, rate=0.3)
    effect = line.smallest() or 0.6

    def rises(rng: Rng, effect: float = effect) -> bool:
        values = _arms(rng, effect / 3, start=0.3 - effect / 2)
        return over_seeds(slopes(values.tolist())).p_value <= 0.05

    yield "Trend", f"4 arms, rate 0.3, effect {effect:.3f}", line.power(effect), rises


def simulate(sizes: Sizes) -> Iterator[Row]:
    """All rows, each when it is there."""
    cases = [*of_rates(), *of_pairs(), *of_seeds(), *of_clusters(), *of_survival(), *of_doses()]
    for place, (name, setting, conservative, slow, held) in enumerate(cases):
        rng = np.random.default_rng([sizes.seed, place])
        times = max(1, sizes.replicates // (_SLOW if slow else 1))
        share = sum(held(rng) for _ in range(times)) / times
        error = _error(share, times)
        reached = share + 2 * error >= LEAST and (conservative or share - 2 * error <= MOST)
        figures = {"coverage": share, "error": error}
        yield Row(table="coverage", name=name, setting=setting, figures=figures, reached=reached)
    times = sizes.replicates
    for place, (name, setting, tested) in enumerate(of_nothing()):
        rng = np.random.default_rng([sizes.seed, 1000 + place])
        plain, randomised = np.array([tested(rng) for _ in range(times)]).T
        test, share, error = kstest(randomised, "uniform"), float(np.mean(plain <= 0.05)), _error(0.05, times)
        figures = {"KS": float(test.statistic), "p": float(test.pvalue), "rejected": share, "error": error}
        reached = test.pvalue >= 0.01 and share - 2 * error <= 0.05
        yield Row(table="uniformity", name=name, setting=setting, figures=figures, reached=bool(reached))
    for place, (name, setting, promised, found) in enumerate(of_plans()):
        rng = np.random.default_rng([sizes.seed, 2000 + place])
        share = sum(found(rng) for _ in range(times)) / times
        figures = {"promised": promised, "simulated": share, "error": _error(share, times)}
        reached = abs(promised - share) <= 0.05 + 2 * figures["error"]
        yield Row(table="power", name=name, setting=setting, figures=figures, reached=reached)


def _error(share: float, times: int) -> float:
    return math.sqrt(share * (1 - share) / times)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or JSON of it, and what missed its bar."""
    command = parser("coverage", __doc__, Sizes())
    options = command.parse_args(arguments)
    sizes = sized(command, options, Sizes())
    said, rows = teller(options), []
    for row in simulate(sizes):
        rows.append(row)
        said(str(row))
    missed = [f"{row.name}: {row.setting}" for row in rows if not row.reached]
    if options.json:
        printed = {"rows": [asdict(row) for row in rows], "missed": missed, "sizes": asdict(sizes)}
        print(json.dumps(printed | {"machine": machine("scipy")}))
    else:
        print(f"bars missed: {'; '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
