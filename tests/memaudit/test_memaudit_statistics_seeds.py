import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memaudit.statistics import (
    UNBOUNDED,
    PairedDifference,
    RateAgainstBound,
    Trend,
    clopper_pearson,
    difference_over_seeds,
    mcnemar,
    over_seeds,
    rate_over_seeds,
    slopes,
    zero_bound,
)

values = st.lists(st.floats(-100, 100), min_size=2, max_size=8).filter(lambda v: np.std(v) > 1e-6)


@given(values, st.floats(-10, 10))
def test_over_seeds_is_the_t_test(seeds: list[float], null: float) -> None:
    ours = over_seeds(seeds, null=null)
    for alternative, p in (("two-sided", ours.p_value), ("greater", ours.p_above), ("less", ours.p_below)):
        assert p == pytest.approx(stats.ttest_1samp(seeds, null, alternative=alternative).pvalue, abs=1e-10)
    theirs = stats.ttest_1samp(seeds, null).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-7, abs=1e-7)
    assert ours.method == "student"


@pytest.mark.parametrize("seeds", [[0.25], [0.25] * 5])
def test_seeds_that_show_no_spread_are_no_evidence(seeds: list[float]) -> None:
    found = over_seeds(seeds)
    assert (found.value, found.low, found.high) == (0.25, -UNBOUNDED, UNBOUNDED)
    assert (found.p_value, found.p_above, found.p_below, found.method) == (1, 1, 1, "unknown")


def test_agreeing_counts_are_pooled_exactly() -> None:
    found = rate_over_seeds([0] * 5, [100] * 5, null=0.02)
    assert (found.value, found.low, found.method) == (0, 0, "exact")
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 500))
    assert found.p_below == pytest.approx(0.98**500)
    some = rate_over_seeds([7] * 5, [100] * 5, null=0.05)
    assert (some.low, some.high) == (clopper_pearson(35, 500).low, clopper_pearson(35, 500).high)
    assert some.p_above == pytest.approx(stats.binomtest(35, 500, 0.05, alternative="greater").pvalue)


def test_rates_of_many_events_are_mixed_on_the_scale_of_anscombe() -> None:
    counts, total = [31, 25, 40, 28, 36], 100
    angles = np.arcsin(np.sqrt((np.array(counts) + 0.375) / (total + 0.75)))
    theirs = stats.ttest_1samp(angles, math.asin(math.sqrt(0.25)))
    ours = rate_over_seeds(counts, [total] * 5, null=0.25)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    bounds = np.sin(theirs.confidence_interval(0.95)) ** 2
    assert (ours.low, ours.high) == pytest.approx(tuple(bounds))
    assert ours.method == "student"


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_rates_over_seeds_are_sound(counts: list[int], null: float) -> None:
    found = rate_over_seeds(counts, [40] * len(counts), null=null)
    assert 0 <= found.low <= found.value <= found.high <= 1
    pooled = clopper_pearson(sum(counts), 40 * len(counts))
    if found.method in ("exact", "widened"):
        assert found.low <= pooled.low
        assert found.high >= pooled.high
    turned = rate_over_seeds([40 - c for c in counts], [40] * len(counts), null=1 - null)
    assert (1 - turned.high, turned.p_above) == pytest.approx((found.low, found.p_below), abs=1e-9)


def test_few_events_that_nearly_agree_are_not_trusted() -> None:
    # Student's interval alone would end at 0.0124 + 0.0004.
    found = rate_over_seeds([1, 1, 1, 1, 2], [100] * 5)
    assert found.method == "widened"
    assert found.high >= clopper_pearson(6, 500).high


def test_agreeing_differences_are_pooled() -> None:
    none = difference_over_seeds([0] * 5, [0] * 5, [100] * 5)
    bound = 1 - 0.0125 ** (1 / 500)
    assert (none.value, none.low, none.high) == pytest.approx((0, -bound, bound))
    assert (none.p_value, none.method) == (1, "exact")
    some = difference_over_seeds([4] * 5, [1] * 5, [100] * 5)
    assert some.p_value == mcnemar(20, 5)
    assert some.p_above == pytest.approx(mcnemar(20, 5) / 2)
    first, second = (clopper_pearson(c, 500, confidence=0.975) for c in (20, 5))
    assert (some.low, some.high) == (first.low - second.high, first.high - second.low)


def test_differences_that_vary_are_those_of_over_seeds() -> None:
    found = difference_over_seeds([9, 4, 7], [1, 2, 0], [50, 50, 40])
    assert found == over_seeds([8 / 50, 2 / 50, 7 / 40])
    assert difference_over_seeds([50, 0], [0, 50], [50, 50]).low == -1


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=2, max_size=5))
def test_slopes_are_those_of_least_squares(table: list[list[float]]) -> None:
    scores = [0.0, 1.0, 3.0, 4.0]
    expected = [stats.linregress(scores, row).slope for row in table]
    assert slopes(table, scores=scores) == pytest.approx(expected, abs=1e-9)


def test_what_a_seeds_arms_have_in_common_falls_out_of_the_trend() -> None:
    table = np.random.default_rng(0).normal(size=(5, 4))
    moved = (table + np.arange(5)[:, None]).tolist()
    assert slopes(moved) == pytest.approx(slopes(table.tolist()))


def test_seeds_refuse_what_does_not_fit() -> None:
    refused = [
        lambda: over_seeds([]),
        lambda: over_seeds([math.nan]),
        lambda: rate_over_seeds([1], [1, 2]),
        lambda: rate_over_seeds([3], [2]),
        lambda: rate_over_seeds([1], [2], null=2),
        lambda: difference_over_seeds([2], [1], [2]),
        lambda: difference_over_seeds([-1], [1], [2]),
        lambda: slopes([[1.0], [2.0]]),
        lambda: slopes([[1.0, 2.0]], scores=[1.0, 1.0]),
    ]
    for call in refused:
        with pytest.raises(ValueError, match="expected"):
            call()


def test_power_agrees_with_published_sample_sizes() -> None:
    # One-sample t, effect of half a standard deviation, 34 seeds: power 0.8078 in G*Power. 0.05 is half of 0.1 here.
    plan = RateAgainstBound(examples=10**12, seeds=34, between=0.1, bound=0.3)
    assert plan.power(0.05) == pytest.approx(0.8078, abs=1e-4)


@given(st.integers(2, 20), st.floats(0, 0.2), st.floats(0.02, 0.4), st.floats(0, 0.5))
def test_power_is_the_noncentral_t(seeds: int, between: float, discordance: float, effect: float) -> None:
    plan = PairedDifference(examples=50, seeds=seeds, between=between, discordance=discordance)
    variance = between**2 + (max(discordance, effect) - effect**2) / 50
    off, free = effect * math.sqrt(seeds / variance), seeds - 1
    bound = stats.t.ppf(0.975, free)
    # As the integral over the chi-squared variance, without the noncentral t of any library.
    at = np.linspace(1e-7, 1 - 1e-7, 20_001)
    scale = np.sqrt(stats.chi2.ppf(at, free) / free)
    expected = np.trapezoid(stats.norm.sf(bound * scale - off) + stats.norm.cdf(-bound * scale - off), at)
    assert plan.power(effect) == pytest.approx(expected, abs=2e-3)
    assert plan.power(0.0) == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(
    "plan",
    [
        RateAgainstBound(examples=100, seeds=5, bound=0.01),
        PairedDifference(examples=100, seeds=5, discordance=0.1, between=0.02),
        Trend(examples=100, seeds=5, arms=4, rate=0.3),
    ],
)
def test_the_smallest_effect_is_seen_and_no_smaller_one(plan) -> None:
    smallest = plan.smallest(power=0.8)
    assert plan.power(smallest) >= 0.8 > plan.power(smallest * 0.999)
    assert plan.power(-smallest) == pytest.approx(plan.power(smallest), abs=0.25)
    assert plan.smallest(power=0.8, level=0.01) > smallest


def test_the_smallest_paired_difference_is_near_what_normal_theory_says() -> None:
    plan = PairedDifference(examples=100, seeds=200, discordance=0.2)
    # (1.96 + 0.84) standard errors, for so many seeds.
    assert plan.smallest() == pytest.approx(2.8016 * math.sqrt(0.2 / 100 / 200), rel=0.01)
    assert PairedDifference(examples=100, seeds=5, discordance=0.2, between=0.02).smallest() < 0.1


def test_what_cannot_be_seen_has_no_smallest_effect() -> None:
    assert Trend(examples=2, seeds=2, arms=2, rate=0.05).smallest() is None


def test_a_trend_of_two_arms_is_an_unpaired_difference() -> None:
    plan = Trend(examples=100, seeds=5, arms=2, rate=0.3, between=0.04)
    rates = (0.3 - 0.05, 0.3 + 0.05)
    assert plan.spread(0.1) == pytest.approx(math.sqrt(sum(0.04**2 + p * (1 - p) / 100 for p in rates)))


def test_the_bound_of_nothing_is_that_of_all_examples() -> None:
    assert zero_bound(100, 5) == pytest.approx(1 - 0.05 ** (1 / 500))


def test_plans_refuse_what_is_none() -> None:
    for wrong in ({"seeds": 1}, {"examples": 0}, {"between": -1.0}, {"bound": 2.0}):
        with pytest.raises(ValueError, match="expected"):
            RateAgainstBound(**{"examples": 10, "seeds": 5, "bound": 0.1} | wrong)
    with pytest.raises(ValueError, match="2 arms"):
        Trend(examples=10, seeds=5, arms=1, rate=0.1)


@pytest.mark.parametrize(("up", "down", "null"), [(44, 0, 0.1), (20, 5, 0.3), (3, 0, 0.01), (0, 9, -0.2)])
def test_an_exact_difference_against_another_null_is_tested_by_its_own_bounds(
    up: int, down: int, null: float
) -> None:
    """The p-value is below 5 % just where the 95 % interval leaves the null out."""
    found = difference_over_seeds([up, up], [down, down], [100, 100], null=null)
    assert found.method == "exact"
    assert (found.low, found.high) == pytest.approx(
        (
            difference_over_seeds([up, up], [down, down], [100, 100]).low,
            difference_over_seeds([up, up], [down, down], [100, 100]).high,
        )
    )
    assert (found.p_value < 0.05) == (null < found.low or null > found.high)
    assert found.p_value == pytest.approx(min(1.0, 2 * min(found.p_above, found.p_below)))
    assert (found.p_above < found.p_below) == (found.value > null)


def test_at_a_bound_of_an_exact_difference_the_p_value_is_five_percent() -> None:
    low = difference_over_seeds([44, 44], [0, 0], [100, 100]).low
    assert difference_over_seeds([44, 44], [0, 0], [100, 100], null=low).p_value == pytest.approx(
        0.05, rel=1e-3
    )
