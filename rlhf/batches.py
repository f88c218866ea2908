"""From examples to fixed-shape batches: rows, packing, and the order in which rows are shown.

Packing: padding every text to the longest wastes most of a batch, and a stream of texts cut into windows lets a text
read the end of the one before. A packed row holds whole texts side by side, told apart by `Rows.segments`: attention
stays inside a segment, positions start again with each, and the first token of a segment is no target, as nothing of
its text stands before it. So a packed row teaches exactly what its texts teach one by one.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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
    segments: np.ndarray | None = None
    """int32 ``[rows, time]``, where rows are packed: which text of its row a token is of, ascending from 0; the pads
    are one more. None: a row is one text."""
    besides: Mapping[str, tuple[RowIds, ...]] = field(default_factory=dict)
    """Another role -> the examples that each row holds in that role as well; see `events.BatchConsumed`."""

    def __post_init__(self) -> None:
        for role, held in self.besides.items():
            if len(held) != len(self.ids):
                raise ValueError(f"expected ids in role {role!r} for {len(self.ids)} rows, got {len(held)}")
        if self.segments is None:
            return
        if self.segments.shape != self.tokens.shape:
            raise ValueError(
                f"expected `segments` of the shape of `tokens`, {self.tokens.shape}, got {self.segments.shape}"
            )
        steps = np.diff(self.segments, axis=1)
        if (steps < 0).any():
            raise ValueError(f"expected ascending `segments`, got a step of {steps.min()}")
        if self.weights[:, :1].any() or self.weights[:, 1:][steps > 0].any():
            raise ValueError(
                "expected the first token of a segment to have weight 0, got one that is a target"
            )


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


def target_weights(prompt: int, continuation: int, loss_on: Literal["targets", "all"]) -> np.ndarray:
    """Weight of each token as a target, float32: of the continuation alone, or of all tokens but the very first."""
    weights = np.ones(prompt + continuation, np.float32)
    weights[: prompt if loss_on == "targets" else 1] = 0
    return weights


def rows(
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    ids: Sequence[RowIds],
    *,
    time: int,
    fill: int,
    loss_on: Literal["targets", "all"] = "targets",
) -> Rows:
    """Rows of prompt and continuation, one each; what has weight as a target is said by `loss_on`."""
    if len(ids) != len(prompts):
        raise ValueError(f"expected ids for {len(prompts)} rows, got {len(ids)}")
    tokens, lengths = pad([[*p, *c] for p, c in zip(prompts, continuations, strict=True)], time, fill)
    weights = np.zeros(tokens.shape, np.float32)
    for row, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        weights[row, : lengths[row]] = target_weights(len(prompt), len(continuation), loss_on)
    return Rows(tokens=tokens, weights=weights, ids=tuple(ids))


class _Piece(NamedTuple):
    """What is laid into a window as one segment."""

    tokens: Sequence[int]
    weights: np.ndarray
    ids: RowIds


def best_fit(lengths: Sequence[int], time: int) -> list[list[int]]:
    """Which lengths share a window of `time`: indices by window.

    Best fit, the longest first: each goes where it leaves the least room, into a new window where it fits in none.
    Never more than 11/9 of the fewest windows there could be, plus one (Johnson 1974). No length is above `time`.
    """
    windows: list[list[int]] = []
    rooms: list[int] = []  # those there are, ascending
    with_room: dict[int, list[int]] = {}
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        at = bisect_left(rooms, length)
        if at == len(rooms):
            room, window = time, len(windows)
            windows.append([])
        else:
            room = rooms[at]
            window = with_room[room].pop()
            if not with_room[room]:
                del rooms[at], with_room[room]
        windows[window].append(index)
        if left := room - length:
            if left not in with_room:
                insort(rooms, left)
            with_room.setdefault(left, []).append(window)
    return windows


def pack(sequences: Sequence[Sequence[int]], ids: Sequence[str], *, time: int, fill: int = 0) -> Rows:
    """Texts in windows of `time` tokens, for pretraining: every token of a text but its first is a target once.

    A text that is longer than a window is cut, and each further piece begins with the last token of the one before,
    so that no target is lost; what else stood before it, it does not see. An example belongs to the window in which
    it begins, so that one pass over the windows counts each example once. Which texts share a window is a matter of
    their lengths alone and does not change from pass to pass.
    """
    if time < 2:
        raise ValueError(
            f"expected windows of at least 2 tokens, one to predict the other from, got time={time}"
        )
    pieces: list[_Piece] = []
    for sequence, name in zip(sequences, ids, strict=True):
        if not sequence:
            raise ValueError(f"expected texts of at least one token, got an empty one: {name}")
        for start in range(0, max(len(sequence) - 1, 1), time - 1):
            part = sequence[start : start + time]
            pieces.append(_Piece(part, target_weights(0, len(part), "all"), () if start else (name,)))
    return _laid_out(pieces, time, fill)


def pack_rows(
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    ids: Sequence[RowIds],
    *,
    time: int,
    fill: int = 0,
    loss_on: Literal["targets", "all"] = "targets",
) -> Rows:
    """`rows`, packed: the same targets in fewer rows. None is cut; one longer than `time` is an error."""
    pieces: list[_Piece] = []
    for row, (prompt, continuation, names) in enumerate(zip(prompts, continuations, ids, strict=True)):
        whole = [*prompt, *continuation]
        if not 0 < len(whole) <= time:
            raise ValueError(f"expected 1 to {time} tokens, got {len(whole)} in row {row}: set `time` larger")
        weights = target_weights(len(prompt), len(continuation), loss_on)
        weights[0] = 0
        pieces.append(_Piece(whole, weights, names))
    return _laid_out(pieces, time, fill)


def _laid_out(pieces: Sequence[_Piece], time: int, fill: int) -> Rows:
    windows = best_fit([len(piece.tokens) for piece in pieces], time)
    shape = (len(windows), time)
    tokens, weights = np.full(shape, fill, np.int32), np.zeros(shape, np.float32)
    segments = np.empty(shape, np.int32)
    held: list[RowIds] = []
    for row, window in enumerate(windows):
        begin = 0
        for number, index in enumerate(window):
            piece = pieces[index]
            end = begin + len(piece.tokens)
            tokens[row, begin:end] = piece.tokens
            weights[row, begin:end] = piece.weights
            segments[row, begin:end] = number
            begin = end
        segments[row, begin:] = len(window)  # the pads are a segment of their own
        held.append(tuple(name for index in window for name in pieces[index].ids))
    return Rows(tokens=tokens, weights=weights, ids=tuple(held), segments=segments)


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
    if source.segments is not None:
        batch["segments"] = source.segments[index]
    return batch, tuple(source.ids[i] for i in index[real])


def rows_at(source: Rows, index: Sequence[int] | np.ndarray) -> Rows:
    """Some rows of a set that is not packed, in this order; what else they hold in other roles is left behind."""
    places = list(index)
    return Rows(
        tokens=source.tokens[places],
        weights=source.weights[places],
        ids=tuple(source.ids[place] for place in places),
    )


def beside(source: Rows, index: np.ndarray) -> dict[str, tuple[RowIds, ...]]:
    """What the real rows at `index` hold in other roles."""
    real = index[index >= 0]
    return {role: tuple(held[i] for i in real) for role, held in source.besides.items()}


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
