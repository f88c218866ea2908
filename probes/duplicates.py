"""Near-duplicates: texts that are nearly the same code, and the clusters they form."""

from collections.abc import Hashable, Iterator, Sequence
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray

from probes.distance import levenshtein
from probes.levels import tokenize
from probes.winnow import powers, rolling, token_hashes

GREATEST = 0.3
"""The greatest threshold. Beyond it pairs share so few shingles that the proposer would miss many."""

_SHINGLE = 2
"""Tokens of a shingle. Short ones survive many small edits; the distance sorts out what shares them by chance."""
_BANDS, _ROWS = 128, 4
"""Of pairs with Jaccard similarity s, 1 - (1 - s**4)**128 are proposed: half of 0.27, 0.9997 of 0.5."""
_CODE_POINTS = 0x110000


def yujian_bo(distance: int, len_a: int, len_b: int) -> float:
    """Return `2 * distance / (len_a + len_b + distance)`, in [0, 1]; 0.0 if both are empty.

    A Levenshtein distance relative to the lengths that is a metric, so that it may be clustered and pruned with;
    `distance.normalized` is none. For a few edits it is nearly the same: 0.1 of the longer length is 0.095 here
    if the lengths are equal.

    Source: Yujian, Bo, "A normalized Levenshtein distance metric", IEEE TPAMI 29(6), 2007,
    DOI 10.1109/TPAMI.2007.1078.
    """
    total = len_a + len_b + distance
    return 2 * distance / total if total else 0.0


def clusters(
    texts: Sequence[bytes], *, language: str | Sequence[str] = "python", threshold: float = 0.2
) -> list[int]:
    """Return for each text the number of its cluster: the least position of a text in it.

    Two texts are near-duplicates if the Yujian-Bo distance of their tokens at level `code` is at most `threshold`;
    a cluster is what such pairs connect, so its ends can be further apart. Pairs are proposed by `candidates`, which
    can miss one; of those proposed, the exact distance decides. Texts of equal tokens are always together, those
    without tokens among them. The partition does not depend on the order of the texts, nor on the process.

    Args:
        texts: Code, any bytes.
        language: Language of all texts, or one for each.
        threshold: From 0, which joins equal texts only, to `GREATEST`. 0.2 is 0.22 of the longer length
            if the lengths are equal.

    Raises:
        ValueError: If the threshold is out of range, or the languages are not as many as the texts.
    """
    if not 0 <= threshold <= GREATEST:
        raise ValueError(
            f"expected a threshold between 0 and {GREATEST}, got {threshold}; 0 joins equal texts only"
        )
    languages = [language] * len(texts) if isinstance(language, str) else list(language)
    if len(languages) != len(texts):
        raise ValueError(f"expected one language for each of {len(texts)} texts, got {len(languages)}")
    documents = [
        [token[:2] for token in tokenize(text, level="code", language=name)]
        for text, name in zip(texts, languages, strict=True)
    ]
    alphabet: dict[tuple[bytes, str], int] = {}
    distinct: dict[tuple[int, ...], int] = {}
    parents: list[int] = []
    for position, document in enumerate(documents):
        numbers = tuple([alphabet.setdefault(token, len(alphabet)) for token in document])
        parents.append(distinct.setdefault(numbers, position))
    firsts = list(distinct.values())
    # As characters of a string, tokens are compared fastest.
    units: list[Sequence[Hashable]] = list(distinct)
    if len(alphabet) <= _CODE_POINTS:
        units = ["".join(map(chr, numbers)) for numbers in distinct]
    for left, right in candidates([documents[first] for first in firsts]):
        one, other = _root(parents, firsts[left]), _root(parents, firsts[right])
        if one != other and _near(units[left], units[right], threshold):
            parents[max(one, other)] = min(one, other)
    return [_root(parents, position) for position in range(len(texts))]


def candidates(documents: Sequence[Sequence[tuple[bytes, str]]]) -> Iterator[tuple[int, int]]:
    """Yield pairs of positions of documents that may be near-duplicates, the lesser first, each pair once.

    Documents are sequences of token texts and kinds; their shingles are of texts alone. A document's signature has
    the least hash of its shingles under each of many hash functions; two documents agree on one of these with a
    probability equal to the Jaccard similarity of their shingles. A pair is proposed if it agrees on all rows of at
    least one band of the signature. Whether a pair is proposed depends on the two documents alone.

    Source: Broder, "On the resemblance and containment of documents", SEQUENCES 1997, DOI 10.1109/SEQUEN.1997.666900;
    for the bands, Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4.
    """
    holders, keys = _band_keys(documents)
    for band in range(_BANDS):
        order = np.argsort(keys[:, band], kind="stable")
        column = keys[order, band]
        left = np.arange(len(order))
        apart = 1
        while len(left):
            left = left[left < len(order) - apart]
            left = left[column[left] == column[left + apart]]
            pairs = order[left], order[left + apart]
            fresh = ~(keys[pairs[0], :band] == keys[pairs[1], :band]).any(axis=1)
            yield from zip(*(holders[side[fresh]].tolist() for side in pairs), strict=True)
            apart += 1


def _band_keys(
    documents: Sequence[Sequence[tuple[bytes, str]]],
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """Return the positions of the documents that have tokens, and for each of them a hash of each band."""
    constants = np.frombuffer(shake_256(b"near-duplicates").digest(16 * _BANDS * _ROWS), dtype="<u8")
    factors, terms = constants[::2], constants[1::2]
    weights = powers(_ROWS)
    holders = [position for position, document in enumerate(documents) if document]
    keys = np.empty((len(holders), _BANDS), dtype=np.uint64)
    for row, position in enumerate(holders):
        hashes = token_hashes([text for text, _ in documents[position]])
        shingles = np.unique(rolling(hashes, powers(min(_SHINGLE, len(hashes)))))
        signature = (shingles[:, None] * factors + terms).min(axis=0)
        keys[row] = signature.reshape(_BANDS, _ROWS) @ weights
    return np.array(holders, dtype=np.intp), keys


def _near(a: Sequence[Hashable], b: Sequence[Hashable], threshold: float) -> bool:
    # 2d / (a + b + d) <= t where d <= t (a + b) / (2 - t); one more, because this is rounded.
    cutoff = int(threshold * (len(a) + len(b)) / (2 - threshold)) + 1
    distance = levenshtein(a, b, cutoff=cutoff)
    return distance is not None and yujian_bo(distance, len(a), len(b)) <= threshold


def _root(parents: list[int], position: int) -> int:
    """Return the least position of the cluster, and shorten the way to it."""
    while parents[position] != position:
        parents[position] = parents[parents[position]]
        position = parents[position]
    return position
