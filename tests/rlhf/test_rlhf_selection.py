"""CoLoR-Filter's score and choice: against loops, with what it does to texts that there are several times."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st
from rlhf_texts import written

from rlhf import sft
from rlhf.batches import pack, schedule
from rlhf.difference import mean_losses
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.selection import best, best_by_batch, pieces, scores
from rlhf.stage import Stage

TIME = 16
FEW = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=60).map(np.array)
KEEP = st.integers(1, 9)


def some_texts(count: int = 20) -> list[list[int]]:
    """From two tokens to more than twice a window."""
    rng = np.random.default_rng(5)
    return [rng.integers(3, 40, 2 + n * 2).tolist() for n in range(count)]


def losses_by_hand(
    texts: list[list[int]], params: Params, model_logits: Callable[[Params, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mean over all targets of each text, each given what of the text is in its window."""
    windows = [(n, t[at : at + TIME]) for n, t in enumerate(texts) for at in range(0, len(t) - 1, TIME - 1)]
    tokens, weights = np.zeros((2, len(windows), TIME))
    for row, (_, window) in enumerate(windows):
        tokens[row, : len(window)] = window
        weights[row, 1 : len(window)] = 1
    logits, tokens = model_logits(params, tokens.astype(np.int32)), tokens.astype(np.int32)
    totals = np.zeros(len(texts))
    for row, (owner, _) in enumerate(windows):
        totals[owner] += oracle.cross_entropy(logits[[row]], tokens[[row]], weights[[row]])[0]
    return totals / [len(t) - 1 for t in texts]


def test_scores_against_loops(
    decoder: Decoder,
    fresh: Params,
    sharp: Params,
    model_logits: Callable[[Params, np.ndarray], np.ndarray],
) -> None:
    texts = some_texts()
    prior, conditional = (losses_by_hand(texts, params, model_logits) for params in (fresh, sharp))
    found = scores(decoder, texts, conditional=sharp, prior=fresh, time=TIME)
    np.testing.assert_allclose(found, prior - conditional, rtol=1e-4, atol=1e-5)
    alone = scores(decoder, texts, conditional=sharp, prior=None, time=TIME)
    np.testing.assert_allclose(alone, -conditional, rtol=1e-4)


def test_what_both_models_know_alike_is_not_wanted_more_than_anything_else(
    decoder: Decoder, sharp: Params
) -> None:
    assert not scores(decoder, some_texts(), conditional=sharp, prior=sharp, time=TIME).any()


def test_a_text_has_one_score_wherever_it_stands_and_so_has_its_duplicate(
    decoder: Decoder, fresh: Params, sharp: Params
) -> None:
    texts = some_texts(6)
    found = scores(decoder, [*texts, *texts[::-1]], conditional=sharp, prior=fresh, time=TIME)
    assert np.array_equal(found[:6], found[:5:-1])


def test_a_text_is_cut_as_it_will_be_shown() -> None:
    texts = some_texts(30)
    shown, owners = pieces(texts, TIME, 0)
    packed = pack(texts, [str(n) for n in range(30)], time=TIME)
    assert shown.weights.sum() == packed.weights.sum() == sum(len(t) - 1 for t in texts)
    for number, text in enumerate(texts):
        mine = np.flatnonzero(owners == number)
        said = [
            token for row in mine for token in shown.tokens[row][shown.weights[row].astype(bool)].tolist()
        ]
        assert said == text[1:]


def test_a_text_without_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two tokens, got 1 in text 1"):
        pieces([[1, 2], [1]], TIME, 0)


@given(FEW, KEEP)
def test_one_in_so_many_is_kept_and_nothing_better_is_left(values: np.ndarray, keep: int) -> None:
    taken = best(values, keep)
    left = np.setdiff1d(np.arange(len(values)), taken)
    assert len(taken) == len(values) // keep
    assert np.array_equal(taken, np.unique(taken))
    if len(taken) and len(left):
        assert values[taken].min() >= values[left].max()
        worst = values[taken].min()
        assert not (taken[values[taken] == worst].max() > left[values[left] == worst]).any()


@given(FEW, KEEP)
def test_all_copies_of_a_text_are_taken_or_none_but_for_one_text_at_the_edge(
    values: np.ndarray, keep: int
) -> None:
    texts = np.repeat(np.unique(values), 10)
    taken = np.unique(texts[best(texts, keep)], return_counts=True)[1]
    assert (taken != 10).sum() <= 1


@given(FEW, KEEP, st.integers(1, 8), st.integers(0, 5))
def test_batch_by_batch_the_best_of_each_are_kept(
    values: np.ndarray, keep: int, batch: int, seed: int
) -> None:
    taken = best_by_batch(values, keep, batch, seed)
    assert np.array_equal(taken, best_by_batch(values, keep, batch, seed))
    size = keep * batch
    order = np.random.default_rng(seed).permutation(len(values))
    for start in range(0, len(values), size):
        some = order[start : start + size]
        mine = np.intersect1d(some, taken)
        left = np.setdiff1d(some, taken)
        assert len(mine) == len(some) // keep
        if len(mine) and len(left):
            assert values[mine].min() >= values[left].max()


def test_where_one_batch_holds_all_texts_both_ways_agree() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert np.array_equal(best_by_batch(values, 8, 5, seed=3), best(values, 8))
    assert not np.array_equal(best_by_batch(values, 8, 1, seed=3), best(values, 8))


LENGTH, POOL, TAU, COPIES = 24, 1600, 8, 10


def noisy(rng: np.random.Generator, text: list[int]) -> list[int]:
    """The text with one token in eight replaced."""
    copy = np.array(text)
    copy[rng.choice(LENGTH, LENGTH // 8, replace=False)] = rng.integers(3, 99, LENGTH // 8)
    return copy.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_it_helps_where_it_aims_and_brings_in_what_is_like_the_aim(decoder: Decoder, seed: int) -> None:
    """arXiv 2406.10670 in small: of a pool with one text in ten of a subject, and one in ten that is easy to say."""
    rng = np.random.default_rng(seed)
    plain, subject, easy = (rng.integers(0, 96, (96, n)) for n in (4, 4, 1))

    def mixed(count: int) -> list[list[int]]:
        return [
            *written(rng, count * 8 // 10, LENGTH, plain).tolist(),
            *written(rng, count // 10, LENGTH, subject).tolist(),
            *written(rng, count // 10, LENGTH, easy).tolist(),
        ]

    def tuned(params: Params, texts: list[list[int]], times: int, rate: float) -> Params:
        shown, _ = pieces(texts, LENGTH, 0)
        order = schedule([times] * len(texts), 16, seed)
        return sft.train(
            params,
            shown,
            order,
            Optimiser(learning_rate=rate, warmup=5, final=0.1),
            decoder=decoder,
            stage=Stage(name="fit"),
        )

    def loss(params: Params, texts: list[list[int]]) -> float:
        return float(mean_losses(decoder, params, pieces(texts, LENGTH, 0)[0]).mean())

    prior = tuned(jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed)), mixed(6400), 1, 1e-2)
    aim, unseen = written(rng, 60, LENGTH, subject).tolist(), written(rng, 200, LENGTH, subject).tolist()
    twice = written(rng, 4, LENGTH, subject).tolist()
    pool = mixed(POOL)
    is_aimed = np.arange(len(pool)) // (POOL // 10) == 8
    near = [noisy(rng, text) for text in aim[:16]]
    pool += [*near, *(text for text in twice for _ in range(COPIES))]
    conditional = tuned(prior, aim, 4, 3e-3)

    def kept(conditional: Params, prior: Params | None) -> np.ndarray:
        return best(scores(decoder, pool, conditional=conditional, prior=prior, time=LENGTH), TAU)

    chosen = {
        "color": kept(conditional, prior),
        "alone": kept(conditional, None),
        "random": rng.permutation(len(pool))[: len(pool) // TAU],
    }
    base = len(chosen["color"]) / len(pool)
    of_aim, of_near = np.flatnonzero(is_aimed), np.arange(POOL, POOL + len(near))
    enriched = {
        name: (np.isin(of_aim, taken).mean() / base, np.isin(of_near, taken).mean() / base)
        for name, taken in chosen.items()
    }
    assert enriched["color"][0] >= 3
    # Where all of both are taken, 8 times their share, the most there can be, the two are equal.
    assert enriched["color"][1] >= enriched["color"][0]
    assert enriched["alone"][0] < enriched["color"][0]
    copies = [
        np.isin(np.arange(start, start + COPIES), chosen["color"]).sum()
        for start in range(POOL + len(near), len(pool), COPIES)
    ]
    assert sum(0 < n < COPIES for n in copies) <= 1, (
        "all copies of a text or none, but for one text at the edge"
    )

    learnt = {
        name: loss(tuned(prior, [pool[n] for n in taken], 2, 3e-3), unseen) for name, taken in chosen.items()
    }
    assert learnt["color"] < learnt["alone"]
    assert learnt["color"] < learnt["random"]

    # The negative control: what is wanted is drawn as the prior's own texts are.
    own, others = tuned(prior, mixed(60), 4, 3e-3), mixed(400)
    taken = kept(own, prior)
    assert loss(tuned(prior, [pool[n] for n in taken], 2, 3e-3), others) > (
        loss(tuned(prior, [pool[n] for n in chosen["random"]], 2, 3e-3), others) - 0.05
    )
