import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memaudit.statistics import Rate, independent_difference, mcnemar, paired_difference, paired_mean, wilson
from memaudit.transitions import transition

counts = st.integers(0, 60)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy_and_holds_its_rate(pair: tuple[int, int]) -> None:
    count, total = pair
    ours = wilson(count, total)
    theirs = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_zero_of_many_has_an_upper_bound() -> None:
    # The figures that are usually quoted: 0/500 -> 0.76 %, 0/3000 -> 0.13 %.
    assert wilson(0, 500).high == pytest.approx(0.0076, abs=5e-5)
    assert wilson(0, 3000).high == pytest.approx(0.0013, abs=5e-5)
    assert wilson(0, 500).low == 0


def test_nothing_is_known_of_an_empty_sample() -> None:
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    assert (paired_difference(0, 0, 0, 0).low, paired_difference(0, 0, 0, 0).high) == (-1, 1)


def test_wilson_refuses_more_than_all() -> None:
    with pytest.raises(ValueError, match="count=3, total=2"):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Worked cases of Newcombe 1998, table II, method 10: cells both, only first, only second, neither.
        ((36, 12, 2, 0), 0.0569, 0.3404),
        ((0, 12, 2, 36), 0.0569, 0.3404),
        ((54, 0, 0, 0), -0.0664, 0.0664),
        ((0, 0, 0, 54), -0.0664, 0.0664),
        ((0, 30, 0, 0), 0.8395, 1.0),
    ],
)
def test_newcombe_agrees_with_the_paper(table: tuple[int, int, int, int], low: float, high: float) -> None:
    interval = paired_difference(*table)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=2e-3)


@given(counts, counts, counts, counts)
def test_the_paired_difference_is_sound(both: int, first: int, second: int, neither: int) -> None:
    there = paired_difference(both, first, second, neither)
    back = paired_difference(both, second, first, neither)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_newcombe_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    cells = np.array([0.2, 0.25, 0.05, 0.5])
    truth = cells[1] - cells[2]
    held = 0
    for table in rng.multinomial(50, cells, size=2000):
        interval = paired_difference(*map(int, table))
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / 2000 <= 0.98


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        # Contrasts (a) to (h) of Newcombe 1998, Statistics in Medicine 17, table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_independent_difference_agrees_with_the_paper(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    found = independent_difference(*(Rate(count=c, total=n) for c, n in (first, second)))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


rates = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(rates, rates)
def test_the_independent_difference_is_the_formula_over_scipys_intervals(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    shares = np.array([k / n for k, n in (first, second)])
    ends = np.array([stats.binomtest(*pair).proportion_ci(0.95, "wilson") for pair in (first, second)])
    value = shares[0] - shares[1]
    low = value - np.hypot(shares[0] - ends[0, 0], ends[1, 1] - shares[1])
    high = value + np.hypot(ends[0, 1] - shares[0], shares[1] - ends[1, 0])
    one, other = (Rate(count=c, total=n) for c, n in (first, second))
    ours, back = independent_difference(one, other), independent_difference(other, one)
    assert (ours.value, ours.low, ours.high) == pytest.approx((value, max(low, -1), min(high, 1)), abs=1e-9)
    assert (back.low, back.high) == pytest.approx((-ours.high, -ours.low))


def test_of_one_rate_alone_no_difference_is_known() -> None:
    found = independent_difference(Rate(count=3, total=4), Rate(count=0, total=0))
    assert (found.low, found.high) == (-1, 1)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.integers(0, 2**31))
def test_paired_mean_agrees_with_scipy(first: list[float], seed: int) -> None:
    second = np.random.default_rng(seed).normal(size=len(first)).tolist()
    ours = paired_mean(first, second)
    theirs = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-8, rel=1e-8)


def test_one_pair_says_nothing_of_its_spread() -> None:
    interval = paired_mean([2.0], [1.0])
    assert interval.value == 1
    assert interval.low < -1e300
    assert math.isfinite(interval.high)


@given(counts, counts)
def test_mcnemar_is_the_binomial_test(acquired: int, forgotten: int) -> None:
    changed = acquired + forgotten
    expected = stats.binomtest(acquired, changed, 0.5).pvalue if changed else 1.0
    assert mcnemar(acquired, forgotten) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_transitions_divide_the_population(pairs: list[tuple[bool, bool]]) -> None:
    change = transition(pairs)
    assert change.acquired + change.persisted + change.forgotten + change.never == len(pairs)
    assert change.persisted + change.forgotten == sum(before for before, _ in pairs)
    assert change.persisted + change.acquired == sum(after for _, after in pairs)
