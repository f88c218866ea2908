import itertools
import math
import random
import re
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaincinv
from scipy.stats import binom, hypergeom

from probes import exposure as room
from probes.exposure import Exposure, exposure

LOSSES = st.floats(-1e6, 1e6)
FEW = st.integers(-3, 3).map(float)  # so that losses tie


def expose(own, others, size=None) -> Exposure:
    sizes = None if size is None else {"c": size}
    return exposure({"c": own}, {"c": others}, reading="mean", slot_sizes=sizes)["c"]


# --- rank and bits


@given(st.one_of(LOSSES, FEW), st.lists(st.one_of(LOSSES, FEW), min_size=1, max_size=40))
def test_the_rank_is_the_middle_of_the_places_that_a_sort_may_give(own, others):
    everyone = sorted([own, *others])
    places = [place for place, loss in enumerate(everyone, start=1) if loss == own]
    found = expose(own, others)
    assert found.rank == Fraction(sum(places), len(places))
    assert found.bits == pytest.approx(math.log2(len(everyone)) - math.log2(found.rank), abs=1e-12)
    assert found.references == len(others)
    assert not found.exact


@pytest.mark.parametrize("count", [1, 9, 99, 1000])
def test_so_many_references_show_no_more_than_the_cap_and_no_less_than_nothing(count):
    best = expose(0.0, [1.0] * count)
    assert best.rank == 1
    assert best.bits == best.cap == math.log2(count + 1)
    worst = expose(2.0, [1.0] * count)
    assert worst.rank == count + 1
    assert worst.bits == 0


def test_where_all_tie_the_rank_is_the_middle():
    found = expose(1.0, [1.0] * 9)
    assert found.rank == 5.5
    assert found.bits == math.log2(10 / 5.5)
    assert (found.low, found.high) == (0.0, math.inf)


@given(st.lists(FEW, min_size=1, max_size=30), FEW, st.randoms(use_true_random=False))
def test_the_order_of_references_does_not_matter(others, own, chance):
    shuffled = chance.sample(others, len(others))
    assert expose(own, others, 99) == expose(own, shuffled, 99)


@given(st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=30), st.integers(-50, 50).map(float))
def test_a_monotone_function_of_the_losses_changes_nothing(others, own):
    found = expose(own, others, 99)
    for function in (
        math.exp,
        lambda loss: loss**3,
        lambda loss: 2 * loss - 7,
        lambda loss: math.atan(loss / 9),
    ):
        assert expose(function(own), [function(loss) for loss in others], 99) == found


def test_each_canary_keeps_its_own_result_whatever_the_order_of_ids():
    loss = {"a": 1.0, "b": 5.0, "c": 3.0}
    references = {"c": [1.0, 2.0, 4.0], "a": [2.0, 3.0], "b": [1.0, 2.0, 3.0, 4.0]}
    found = exposure(loss, references, reading="sum", slot_sizes={"b": 9, "a": 3, "c": 9, "unasked": 4})
    assert list(found) == ["a", "b", "c"]
    assert {name: e.rank for name, e in found.items()} == {"a": 1, "b": 5, "c": 3}
    assert {name: e.references for name, e in found.items()} == {"a": 2, "b": 4, "c": 3}
    assert {name: e.exact for name, e in found.items()} == {"a": True, "b": False, "c": False}
    backwards = exposure(
        dict(reversed(loss.items())), references, reading="sum", slot_sizes={"a": 3, "b": 9, "c": 9}
    )
    assert backwards == found
    assert list(backwards) == ["c", "b", "a"]


def test_the_reading_is_kept():
    assert exposure({"a": 1.0}, {"a": [2.0]}, reading="sum")["a"].reading == "sum"
    assert exposure({"a": 1.0}, {"a": [2.0]}, reading="mean")["a"].reading == "mean"


def test_numbers_may_be_numpy_s():
    loss: Any = {"a": np.float32(1)}
    references: Any = {"a": np.array([0, 1, 2, 3], np.float32)}
    found = exposure(loss, references, reading="mean")["a"]
    assert found == expose(1.0, [0.0, 1.0, 2.0, 3.0])
    assert type(found.bits) is type(found.low) is type(found.rank) is float


def test_no_canary_no_exposure():
    assert exposure({}, {}, reading="mean") == {}


# --- what chance gives


@pytest.mark.parametrize("count", [1, 7, 50])
def test_an_unseen_canary_has_b_bits_with_a_chance_of_at_most_one_in_two_to_the_b(count):
    """Unseen, the canary is as likely to have any place among itself and its references."""
    losses = [float(place) for place in range(count + 1)]
    bits = sorted(expose(own, losses[:place] + losses[place + 1 :]).bits for place, own in enumerate(losses))
    for b in bits:
        share = Fraction(sum(other >= b for other in bits), count + 1)
        assert share <= 2.0**-b * (1 + 1e-12)


def test_so_it_does_when_references_are_drawn():
    chance = random.Random(4)
    bits = []
    for _ in range(4000):
        slot = [chance.gauss(0, 1) for _ in range(200)]
        own, *others = chance.sample(slot, 41)
        bits.append(expose(own, others, 200).bits)
    for b in (1, 2, 3, 4, 5):
        share = sum(found >= b for found in bits) / len(bits)
        assert share <= 2.0**-b + 3 * math.sqrt(2.0**-b / len(bits))


# --- the interval


def test_the_beta_quantile_is_scipy_s():
    for a, b in itertools.product((1, 2, 5, 40, 999, 30_000), repeat=2):
        for probability in (0.025, 0.975, 0.5):
            assert room._beta_quantile(probability, a, b) == pytest.approx(
                betaincinv(a, b, probability), rel=1e-9
            )


@given(st.integers(1, 10**5), st.integers(1, 10**5), st.floats(1e-6, 1 - 1e-6))
def test_the_incomplete_beta_function_is_scipy_s(a, b, x):
    assert room._beta(x, a, b) == pytest.approx(betainc(a, b, x), rel=1e-8, abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_ends_leave_a_fortieth_on_either_side(lower, higher):
    """By the binomial law itself: at either end of the interval, what was seen or more extreme is that unlikely."""
    if lower + higher == 0:
        return
    total = lower + higher
    found = expose(0.5, [0.0] * lower + [1.0] * higher)
    least, greatest = 2.0**-found.high, 2.0**-found.low
    if lower:
        assert binom.sf(lower - 1, total, least) == pytest.approx(0.025, rel=1e-6)
    else:
        assert least == 0
    if higher:
        assert binom.cdf(lower, total, greatest) == pytest.approx(0.025, rel=1e-6)
    else:
        assert greatest == 1


@pytest.mark.parametrize(
    ("size", "lower", "higher"), [(60, 8, 12), (650, 12, 88), (2**60, 3, 97), (60, 0, 20), (60, 20, 0)]
)
def test_the_ends_of_a_slot_of_known_size_are_those_of_clopper_and_pearson(size, lower, higher):
    total = lower + higher
    found = expose(0.5, [0.0] * lower + [1.0] * higher, size)
    greatest = betaincinv(lower + 1, higher, 0.975) if higher else 1.0
    least = betaincinv(lower, higher + 1, 0.025) if lower else 0.0
    # None of these is at the bounds that the fillings that were not drawn set, but where p is 0 or 1.
    others = size - 1
    assert found.low == pytest.approx(math.log2(size) - math.log2(1 + others * greatest), rel=1e-9)
    assert found.high == pytest.approx(math.log2(size) - math.log2(1 + others * least), rel=1e-9)
    assert total < others


@pytest.mark.parametrize("count", [5, 40])
def test_the_interval_of_an_endless_slot_covers_the_truth(count):
    found = [expose(0.5, [0.0] * lower + [1.0] * (count - lower)) for lower in range(count + 1)]
    covered = []
    for share in np.linspace(0.001, 0.999, 500):
        truth = -math.log2(share)
        covered.append(
            sum(binom.pmf(lower, count, share) for lower, e in enumerate(found) if e.low <= truth <= e.high)
        )
    assert min(covered) >= 0.95 - 1e-9
    assert np.mean(covered) < (0.98 if count == 40 else 0.995)


@pytest.mark.parametrize(("size", "count"), [(60, 20), (60, 55), (650, 100)])
def test_the_interval_of_a_slot_of_known_size_covers_the_truth(size, count):
    """Exactly: over every number of fillings that may have a lower loss, and every draw of references."""
    covered = []
    for truth in range(0, size, 1 if size < 100 else 13):
        exposed = math.log2(size) - math.log2(1 + truth)
        draws = range(max(0, count - (size - 1 - truth)), min(count, truth) + 1)
        share = 0.0
        for lower in draws:
            found = expose(0.5, [0.0] * lower + [1.0] * (count - lower), size)
            if found.low - 1e-9 <= exposed <= found.high + 1e-9:
                share += hypergeom.pmf(lower, size - 1, truth, count)
        covered.append(share)
    assert min(covered) >= 0.95 - 1e-9


def test_a_simulated_interval_covers_the_truth_about_as_often_as_it_says():
    chance = np.random.default_rng(8)
    covered = 0
    for _ in range(1500):
        slot = chance.standard_normal(2000)
        own, *others = slot[:201].tolist()
        truth = math.log2(2000) - math.log2(1 + (slot < own).sum())
        found = expose(own, others, 2000)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1500 <= 0.975


@given(
    st.lists(FEW, min_size=1, max_size=30),
    FEW,
    st.one_of(st.none(), st.integers(0, 5), st.integers(0, 2**60)),
)
def test_the_interval_holds_the_estimate_and_stays_in_range(others, own, unseen):
    size = None if unseen is None else len(others) + 1 + unseen
    found = expose(own, others, size)
    assert 0 <= found.low <= found.bits + 1e-9
    assert found.bits <= found.high + 1e-9
    if size is not None:
        assert found.high <= math.log2(size) + 1e-9
    assert found.exact == (size == len(others) + 1)
    if found.exact:
        assert found.low == found.bits == found.high


@given(st.lists(FEW, min_size=1, max_size=30), FEW, st.integers(1, 1000))
def test_the_fewer_fillings_are_unseen_the_less_can_be_claimed(others, own, unseen):
    free, known, fewer = (
        expose(own, others, s) for s in (None, len(others) + 1 + unseen, len(others) + unseen)
    )
    assert known.high <= free.high + 1e-9
    assert fewer.high <= known.high + 1e-9


def test_the_interval_leaves_open_no_more_than_the_fillings_that_were_not_drawn():
    # Of 1000 fillings all but two and the canary's own were drawn; 10 of them have a lower loss.
    found = expose(0.0, [-1.0] * 10 + [1.0] * 987, 1000)
    assert found.low == math.log2(1000 / (1 + 12))
    assert found.high == math.log2(1000 / (1 + 10))


def test_ties_widen_the_interval():
    apart = expose(0.0, [-1.0] * 10 + [1.0] * 30)
    below = expose(0.0, [-1.0] * 20 + [1.0] * 20)
    tied = expose(0.0, [-1.0] * 10 + [0.0] * 10 + [1.0] * 20)
    assert tied.high == apart.high
    assert tied.low == below.low


def test_more_references_narrow_the_interval():
    widths = []
    for count in (20, 200, 2000):
        found = expose(0.0, [-1.0] * (count // 10) + [1.0] * (count - count // 10))
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.5


def test_a_whole_slot_gives_the_exposure_itself():
    losses = [float(pin % 977) for pin in range(10_000)]
    own, others = losses[5], losses[:5] + losses[6:]
    found = expose(own, others, 10_000)
    ranks = [place for place, loss in enumerate(sorted(losses), start=1) if loss == own]
    assert found.exact
    assert (
        found.low == found.high == found.bits == pytest.approx(math.log2(10_000 / (sum(ranks) / len(ranks))))
    )


# --- refusals


@pytest.mark.parametrize(
    ("loss", "references", "options", "message"),
    [
        (
            {"a": 1.0},
            {"a": [1.0]},
            {"reading": "perplexity"},
            'expected reading to be "mean" or "sum", got \'perplexity\'',
        ),
        (
            {"a": 1.0, "b": 1.0},
            {"a": [1.0]},
            {},
            "references of every canary that has a loss, got none of 'b'",
        ),
        (
            {"a": 1.0},
            {"a": [1.0], "b": [], "c": []},
            {},
            "a loss of every canary that has references, got none of 'b' and 1 more",
        ),
        (
            {"a": 1.0},
            {"a": [1.0]},
            {"slot_sizes": {"b": 2}},
            "slot_sizes of every canary that has a loss, got none of 'a'",
        ),
        ({"a": 1.0}, {"a": []}, {}, "a: expected at least one reference, got none"),
        ({"a": math.nan}, {"a": [1.0]}, {}, "a: expected a finite loss, got nan"),
        ({"a": math.inf}, {"a": [1.0]}, {}, "a: expected a finite loss, got inf"),
        ({"a": 1.0}, {"a": [1.0, math.nan]}, {}, "a: expected finite losses of references, got nan at 1"),
        ({"a": 1.0}, {"a": [-math.inf]}, {}, "a: expected finite losses of references, got -inf at 0"),
        (
            {"a": 1.0},
            {"a": [1.0, 2.0]},
            {"slot_sizes": {"a": 2}},
            "a: expected at most 1 references, the other fillings of a slot of 2, got 2",
        ),
        (
            {"a": 1.0},
            {"a": [1.0]},
            {"slot_sizes": {"a": 4.0}},
            "a: expected the number of fillings of the slot as an integer, got 4.0",
        ),
        ({"a": 1.0}, {"a": [1.0]}, {"slot_sizes": {"a": True}}, "as an integer, got True"),
    ],
)
def test_what_makes_no_exposure_is_refused(loss, references, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        exposure(loss, references, **{"reading": "mean", **options})


def test_no_array_library_is_loaded_for_it():
    code = "import sys, probes.exposure, probes.safety; print(sorted({'numpy', 'scipy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
        == "[]\n"
    )
