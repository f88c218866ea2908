"""Masks secrets in hostile text, whole or in part, before a page sees it, and tells them apart by a number."""

from collections.abc import Iterable, Sequence
from itertools import groupby

MASK = "█"
"""Stands for one hidden character."""
SHOWN, UNNAMED = 0, -1
"""In place of a secret's number: the character is not hidden; it is, and nobody says by what."""


class Redactor:
    """Masks every secret of a corpus, built once and used on many texts.

    A completion may hold another example's secret, or only the beginning of one. So every fragment of at least
    `smallest` characters is masked, and a secret shorter than that where it occurs whole. Fragments of white
    space alone are left: they tell nothing, and masking them would hide the layout of every text.

    The mask is one character for one, so positions found in the original hold in the masked text. Mask before
    cutting a text into pieces: a fragment that lies across a cut is not seen.

    Secrets have pseudonyms, so that one can be recognised in another text: their numbers, from 1, in the order in
    which they were given, equal texts having one. A hash would be shorter to explain and longer to regret: that of a
    PIN is guessed in no time.
    """

    __slots__ = ("_fragments", "_named", "numbers")

    def __init__(self, secrets: Iterable[str], *, smallest: int = 6, like: "Redactor | None" = None):
        """Build the set of fragments. Raises `ValueError` when `smallest` is under one.

        Args:
            secrets: Their texts.
            smallest: Characters of the shortest fragment that is masked.
            like: Another redactor, which has all of `secrets`: they keep its numbers. Without, they are counted here.
        """
        if smallest < 1:
            raise ValueError(f"expected smallest of at least 1 character, got {smallest}; 6 is the default")
        texts = list(dict.fromkeys(secrets))
        if like is None:
            self.numbers = {text: place for place, text in enumerate(texts, 1)}
            # A number between masks could complete a fragment of a secret that holds mask characters itself.
            self._named = not any(MASK in text for text in texts)
        else:
            # Shared and not copied: there is a redactor for each example, and a corpus may have many secrets.
            self.numbers, self._named = like.numbers, like._named
        fragments: dict[int, dict[str, int]] = {}
        for secret in texts:
            width = min(len(secret), smallest)
            for start in range(len(secret) - width + 1):
                fragment = secret[start : start + width]
                if fragment.replace(MASK, "").strip():
                    fragments.setdefault(width, {}).setdefault(fragment, self.numbers[secret])
        self._fragments = {width: fragments[width] for width in sorted(fragments)}

    def mask(self, text: str) -> str:
        """Return `text` with every fragment masked: same length, line breaks kept, no numbers."""
        return _covered(text, self.hidden(text))

    def hidden(self, text: str) -> list[int]:
        """Return of each character the number of the secret that hides it; `SHOWN`, or `UNNAMED`.

        A fragment that occurs in several secrets is of the first of them.
        """
        found = [SHOWN] * len(text)
        # A mask can complete a fragment of a secret that itself holds mask characters: repeat until nothing moves.
        while (masked := self._hide(_covered(text, found), found)) != text:
            text = masked
        return found

    def _hide(self, text: str, found: list[int]) -> str:
        for width, fragments in self._fragments.items():
            for start in range(len(text) - width + 1):
                number = fragments.get(text[start : start + width])
                if number is not None:
                    for place in range(start, start + width):
                        found[place] = found[place] or (number if self._named else UNNAMED)
        return _covered(text, found)


def _covered(text: str, hidden: Sequence[int]) -> str:
    if not any(hidden):
        return text
    return "".join(
        MASK if hide and character not in "\r\n" else character
        for character, hide in zip(text, hidden, strict=True)
    )


def named(text: str, hidden: Sequence[int]) -> str:
    """Return `text` masked, each run of hidden characters with its secret's number in it: `█12█████`.

    A run that is too short for the number and a mask on both sides has none. Lengths and line breaks stay.

    Args:
        text: As `hidden` was made from, or a piece of it.
        hidden: What `Redactor.hidden` returned, or the same piece of it.
    """
    pieces = []
    places = zip(_covered(text, hidden), hidden, strict=True)
    for (number, line), run in groupby(places, lambda place: (place[1], place[0] in "\r\n")):
        letters = "".join(letter for letter, _ in run)
        label = f"{MASK}{number}{MASK}"
        if number > 0 and not line and len(letters) >= len(label):
            letters = label + letters[len(label) :]
        pieces.append(letters)
    return "".join(pieces)


def redact(text: str, secrets: Iterable[str], *, smallest: int = 6) -> str:
    """Mask `secrets` in one text. For many texts build one `Redactor` and call its `mask`."""
    return Redactor(secrets, smallest=smallest).mask(text)
