import math
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit.errors import BadInput
from memaudit.measures import (
    CARLINI_2022,
    CHANCES,
    PAPPU_2024,
    THRESHOLDS,
    counterfactual_memorization,
    decided_below,
    eidetic_memorization,
    extraction_curve,
    extraction_probability,
    extraction_table,
    least_samples,
    target_logprob,
    token_accuracy,
)
from memaudit.records import Scores
from memaudit.statistics import wilson
from probes import Match, compare_completion
from probes.duplicates import clusters


def match(distance: int, *, at_least: bool = False, level: str = "exact") -> Match:
    return Match(
        level=level,
        distance=distance,
        target_length=100,
        completion_length=100,
        lexer="python",
        at_least=at_least,
    )


def scores(hits: int, misses: int) -> Scores:
    return Scores(logprobs=(-1.0,) * (hits + misses), argmax=(True,) * hits + (False,) * misses)


distances = st.integers(0, 100)


# --- discoverable extraction


def test_the_curve_counts_what_lies_within_each_threshold() -> None:
    curve = extraction_curve([match(d) for d in (0, 4, 5, 10, 11, 20, 21, 90)])
    assert [(point.threshold, point.exposed.count) for point in curve] == list(
        zip(THRESHOLDS, (1, 3, 4, 6, 7), strict=True)
    )
    assert curve[2].exposed.interval == wilson(4, 8)
    assert {point.control for point in curve} == {point.difference for point in curve} == {None}


def test_twins_give_control_counterfactual_and_paired_difference() -> None:
    exposed = [match(0), match(0), match(50), match(50), match(0)]
    control = [match(0), match(50), match(0), match(50), match(50)]
    (point,) = extraction_curve(exposed, control, thresholds=[0.1])
    assert point.control is not None
    assert point.counterfactual is not None
    assert point.difference is not None
    assert (point.exposed.count, point.control.count, point.counterfactual.count) == (3, 2, 2)
    # Definition 1 keeps the two that the control does not emit; the difference also takes off the one it alone emits.
    assert point.difference.value == pytest.approx(1 / 5)
    assert point.counterfactual.interval.value == pytest.approx(2 / 5)


@given(st.lists(st.tuples(distances, distances), max_size=30))
def test_rates_rise_with_the_threshold(pairs: list[tuple[int, int]]) -> None:
    exposed, control = [match(a) for a, _ in pairs], [match(b) for _, b in pairs]
    curve = extraction_curve(exposed, control)
    counts = [(point.exposed.count, point.control.count if point.control else -1) for point in curve]
    assert counts == sorted(counts)
    assert [b for _, b in counts] == sorted(b for _, b in counts)
    for point in curve:
        assert point.counterfactual is not None
        assert point.difference is not None
        kept = [PAPPU_2024.memorized(a, b) for a, b in zip(exposed, control, strict=True)]
        assert point.threshold != PAPPU_2024.threshold or point.counterfactual.count == sum(kept)
        total = max(1, len(pairs))
        assert point.difference.value * total == pytest.approx(
            counts[curve.index(point)][0] - point.control.count
        )


@given(st.lists(distances, max_size=20))
def test_without_edits_it_is_equality(values: list[int]) -> None:
    matches = [match(d) for d in values]
    (point,) = extraction_curve(matches, thresholds=[0])
    assert point.exposed.count == sum(m.equal for m in matches) == sum(map(CARLINI_2022.memorized, matches))


def test_the_study_s_rule_is_of_characters_over_the_longer_text_after_a_cut() -> None:
    target = b"return connection.settle(9)"  # 27 characters: 2 edits are within 0.1, 3 are not
    says = {
        b"return connection.settle(9)\n\nand so on, far beyond the target": True,
        b"return connection.settle(82": True,
        b"return connexion.settle(82)": False,
        b"return connection.settle": False,
    }
    for said, expected in says.items():
        found = compare_completion(target, said, prompt=b"def f():\n    ", levels=["exact"])["exact"]
        assert PAPPU_2024.memorized(found, match(90)) is expected, (said, found)


def test_the_study_s_rule_drops_what_the_control_says_too() -> None:
    assert PAPPU_2024.memorized(match(10), match(11))
    assert not PAPPU_2024.memorized(match(10), match(10))
    assert not PAPPU_2024.memorized(match(11), match(90))
    assert CARLINI_2022.memorized(match(0), match(0))
    with pytest.raises(ValueError, match="its rule needs one"):
        PAPPU_2024.memorized(match(0))
    with pytest.raises(ValueError, match='level "exact", got "code"'):
        PAPPU_2024.memorized(match(0), match(0, level="code"))


def test_a_threshold_beyond_what_was_decoded_is_refused() -> None:
    exposed, control = [match(3), match(15, at_least=True)], [match(40, at_least=True), match(60)]
    assert decided_below(exposed, control) == 0.15
    assert decided_below(control) == 0.4
    assert decided_below([match(3)]) == math.inf
    assert extraction_curve(exposed, control, thresholds=[0, 0.1, 0.14])[2].exposed.count == 1
    with pytest.raises(
        BadInput, match=r"threshold: expected one up to which completions were decoded, got 0\.2"
    ):
        extraction_curve(exposed, control, thresholds=[0.1, 0.2])
    with pytest.raises(BadInput, match=r"got 0\.5"):
        extraction_curve([match(3)], control[:1], thresholds=[0.5])


def test_the_curve_refuses_mixed_levels_and_unpaired_arms() -> None:
    with pytest.raises(ValueError, match="one level, got code, exact"):
        extraction_curve([match(0), match(0, level="code")])
    with pytest.raises(ValueError, match="for each of 2 probes, got 1"):
        extraction_curve([match(0), match(1)], [match(0)])


# --- counterfactual memorization


def test_a_twin_gives_a_value_without_an_error() -> None:
    found = counterfactual_memorization([scores(9, 1)], [scores(4, 6)])
    assert found.value == pytest.approx(0.5)
    assert (found.exposed_models, found.control_models, found.standard_error) == (1, 1, None)
    assert counterfactual_memorization([scores(9, 1)] * 3, [scores(4, 6)]).standard_error is None


@given(
    st.lists(st.integers(0, 10), min_size=2, max_size=8), st.lists(st.integers(0, 10), min_size=2, max_size=8)
)
def test_many_models_give_welch_s_error(exposed: list[int], control: list[int]) -> None:
    found = counterfactual_memorization(
        [scores(n, 10 - n) for n in exposed], [scores(n, 10 - n) for n in control]
    )
    a, b = np.array(exposed) / 10, np.array(control) / 10
    assert found.value == pytest.approx(a.mean() - b.mean())
    expected = math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    assert found.standard_error == pytest.approx(expected)


def test_counterfactual_memorization_needs_models_and_tokens() -> None:
    with pytest.raises(ValueError, match="got 1 that were shown the example and 0 that were not"):
        counterfactual_memorization([scores(1, 0)], [])
    with pytest.raises(BadInput, match="at least one token"):
        token_accuracy(Scores(logprobs=(), argmax=()))


# --- (n, p)-discoverable extraction


@pytest.mark.parametrize(
    ("chance", "half", "most"), [(0.1, 7, 22), (0.01, 69, 230), (1e-3, 693, 2302), (0.5, 1, 4), (0.25, 3, 9)]
)
def test_the_known_numbers_of_samples(chance: float, half: int, most: int) -> None:
    assert (least_samples(math.log(chance), 0.5), least_samples(math.log(chance), 0.9)) == (half, most)


def test_what_is_certain_or_impossible_is_exact() -> None:
    assert extraction_probability(0.0, 1) == 1.0
    assert extraction_probability(5e-5, 1) == 1.0  # a rounding
    assert extraction_probability(-math.inf, 10**9) == 0.0
    assert least_samples(0.0, 0.999) == 1
    assert least_samples(-math.inf, 0.001) == math.inf
    assert least_samples(-2000.0, 0.5) == math.inf


@pytest.mark.parametrize("exponent", [-4, -8, -16, -17, -18, -30, -100, -300])
def test_nothing_is_lost_for_small_chances(exponent: int) -> None:
    logprob = exponent * math.log(10)
    assert extraction_probability(logprob, 1) == pytest.approx(10.0**exponent, rel=1e-12, abs=0)
    assert extraction_probability(logprob, 10**6) == pytest.approx(
        -math.expm1(-(10.0 ** (exponent + 6))), rel=1e-4, abs=0
    )
    assert least_samples(logprob, 0.5) == pytest.approx(math.log(2) * 10.0**-exponent, rel=1e-4)


def test_a_sampler_that_underflows_is_met_by_enough_samples() -> None:
    # No float holds the probability e^-800 itself.
    assert extraction_probability(-800.0, 10**250) == pytest.approx(
        math.exp(250 * math.log(10) - 800), rel=1e-9, abs=0
    )
    assert extraction_probability(-50.0, 10**40) == 1.0


chances_of_targets = st.fractions(Fraction(1, 10**6), Fraction(999, 1000), max_denominator=10**6)


@given(chances_of_targets, st.integers(1, 50))
def test_the_probability_agrees_with_exact_arithmetic(chance: Fraction, samples: int) -> None:
    assert extraction_probability(math.log(chance), samples) == pytest.approx(
        float(1 - (1 - chance) ** samples), rel=1e-9
    )


@given(st.floats(-60, -1e-3), st.integers(1, 10**6), st.integers(1, 10**6), st.floats(1e-6, 1 - 1e-6))
def test_samples_and_probability_rise_together(logprob: float, few: int, more: int, chance: float) -> None:
    assert extraction_probability(logprob, few) <= extraction_probability(logprob, few + more)
    assert least_samples(logprob, chance) <= least_samples(logprob, chance + (1 - chance) / 2)
    needed = least_samples(logprob, chance)
    if needed < 1e9:
        assert extraction_probability(logprob, int(needed)) >= chance * (1 - 1e-9)
        assert needed == 1 or extraction_probability(logprob, int(needed) - 1) < chance


@pytest.mark.parametrize("parts", [2, 3, 4, 10, 100, 1000])
def test_exactly_enough_samples_are_enough(parts: int) -> None:
    # Where the quotient of the logarithms is a whole number, rounding does not make it the next one.
    chances = [(k, 1 - (1 - 1 / parts) ** k) for k in range(1, 20)]
    assert [least_samples(math.log(1 / parts), chance) for _, chance in chances] == [k for k, _ in chances]


def test_the_table_has_the_share_of_probes_in_order() -> None:
    logprobs = [0.0, math.log(0.1), math.log(0.01), -500.0, -math.inf]
    table = extraction_table(logprobs, samples=(1, 7, 69, 10**4))
    assert [(cell.samples, cell.chance) for cell in table[:4]] == [(1, 0.1), (1, 0.5), (1, 0.9), (7, 0.1)]
    assert {(cell.samples, cell.chance): cell.rate.count for cell in table if cell.chance != 0.1} == {
        (1, 0.5): 1,
        (1, 0.9): 1,
        (7, 0.5): 2,
        (7, 0.9): 1,
        (69, 0.5): 3,
        (69, 0.9): 2,
        (10**4, 0.5): 3,
        (10**4, 0.9): 3,
    }
    assert {cell.rate.total for cell in table} == {5}


@given(st.lists(st.floats(-100, 0), max_size=10))
def test_the_table_rises_with_n_and_falls_with_p(logprobs: list[float]) -> None:
    table = extraction_table(logprobs)
    for chance in CHANCES:
        counts = [cell.rate.count for cell in table if cell.chance == chance]
        assert counts == sorted(counts)
    for samples in {cell.samples for cell in table}:
        counts = [cell.rate.count for cell in table if cell.samples == samples]
        assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("logprob", [0.5, math.nan])
def test_no_log_probability_is_above_zero(logprob: float) -> None:
    with pytest.raises(ValueError, match="log-probability of a target"):
        extraction_probability(logprob, 1)


def test_samples_and_chances_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 sample, got 0"):
        extraction_probability(-1.0, 0)
    for chance in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            least_samples(-1.0, chance)


def test_the_target_s_log_probability_is_of_a_sampler() -> None:
    seen = Scores(logprobs=(-1.0, -2.5), argmax=(True, False), sampled={"top-k 40": -math.inf})
    assert target_logprob(seen) == -3.5
    assert target_logprob(seen, "top-k 40") == -math.inf
    with pytest.raises(BadInput, match=r'one that was observed \(top-k 40\), got "top-p"'):
        target_logprob(seen, "top-p")
    with pytest.raises(BadInput, match="at least one token"):
        target_logprob(Scores(logprobs=(), argmax=()))


# --- k-eidetic memorization


def test_near_duplicates_count_as_one_text_that_occurs_more_often() -> None:
    texts = [
        b"def area(width, height):\n    return width * height\n",
        b"def area(width, height):\n    return width * height  # twice\n",
        b"class Node:\n    def __init__(self, key):\n        self.key, self.left = key, None\n",
        b"for line in open(path):\n    print(line.strip().split(','))\n",
    ]
    labels = clusters(texts)
    found = eidetic_memorization([True, False, True, False], labels, Counter(labels), most=(1, 2))
    assert [(one.documents, one.rate.count, one.rate.total) for one in found] == [(1, 1, 2), (2, 2, 3)]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30),
    st.lists(st.integers(1, 70), min_size=6, max_size=6),
)
def test_the_count_never_falls_with_k(examples: list[tuple[bool, int]], documents: list[int]) -> None:
    out, labels = [e for e, _ in examples], [c for _, c in examples]
    found = eidetic_memorization(out, labels, dict(enumerate(documents)), most=range(1, 71))
    counts = [one.rate.count for one in found]
    assert counts == sorted(counts)
    assert counts[-1] == len({label for emitted, label in examples if emitted})
    for one in found:
        rare = {label for label in labels if documents[label] <= one.documents}
        assert one.rate.total == len(rare)
        assert one.rate.count == len({label for emitted, label in examples if emitted and label in rare})


def test_a_cluster_occurs_somewhere() -> None:
    with pytest.raises(ValueError, match="at least 1 document of cluster 3, got none"):
        eidetic_memorization([True], [3], {})
    with pytest.raises(ValueError, match="for each of 1 examples, got 2"):
        eidetic_memorization([True], [3, 4], {3: 1, 4: 1})


def test_measures_need_no_framework() -> None:
    code = (
        "import sys, memaudit.measures, memaudit.attacks, memaudit.blind, memaudit.roc;"
        "print(sorted({'jax', 'torch'} & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
