import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memaudit.statistics import (
    benjamini_hochberg,
    clopper_pearson,
    holm,
    kaplan_meier,
    sign_flip,
    upper_bound,
    wilson,
)
from memaudit.statistics.significance import ENUMERATED

p_values = st.lists(st.floats(0, 1), max_size=12)
pairs = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
lives = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30)


@given(pairs, st.sampled_from([0.9, 0.95, 0.99]))
def test_clopper_pearson_agrees_with_scipy(pair: tuple[int, int], confidence: float) -> None:
    ours = clopper_pearson(*pair, confidence=confidence)
    theirs = stats.binomtest(*pair).proportion_ci(confidence, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-10)


@given(pairs)
def test_the_one_sided_bound_agrees_with_scipy(pair: tuple[int, int]) -> None:
    theirs = stats.binomtest(*pair, alternative="less").proportion_ci(0.95, method="exact")
    assert upper_bound(*pair) == pytest.approx(theirs.high, abs=1e-10)


def test_zero_of_many_follows_the_rule_of_three() -> None:
    assert upper_bound(0, 1000) == pytest.approx(1 - 0.05**0.001)
    assert upper_bound(0, 1000) == pytest.approx(3 / 1000, rel=0.01)
    assert upper_bound(0, 0) == 1
    assert clopper_pearson(0, 0).high == 1


def test_clopper_pearson_covers_at_least_what_it_says_at_every_rate() -> None:
    # Not simulated: the chance of each count is known.
    for total, rate in itertools.product((5, 20, 60), np.linspace(0.01, 0.99, 33)):
        chance = stats.binom.pmf(np.arange(total + 1), total, rate)
        held = [(i := clopper_pearson(k, total)).low <= rate <= i.high for k in range(total + 1)]
        assert chance[held].sum() >= 0.95


@pytest.mark.parametrize("interval", [clopper_pearson, upper_bound, wilson])
def test_intervals_refuse_more_than_all(interval) -> None:
    with pytest.raises(ValueError, match="count=3, total=2"):
        interval(3, 2)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_sign_flip_is_the_enumeration(values: list[int]) -> None:
    means = [abs(sum(s * v for s, v in zip(signs, values, strict=True))) for signs in _signs(len(values))]
    expected = sum(mean >= abs(sum(values)) for mean in means) / len(means)
    assert sign_flip([v / 7 for v in values]) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 4)), min_size=1, max_size=20))
def test_sign_flip_of_clusters_is_that_of_their_sums(items: list[tuple[int, int]]) -> None:
    sums: dict[int, float] = {}
    for value, label in items:
        sums[label] = sums.get(label, 0) + value
    clustered = sign_flip([v for v, _ in items], clusters=[label for _, label in items])
    assert clustered == pytest.approx(sign_flip(list(sums.values())))


def test_drawn_signs_agree_with_all_of_them_and_are_never_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.4, 1, ENUMERATED).tolist()
    exact = sign_flip(values)
    monkeypatch.setattr("memaudit.statistics.significance.ENUMERATED", 0)
    drawn = sign_flip(values, resamples=20_000)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))
    assert drawn == sign_flip(values, resamples=20_000)
    assert drawn != sign_flip(values, resamples=20_000, seed=1)
    assert sign_flip([1.0] * 50, resamples=99) == 1 / 100


def test_sign_flip_agrees_with_scipy() -> None:
    values = np.random.default_rng(3).exponential(size=9) - 0.4
    found = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(values.tolist()) == pytest.approx(found.pvalue)


def test_differences_of_nothing_are_no_evidence() -> None:
    assert sign_flip([]) == 1
    assert sign_flip([0.0, 0.0]) == 1
    with pytest.raises(ValueError, match="2 items, got 1"):
        sign_flip([1.0, 2.0], clusters=["a"])
    with pytest.raises(ValueError, match="finite"):
        sign_flip([math.nan])


def test_holm_agrees_with_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_holm_rejects_what_stepping_down_rejects(values: list[float]) -> None:
    order = sorted(range(len(values)), key=values.__getitem__)
    rejected = set()
    for rank, place in enumerate(order):
        if values[place] > 0.05 / (len(values) - rank):
            break
        rejected.add(place)
    adjusted = holm(values)
    sure = [i for i, p in enumerate(adjusted) if abs(p - 0.05) > 1e-12]
    assert all((adjusted[i] <= 0.05) == (i in rejected) for i in sure)
    assert all(1 >= a >= p for a, p in zip(adjusted, values, strict=True))


@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(values: list[float]) -> None:
    expected = stats.false_discovery_control(values).tolist() if values else []
    assert benjamini_hochberg(values) == pytest.approx(expected)
    assert all(
        ours <= theirs + 1e-12 for ours, theirs in zip(benjamini_hochberg(values), holm(values), strict=True)
    )


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_p_values_are_between_0_and_1(adjust, wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        adjust([0.5, wrong])


def test_the_curve_agrees_with_the_remission_times_of_freireich() -> None:
    # Freireich et al. 1963, weeks of remission under 6-MP; the bounds are those that Stata and R print.
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    lost = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = kaplan_meier([*ended, *lost], [True] * len(ended) + [False] * len(lost))
    rows = {
        6: (0.8571, 0.6197, 0.9516),
        7: (0.8067, 0.5631, 0.9228),
        10: (0.7529, 0.5032, 0.8894),
        13: (0.6902, 0.4316, 0.8491),
        16: (0.6275, 0.3675, 0.8049),
        22: (0.5378, 0.2678, 0.7468),
        23: (0.4482, 0.1881, 0.6801),
    }
    for week, row in rows.items():
        found = curve.at(week)
        assert (found.value, found.low, found.high) == pytest.approx(row, abs=6e-5)
    assert curve.at_risk[curve.times.index(10)] == 15
    assert curve.at(100).low == 0
    assert curve.at(5).value == 1


@given(lives)
def test_the_curve_is_the_product_over_times(items: list[tuple[int, bool]]) -> None:
    curve = kaplan_meier([time for time, _ in items], [ended for _, ended in items])
    share = 1.0
    for place, time in enumerate(curve.times):
        there = sum(t >= time for t, _ in items)
        share *= 1 - sum(t == time and ended for t, ended in items) / there
        assert curve.at_risk[place] == there
        assert curve.survival[place] == pytest.approx(share)
        assert 0 <= curve.low[place] <= curve.survival[place] <= curve.high[place] <= 1
        assert curve.low[place] < curve.high[place]


def test_the_ends_of_the_curve_have_bounds() -> None:
    whole = kaplan_meier([3.0] * 20, [False] * 20)
    assert (whole.survival, whole.high) == ((1.0,), (1.0,))
    assert whole.low[0] == clopper_pearson(20, 20).low
    gone = kaplan_meier([3.0] * 20, [True] * 20)
    assert (gone.survival, gone.low, gone.high) == ((0.0,), (0.0,), (clopper_pearson(0, 20).high,))
    last = kaplan_meier([1.0, 2.0, 3.0], [True] * 3)
    assert last.high[2] == last.high[1]


def test_the_curve_refuses_what_is_no_time() -> None:
    for times, ended in (([], []), ([1.0], []), ([math.inf], [True]), ([-1.0], [False])):
        with pytest.raises(ValueError, match="expected"):
            kaplan_meier(times, ended)


def _signs(count: int):
    return itertools.product((1, -1), repeat=count)
