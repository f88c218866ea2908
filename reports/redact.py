"""Masks secrets in hostile text, whole or in part, before a page sees it."""

from collections.abc import Iterable

MASK = "█"
"""Stands for one hidden character."""


class Redactor:
    """Masks every secret of a corpus, built once and used on many texts.

    A completion may hold another example's secret, or only the beginning of one. So every fragment of at least
    `smallest` characters is masked, and a secret shorter than that where it occurs whole. Fragments of white
    space alone are left: they tell nothing, and masking them would hide the layout of every text.

    The mask is one character for one, so positions found in the original hold in the masked text. Mask before
    cutting a text into pieces: a fragment that lies across a cut is not seen.
    """

    __slots__ = ("_fragments",)

    def __init__(self, secrets: Iterable[str], *, smallest: int = 6):
        """Build the set of fragments. Raises `ValueError` when `smallest` is under one."""
        if smallest < 1:
            raise ValueError(f"expected smallest of at least 1 character, got {smallest}; 6 is the default")
        fragments: dict[int, set[str]] = {}
        for secret in secrets:
            width = min(len(secret), smallest)
            for start in range(len(secret) - width + 1):
                fragment = secret[start : start + width]
                if fragment.replace(MASK, "").strip():
                    fragments.setdefault(width, set()).add(fragment)
        self._fragments = {width: frozenset(fragments[width]) for width in sorted(fragments)}

    def mask(self, text: str) -> str:
        """Return `text` with every fragment masked: same length, line breaks kept."""
        # A mask can complete a fragment of a secret that itself holds mask characters: repeat until nothing moves.
        while (masked := self._mask_once(text)) != text:
            text = masked
        return text

    def _mask_once(self, text: str) -> str:
        hidden = bytearray(len(text))
        for width, fragments in self._fragments.items():
            cover = b"\x01" * width
            for start in range(len(text) - width + 1):
                if text[start : start + width] in fragments:
                    hidden[start : start + width] = cover
        if not any(hidden):
            return text
        return "".join(
            MASK if hide and character not in "\r\n" else character
            for character, hide in zip(text, hidden, strict=True)
        )


def redact(text: str, secrets: Iterable[str], *, smallest: int = 6) -> str:
    """Mask `secrets` in one text. For many texts build one `Redactor` and call its `mask`."""
    return Redactor(secrets, smallest=smallest).mask(text)
