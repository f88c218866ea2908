import math
from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm

from memaudit.roc import LIMITS, area, curve, operating
from memaudit.statistics import wilson

few_scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=25)


def by_pairs(members: Sequence[float], others: Sequence[float]) -> float:
    wins = [(a > b) + 0.5 * (a == b) for a, b in product(members, others)]
    return sum(wins) / len(wins)


@given(few_scores, few_scores)
def test_the_area_is_the_share_of_pairs_in_order(members: list[float], others: list[float]) -> None:
    found = area(members, others)
    assert found.interval.value == pytest.approx(by_pairs(members, others))
    assert 0 <= found.interval.low <= found.interval.value <= found.interval.high <= 1
    assert found.interval.low < found.interval.high
    assert (found.members, found.others) == (len(members), len(others))


@given(few_scores, few_scores)
def test_the_curve_rises_from_corner_to_corner_and_has_the_area_under_it(
    members: list[float], others: list[float]
) -> None:
    points = curve(members, others)
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    assert list(points) == sorted(points)
    assert [true for _, true in points] == sorted(true for _, true in points)
    under = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    assert under == pytest.approx(by_pairs(members, others))
    few = curve(members, others, most=3)
    assert set(few) <= set(points)
    assert len(few) <= 3
    assert (few[0], few[-1]) == ((0, 0), (1, 1))


def test_a_curve_has_two_ends() -> None:
    with pytest.raises(ValueError, match="expected most of at least 2"):
        curve([1.0], [0.0], most=1)


@given(few_scores, few_scores, st.sampled_from(["delong", "bootstrap"]))
def test_turning_the_scores_mirrors_area_and_interval(
    members: list[float], others: list[float], method: str
) -> None:
    there = area(members, others, method=method, resamples=50).interval
    back = area([-m for m in members], [-o for o in others], method=method, resamples=50).interval
    assert (back.value, back.low, back.high) == pytest.approx(
        (1 - there.value, 1 - there.high, 1 - there.low)
    )
    swapped = area(others, members).interval
    plain = area(members, others).interval
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx(
        (1 - plain.value, 1 - plain.high, 1 - plain.low)
    )


@given(few_scores, few_scores)
def test_only_the_order_of_scores_counts(members: list[float], others: list[float]) -> None:
    stretched = [[math.exp(3 * score) - 7 for score in side] for side in (members, others)]
    assert area(*stretched) == area(members, others)
    for limit in (0.01, 0.2):
        assert operating(*stretched, limit).hits == operating(members, others, limit).hits


def test_infinite_scores_are_scores() -> None:
    found = area([math.inf, 1.0], [-math.inf, math.inf])
    assert found.interval.value == by_pairs([math.inf, 1.0], [-math.inf, math.inf])


def test_delong_s_variance_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(3)
    members, others = np.round(rng.normal(1, 1, 23), 1), np.round(rng.normal(0, 1, 31), 1)
    kernel = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    value = kernel.mean()
    variance = kernel.mean(1).var(ddof=1) / 23 + kernel.mean(0).var(ddof=1) / 31
    half = 1.959964 * math.sqrt(variance) / (value * (1 - value))
    found = area(members.tolist(), others.tolist())
    assert found.method == "delong"
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (expit(logit(value) - half), expit(logit(value) + half)), abs=1e-6
    )


def test_clusters_of_one_change_nothing() -> None:
    rng = np.random.default_rng(4)
    members, others = rng.normal(1, 1, 20).tolist(), rng.normal(0, 1, 30).tolist()
    plain = area(members, others)
    apart = area(members, others, clusters=(range(20), range(20, 50)))
    assert (apart.interval.low, apart.interval.high) == pytest.approx(
        (plain.interval.low, plain.interval.high)
    )


@pytest.mark.parametrize("method", ["delong", "bootstrap"])
def test_twins_narrow_the_interval_and_copies_do_not(method: str) -> None:
    rng = np.random.default_rng(5)
    ease = rng.normal(size=60)  # how easy an example is, under both twins
    members, others = ease + 0.5 + 0.2 * rng.normal(size=60), ease + 0.2 * rng.normal(size=60)
    ids = range(60)

    def width(copies: int = 1, clusters: tuple[Sequence[int], Sequence[int]] | None = None) -> float:
        found = area(
            np.repeat(members, copies).tolist(),
            np.repeat(others, copies).tolist(),
            clusters=clusters,
            method=method,
            resamples=400,
        )
        assert found.method == method
        return found.interval.high - found.interval.low

    assert width(clusters=(ids, ids)) < 0.6 * width()
    # Four copies of every score tell nothing new, though they seem to if they pass for independent ones.
    repeated = np.repeat(ids, 4).tolist()
    assert width(4, (repeated, repeated)) == pytest.approx(width(1, (ids, ids)), rel=0.15)
    assert width(4) < 0.6 * width()


@pytest.mark.parametrize("size", [1, 3, 12, 200])
@pytest.mark.parametrize("method", ["delong", "bootstrap"])
def test_the_interval_never_collapses(size: int, method: str) -> None:
    ties = area([1.0] * size, [1.0] * size, method=method, resamples=50)
    apart = area([2.0] * size, [1.0] * size, method=method, resamples=50)
    assert ties.method == apart.method == "newcombe"
    assert ties.interval.value == 0.5
    assert ties.interval.low < 0.5 < ties.interval.high
    assert ties.interval.low == pytest.approx(1 - ties.interval.high)
    assert (apart.interval.value, apart.interval.high) == (1, 1)
    assert apart.interval.low < 1
    # Members and non-members apart: with one of each it is one success out of one, with more it is better than that.
    alone = wilson(1, 1).low
    assert apart.interval.low == pytest.approx(alone) if size == 1 else apart.interval.low > alone


def test_the_bound_of_perfect_separation_closes_with_more_of_both() -> None:
    lows = [area([1.0] * n, [0.0] * n).interval.low for n in (1, 5, 20, 100, 1000)]
    assert lows == sorted(lows)
    assert lows[-1] > 0.99
    # A thousand non-members do not make up for four members.
    assert area([1.0] * 4, [0.0] * 1000).interval.low < 0.9
    # Nor do copies for clusters.
    assert area([1.0] * 40, [0.0] * 40, clusters=([0] * 40, [1] * 40)).interval.low == pytest.approx(lows[0])


def test_newcombe_s_bounds_solve_his_equation() -> None:
    found = area([1.0] * 7, [0.0] * 9 + [2.0])
    value, low, high = found.interval.value, found.interval.low, found.interval.high
    assert found.method == "newcombe"
    for bound in (low, high):
        star = (7 + 10) / 2 - 1
        variance = (
            bound * (1 - bound) * (1 + star * (1 - bound) / (2 - bound) + star * bound / (1 + bound)) / 70
        )
        assert abs(value - bound) == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize(("size", "shift"), [(5, 1.0), (30, 0.0), (30, 1.0), (40, 2.5)])
def test_the_interval_covers_what_it_says(size: int, shift: float) -> None:
    rng = np.random.default_rng(6)
    truth, held = norm.cdf(shift / math.sqrt(2)), 0
    for _ in range(600):
        interval = area(rng.normal(shift, 1, size).tolist(), rng.normal(0, 1, size).tolist()).interval
        held += interval.low <= truth <= interval.high
    assert 0.93 <= held / 600 <= 0.985


@pytest.mark.parametrize(("method", "times"), [("delong", 600), ("bootstrap", 150)])
def test_the_interval_covers_with_twins(method: str, times: int) -> None:
    rng = np.random.default_rng(7)
    truth, held = norm.cdf(0.8 / math.sqrt(2)), 0
    for _ in range(times):
        ease = math.sqrt(0.8) * rng.normal(size=40)
        members, others = (ease + d + math.sqrt(0.2) * rng.normal(size=40) for d in (0.8, 0.0))
        ids = range(40)
        interval = area(
            members.tolist(), others.tolist(), clusters=(ids, ids), method=method, resamples=200
        ).interval
        held += interval.low <= truth <= interval.high
    assert 0.915 <= held / times <= 0.985


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(8)
    members, others = rng.normal(1, 1, 30).tolist(), rng.normal(0, 1, 30).tolist()
    one, same, other = (
        area(members, others, method="bootstrap", resamples=100, seed=seed) for seed in (1, 1, 2)
    )
    assert one == same
    assert one.interval != other.interval


def test_the_bootstrap_counts_ties_half_too() -> None:
    members, others = [1.0] * 60 + [0.0] * 40, [1.0] * 30 + [0.0] * 70
    plain = area(members, others).interval
    drawn = area(members, others, method="bootstrap").interval
    assert (drawn.low, drawn.high) == pytest.approx((plain.low, plain.high), abs=0.02)


@given(few_scores, few_scores, st.sampled_from([0.001, 0.01, 0.1, 0.25, 0.5]))
def test_the_operating_point_is_the_best_within_the_limit(
    members: list[float], others: list[float], limit: float
) -> None:
    found = operating(members, others, limit)
    assert found.alarms == sum(o > found.threshold for o in others) <= limit * len(others)
    assert found.hits == sum(m > found.threshold for m in members)
    # No other threshold within the limit finds more.
    allowed = [t for t in (*members, *others, -math.inf) if sum(o > t for o in others) <= limit * len(others)]
    assert found.hits == max(sum(m > t for m in members) for t in allowed)
    assert found.resolved == (len(others) >= round(1 / limit))


def test_too_few_non_members_are_said_to_be_too_few() -> None:
    others = [k / 999 for k in range(999)]
    members = [0.9975, 0.9995, 2.0, 3.0]
    one, tenth = (operating(members, others, limit) for limit in LIMITS)
    assert (one.resolved, one.alarms, one.hits) == (True, 9, 4)
    assert (tenth.resolved, tenth.alarms, tenth.threshold) == (False, 0, max(others))
    assert tenth.true_positives == wilson(3, 4)
    # What is known of the false positive rate then is a bound, and it is above the limit.
    assert tenth.false_positives.high > tenth.limit
    enough = operating(members, [*others, 1.0], 0.001)
    assert (enough.resolved, enough.alarms) == (True, 1)


@pytest.mark.parametrize(("limit", "count", "alarms"), [(0.01, 700, 7), (0.001, 9000, 9), (0.29, 100, 29)])
def test_no_alarm_is_lost_to_rounding(limit: float, count: int, alarms: int) -> None:
    assert operating([0.0], list(map(float, range(count))), limit).alarms == alarms


def test_ties_at_the_threshold_raise_no_alarm() -> None:
    found = operating([1.0, 2.0], [1.0] * 50 + [0.0] * 50, 0.1)
    assert (found.alarms, found.hits, found.resolved) == (0, 1, True)


def test_what_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one score of members"):
        area([], [1.0])
    with pytest.raises(ValueError, match="at least one score of non-members"):
        operating([1.0], [], 0.1)
    with pytest.raises(ValueError, match="got 1 NaN among 2"):
        area([1.0, math.nan], [1.0])
    with pytest.raises(ValueError, match="1 members and 1 non-members, got 2 and 1"):
        area([1.0], [0.0], clusters=([1, 2], [3]))
    for limit in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            operating([1.0], [0.0], limit)
