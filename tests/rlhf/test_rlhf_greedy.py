"""However it is come by, what is said is what plain greedy decoding says."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rlhf_listening import scores

from rlhf.batches import rows
from rlhf.generate import generate, row_keys
from rlhf.greedy import check, depart, go_on, pick
from rlhf.likelihood import of_rows, of_targets
from rlhf.model import Decoder, Params

ROWS, PROMPT, BUDGET, PAD = 6, 9, 24, 0
LENGTHS = np.array([9, 5, 7, 1, 8, 3], np.int32)


@pytest.fixture(scope="module")
def prompts(decoder: Decoder) -> np.ndarray:
    tokens = np.random.default_rng(5).integers(3, decoder.config.vocabulary, (ROWS, PROMPT)).astype(np.int32)
    return np.where(np.arange(PROMPT) < LENGTHS[:, None], tokens, PAD)


@pytest.fixture(scope="module")
def plain(decoder: Decoder, sharp: Params, prompts: np.ndarray) -> np.ndarray:
    """What greedy decoding says, ``[rows, BUDGET]``."""
    keys = row_keys(jax.random.key(0), jnp.arange(ROWS))
    said = generate(
        sharp, prompts, LENGTHS, keys, decoder=decoder, budget=BUDGET, temperature=0.0, eos=None, pad=PAD
    )
    return np.asarray(said.tokens)


def after(texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Texts, right-padded, and their lengths."""
    lengths = np.array([len(text) for text in texts], np.int32)
    tokens = np.full((ROWS, max(1, lengths.max())), PAD, np.int32)
    for row, text in enumerate(texts):
        tokens[row, : lengths[row]] = text
    return tokens, lengths


def departing(plain: np.ndarray, at: list[int], length: int, vocabulary: int) -> list[np.ndarray]:
    """What greedy decoding says, with another token at one place in each row; at `length`: none."""
    texts = []
    for row, place in enumerate(at):
        text = plain[row, :length].copy()
        if place < length:
            text[place] = (text[place] + 1) % vocabulary
        texts.append(text)
    return texts


places = st.lists(st.integers(0, 8), min_size=ROWS, max_size=ROWS)
misses = st.lists(st.integers(0, 3), min_size=ROWS, max_size=ROWS)


@settings(max_examples=15, deadline=None)
@given(at=places, wrong=st.tuples(misses, misses))
def test_from_the_departure_on_it_says_what_greedy_decoding_says(
    decoder: Decoder, sharp: Params, prompts: np.ndarray, plain: np.ndarray, at: list[int], wrong: Any
) -> None:
    """At the first token, at the last, nowhere; by steps, and by drafts that are right, wrong, or right for a while."""
    length, vocabulary = 8, decoder.config.vocabulary
    tokens, lengths = after(departing(plain, at, length, vocabulary))
    found = depart(sharp, prompts, tokens, LENGTHS, lengths, decoder=decoder, slots=PROMPT + BUDGET)
    assert found.agreed.tolist() == at
    assert found.standing.read.tolist() == (LENGTHS + at).tolist()
    said = [list(plain[row, :place]) for row, place in enumerate(at)]
    standing = found.standing
    for first_wrong in wrong:
        right = np.stack([plain[row, len(said[row]) + 1 : len(said[row]) + 4] for row in range(ROWS)])
        draft = (right + (np.arange(3) == np.array(first_wrong)[:, None])) % vocabulary
        words, counts, standing = check(sharp, standing, draft.astype(np.int32), decoder=decoder)
        assert counts.tolist() == [1 + agreed for agreed in first_wrong]
        for row in range(ROWS):
            said[row] += np.asarray(words)[row, : counts[row]].tolist()
    words, standing = go_on(sharp, standing, decoder=decoder, steps=2)
    for row in range(ROWS):
        said[row] += np.asarray(words)[row].tolist()
        assert said[row] == plain[row, : len(said[row])].tolist()
    assert standing.read.tolist() == [LENGTHS[row] + len(said[row]) for row in range(ROWS)]


def test_the_pass_scores_as_any_other(
    decoder: Decoder, sharp: Params, prompts: np.ndarray, plain: np.ndarray
) -> None:
    texts, lengths = after(departing(plain, [0, 1, 2, 3, 4, 5], 5, decoder.config.vocabulary))
    found = depart(sharp, prompts, texts, LENGTHS, lengths, decoder=decoder, slots=PROMPT + BUDGET)
    whole = np.full((ROWS, PROMPT + 5), PAD, np.int32)
    for row, length in enumerate(LENGTHS):
        whole[row, : length + 5] = [*prompts[row, :length], *texts[row]]
    known = scores(decoder, sharp, whole)
    window = (LENGTHS - 1)[:, None] + np.arange(5)
    np.testing.assert_allclose(
        found.seen.logprobs, np.take_along_axis(np.asarray(known.logprobs), window, axis=1), atol=1e-5
    )
    assert found.seen.hit.tolist() == np.take_along_axis(np.asarray(known.hit), window, axis=1).tolist()
    bare = depart(
        sharp, prompts, texts, LENGTHS, lengths, decoder=decoder, slots=PROMPT + BUDGET, scored=False
    )
    assert not np.asarray(bare.seen.logprobs).any()
    assert (bare.seen.hit == found.seen.hit).all()
    assert (bare.agreed == found.agreed).all()


def test_some_rows_go_on_without_the_others(
    decoder: Decoder, sharp: Params, prompts: np.ndarray, plain: np.ndarray
) -> None:
    tokens, lengths = after(departing(plain, [3] * ROWS, 5, decoder.config.vocabulary))
    found = depart(sharp, prompts, tokens, LENGTHS, lengths, decoder=decoder, slots=PROMPT + BUDGET)
    rows = np.array([4, 1], np.int32)
    words, _ = go_on(sharp, pick(found.standing, rows, slots=PROMPT + BUDGET + 5), decoder=decoder, steps=4)
    assert words.tolist() == plain[rows, 3:7].tolist()


def test_a_text_that_is_empty_departs_at_once(
    decoder: Decoder, sharp: Params, prompts: np.ndarray, plain: np.ndarray
) -> None:
    tokens, lengths = after([plain[row, :0] for row in range(ROWS)])
    found = depart(sharp, prompts, tokens, LENGTHS, lengths, decoder=decoder, slots=PROMPT + BUDGET)
    assert found.agreed.tolist() == [0] * ROWS
    words, _ = go_on(sharp, found.standing, decoder=decoder, steps=BUDGET)
    assert words.tolist() == plain.tolist()


def test_what_is_recited_whole_is_what_greedy_decoding_says(
    decoder: Decoder, sharp: Params, prompts: np.ndarray, plain: np.ndarray
) -> None:
    """Of more rows than go in at once: each text as it is said, and with a miss in every second one."""
    at = [9 if row % 2 else row for row in range(ROWS)]
    texts = [text.tolist() for text in departing(plain, at, 9, decoder.config.vocabulary)]
    starts = [prompts[row, : LENGTHS[row]].tolist() for row in range(ROWS)]
    shown = rows(starts * 12, texts * 12, [("x",)] * (12 * ROWS), time=PROMPT + 9, fill=PAD)
    found = of_rows(decoder, sharp, shown)
    assert found.whole.tolist() == [place == 9 for place in at] * 12
    hidden = decoder.apply({"params": sharp}, shown.tokens[:ROWS, :-1])[0]
    each = of_targets(decoder, sharp, hidden, shown.tokens[:ROWS, 1:]).logprobs  # pyright: ignore[reportArgumentType]
    wanted = np.sum(np.asarray(each) * shown.weights[:ROWS, 1:], axis=1)
    np.testing.assert_allclose(found.logprobs, np.tile(wanted, 12), rtol=1e-4)
