"""Winnowing: a few fingerprints of a token sequence, by which every long enough shared run is found."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BASE = 0x9E3779B97F4A7C15  # odd, so that no token is ever multiplied away
_WORD = 1 << 64


class Fingerprint(NamedTuple):
    """One of the runs of k tokens that winnowing keeps."""

    hash: int
    """64 bits, the same in every process and on every machine."""
    offset: int
    """Where the run starts, in tokens."""


@dataclass(frozen=True, kw_only=True)
class SharedRun:
    """`a[start_a : start_a + length]` equals `b[start_b : start_b + length]`; lengths in tokens."""

    start_a: int
    start_b: int
    length: int


def winnow(tokens: Sequence[bytes], *, k: int, window: int) -> tuple[Fingerprint, ...]:
    """Return the rightmost least hash of every `window` neighbouring runs of `k` tokens, in order of offset.

    Two sequences that share a run of at least `k + window - 1` tokens share a fingerprint inside it, at the
    same place of the run, because a window's choice depends on nothing outside of it. Of random hashes about
    2 / (window + 1) are kept. Where there are runs but fewer than `window` of them, the rightmost least of all is
    kept; fewer than `k` tokens have no fingerprint.

    Source: Schleimer, Wilkerson, Aiken, "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003,
    DOI 10.1145/872757.872770.
    """
    _check(tokens, k, window)
    hashes = rolling(token_hashes(tokens), powers(k))
    offsets = _rightmost_least(hashes, window)
    return tuple(map(Fingerprint, hashes[offsets].tolist(), offsets.tolist()))


def shared_run(a: Sequence[bytes], b: Sequence[bytes], *, k: int, window: int) -> SharedRun | None:
    """Return the longest run of tokens in both that contains a shared fingerprint, or None if none does.

    It is the longest common run of all whenever that has at least `k + window - 1` tokens. Shorter ones, of at
    least `k`, are found by luck. Tokens are compared, so two runs of equal hashes never pass for a shared one.
    Of several longest runs the one that comes first in `a`, then in `b`, is returned. Takes time linear in the
    lengths and in the number of pairs of equal fingerprints, which grows as their product where both texts
    repeat one token.
    """
    places = defaultdict(list)
    for hash_b, offset in winnow(b, k=k, window=window):
        places[hash_b].append(offset)
    longest: SharedRun | None = None
    searched: dict[int, int] = {}  # by start_b - start_a: up to where in `a` the run there is known
    for hash_a, at_a in winnow(a, k=k, window=window):
        for at_b in places.get(hash_a, ()):
            if at_a < searched.get(at_b - at_a, 0):
                continue
            run = _extended(a, b, at_a, at_b)
            searched[at_b - at_a] = run.start_a + run.length
            if run.length >= k and (longest is None or _rank(run) < _rank(longest)):
                longest = run
    return longest


def token_hashes(tokens: Sequence[bytes]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each token's bytes."""
    known: dict[bytes, int] = {}
    for token in tokens:
        if token not in known:
            known[token] = int.from_bytes(blake2b(token, digest_size=8).digest(), "big")
    return np.fromiter((known[token] for token in tokens), dtype=np.uint64, count=len(tokens))


def powers(n: int) -> NDArray[np.uint64]:
    """Return the weights of the n tokens of a run in its hash: falling powers of an odd base, modulo 2^64.

    The last one is the base itself: with 1, runs that differ in their last token alone would have hashes that differ
    in their lowest bits alone.
    """
    return np.array([pow(_BASE, n - place, _WORD) for place in range(n)], dtype=np.uint64)


def rolling(values: NDArray[np.uint64], weights: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return for each run of `len(weights)` neighbouring values its sum of products with `weights`, modulo 2^64.

    With `powers` this is the hash of Karp and Rabin, "Efficient randomized pattern-matching algorithms", IBM
    Journal of Research and Development 31(2), 1987, DOI 10.1147/rd.312.0249, with a word in place of the prime.
    """
    count = max(0, len(values) - len(weights) + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for place, weight in enumerate(weights):
        hashes += values[place : place + count] * weight
    return hashes


def _check(tokens: Sequence[bytes], k: int, window: int) -> None:
    if isinstance(tokens, bytes | str):
        raise TypeError(
            f"expected a sequence of token texts, got {type(tokens).__name__}; use token_texts(text)"
        )
    if k < 1:
        raise ValueError(f"expected runs of at least 1 token, got k = {k}")
    if window < 1:
        raise ValueError(f"expected windows of at least 1 run, got window = {window}; 1 keeps every run")


def _rightmost_least(hashes: NDArray[np.uint64], window: int) -> NDArray[np.intp]:
    """Return the places of the windows' rightmost minima, each once, rising."""
    places = np.arange(len(hashes))
    span = 1
    while span < min(window, len(hashes)):
        # Two windows that overlap or touch make a longer one; on a tie the right one's minimum counts.
        step = min(span, window - span, len(hashes) - span)
        left, right = places[:-step], places[step:]
        places = np.where(hashes[right] <= hashes[left], right, left)
        span += step
    return np.unique(places)


def _extended(a: Sequence[bytes], b: Sequence[bytes], at_a: int, at_b: int) -> SharedRun:
    """Return the maximal shared run around a place in both, empty if the tokens there differ."""
    back = 0
    while back < min(at_a, at_b) and a[at_a - back - 1] == b[at_b - back - 1]:
        back += 1
    ahead = 0
    while ahead < min(len(a) - at_a, len(b) - at_b) and a[at_a + ahead] == b[at_b + ahead]:
        ahead += 1
    return SharedRun(start_a=at_a - back, start_b=at_b - back, length=back + ahead)


def _rank(run: SharedRun) -> tuple[int, int, int]:
    """Order runs: the longest first, then by their place."""
    return -run.length, run.start_a, run.start_b
