"""Packed rows: every text whole or cut without loss, each counted once, and none that sees another."""

from collections import Counter
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.batches import Rows, best_fit, epochs, pack, pack_rows, rows, take
from rlhf.model import Decoder, Params, hidden_states, logits_of
from rlhf.sft import CrossEntropy

TIME, VOCABULARY, WINDOWS = 16, 300, 4
tokens = st.integers(1, VOCABULARY - 1)
several = st.lists(st.lists(tokens, min_size=1, max_size=20), min_size=1, max_size=10)

_hidden = partial(jax.jit, static_argnums=0)(hidden_states)
_logits = partial(jax.jit, static_argnums=0)(
    lambda decoder, params, tokens, segments: logits_of(
        decoder, params, hidden_states(decoder, params, tokens, segments)
    )
)
_loss = partial(jax.jit, static_argnums=0)(lambda loss, params, batch: loss({"model": params}, batch))


def pieces(packed: Rows) -> list[tuple[int, list[int], list[float]]]:
    """Row, tokens and weights of every segment; the last one of a row that is not full is its pads."""
    assert packed.segments is not None
    found = []
    for row, segments in enumerate(packed.segments):
        for number in range(segments.max() + 1):
            inside = segments == number
            found.append((row, packed.tokens[row, inside].tolist(), packed.weights[row, inside].tolist()))
    return found


@given(several, st.integers(2, 12))
def test_every_token_but_the_first_is_a_target_once_after_its_own_predecessor(
    sequences: list[list[int]], time: int
) -> None:
    packed = pack(sequences, [str(i) for i in range(len(sequences))], time=time, fill=0)
    seen = Counter(
        pair
        for _, part, weights in pieces(packed)
        for pair, weight in zip(pairwise(part), weights[1:], strict=True)
        if weight
    )
    assert seen == Counter(pair for sequence in sequences for pair in pairwise(sequence))
    assert packed.weights.sum() == sum(len(sequence) - 1 for sequence in sequences)
    assert {array.dtype for array in (packed.tokens, packed.segments)} == {np.dtype(np.int32)}
    assert packed.weights.dtype == np.float32


@given(several, st.integers(2, 12))
def test_a_text_that_fits_is_one_segment_in_the_row_that_has_its_name(
    sequences: list[list[int]], time: int
) -> None:
    names = [f"text-{i}" for i in range(len(sequences))]
    packed = pack(sequences, names, time=time)
    parts = {(row, tuple(part)) for row, part, _ in pieces(packed)}
    at = {name: row for row, held in enumerate(packed.ids) for name in held}
    for name, sequence in zip(names, sequences, strict=True):
        assert (at[name], tuple(sequence[:time])) in parts
    assert len(packed.ids) == len(packed.tokens)


@given(several, st.integers(2, 12), st.integers(1, 3))
def test_one_pass_over_the_windows_counts_each_example_once(
    sequences: list[list[int]], time: int, batch: int
) -> None:
    """Also those that reach over several windows."""
    names = [f"text-{i}" for i in range(len(sequences))]
    packed = pack(sequences, names, time=time)
    count = len(packed.tokens)
    order = epochs(count, batch, -(-count // batch), 0).reshape(-1)[:count]
    shown = Counter(name for index in order for held in take(packed, np.array([index]))[1] for name in held)
    assert shown == dict.fromkeys(names, 1)


@given(st.lists(st.integers(1, 16), max_size=60))
def test_best_fit_leaves_little_room(lengths: list[int]) -> None:
    """Each length is in one window, no window overflows, and no two of them would fit in one."""
    windows = best_fit(lengths, 16)
    assert sorted(i for window in windows for i in window) == list(range(len(lengths)))
    filled = sorted(sum(lengths[i] for i in window) for window in windows)
    assert all(0 < total <= 16 for total in filled)
    assert all(low + high > 16 for low, high in pairwise(filled))


@given(st.lists(st.integers(1, 16), max_size=40))
def test_best_fit_is_the_slow_one(lengths: list[int]) -> None:
    """The longest first, each where the least room is left: by looking at every window."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= length
        else:
            rooms.append(16 - length)
    found = [16 - sum(lengths[i] for i in window) for window in best_fit(lengths, 16)]
    assert sorted(found) == sorted(rooms)


@given(
    st.lists(
        st.tuples(st.lists(tokens, max_size=6), st.lists(tokens, min_size=1, max_size=6)),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["targets", "all"]),
)
def test_packed_rows_have_the_targets_of_rows(
    examples: list[tuple[list[int], list[int]]], loss_on: Any
) -> None:
    prompts, ends = [p for p, _ in examples], [c for _, c in examples]
    ids = [(str(i),) for i in range(len(examples))]
    packed = pack_rows(prompts, ends, ids, time=TIME, loss_on=loss_on)
    plain = rows(prompts, ends, ids, time=TIME, fill=0, loss_on=loss_on)
    wanted = Counter()
    for text, weight, prompt, end in zip(plain.tokens, plain.weights, prompts, ends, strict=True):
        count = len(prompt) + len(end)
        weight[0] = 0  # nothing stands before it
        wanted[tuple(text[:count].tolist()), tuple(weight[:count].tolist())] += 1
    found = Counter((tuple(part), tuple(weights)) for _, part, weights in pieces(packed))
    pads = found - wanted
    assert not wanted - found
    assert not any(sum(weights) or sum(text) for text, weights in pads)
    assert sorted(name for held in packed.ids for name in held) == sorted(name for (name,) in ids)
    assert len(packed.tokens) <= len(plain.tokens)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Of one token up to a whole window."""
    rng = np.random.default_rng(0)
    return [rng.integers(1, VOCABULARY, n).tolist() for n in (16, 1, 9, 4, 2, 3, 7, 5, 10, 6)]


def test_packed_logits_are_those_of_each_text_alone(
    texts: list[list[int]], decoder: Decoder, sharp: Params
) -> None:
    packed = pack(texts, [str(i) for i in range(len(texts))], time=TIME)
    assert packed.segments is not None
    assert max(map(len, packed.ids)) > 1
    found = np.asarray(_logits(decoder, sharp, packed.tokens[:WINDOWS], packed.segments[:WINDOWS]))
    checked = 0
    for row in range(WINDOWS):
        begin = 0
        for name in packed.ids[row]:
            text = texts[int(name)]
            alone = oracle.logits(sharp, decoder.config, text)
            mine = found[row, begin : begin + len(text)]
            np.testing.assert_allclose(
                oracle.log_softmax(mine), oracle.log_softmax(alone), rtol=1e-5, atol=2e-5
            )
            begin, checked = begin + len(text), checked + 1
    assert checked == len(texts)


@pytest.mark.parametrize("loss_on", ["targets", "all"])
def test_the_packed_loss_and_gradient_are_those_of_unpacked_rows(
    texts: list[list[int]], decoder: Decoder, sharp: Params, loss_on: Any
) -> None:
    prompts, ends = [t[: len(t) // 2] for t in texts], [t[len(t) // 2 :] for t in texts]
    ids = [(str(i),) for i in range(len(texts))]
    packed = pack_rows(prompts, ends, ids, time=TIME, loss_on=loss_on)
    plain = rows(prompts, ends, ids, time=TIME, fill=0, loss_on=loss_on)
    results = []
    for source in (packed, plain):
        batch, _ = take(source, np.resize(np.arange(len(source.tokens)), len(source.tokens)))
        loss = CrossEntropy(decoder)
        (total, (count, metrics)), gradient = _with_gradient(loss, {"model": sharp}, batch)
        results.append((float(total), float(count), metrics, gradient))
    (a, count, metrics, gradient), (b, other_count, other_metrics, other_gradient) = results
    assert a == pytest.approx(b, rel=1e-5)
    assert count == other_count == float(metrics["num_tokens"])
    assert float(metrics["mean_token_accuracy"][0]) == float(other_metrics["mean_token_accuracy"][0])
    size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
    for left, right in zip(*map(jax.tree.leaves, (gradient, other_gradient)), strict=True):
        np.testing.assert_allclose(np.asarray(left) / size, np.asarray(right) / size, atol=1e-5)


def _summed(loss: CrossEntropy, parts: Any, batch: Any) -> Any:
    total, *rest = loss(parts, batch)
    return total, rest


_with_gradient = partial(jax.jit, static_argnums=0)(
    lambda loss, parts, batch: jax.value_and_grad(partial(_summed, loss), has_aux=True)(parts, batch)
)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 8), min_size=2, max_size=4).filter(lambda n: sum(n) <= TIME), st.data())
def test_no_segment_sees_another(
    decoder: Decoder, sharp: Params, lengths: list[int], data: st.DataObject
) -> None:
    """Other tokens in one segment move no bit of what the others' hidden states are."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    segments = np.repeat(np.arange(len(lengths) + 1), [*lengths, TIME - sum(lengths)]).astype(np.int32)
    changed = data.draw(st.integers(0, len(lengths) - 1))
    first, second = rng.integers(1, VOCABULARY // 2, (2, TIME)).astype(np.int32)
    other = np.where(segments == changed, second + VOCABULARY // 2, first)
    both = np.stack([first, other, first, other])
    found = np.asarray(_hidden(decoder, sharp, both, np.tile(segments, (WINDOWS, 1))))
    outside = segments != changed
    np.testing.assert_array_equal(found[0][outside], found[1][outside])
    assert (found[0] != found[1]).any(axis=1)[~outside].all()


def test_what_cannot_be_packed_is_told() -> None:
    with pytest.raises(ValueError, match=r"at least 2 tokens.*got time=1"):
        pack([[1]], ["a"], time=1)
    with pytest.raises(ValueError, match="got an empty one: b"):
        pack([[1], []], ["a", "b"], time=4)
    with pytest.raises(ValueError, match=r"1 to 3 tokens, got 4 in row 1: set `time` larger"):
        pack_rows([[1], [1, 2]], [[2], [3, 4]], [("a",), ("b",)], time=3)
    with pytest.raises(ValueError, match="1 to 3 tokens, got 0 in row 0"):
        pack_rows([[]], [[]], [("a",)], time=3)
    assert pack([], [], time=4).tokens.shape == (0, 4)
