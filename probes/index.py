"""An index of all n-grams of a corpus, in memory: which documents contain this completion.

Documents are sequences of token texts (`shingles.token_texts` makes them), so that what counts as the same is a
matter of the level they were made at. An n-gram is found by its hash in a sorted array and then compared token by
token: a collision of hashes costs time, never a false hit. That is why the upper half of the 64-bit hash is enough
to keep: among 10 million n-grams one look-up in 400 meets a stranger.
"""

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from probes.winnow import powers, rolling

LIMIT = 2**32 - 1
"""Tokens and ends of documents that one index can number in 4 bytes; the number itself means an unknown token."""

_BORDER = 0
"""The token id before, between and behind the documents. No run of tokens goes over it."""
_HELD = 12
"""Bytes for each token: its number 4, the hash of the n-gram that starts with it 4, the n-gram's position 4."""
_BUILT = 20
"""Bytes for each token at the peak of building: the above, and hash and position in one integer for sorting 8."""
_HASH, _REST = np.uint64(0xFFFFFFFF00000000), np.uint64(0xFFFFFFFF)
"""The bits of a 64-bit integer that hold a hash, and those that hold a position or row."""
_HALF = np.uint64(32)
_BATCH = 1 << 20
"""N-grams looked up at once: the more, the nearer to each other are the places that are read one after another."""
_BLOCK = 1 << 13
"""N-grams hashed, searched or compared at once: what one step leaves is still in the cache at the next."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A place in a document."""

    document: str
    offset: int
    """In tokens from the start of the document."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of tokens that a query shares with a document."""

    document: str
    offset: int
    """Where it starts in the document, in tokens."""
    start: int
    """Where it starts in the query, in tokens."""
    length: int
    """In tokens."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What memory a corpus takes; the texts of distinct tokens and the ids of documents come on top."""

    tokens: int
    shards: int
    """Number of indexes that the tokens must be split over."""
    holding: int
    """Bytes of all shards together."""
    building: int
    """Bytes at the peak of building one shard."""

    def __str__(self) -> str:
        parts = "1 index" if self.shards == 1 else f"{self.shards} indexes"
        return (
            f"{self.tokens:,} tokens need {self.holding / 1e9:,.2f} GB in {parts}, "
            f"and {self.building / 1e9:,.2f} GB while one is built"
        )


class _Ids(dict[bytes, int]):
    """Numbers from 1 for the distinct token texts, in the order in which they are first asked for."""

    def __missing__(self, text: bytes) -> int:
        if not isinstance(text, bytes):
            raise TypeError(
                f"expected the bytes of a token, got {type(text).__name__}; use token_texts(text)"
            )
        self[text] = number = len(self) + 1
        return number


class NgramIndex:
    """All n-grams of documents, for finding token sequences of at least n tokens.

    Args:
        documents: Pairs of an id and the document's token texts; read once, one at a time. The ids must differ.
        n: Length of an n-gram in tokens. A document of fewer tokens is kept, but nothing in it is ever found.

    Raises:
        ValueError: If an id comes twice, or the tokens are more than one index can number (`LIMIT`).
        TypeError: If a document is no sequence of bytes objects.

    Equal in every process: hashes depend on the documents alone.
    """

    def __init__(self, documents: Iterable[tuple[str, Sequence[bytes]]], *, n: int = 8) -> None:
        if n < 1:
            raise ValueError(f"expected n-grams of at least 1 token, got n = {n}")
        self.n = n
        self._weights = powers(n)
        self._numbers = _Ids()
        self._names: list[str] = []
        self._corpus, self._starts = self._read(documents)
        self._hashes, self._positions = self._sorted_grams()

    @staticmethod
    def needs(tokens: int) -> Needs:
        """Return the memory that an index of so many tokens takes.

        It is an upper bound where n is at least 3 and every document has at least 2 tokens.
        """
        if tokens < 0:
            raise ValueError(f"expected at least 0 tokens, got {tokens}")
        shards = max(1, -(-tokens // LIMIT))
        return Needs(
            tokens=tokens, shards=shards, holding=_HELD * tokens, building=_BUILT * -(-tokens // shards)
        )

    @property
    def token_count(self) -> int:
        """Number of tokens in all documents."""
        return len(self._corpus) - len(self._names) - 1

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays: token ids, hashes, positions and starts of documents."""
        return sum(part.nbytes for part in (self._corpus, self._hashes, self._positions, self._starts))

    @property
    def bytes_per_token(self) -> float:
        """`nbytes` for each token; 0.0 without tokens."""
        return self.nbytes / self.token_count if self.token_count else 0.0

    @property
    def table_nbytes(self) -> int:
        """Bytes of what is not in `nbytes`: the distinct token texts with their numbers, and the documents' ids."""
        held = (self._numbers, *self._numbers.keys(), *self._numbers.values(), self._names, *self._names)
        return sum(map(sys.getsizeof, held))

    def grams(self, tokens: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the n-grams of a token sequence as rows of n token numbers, for `contains`; none if it is short."""
        numbers = self._lookup(tokens)
        if len(numbers) < self.n:
            return np.empty((0, self.n), dtype=np.uint32)
        return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(numbers, self.n))

    def contains(self, grams: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Tell for each row of `grams` whether a document has this n-gram, compared token by token.

        Rows are looked up in the order of their hashes, many at once, which is why a big array is fastest.
        """
        if grams.ndim != 2 or grams.shape[1] != self.n or grams.dtype != np.uint32:
            raise ValueError(
                f"expected rows of {self.n} token numbers (uint32), got an array of {grams.dtype} of shape "
                f"{grams.shape}; use index.grams(tokens)"
            )
        found = np.zeros(len(grams), dtype=np.bool_)
        for start in range(0, len(grams) if len(self._hashes) else 0, _BATCH):
            self._contains(grams[start : start + _BATCH], found[start : start + _BATCH])
        return found

    def find(self, tokens: Sequence[bytes]) -> tuple[Hit, ...]:
        """Return every place where the documents have this sequence of at least n tokens, in their order."""
        return tuple(map(self._hit, self._places(tokens).tolist()))

    def documents(self, tokens: Sequence[bytes]) -> tuple[str, ...]:
        """Return the ids of the documents that have this sequence of at least n tokens, in their order."""
        holders = np.searchsorted(self._starts, self._places(tokens), side="right") - 1
        return tuple(self._names[holder] for holder in np.unique(holders).tolist())

    def longest_run(self, tokens: Sequence[bytes]) -> Run | None:
        """Return the longest run of tokens that the sequence shares with a document, or None if it is below n.

        Of several the one that starts first in the sequence, then in the order of the documents.
        """
        numbers = self._lookup(tokens)
        first, last = self._groups(numbers)
        best = Run(document="", offset=0, start=0, length=self.n - 1)
        for start in np.flatnonzero(last > first).tolist():
            if len(numbers) - start <= best.length:
                break
            places = self._positions[first[start] : last[start]].astype(np.int64)
            if start:  # what goes on to the left was found from there
                places = places[self._corpus[places - 1] != numbers[start - 1]]
            length, places = self._extended(places, numbers[start:])
            if length > best.length:
                hit = self._hit(int(places[0]))
                best = Run(document=hit.document, offset=hit.offset, start=start, length=length)
        return best if best.length >= self.n else None

    def _read(
        self, documents: Iterable[tuple[str, Sequence[bytes]]]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Number the tokens; return them with borders around each document, and where the documents start."""
        corpus = array("I", [_BORDER])
        starts = array("I")
        seen: set[str] = set()
        for name, tokens in documents:
            if isinstance(tokens, bytes | str):
                raise TypeError(
                    f"expected a sequence of token texts for document {name!r}, got {type(tokens).__name__}; "
                    "use token_texts(text)"
                )
            if name in seen:
                raise ValueError(f"expected documents with different ids, got {name!r} twice")
            if len(corpus) + len(tokens) + 1 > LIMIT:
                raise ValueError(
                    f"expected at most {LIMIT:,} tokens and ends of documents in one index, got more with document "
                    f"{name!r}; build one index for each part of the corpus (NgramIndex.needs tells how many)"
                )
            seen.add(name)
            self._names.append(name)
            starts.append(len(corpus))
            corpus.extend(map(self._numbers.__getitem__, tokens))
            corpus.append(_BORDER)
        return np.array(corpus, dtype=np.uint32), np.array(starts, dtype=np.uint32)

    def _sorted_grams(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Return the hashes of all n-grams that cross no border, rising, and where each starts."""
        count = max(0, len(self._corpus) - self.n + 1)
        inside = np.ones(count, dtype=np.bool_)
        for place in range(self.n):
            inside &= self._corpus[place : place + count] != _BORDER
        keys = np.empty(np.count_nonzero(inside), dtype=np.uint64)
        done = 0
        for start in range(0, count, _BLOCK):
            block = np.flatnonzero(inside[start : start + _BLOCK])
            hashes = self._hash(self._corpus[start : start + _BLOCK + self.n - 1])
            keys[done : done + len(block)] = hashes[block] | (block + start).astype(np.uint64)
            done += len(block)
        del inside
        keys.sort()
        return _split(keys)

    def _hash(self, numbers: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Return the hash of each n-gram of a sequence in the upper half of an integer."""
        return rolling(numbers.astype(np.uint64), self._weights) & _HASH

    def _lookup(self, tokens: Sequence[bytes]) -> NDArray[np.uint32]:
        """Return the tokens' numbers; `LIMIT`, which no token has, for those that are in no document."""
        if isinstance(tokens, bytes | str):
            raise TypeError(
                f"expected a sequence of token texts, got {type(tokens).__name__}; use token_texts(text)"
            )
        return np.array([self._numbers.get(token, LIMIT) for token in tokens], dtype=np.uint32)

    def _groups(self, numbers: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return for each n-gram of a sequence the part of the index that has its hash: from where, up to where."""
        hashes = (self._hash(numbers) >> _HALF).astype(np.uint32)
        return np.searchsorted(self._hashes, hashes), np.searchsorted(self._hashes, hashes, side="right")

    def _places(self, tokens: Sequence[bytes]) -> NDArray[np.int64]:
        """Return where in the corpus a sequence stands, rising."""
        numbers = self._lookup(tokens)
        if len(numbers) < self.n:
            raise ValueError(
                f"expected at least {self.n} tokens to look for, got {len(numbers)}; build the index with a lower n"
            )
        first, last = self._groups(numbers)
        rarest = int(np.argmin(last - first))
        places = self._positions[first[rarest] : last[rarest]].astype(np.int64) - rarest
        length, places = self._extended(places[places > 0], numbers)
        return places if length == len(numbers) else places[:0]

    def _extended(
        self, places: NDArray[np.int64], numbers: NDArray[np.uint32]
    ) -> tuple[int, NDArray[np.int64]]:
        """Return how many of the tokens the best of the places have, and those places."""
        length = 0
        for number in numbers:
            longer = places[self._corpus[places + length] == number]  # ends at a border at the latest
            if not len(longer):
                break
            places = longer
            length += 1
        return length, places

    def _contains(self, grams: NDArray[np.uint32], found: NDArray[np.bool_]) -> None:
        """Set `found` for the rows of `grams` that are in a document."""
        keys = np.arange(len(grams), dtype=np.uint64)
        for start in range(0, len(grams), _BLOCK):
            part = slice(start, start + _BLOCK)
            keys[part] |= (grams[part].astype(np.uint64) @ self._weights) & _HASH
        keys.sort()
        hashes, rows = _split(keys)
        at = self._search(hashes)
        while len(rows):
            same = np.flatnonzero((self._hashes.take(at, mode="clip") == hashes) & (at < len(self._hashes)))
            rows, hashes, at = rows[same], hashes[same], at[same]
            equal = self._compare(self._positions[at], grams, rows)
            found[rows[equal]] = True
            # Where another n-gram has the same hash, the next one may be the one that was asked for.
            rows, hashes, at = rows[~equal], hashes[~equal], at[~equal] + 1

    def _search(self, hashes: NDArray[np.uint32]) -> NDArray[np.intp]:
        """Return where each of some rising hashes is in the index, or would be.

        Each block is searched only between its first hash and that of the next block.
        """
        first = np.append(np.searchsorted(self._hashes, hashes[::_BLOCK]), len(self._hashes))
        at = np.empty(len(hashes), dtype=np.intp)
        for block, (low, high) in enumerate(pairwise(first.tolist())):
            part = slice(block * _BLOCK, (block + 1) * _BLOCK)
            at[part] = np.searchsorted(self._hashes[low:high], hashes[part]) + low
        return at

    def _compare(
        self, positions: NDArray[np.uint32], grams: NDArray[np.uint32], rows: NDArray[np.uint32]
    ) -> NDArray[np.bool_]:
        """Tell which of the n-grams at `positions` equal those in `rows` of `grams`."""
        equal = np.ones(len(rows), dtype=np.bool_)
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            places = positions[part].astype(np.intp)
            for place, wanted in enumerate(np.ascontiguousarray(grams.take(rows[part], axis=0).T)):
                equal[part] &= self._corpus.take(places + place) == wanted
        return equal

    def _hit(self, place: int) -> Hit:
        holder = int(np.searchsorted(self._starts, place, side="right")) - 1
        return Hit(document=self._names[holder], offset=place - int(self._starts[holder]))


def _split(keys: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the hashes and the positions or rows of keys, without a third array of their size on the way."""
    hashes, rest = np.empty(len(keys), dtype=np.uint32), np.empty(len(keys), dtype=np.uint32)
    np.right_shift(keys, _HALF, out=hashes, casting="unsafe")
    np.bitwise_and(keys, _REST, out=rest, casting="unsafe")
    return hashes, rest
