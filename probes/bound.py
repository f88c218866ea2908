"""How near a completion can still come to its target while it grows: what its first part already rules out.

A completion that is decoded token by token is known in part. Whatever follows, its distance is at least the smallest
value in the last row of the distance table, which never falls; so that a verdict can be closed, and decoding stopped,
long before the budget is used up.

The row is kept in two integers, one bit an element of the target (Hyyrö 2003, "A bit-vector algorithm for computing
Levenshtein and Damerau edit distances"): an element of the completion costs a handful of operations, not a row.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from operator import add, sub

from probes.languages import lexer
from probes.levels import LEVELS, characters, check_levels, tokenize_all
from probes.match import Match, compare_completion, target_units
from probes.tokens import Token


class Row:
    """The last row of the distance table between a target and a text that grows: ``D[j]`` of each prefix ``j``."""

    def __init__(self, target: Sequence[Hashable]) -> None:
        self.read = 0
        """Elements of the text so far."""
        self._size = len(target)
        self._all = (1 << len(target)) - 1
        self._rises, self._falls = self._all, 0  # D[j] - D[j - 1] is 1, is -1
        self._places: dict[Hashable, int] = {}
        for place, element in enumerate(target):
            self._places[element] = self._places.get(element, 0) | 1 << place

    def extend(self, elements: Iterable[Hashable]) -> None:
        """Go on by some elements of the text."""
        rises, falls, everything = self._rises, self._falls, self._all
        places = self._places
        for element in elements:
            same = places.get(element, 0)
            diagonal = ((same & rises) + rises ^ rises) | same | falls
            up = (falls | ~(diagonal | rises)) << 1 | 1
            down = (diagonal & rises) << 1
            rises = (down | ~(diagonal | up)) & everything
            falls = up & diagonal & everything
            self.read += 1
        self._rises, self._falls = rises, falls

    def values(self) -> list[int]:
        """``D[0]`` to ``D[len(target)]``."""
        rises, falls = (f"{bits:0{self._size}b}"[::-1].encode() for bits in (self._rises, self._falls))
        steps = map(sub, rises, falls) if self._size else ()
        return list(accumulate(steps, initial=self.read))

    def least(self, *, cut: bool) -> int:
        """The least distance that any continuation can have.

        With `cut` the text, which is not longer than the target yet, is cut to the target's length in the end, so that
        what it has too much of by now it will lack later.
        """
        values = self.values()
        if not cut:
            return min(values)
        surplus = range(self.read, 0, -1)
        return min(min(values[self.read :]), min(map(add, values[: self.read], surplus), default=self._size))


def settled(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens that a text keeps however it goes on: all but the last and the layout before it."""
    end = len(tokens) - 1
    while end > 0 and tokens[end - 1].kind == "layout":
        end -= 1
    return tokens[: max(end, 0)]


def at_least(
    target: bytes,
    completion: bytes,
    *,
    prompt: bytes,
    language: str = "python",
    levels: Sequence[str] = LEVELS,
    secrets: Sequence[bytes] = (),
) -> dict[str, Match]:
    """What `compare_completion` says at least of any completion that begins with `completion`, its end included.

    `completion` must end between two characters, as far as it is UTF-8. At `exact` the bound is tight. At the other
    levels the last token does not count yet, and of the two cuts the one that could come nearer does.
    """
    check_levels(levels)
    known = target_units(target, prompt, language, tuple(secrets))
    text = characters(completion)
    length = len(known["exact"])
    row = Row(known["exact"])
    row.extend(text[:length])
    reader = lexer(language)
    bound = _bound("exact", row.least(cut=True), length, length, reader)
    found = {"exact": bound}
    # What a level takes away whole is judged at the one before, so none is left out.
    deeper = LEVELS[1 : 1 + max(LEVELS.index(level) for level in levels)]
    cut: dict[str, Match] = {}
    if deeper and len(text) >= length:  # the cut by characters is made: what it says is known
        first = text[:length].encode("utf-8", errors="surrogateescape")
        cut = compare_completion(
            target, first, prompt=prompt, language=language, levels=deeper, secrets=secrets
        )
    tokens = tokenize_all(completion, language=language, prompt=prompt, secrets=secrets, levels=deeper)
    for level in deeper:
        aim = known[level]
        if not aim:
            bound = replace(bound, level=level)
        else:
            kept = [token[:2] for token in settled(tokens[level])]
            row = Row(aim)
            row.extend(kept[: len(aim)])
            least, longest = row.least(cut=True), len(aim)
            if cut:
                least = min(least, cut[level].distance)
                longest = max(longest, cut[level].completion_length)
            else:
                row.extend(kept[len(aim) :])
                least = min(least, other := row.least(cut=False))
                # The more tokens beyond the target's, the farther away, and the more it is divided by.
                longest += other
            bound = _bound(level, least, len(aim), longest, reader)
        found[level] = bound
    return {level: found[level] for level in levels}


def _bound(level: str, distance: int, target_length: int, longest: int, reader: str) -> Match:
    return Match(
        level=level,
        distance=distance,
        target_length=target_length,
        completion_length=longest,
        lexer=reader,
        at_least=True,
    )
