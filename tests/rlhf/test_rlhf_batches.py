"""From examples to batches: nothing is cut, nothing is shown that was not asked for, nothing is lost."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.batches import Rows, batches, chunks, epochs, pad, rows, schedule, take

tokens = st.integers(1, 299)
texts = st.lists(st.lists(tokens, max_size=6), min_size=1, max_size=8)


@given(texts, st.integers(6, 9))
def test_pad_keeps_every_token_and_the_true_lengths(sequences: list[list[int]], time: int) -> None:
    padded, lengths = pad(sequences, time, 0)
    assert padded.shape == (len(sequences), time)
    assert padded.dtype == lengths.dtype == np.int32
    for row, length, sequence in zip(padded.tolist(), lengths, sequences, strict=True):
        assert length == len(sequence)
        assert row == sequence + [0] * (time - length)


def test_pad_refuses_what_is_too_long() -> None:
    with pytest.raises(ValueError, match="at most 3 tokens, got 4 in row 1"):
        pad([[1, 2, 3], [1, 2, 3, 4]], 3, 0)


@given(texts, st.data())
def test_rows_give_weight_to_the_continuation_alone(prompts: list[list[int]], data: st.DataObject) -> None:
    """Also where the continuation holds the id of the pad: weights come from lengths."""
    size = len(prompts)
    ends = data.draw(st.lists(st.lists(st.integers(0, 299), max_size=6), min_size=size, max_size=size))
    found = rows(prompts, ends, [(str(i),) for i in range(size)], time=12, fill=0)
    assert found.weights.dtype == np.float32
    assert found.ids == tuple((str(i),) for i in range(size))
    for row, weight, prompt, end in zip(found.tokens, found.weights, prompts, ends, strict=True):
        rest = 12 - len(prompt) - len(end)
        assert row.tolist() == prompt + end + [0] * rest
        assert weight.tolist() == [0] * len(prompt) + [1] * len(end) + [0] * rest


def test_rows_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="at most 3 tokens, got 4"):
        rows([[1, 2]], [[3, 4]], [("a",)], time=3, fill=0)
    with pytest.raises(ValueError, match="shorter"):
        rows([[1, 2], [1]], [[3]], [("a",), ("b",)], time=3, fill=0)


@given(texts, texts)
def test_rows_give_weight_to_all_tokens_but_the_first_if_asked(
    prompts: list[list[int]], ends: list[list[int]]
) -> None:
    size = min(len(prompts), len(ends))
    ids = [(str(i),) for i in range(size)]
    found = rows(prompts[:size], ends[:size], ids, time=13, fill=0, loss_on="all")
    for weight, prompt, end in zip(found.weights.tolist(), prompts, ends, strict=False):
        count = len(prompt) + len(end)
        assert weight == [float(0 < place < count) for place in range(13)]
    assert found.segments is None


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 2**31))
def test_schedule_shows_each_row_as_often_as_asked(repetitions: list[int], batch: int, seed: int) -> None:
    order = schedule(repetitions, batch, seed)
    showings = sum(repetitions)
    assert order.shape == (-(-showings // batch), batch)
    assert Counter(order[order >= 0].tolist()) == {i: n for i, n in enumerate(repetitions) if n}
    assert (order.reshape(-1)[:showings] >= 0).all()
    assert (order.reshape(-1)[showings:] == -1).all()
    assert (schedule(repetitions, batch, seed) == order).all()


def test_schedule_spreads_the_showings() -> None:
    """One shuffle over all of them, another one for another seed."""
    order = schedule([64] * 8, 8, 0)
    assert len({tuple(sorted(row)) for row in order.tolist()}) > 32
    first = [int(np.flatnonzero((order == i).any(axis=1))[0]) for i in range(8)]
    assert max(first) < 16
    assert (schedule([64] * 8, 8, 1) != order).any()


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**31))
def test_epochs_are_passes_over_all_rows(count: int, batch: int, steps: int, seed: int) -> None:
    order = epochs(count, batch, steps, seed)
    assert order.shape == (steps, batch)
    stream = order.reshape(-1).tolist()
    for start in range(0, len(stream), count):
        part = stream[start : start + count]
        assert sorted(set(part)) == sorted(part)
        assert len(part) == count or start + count > len(stream)
        assert set(part) <= set(range(count))
    assert (epochs(count, batch, steps, seed) == order).all()


def test_each_epoch_has_an_order_of_its_own() -> None:
    order = epochs(20, 20, 3, 0)
    assert len({tuple(row) for row in order.tolist()}) == 3
    assert (epochs(20, 20, 3, 1) != order).any()


@pytest.fixture(scope="module")
def source() -> Rows:
    rng = np.random.default_rng(0)
    return Rows(
        tokens=rng.integers(3, 300, (5, 6)).astype(np.int32),
        weights=rng.choice([0.5, 1.0], (5, 6)).astype(np.float32),
        ids=(("a",), ("b", "c"), (), ("d",), ("e",)),
    )


@given(st.lists(st.integers(-1, 4), min_size=4, max_size=4))
def test_take_gives_filler_no_weight_and_no_name(source: Rows, index: list[int]) -> None:
    batch, ids = take(source, np.array(index))
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "tokens": ((4, 6), "int32"),
        "weights": ((4, 6), "float32"),
        "real": ((4,), "float32"),
    }
    for place, row in enumerate(index):
        assert batch["real"][place] == (row >= 0)
        if row >= 0:
            assert batch["tokens"][place].tolist() == source.tokens[row].tolist()
            assert batch["weights"][place].tolist() == source.weights[row].tolist()
        else:
            assert not batch["weights"][place].any()
    assert ids == tuple(source.ids[row] for row in index if row >= 0)


def test_batches_follow_the_order(source: Rows) -> None:
    order = np.array([[4, 1], [0, -1]])
    found = list(batches(source, order))
    assert [ids for _, ids in found] == [(("e",), ("b", "c")), (("a",),)]
    assert found[0][0]["tokens"].tolist() == source.tokens[[4, 1]].tolist()


@given(st.integers(1, 50), st.integers(1, 20))
def test_chunks_hold_each_row_once_in_batches_of_one_shape(count: int, size: int) -> None:
    found = list(chunks(count, size))
    assert {len(index) for index in found} == {size}
    assert np.concatenate(found)[:count].tolist() == list(range(count))
    assert set(np.concatenate(found)[count:].tolist()) <= {count - 1}


def test_rows_want_an_id_for_each() -> None:
    with pytest.raises(ValueError, match="ids for 2 rows, got 1"):
        rows([[1], [1]], [[2], [2]], [("a",)], time=2, fill=0)


def test_take_passes_segments_on(source: Rows) -> None:
    segments = np.array([[0, 0, 0, 1, 1, 2]] * 5, np.int32)
    weights = np.zeros((5, 6), np.float32)
    weights[:, 1:3] = weights[:, 4] = 1
    packed = Rows(tokens=source.tokens, weights=weights, ids=source.ids, segments=segments)
    batch, _ = take(packed, np.array([3, -1]))
    assert batch["segments"].tolist() == segments[:2].tolist()
    assert batch["segments"].dtype == np.int32
    assert not batch["weights"][1].any()


@pytest.mark.parametrize(
    ("segments", "weights", "message"),
    [
        ([[0, 0]], [[0, 1, 1]], r"shape of `tokens`, \(1, 3\), got \(1, 2\)"),
        ([[0, 1, 0]], [[0, 0, 1]], "ascending `segments`, got a step of -1"),
        ([[0, 0, 1]], [[0, 1, 1]], "first token of a segment to have weight 0"),
        ([[0, 0, 1]], [[1, 1, 0]], "first token of a segment to have weight 0"),
    ],
)
def test_rows_refuse_segments_that_cannot_be(
    segments: list[list[int]], weights: list[list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Rows(
            tokens=np.ones((1, 3), np.int32),
            weights=np.array(weights, np.float32),
            ids=(("a",),),
            segments=np.array(segments, np.int32),
        )
