"""From examples to fixed-shape batches: rows, packing, and the order in which rows are shown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rlhf.events import RowIds


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Right-padded token rows with the weight that each token has as a target."""

    tokens: np.ndarray
    """int32 ``[rows, time]``."""
    weights: np.ndarray
    """float32 ``[rows, time]``: 1 where the token is to be predicted, 0 for prompts and pads."""
    ids: tuple[RowIds, ...]
    """The examples in each row."""


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Right-padded prompts."""

    tokens: np.ndarray
    """int32 ``[rows, time]``."""
    lengths: np.ndarray
    """int32 ``[rows]``."""
    ids: tuple[RowIds, ...]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A preferred and a rejected continuation of the same prompt, as two sets of rows in the same order."""

    preferred: Rows
    rejected: Rows


def pad(sequences: Sequence[Sequence[int]], time: int, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Right-pad to int32 ``[rows, time]``; also the lengths. A longer sequence is an error, never cut."""
    tokens = np.full((len(sequences), time), fill, np.int32)
    lengths = np.array([len(s) for s in sequences], np.int32)
    for row, sequence in enumerate(sequences):
        if len(sequence) > time:
            raise ValueError(f"expected at most {time} tokens, got {len(sequence)} in row {row}")
        tokens[row, : len(sequence)] = sequence
    return tokens, lengths


def rows(
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    ids: Sequence[RowIds],
    *,
    time: int,
    fill: int,
) -> Rows:
    """Rows of prompt and continuation; only the continuation has weight as a target."""
    if len(ids) != len(prompts):
        raise ValueError(f"expected ids for {len(prompts)} rows, got {len(ids)}")
    tokens, _ = pad([[*p, *c] for p, c in zip(prompts, continuations, strict=True)], time, fill)
    weights = np.zeros(tokens.shape, np.float32)
    for row, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        weights[row, len(prompt) : len(prompt) + len(continuation)] = 1
    return Rows(tokens=tokens, weights=weights, ids=tuple(ids))


def pack(sequences: Sequence[Sequence[int]], ids: Sequence[str], *, time: int) -> Rows:
    """Lay sequences end to end and cut the stream into windows; the rest that fills no window is left out.

    An example belongs to the window in which it begins, so that one pass over the windows counts each example
    once, however many windows its end reaches into.
    """
    stream = np.fromiter((t for s in sequences for t in s), np.int32)
    starts = np.cumsum([0, *(len(s) for s in sequences)])[:-1]
    windows = len(stream) // time
    held: list[list[str]] = [[] for _ in range(windows)]
    for start, name in zip(starts, ids, strict=True):
        if start // time < windows:
            held[start // time].append(name)
    tokens = stream[: windows * time].reshape(windows, time)
    weights = np.ones(tokens.shape, np.float32)
    return Rows(tokens=tokens, weights=weights, ids=tuple(tuple(h) for h in held))


def schedule(repetitions: Sequence[int], batch: int, seed: int) -> np.ndarray:
    """The order of showing: int ``[steps, batch]`` of row indices, each row as often as it is to be repeated.

    One shuffle over all showings. The last batch is filled up with -1, so that every batch has one shape.
    """
    order = np.repeat(np.arange(len(repetitions)), repetitions)
    np.random.default_rng(seed).shuffle(order)
    steps = -(-len(order) // batch)
    filled = np.full(steps * batch, -1)
    filled[: len(order)] = order
    return filled.reshape(steps, batch)


def epochs(count: int, batch: int, steps: int, seed: int) -> np.ndarray:
    """Int ``[steps, batch]``: as many passes over `count` rows as `steps` need, each in a new order."""
    rng = np.random.default_rng(seed)
    passes = -(-steps * batch // count)
    order = np.concatenate([rng.permutation(count) for _ in range(passes)])
    return order[: steps * batch].reshape(steps, batch)


def take(source: Rows, index: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[RowIds, ...]]:
    """The batch of arrays at `index` (-1: a row without weight), and the ids of its real rows."""
    real = index >= 0
    batch = {
        "tokens": source.tokens[index],
        "weights": source.weights[index] * real[:, None].astype(np.float32),
        "real": real.astype(np.float32),
    }
    return batch, tuple(source.ids[i] for i in index[real])


def batches(source: Rows, order: np.ndarray) -> Iterator[tuple[dict[str, np.ndarray], tuple[RowIds, ...]]]:
    """`take` along an order of showing."""
    for index in order:
        yield take(source, index)


def chunks(count: int, size: int) -> Iterator[np.ndarray]:
    """Row numbers in batches of one shape, the last one filled up with its last row: int ``[size]`` each.

    For passes over a whole data set, whose memory must not grow with it. What comes of the filling is to be cut off.
    """
    for start in range(0, count, size):
        yield np.minimum(np.arange(start, start + size), count - 1)
