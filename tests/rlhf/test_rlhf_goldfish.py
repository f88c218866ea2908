"""The mask against Python integers, its laws, the loss that has it, and what it does to texts shown often."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from rlhf_listening import Recorder, scores
from rlhf_texts import learnt, written

from rlhf import sft
from rlhf.batches import pack, rows, take
from rlhf.events import Updated
from rlhf.goldfish import Goldfish, Hashed, Random, Static, keep
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.sft import CrossEntropy
from rlhf.stage import Stage

_keep = jax.jit(keep, static_argnums=0)
LONG = (4, 13, 50, 128)
"""Contexts that are used in practice; the longest has undone hashes that multiply."""


def kept(goldfish: Goldfish, tokens: Any, segments: Any = None, draws: Any = None) -> np.ndarray:
    return np.asarray(_keep(goldfish, np.asarray(tokens, np.int32), segments, draws))


def mixed(value: int) -> int:
    value = (value ^ value >> 16) * 0x85EBCA6B % 2**32
    value = (value ^ value >> 13) * 0xC2B2AE35 % 2**32
    return value ^ value >> 16


def hashed_by_hand(goldfish: Hashed, text: Sequence[int]) -> list[bool]:
    """One text, each window summed anew with integers of any size."""
    salt = mixed(goldfish.seed)
    found = []
    for place in range(len(text)):
        total = sum(
            mixed(text[place - back] ^ salt) * 0x2C9277B5 ** (back - 1)
            for back in range(1, goldfish.context + 1)
            if back <= place
        )
        dropped = mixed(total % 2**32 ^ salt) < 2**32 // goldfish.every
        found.append(place < goldfish.context or not dropped)
    return found


@st.composite
def packed(draw: st.DrawFn) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Rows of 24 tokens that hold one to three texts each, of few different tokens or of many."""
    vocabulary = draw(st.sampled_from([2, 300, 150_000]))
    texts, tokens, segments = [], [], []
    for _ in range(4):
        cuts = sorted(draw(st.sets(st.integers(1, 23), max_size=2)))
        lengths = np.diff([0, *cuts, 24]).tolist()
        row = [draw(st.lists(st.integers(0, vocabulary - 1), min_size=n, max_size=n)) for n in lengths]
        texts += row
        tokens.append([token for text in row for token in text])
        segments.append(np.repeat(np.arange(len(row)), lengths))
    return texts, np.array(tokens, np.int32), np.array(segments, np.int32)


@given(given_rows=packed(), context=st.sampled_from([1, 4, 13, 30]), seed=st.sampled_from([0, 2**32 - 1]))
def test_the_hash_is_that_of_integers(given_rows: Any, context: int, seed: int) -> None:
    """Of each text by itself, wherever it lies in its row."""
    texts, tokens, segments = given_rows
    goldfish = Hashed(every=2, context=context, seed=seed)
    wanted = [flag for text in texts for flag in hashed_by_hand(goldfish, text)]
    assert kept(goldfish, tokens, segments).reshape(-1).tolist() == wanted


@given(given_rows=packed(), every=st.integers(2, 9))
def test_a_static_mask_counts_from_the_beginning_of_each_text(given_rows: Any, every: int) -> None:
    texts, tokens, segments = given_rows
    wanted = [(place + 1) % every != 0 for text in texts for place in range(len(text))]
    assert kept(Static(every=every), tokens, segments).reshape(-1).tolist() == wanted


@pytest.mark.parametrize("context", LONG)
@pytest.mark.parametrize("vocabulary", [256, 50_000])
def test_one_token_in_k_is_left_out(context: int, vocabulary: int) -> None:
    """Of tokens as unequally frequent as words, 0 the most frequent: their product would be 0 nearly always."""
    shares = 1 / np.arange(1, vocabulary + 1)
    tokens = np.random.default_rng(0).choice(vocabulary, size=(64, 1000), p=shares / shares.sum())
    for every in (4, 50):
        rate = 1 - kept(Hashed(every=every, context=context), tokens)[:, context:].mean()
        assert rate == pytest.approx(1 / every, abs=0.01 if every < 50 else 0.003)


@pytest.mark.parametrize("context", LONG)
def test_texts_of_one_token_over_and_over_are_left_out_at_the_same_rate(context: int) -> None:
    tokens = np.repeat(np.arange(3000)[:, None], context + 1, axis=1)
    assert 1 - kept(Hashed(context=context), tokens)[:, -1].mean() == pytest.approx(0.25, abs=0.035)


@pytest.mark.parametrize("context", LONG)
def test_the_order_of_the_tokens_before_matters_and_nothing_else_does(context: int) -> None:
    rng = np.random.default_rng(1)
    before = rng.integers(0, 2048, (512, context))
    swapped = before.copy()
    swapped[:, [0, -1]] = before[:, [-1, 0]]
    target = np.zeros((512, 1), np.int64)

    def last(*parts: np.ndarray) -> np.ndarray:
        return kept(Hashed(every=2, context=context), np.concatenate(parts, axis=1))[:, -1]

    found = last(before, target)
    assert 0.4 < (found != last(swapped, target)).mean() < 0.6
    np.testing.assert_array_equal(found, last(before, target + 7))
    np.testing.assert_array_equal(found, last(rng.integers(0, 2048, (512, 5)), before, target))


def test_another_seed_is_another_hash() -> None:
    tokens = np.random.default_rng(2).integers(0, 2048, (16, 512))
    masks = [kept(Hashed(every=2, context=4, seed=seed), tokens)[:, 4:] for seed in (0, 1)]
    assert 0.45 < (masks[0] != masks[1]).mean() < 0.55


def test_repeats_reveal_every_token_to_a_random_mask() -> None:
    goldfish, tokens = Random(seed=5), np.zeros((8, 64), np.int32)
    masks = np.stack([kept(goldfish, tokens, None, goldfish.draws(step, 8)) for step in range(200)])
    assert 1 - masks.mean() == pytest.approx(0.25, abs=0.01)
    assert masks.any(axis=0).all()
    # Each token by itself: as spread as coins are, and alike neither from row to row nor from place to place.
    assert masks.mean(axis=0).std() == pytest.approx(np.sqrt(0.25 * 0.75 / 200), rel=0.15)
    for one, other in ((masks[:, :-1], masks[:, 1:]), (masks[..., :-1], masks[..., 1:])):
        assert abs(np.corrcoef(one.reshape(-1), other.reshape(-1))[0, 1]) < 0.02
    np.testing.assert_array_equal(goldfish.draws(3, 8), Random(seed=5).draws(3, 8))
    assert (goldfish.draws(3, 8) != Random(seed=6).draws(3, 8)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: Hashed(every=1), "`every` to be at least 2, got 1"),
        (lambda: Static(every=0), "`every` to be at least 2, got 0"),
        (lambda: Random(every=1), "`every` to be at least 2, got 1"),
        (lambda: Hashed(context=0), "`context` to be positive, got 0"),
        (lambda: Hashed(seed=2**32), "below 2^32, got 4294967296"),
        (lambda: keep(Random(), jax.numpy.zeros((1, 2), int)), "`draws` of each row"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Callable[[], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("^", r"\^")):
        wrong()


_call = jax.jit(CrossEntropy.__call__, static_argnums=0)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_loss_is_the_mean_over_the_targets_that_are_kept(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray], seed: int
) -> None:
    """Of those that have weight: what is left out of a prompt is left out once. The rest is told beside it."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, decoder.config.vocabulary, (8, 16)).astype(np.int32)
    weights = rng.choice([0.0, 1.0], (8, 16)).astype(np.float32)
    goldfish = Hashed(every=2, context=3)
    flags = np.array([hashed_by_hand(goldfish, row) for row in tokens.tolist()], np.float32)
    total, count, metrics = _call(
        CrossEntropy(decoder, goldfish), {"model": sharp}, {"tokens": tokens, "weights": weights}
    )
    logits = model_logits(sharp, tokens)
    wanted = oracle.cross_entropy(logits, tokens, weights * flags)
    missing = oracle.cross_entropy(logits, tokens, weights * (1 - flags))
    assert float(total) == pytest.approx(wanted[0], rel=1e-4)
    assert float(count) == float(metrics["num_tokens"]) == wanted[1]
    assert [float(x) for x in metrics["mean_token_accuracy"]] == pytest.approx([wanted[2], wanted[1]])
    assert [float(x) for x in metrics["dropped_loss"]] == pytest.approx([missing[0], missing[1]], rel=1e-4)
    assert [float(x) for x in metrics["drop_rate"]] == [missing[1], wanted[1] + missing[1]]


def test_a_packed_row_leaves_out_what_its_texts_do(decoder: Decoder, sharp: Params) -> None:
    rng = np.random.default_rng(4)
    texts = [rng.integers(3, 300, n).tolist() for n in (16, 9, 7, 5, 11, 8, 8, 4, 12, 3, 13)]
    shown = pack(texts, [str(i) for i in range(len(texts))], time=16)
    goldfish = Hashed(every=2, context=3)
    batch, _ = take(shown, np.arange(len(shown.tokens)))
    _, count, metrics = _call(CrossEntropy(decoder, goldfish), {"model": sharp}, batch)
    assert float(count) == sum(sum(hashed_by_hand(goldfish, text)[1:]) for text in texts)
    assert float(metrics["drop_rate"][1]) == sum(len(text) - 1 for text in texts)


def test_a_stage_draws_a_random_mask_anew_at_every_step(decoder: Decoder, fresh: Params) -> None:
    texts = np.random.default_rng(3).integers(3, 300, (8, 16)).tolist()
    names = [(str(i),) for i in range(8)]
    shown = rows([t[:1] for t in texts], [t[1:] for t in texts], names, time=16, fill=0)
    recorder, goldfish = Recorder(), Random(every=3, seed=9)
    sft.train(
        fresh,
        shown,
        np.tile(np.arange(8), (3, 1)),
        Optimiser(learning_rate=1e-2),
        decoder=decoder,
        stage=Stage(name="sft", hooks=[recorder]),
        goldfish=goldfish,
    )
    found = [event.metrics["num_tokens"] for event in recorder.events if isinstance(event, Updated)]
    wanted = [kept(goldfish, shown.tokens, None, goldfish.draws(step, 8))[:, 1:].sum() for step in range(3)]
    assert found == wanted
    assert len(set(wanted)) > 1


OFTEN, LENGTH, PREFIX, STEPS = 16, 48, 16, 500
"""Texts that are shown in every second row, their tokens, those that are given, and updates: 250 showings of each."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_hashed_mask_keeps_texts_from_being_learnt_by_heart_and_a_random_one_does_not(
    decoder: Decoder, seed: int
) -> None:
    """arXiv 2406.10209 in small: extraction falls to nothing, membership is told as before, other texts as well."""
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 96, (96, 4))
    often, fresh, unseen = (written(rng, n, LENGTH, table) for n in (OFTEN, 8 * STEPS, 256))
    shown = learnt(np.concatenate([often, fresh]))
    order = np.concatenate(
        [
            np.tile(np.arange(OFTEN), STEPS // 2).reshape(STEPS, 8),
            OFTEN + np.arange(8 * STEPS).reshape(STEPS, 8),
        ],
        axis=1,
    )
    begun = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed))
    optimiser = Optimiser(learning_rate=1e-2, warmup=20, final=0.1)

    def outcome(goldfish: Goldfish | None) -> tuple[float, float, float]:
        """Share of the texts that come out of greedy decoding, loss on others, AUC of the loss attack."""
        stage = Stage(name="sft")
        params = sft.train(begun, shown, order, optimiser, decoder=decoder, stage=stage, goldfish=goldfish)
        known, other = (scores(decoder, params, t.astype(np.int32)) for t in (often, unseen))
        members, others = (
            np.asarray(found.logprobs)[:, PREFIX - 1 :].mean(axis=1) for found in (known, other)
        )
        return (
            float(np.asarray(known.hit)[:, PREFIX - 1 :].all(axis=1).mean()),
            -float(others.mean()),
            float((members[:, None] > others).mean()),
        )

    came_out, loss, told = outcome(None)
    assert came_out >= 0.7
    assert told >= 0.9
    hashed = outcome(Hashed())
    assert hashed[0] <= 0.1
    assert hashed[1] <= loss + 0.15
    assert hashed[2] >= 0.9
    assert outcome(Random(seed=seed))[0] >= 0.5
