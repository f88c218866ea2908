"""Bounds of rates, and how many examples they need, against the distributions they come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memaudit.bounds import least_for_lower, least_for_upper, least_pairs, lower, named, upper
from memaudit.statistics import mcnemar, wilson


@given(st.integers(1, 400), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_exact_ends_are_the_rates_at_which_such_a_count_is_just_too_unlikely(
    total: int, data: st.DataObject, confidence: float
) -> None:
    count = data.draw(st.integers(0, total))
    high, low = upper(count, total, "exact", confidence), lower(count, total, confidence)
    assert low <= count / total <= high
    if count < total:
        assert stats.binom.cdf(count, total, high) == pytest.approx(1 - confidence)
    if count > 0:
        assert stats.binom.sf(count - 1, total, low) == pytest.approx(1 - confidence)


def test_the_rule_of_three_and_what_pages_show() -> None:
    assert upper(0, 100, "exact", 0.95) == pytest.approx(0.0295, abs=5e-5)
    assert upper(3, 100, "wilson", 0.95) == wilson(3, 100).high
    assert named("exact", 0.99) == "exact one-sided 99 % bound, Clopper-Pearson"


@given(st.floats(0.001, 0.9), st.sampled_from(["exact", "wilson"]), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_smallest_sample_that_can_show_a_bound_is_the_smallest(
    bound: float, method: str, confidence: float
) -> None:
    needs = least_for_upper(bound, method, confidence)  # pyright: ignore[reportArgumentType]
    assert upper(0, needs, method, confidence) <= bound  # pyright: ignore[reportArgumentType]
    assert needs == 1 or upper(0, needs - 1, method, confidence) > bound  # pyright: ignore[reportArgumentType]


def test_known_sizes() -> None:
    assert least_for_upper(0.01, "exact", 0.95) == 299
    assert least_for_upper(0.05, "exact", 0.95) == 59
    assert least_for_upper(0.001, "exact", 0.95) == 2995
    assert least_for_lower(0.95, 0.95) == 59


@given(st.floats(0.001, 0.2), st.integers(1, 20))
def test_fewer_pairs_cannot_reach_a_p_value_and_so_many_can(alpha: float, places: int) -> None:
    needs = least_pairs(alpha, places)
    assert places * mcnemar(needs, 0) < alpha
    assert needs == 1 or places * mcnemar(needs - 1, 0) >= alpha
