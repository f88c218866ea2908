import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from scipy.special import expit

from memaudit.statistics import (
    UNBOUNDED,
    cluster_difference,
    cluster_mean,
    cluster_ratio,
    dose_response,
    upper_bound,
)
from memaudit.statistics.firth import firth

DOSES, STRATA = (1, 4, 16, 64), (32, 24, 24, 20)
X = np.log2(np.array(DOSES, float))
rows = st.tuples(*(st.integers(0, n) for n in STRATA))


def penalised(beta: np.ndarray, events: np.ndarray) -> float:
    line = beta[0] + beta[1] * X
    weight = np.array(STRATA) * expit(line) * expit(-line)
    design = np.stack([np.ones(4), X])
    likelihood = -(events @ np.logaddexp(0, -line) + (np.array(STRATA) - events) @ np.logaddexp(0, line))
    return likelihood + np.linalg.slogdet(design * weight @ design.T)[1] / 2


@given(rows)
def test_firth_is_the_maximum_of_the_penalised_likelihood(events: tuple[int, ...]) -> None:
    line = firth(X, np.array([events], float), np.array([STRATA], float))
    ours = np.array([line.intercept[0], line.slope[0]])
    found = optimize.minimize(lambda b: -penalised(b, np.array(events)), ours + 0.1, method="Nelder-Mead")
    assert penalised(ours, np.array(events)) >= -found.fun - 1e-7
    step = 1e-4
    for direction in np.eye(2) * step:
        slope = penalised(ours + direction, np.array(events)) - penalised(ours - direction, np.array(events))
        assert abs(slope / (2 * step)) < 1e-3


def test_firth_of_two_doses_has_a_closed_form() -> None:
    # With as many parameters as groups, half an event and half a miss are added to each (Firth 1993, section 3.1).
    line = firth(np.array([0.0, 1.0]), np.array([[0.0, 7.0]]), np.array([[10.0, 10.0]]))
    odds = [math.log(0.5 / 10.5), math.log(7.5 / 3.5)]
    assert (line.intercept[0], line.slope[0]) == pytest.approx((odds[0], odds[1] - odds[0]))
    # The information of a line through two points: variances of the two log-odds, of fitted chances.
    variance = [1 / (10 * p * (1 - p)) for p in (0.5 / 11, 7.5 / 11)]
    assert line.covariance[0, 1, 1] == pytest.approx(sum(variance))
    assert line.covariance[0, 0, 0] == pytest.approx(variance[0])


def test_the_slope_is_mixed_over_seeds_and_half_is_fiellers() -> None:
    rng = np.random.default_rng(4)
    counts = rng.binomial(STRATA, expit(0.8 * (X - 3) + rng.normal(0, 0.5, (5, 1))))
    found = dose_response(DOSES, counts.tolist(), [STRATA] * 5)
    line = firth(X, counts.astype(float), np.array([STRATA] * 5, float))
    theirs = stats.ttest_1samp(line.slope, 0)
    assert found.slope.p_value == pytest.approx(theirs.pvalue)
    assert (found.slope.low, found.slope.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    # By trying: the doses at which the seeds' log-odds are not told from 0.
    at = np.linspace(0, 6, 6001)
    p = stats.ttest_1samp(line.intercept[:, None] + line.slope[:, None] * at, 0).pvalue
    kept = at[p >= 0.05]
    assert (found.half.low, found.half.high) == pytest.approx((2 ** kept[0], 2 ** kept[-1]), rel=1e-3)
    assert found.half.value == pytest.approx(2 ** (-line.intercept.mean() / line.slope.mean()))
    assert found.outcome == "fitted"
    assert [(r.count, r.total) for r in found.strata] == list(
        zip(counts.sum(axis=0), np.array(STRATA) * 5, strict=True)
    )


def test_separated_seeds_get_bounds_that_are_finite_and_not_a_point() -> None:
    found = dose_response(DOSES, [[0, 0, 24, 20]] * 5, [STRATA] * 5)
    assert found.slope.method == "widened"
    assert 0 < found.slope.low < found.slope.value < found.slope.high < 10
    assert 1 < found.half.low < 8 < found.half.high < 64
    assert found.slope.p_value < 0.05


def test_nothing_came_out() -> None:
    found = dose_response(DOSES, [[0] * 4] * 5, [STRATA] * 5)
    assert (found.outcome, found.slope.method, found.slope.p_value) == ("none", "unknown", 1)
    assert found.bound == upper_bound(0, 100)
    assert (found.half.low, found.half.high) == (64, math.inf)
    few = dose_response(DOSES, [[0] * 4], [[2, 2, 2, 2]])
    assert few.half.low == 0


def test_everything_came_out() -> None:
    found = dose_response(DOSES, [STRATA] * 5, [STRATA] * 5)
    assert (found.outcome, found.bound) == ("all", 1 - upper_bound(0, 160))
    assert (found.half.low, found.half.high) == (0, 1)


def test_a_flat_response_bounds_half_from_the_side_it_is_on() -> None:
    counts = [[1, 2, 1, 1], [2, 1, 0, 1], [1, 0, 2, 1], [0, 1, 1, 0], [2, 1, 2, 1]]
    found = dose_response(DOSES, counts, [STRATA] * 5)
    assert found.slope.low < 0 < found.slope.high
    assert found.half.low > 64
    assert found.half.high == math.inf
    turned = dose_response(
        DOSES, [[n - c for n, c in zip(STRATA, row, strict=True)] for row in counts], [STRATA] * 5
    )
    assert turned.half.low == 0
    assert turned.half.high < 1


def test_one_seed_says_nothing_of_seeds() -> None:
    found = dose_response(DOSES, [[1, 5, 15, 19]], [STRATA])
    assert found.slope.method == "unknown"
    assert (found.half.low, found.half.high) == (0, math.inf)


@given(st.lists(rows, min_size=1, max_size=5))
def test_a_response_is_sound_whatever_came_out(counts: list[tuple[int, ...]]) -> None:
    found = dose_response(DOSES, counts, [STRATA] * len(counts))
    assert found.slope.low <= found.slope.value <= found.slope.high
    assert 0 <= found.half.low <= found.half.value <= found.half.high
    assert 0 <= found.slope.p_value <= 1
    back = dose_response(DOSES[::-1], [row[::-1] for row in counts], [STRATA[::-1]] * len(counts))
    assert back.slope == found.slope


def test_doses_refuse_what_does_not_fit() -> None:
    for doses, counts, totals in (
        ((1, 4), [[1]], [[2]]),
        ((0, 4), [[1, 1]], [[2, 2]]),
        ((4, 4), [[1, 1]], [[2, 2]]),
        ((1, 4), [[3, 1]], [[2, 2]]),
        ((1, 4), [[0, 1]], [[0, 2]]),
        ((1, 4), [], []),
    ):
        with pytest.raises(ValueError, match="expected"):
            dose_response(doses, counts, totals)


def clustered(seed: int, clusters: int = 30) -> tuple[list[float], list[int]]:
    rng = np.random.default_rng(seed)
    sizes = rng.geometric(0.2, clusters)
    chance = np.repeat(rng.beta(1.2, 2.8, clusters), sizes)
    return (rng.random(len(chance)) < chance).astype(float).tolist(), np.repeat(
        range(clusters), sizes
    ).tolist()


def test_the_bootstrap_is_that_of_a_plain_loop() -> None:
    values, labels = clustered(0, 12)
    groups = [[v for v, at in zip(values, labels, strict=True) if at == c] for c in range(12)]
    mean = np.mean(values)
    left_out = [np.mean([v for other, g in enumerate(groups) if other != c for v in g]) for c in range(12)]
    error = math.sqrt(sum((m - mean) ** 2 for m in left_out))
    rng = np.random.default_rng(5)
    found = []
    for drawn in rng.integers(0, 12, (500, 12)):
        chosen = [groups[c] for c in drawn]
        again = np.concatenate(chosen).mean()
        off = [sum(g) - len(g) * again for g in chosen]
        found.append((again - mean) / math.sqrt(12 / 11 * sum(o * o for o in off)) * sum(map(len, chosen)))
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf")
    ours = cluster_mean(values, labels, seed=5, resamples=500)
    assert (ours.value, ours.low, ours.high) == pytest.approx((mean, mean - high * error, mean - low * error))


def test_clusters_of_one_are_about_students_interval() -> None:
    values = np.random.default_rng(1).normal(size=200).tolist()
    ours = cluster_mean(values, range(200), resamples=9999)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_difference_of_the_same_items_is_the_mean_of_differences() -> None:
    first, labels = clustered(1)
    second = np.random.default_rng(2).random(len(first)).tolist()
    both = cluster_difference(first, second, (labels, labels))
    paired = cluster_mean([a - b for a, b in zip(first, second, strict=True)], labels)
    assert (both.value, both.low, both.high) == pytest.approx((paired.value, paired.low, paired.high))
    # Of clusters that have nothing in common, it is longer by about what the second adds.
    apart = cluster_difference(first, second, (labels, [f"other {at}" for at in labels]))
    assert apart.value == pytest.approx(both.value)


def test_a_ratio_weighs_items_by_their_denominators() -> None:
    values, labels = clustered(3)
    twice = cluster_ratio([2 * v for v in values], [2.0] * len(values), labels)
    plain = cluster_mean(values, labels)
    assert (twice.low, twice.high) == pytest.approx((plain.low, plain.high))
    assert cluster_ratio([1, 2, 3], [2, 2, 8], [0, 1, 2]).value == 0.5


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(-5, 5))
def test_intervals_over_clusters_go_along_with_the_unit(seed: int, scale: float, shift: float) -> None:
    values, labels = clustered(seed)
    plain = cluster_mean(values, labels, resamples=199)
    moved = cluster_mean([v * scale + shift for v in values], labels, resamples=199)
    assert plain.low <= plain.value <= plain.high
    expected = tuple(b * scale + shift for b in (plain.value, plain.low, plain.high))
    assert (moved.value, moved.low, moved.high) == pytest.approx(expected, abs=1e-6)


def test_clusters_without_spread_are_bounded_by_their_number() -> None:
    labels = [at // 5 for at in range(200)]
    unseen = 1 - 0.025 ** (1 / 40)
    zero = cluster_mean([0.0] * 200, labels, within=(0, 1))
    assert (zero.value, zero.low, zero.high) == pytest.approx((0, 0, unseen))
    alike = cluster_difference([1.0] * 200, [1.0] * 200, (labels, labels), within=(-1, 1))
    assert (alike.low, alike.high) == pytest.approx((-unseen, unseen))
    unbounded = cluster_mean([0.0] * 200, labels)
    assert (unbounded.low, unbounded.high) == (-UNBOUNDED, UNBOUNDED)
    alone = cluster_mean([0.0, 1.0], ["a", "a"], within=(0, 1))
    assert (alone.low, alone.high) == (0, 1)


def test_a_single_event_does_not_break_the_resampling() -> None:
    found = cluster_mean([1.0] + [0.0] * 19, list(range(20)), within=(0, 1))
    assert 0 == found.low < found.value < found.high <= 1


def test_clusters_refuse_what_does_not_fit() -> None:
    for call in (
        lambda: cluster_mean([], []),
        lambda: cluster_mean([1.0], ["a", "b"]),
        lambda: cluster_mean([math.nan, 1.0], ["a", "b"]),
        lambda: cluster_ratio([1.0, 2.0], [1.0], ["a", "b"]),
        lambda: cluster_ratio([1.0, 2.0], [0.0, 0.0], ["a", "b"]),
        lambda: cluster_ratio([1.0, 2.0], [-1.0, 2.0], ["a", "b"]),
        lambda: cluster_difference([1.0], [1.0, 2.0], (["a"], ["b"])),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
