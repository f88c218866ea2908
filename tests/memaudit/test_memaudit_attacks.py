import math
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from memaudit.attacks import (
    ATTACKS,
    LEAST_DEVIATION,
    attack,
    canary_lift,
    lira,
    loss,
    min_k,
    min_k_plus,
    min_nn,
    nearest_distances,
    premia_pair,
    premia_single,
    reference_difference,
    reward_margin,
    rigidity,
    zlib_ratio,
)
from memaudit.errors import BadInput
from memaudit.records import Scores
from probes import levenshtein

logprobs = st.lists(st.floats(-20, 0), min_size=1, max_size=40)
statistics = st.floats(-10, 10)


def seen(
    values: Sequence[float], entropies: Sequence[float] = (), deviations: Sequence[float] = ()
) -> Scores:
    return Scores(
        logprobs=tuple(values),
        argmax=(True,) * len(values),
        entropies=tuple(entropies),
        deviations=tuple(deviations),
    )


def of_logits(logits: np.ndarray, tokens: np.ndarray) -> Scores:
    """Scores of tokens under the softmax of each row."""
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    chances = np.exp(logs)
    means = (chances * logs).sum(1)
    deviations = np.sqrt((chances * (logs - means[:, None]) ** 2).sum(1))
    return seen(logs[np.arange(len(tokens)), tokens].tolist(), (-means).tolist(), deviations.tolist())


# --- one model


@given(logprobs)
def test_loss_is_the_mean_log_likelihood(values: list[float]) -> None:
    assert loss(seen(values)) == pytest.approx(np.mean(values))


@given(logprobs, st.floats(0.01, 1))
def test_min_k_is_the_mean_of_the_least(values: list[float], share: float) -> None:
    count = max(1, math.floor(share * len(values) + 1e-9))
    assert min_k(seen(values), share=share) == pytest.approx(np.sort(values)[:count].mean())
    assert min_k(seen(values), share=1) == pytest.approx(loss(seen(values)))
    assert min_k(seen(values), share=share) <= loss(seen(values)) + 1e-12


def test_min_k_of_a_short_target_has_a_token() -> None:
    assert min_k(seen([-1.0, -3.0, -2.0])) == -3.0
    # A share that is not quite a fraction in binary takes no token less for it.
    assert min_k(seen([-100.0] * 29 + [0.0] * 71), share=0.29) == -100.0
    assert min_k(seen([-100.0] * 28 + [0.0] * 72), share=0.29) == pytest.approx(-2800 / 29)


def test_min_k_plus_is_in_deviations_of_the_model_s_own_distribution() -> None:
    rng = np.random.default_rng(0)
    logits, tokens = rng.normal(size=(25, 50)) * 2, rng.integers(0, 50, 25)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    z = []
    for row, token in zip(logs, tokens, strict=True):
        mean = sum(math.exp(x) * x for x in row)
        z.append((row[token] - mean) / math.sqrt(sum(math.exp(x) * x * x for x in row) - mean**2))
    found = of_logits(logits, tokens)
    assert min_k_plus(found) == pytest.approx(np.sort(z)[:5].mean())
    assert min_k_plus(found, share=1) == pytest.approx(np.mean(z))


def test_a_model_without_doubt_gives_numbers() -> None:
    # All tokens alike: whichever it is, it is as likely as expected.
    even = of_logits(np.zeros((3, 8)), np.array([0, 3, 7]))
    assert even.deviations == pytest.approx((0, 0, 0), abs=1e-7)
    assert min_k_plus(even, share=1) == pytest.approx(0, abs=1e-6)
    # One token for certain, and then it is another.
    sure = seen([0.0, -20.0], [0.0, 0.0], [0.0, 0.0])
    assert min_k_plus(sure, share=1) == pytest.approx(-20 / LEAST_DEVIATION / 2)
    assert min_k_plus(seen([0.0], [0.0], [0.0])) == 0


def test_min_k_plus_needs_whole_distributions() -> None:
    with pytest.raises(BadInput, match="each of 2 tokens, got 0 and 0"):
        min_k_plus(seen([-1.0, -1.0]))
    with pytest.raises(BadInput, match="each of 2 tokens, got 2 and 1"):
        min_k_plus(seen([-1.0, -1.0], [1.0, 1.0], [1.0]))
    with pytest.raises(BadInput, match="an entropy that is finite, got nan"):
        min_k_plus(seen([-1.0], [math.nan], [1.0]))


def test_zlib_counts_surprise_against_what_is_compressible() -> None:
    scores, dull, dense = seen([-2.0, -4.0]), "x = 0\n" * 50, "".join(map(chr, range(0x100, 0x200)))
    assert zlib_ratio(scores, dull) == -3 / len(zlib.compress(dull.encode()))
    # As likely as the dull text although harder to compress: that one is the likelier member.
    assert zlib_ratio(scores, dense) > zlib_ratio(scores, dull)
    assert math.isfinite(zlib_ratio(scores, "\ud800"))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_scores_without_sense_are_refused(value: float) -> None:
    for score in (loss, min_k):
        with pytest.raises(BadInput, match="a log-probability that is finite"):
            score(seen([-1.0, value]))
    with pytest.raises(BadInput, match="at least one token, got none"):
        loss(seen([]))


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        min_k(seen([-1.0]), share=share)


# --- two models and more


@given(logprobs)
def test_the_reference_takes_away_what_is_easy(values: list[float]) -> None:
    assert reference_difference(seen(values), seen(values)) == 0
    worse = [value - 1 for value in values]
    assert reference_difference(seen(values), seen(worse)) == pytest.approx(1)
    with pytest.raises(BadInput, match="as many tokens as"):
        reference_difference(seen(values), seen([*values, -1.0]))


totals = st.floats(-1000, 0)


@given(totals, totals, totals, totals)
def test_premia_is_a_difference_of_log_ratios(
    preferred: float, preferred_reference: float, rejected: float, rejected_reference: float
) -> None:
    assert premia_single(preferred, preferred_reference) == preferred - preferred_reference
    there = premia_pair(preferred, preferred_reference, rejected, rejected_reference)
    assert there == pytest.approx((preferred - preferred_reference) - (rejected - rejected_reference))
    assert premia_pair(rejected, rejected_reference, preferred, preferred_reference) == -there


def test_premia_refuses_what_is_no_number() -> None:
    with pytest.raises(BadInput, match="a log-probability that is finite, got -inf"):
        premia_single(-math.inf, 0.0)
    with pytest.raises(BadInput, match="a log-probability that is finite, got nan"):
        premia_pair(0.0, 0.0, 0.0, math.nan)


def test_lira_is_the_ratio_of_two_gaussians() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=5)
    outside, inside = rng.normal(-1, 2, (5, 80)), rng.normal(1, 0.5, (5, 70))
    own = lira(targets.tolist(), outside.tolist(), inside.tolist())
    expected = [
        norm.logpdf(s, a.mean(), a.std(ddof=1)) - norm.logpdf(s, b.mean(), b.std(ddof=1))
        for s, a, b in zip(targets, inside, outside, strict=True)
    ]
    assert own == pytest.approx(expected)
    pooled = lira(targets.tolist(), outside.tolist(), inside.tolist(), few=100)
    sd = [math.sqrt(side.var(axis=1, ddof=1).mean()) for side in (inside, outside)]
    expected = [
        norm.logpdf(s, a.mean(), sd[0]) - norm.logpdf(s, b.mean(), sd[1])
        for s, a, b in zip(targets, inside, outside, strict=True)
    ]
    assert pooled == pytest.approx(expected)


def test_an_example_with_enough_references_has_its_own_variance() -> None:
    outside = [[0.0, 2.0, 4.0], [0.0, 20.0, 40.0]]
    assert lira([4.0, 40.0], outside, few=3) == pytest.approx([1, 1])
    pooled = math.sqrt((4 + 400) / 2)
    assert lira([4.0, 40.0], outside, few=4) == pytest.approx([2 / pooled, 20 / pooled])


def test_offline_lira_ranks_as_the_chance_that_a_non_member_scores_less() -> None:
    rng = np.random.default_rng(2)
    targets, outside = rng.normal(size=30), rng.normal(size=(30, 100)) * rng.uniform(0.5, 2, (30, 1))
    chances = norm.cdf(targets, outside.mean(1), outside.std(1, ddof=1))
    assert (rankdata(lira(targets.tolist(), outside.tolist())) == rankdata(chances)).all()


@given(st.lists(st.tuples(statistics, statistics), min_size=1, max_size=20))
def test_lira_with_a_twin_is_the_reference_attack(pairs: list[tuple[float, float]]) -> None:
    found = lira([target for target, _ in pairs], [[reference] for _, reference in pairs])
    assert found == pytest.approx([target - reference for target, reference in pairs])


@given(
    st.lists(
        st.tuples(
            statistics,
            st.lists(statistics, min_size=1, max_size=4),
            st.lists(statistics, min_size=1, max_size=4),
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(2, 5),
)
def test_lira_is_always_a_number_and_finds_members_inside(
    rows: list[tuple[float, list[float], list[float]]], few: int
) -> None:
    targets, outside, inside = map(list, zip(*rows, strict=True))
    assert all(map(math.isfinite, lira(targets, outside, inside, few=few)))
    there, back = lira(targets, outside, inside, few=few), lira(targets, inside, outside, few=few)
    assert back == pytest.approx([-score for score in there], rel=1e-9, abs=1e-9)


def test_lira_s_spread_is_borrowed_where_a_side_has_none() -> None:
    # One inside reference each: its variance is that of the other side, so that only the means differ.
    found = lira([1.0, 1.0], [[0.0, 2.0], [5.0, 7.0]], [[1.0], [1.0]])
    assert found == pytest.approx(
        [norm.logpdf(1, 1, 2**0.5) - norm.logpdf(1, mean, 2**0.5) for mean in (1, 6)]
    )


@pytest.mark.parametrize("few", [2, 64])
def test_references_that_differ_by_a_rounding_have_no_spread(few: int) -> None:
    same = lira([0.5, 2.0], [[1.0, 1.0], [1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0]], few=few)
    nearly = lira([0.5, 2.0], [[1.0, 1.0 + 1e-9], [1.0, 1.0]], [[2.0, 2.0], [2.0, 2.0 - 1e-9]], few=few)
    assert same == pytest.approx([-1, 0.5])
    assert nearly == pytest.approx(same)


def test_lira_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match="each of 2 examples, got 1"):
        lira([1.0, 2.0], [[1.0]])
    with pytest.raises(ValueError, match="got 1 with 0 at least"):
        lira([1.0], [[]])
    with pytest.raises(ValueError, match="few of at least 2"):
        lira([1.0], [[1.0]], few=1)
    with pytest.raises(BadInput, match="a reference that is finite"):
        lira([1.0], [[math.inf]])


# --- reward models


@given(statistics, statistics)
def test_a_margin_turns_with_the_labels(chosen: float, rejected: float) -> None:
    assert reward_margin(chosen, rejected) == chosen - rejected == -reward_margin(rejected, chosen)


@given(statistics, st.lists(statistics, min_size=2, max_size=20))
def test_the_lift_is_over_the_mean_of_other_fillings(own: float, others: list[float]) -> None:
    assert canary_lift(own, others) == pytest.approx(own - np.mean(others), abs=1e-9)
    spread = float(np.std(others, ddof=1))
    if spread > 1e-6:
        assert canary_lift(own, others, standardised=True) == pytest.approx((own - np.mean(others)) / spread)


def test_a_lift_over_rewards_that_do_not_differ_has_no_unit() -> None:
    assert canary_lift(0.1, [0.1, 0.1, 0.1], standardised=True) == 0
    assert canary_lift(0.2, [0.1, 0.1, 0.1], standardised=True) == math.inf
    assert canary_lift(0.0, [0.1, 0.1, 0.1], standardised=True) == -math.inf
    with pytest.raises(ValueError, match="at least 2 other fillings, got 1"):
        canary_lift(0.0, [0.1], standardised=True)
    with pytest.raises(ValueError, match="at least 1 other fillings, got 0"):
        canary_lift(0.0, [])
    with pytest.raises(BadInput, match="a reward that is finite"):
        canary_lift(math.nan, [0.0])


# --- samples


@given(st.text(max_size=10), st.integers(2, 6))
def test_identical_samples_are_no_distance_apart(text: str, count: int) -> None:
    nearest = nearest_distances([text] * count)
    assert (len(nearest), min_nn(nearest), rigidity(nearest)) == (count, 0, 1)


@given(st.lists(st.text("abc", max_size=6), min_size=2, max_size=7), st.data())
def test_min_nn_averages_the_smallest_nearest_distances(samples: list[str], data: st.DataObject) -> None:
    smallest = data.draw(st.integers(1, len(samples)))

    def relative(a: str, b: str) -> float:
        return (levenshtein(a, b) or 0) / (max(len(a), len(b)) or 1)

    nearest = [min(relative(a, b) for j, b in enumerate(samples) if i != j) for i, a in enumerate(samples)]
    found = nearest_distances(samples)
    assert found == pytest.approx(nearest)
    # As tokens it is the same: letters are the elements of a string.
    assert nearest_distances([list(sample) for sample in samples]) == found
    assert min_nn(found, smallest=smallest) == pytest.approx(np.mean(sorted(nearest)[:smallest]))
    assert 0 <= min_nn(found, smallest=smallest) <= min_nn(found, smallest=len(samples)) + 1e-12
    assert min_nn(found) == min_nn(found, smallest=-(-len(samples) // 2))


def test_rigid_samples_score_higher() -> None:
    rigid = ["return a + b", "return a + b", "return a - b"]
    free = ["return a + b", "sum((a, b))", "while b: a += 1"]
    assert rigidity(nearest_distances(rigid)) > rigidity(nearest_distances(free))


def test_one_sample_has_no_neighbour() -> None:
    with pytest.raises(ValueError, match="at least 2 samples of a prompt, got 1"):
        nearest_distances(["x"])
    with pytest.raises(ValueError, match="at least 2 samples of a prompt, got 1"):
        min_nn([0.5])
    with pytest.raises(BadInput, match="a distance that is finite"):
        min_nn([0.5, math.nan])
    for smallest in (0, 3):
        with pytest.raises(ValueError, match="between 1 and the 2 samples"):
            min_nn([1.0, 1.0], smallest=smallest)


# --- the table


def test_every_attack_scores_the_better_known_higher() -> None:
    """The one convention: what a model knows better is the likelier member, by every attack."""
    rng = np.random.default_rng(9)
    logits, tokens = rng.normal(size=(20, 30)), rng.integers(0, 30, 20)
    known = logits.copy()
    known[np.arange(20), tokens] += 3
    weak, strong = of_logits(logits, tokens), of_logits(known, tokens)
    worse = {
        "scores": weak,
        "text": "a text",
        "reference": weak,
        "preferred_logprob": -9.0,
        "preferred_reference": -8.0,
        "rejected_logprob": -9.0,
        "rejected_reference": -8.0,
        "preferred_reward": 0.0,
        "rejected_reward": 0.0,
        "reward": 0.0,
        "other_rewards": [0.0, 1.0],
        "nearest": [1.0, 1.0],
    }
    better = worse | {
        "scores": strong,
        "preferred_logprob": -7.0,
        "preferred_reward": 1.0,
        "reward": 1.0,
        "nearest": [0.25, 0.25],
    }
    assert set(ATTACKS) == {
        "loss",
        "zlib",
        "min-k",
        "min-k++",
        "reference",
        "premia-single",
        "premia-pair",
        "reward-margin",
        "canary-lift",
        "rigidity",
    }
    for one in ATTACKS.values():
        assert one.applies(worse), one.name
        assert one.of(better) > one.of(worse), one.name


def test_an_attack_says_what_it_reads() -> None:
    own = [one.name for one in ATTACKS.values() if set(one.reads) <= {"scores", "text"}]
    assert own == ["loss", "zlib", "min-k", "min-k++"]
    told = {"scores": seen([-1.0]), "text": "x", "reference": None}
    assert [one.name for one in ATTACKS.values() if one.applies(told)] == ["loss", "zlib", "min-k"]
    # A backend that tells only which tokens are the most likely has no log-probabilities.
    blank = {"scores": Scores(logprobs=(), argmax=(True,)), "text": "x"}
    assert not any(one.applies(blank) for one in ATTACKS.values())
    assert ATTACKS["loss"].of(told) == -1


def test_a_new_attack_is_known_by_its_name_and_only_once() -> None:
    @attack("last-token", text="Log-likelihood of the last token.", source="this test")
    def last(scores: Scores, *, place: int = -1) -> float:
        return scores.logprobs[place]

    try:
        assert ATTACKS["last-token"].reads == ("scores",)
        assert ATTACKS["last-token"].of({"scores": seen([-2.0, -1.0])}) == last(seen([-1.0])) == -1
        with pytest.raises(ValueError, match='"last-token", which is taken'):
            attack("last-token", text="", source="")(last)
    finally:
        del ATTACKS["last-token"]
