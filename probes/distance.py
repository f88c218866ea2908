"""Edit distance over any sequences, with a cutoff, and what it means relative to their lengths."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein


class Edit(NamedTuple):
    """One run of an alignment: `a[a_start:a_end]` becomes `b[b_start:b_end]`."""

    op: str
    """`equal`, `replace` (by as many), `delete` or `insert`."""
    a_start: int
    a_end: int
    b_start: int
    b_end: int


def levenshtein(a: Sequence[Hashable], b: Sequence[Hashable], *, cutoff: int | None = None) -> int | None:
    """Return the least number of insertions, deletions and replacements that turn `a` into `b`.

    With a `cutoff`, None means that the distance is greater; that is cheaper to find out than the distance.
    Strings are compared by character, other sequences by element.
    """
    if cutoff is not None and cutoff < 0:
        raise ValueError(f"expected a cutoff of at least 0, got {cutoff}; set None for no cutoff")
    left, right = _interned(a, b)
    distance = Levenshtein.distance(left, right, score_cutoff=cutoff)
    return None if cutoff is not None and distance > cutoff else distance


def edits(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[Edit]:
    """Return a shortest alignment of the two sequences, always the same one."""
    left, right = _interned(a, b)
    return [
        Edit(step.tag, step.src_start, step.src_end, step.dest_start, step.dest_end)
        for step in Levenshtein.opcodes(left, right)
    ]


def normalized(distance: int, len_a: int, len_b: int) -> float:
    """Return `distance / max(len_a, len_b)`, in [0, 1]; 0.0 if both are empty.

    The form of the literature on extraction. It is not a metric: the triangle inequality fails ("ba" to "ab"
    is 1, but 1/3 each over "bab"), so do not prune or cluster with it.
    """
    longest = max(len_a, len_b)
    return distance / longest if longest else 0.0


def within(distance: int, len_a: int, len_b: int, threshold: float) -> bool:
    """Tell whether the normalised distance is at most `threshold`, which lies in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold between 0 and 1, got {threshold}; 0 accepts equal texts only")
    return normalized(distance, len_a, len_b) <= threshold


def _interned(a: Sequence[Hashable], b: Sequence[Hashable]) -> tuple[str, str]:
    """Give each distinct element a code point: on strings the distance is fastest."""
    if isinstance(a, str) and isinstance(b, str):
        return a, b
    alphabet = {element: chr(number) for number, element in enumerate(dict.fromkeys((*a, *b)))}
    return "".join(map(alphabet.__getitem__, a)), "".join(map(alphabet.__getitem__, b))
