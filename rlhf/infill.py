"""Fill-in-the-middle (arXiv 2207.14255): texts reordered so that a left-to-right model learns to fill gaps.

A text is cut at two places into prefix, middle and suffix and written, with ids that mark the parts, in the order

- PSM: ``<prefix> prefix <suffix> suffix <middle> middle``, or
- SPM: ``<prefix> <suffix> suffix <middle> prefix middle``: the paper's second variant, which shares its marks with
  PSM so that the two teach one another, and which keeps prefix and middle in one piece.

The loss is that of any text, on all its tokens. Begin and end of text are put around the result by the caller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Infill:
    """Which texts are reordered, and how. A pure function of the text, the seed and the example's number.

    So it depends neither on the order in which examples come nor on which others there are.
    """

    prefix: int
    """Id of the mark before the prefix."""
    suffix: int
    """Id of the mark before the suffix."""
    middle: int
    """Id of the mark before the middle."""
    rate: float = 0.5
    """Share of texts that are reordered; the paper finds no harm to left-to-right up to 0.9."""
    spm: float = 0.5
    """Share of those that are written suffix first."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "spm"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"expected `{name}` to be a share between 0 and 1, got {getattr(self, name)}"
                )
        if len({self.prefix, self.suffix, self.middle}) < 3:
            raise ValueError(
                "expected three different ids for `prefix`, `suffix` and `middle`, "
                f"got {self.prefix}, {self.suffix} and {self.middle}"
            )

    def of_tokens(self, tokens: Sequence[int], index: int) -> list[int]:
        """Example number `index` (from 0), cut between tokens."""
        return self._written(tokens, index, list)

    def of_text(self, text: str, index: int, encode: Callable[[str], Sequence[int]]) -> list[int]:
        """Example number `index`, cut between characters, each part encoded by itself.

        The paper's choice: a gap that begins inside a word is then nothing new. Costs a few tokens at the cuts.
        """
        return self._written(text, index, encode)

    def undo(self, ids: Sequence[int]) -> list[int]:
        """The tokens in the order of the text, marks taken out: what `of_tokens` was given."""
        ids = list(ids)
        if self.prefix not in ids:
            return ids
        if ids[:1] != [self.prefix] or any(ids.count(mark) != 1 for mark in (self.suffix, self.middle)):
            raise ValueError("expected each mark of a reordered text once, its prefix mark first")
        behind, gap = ids.index(self.suffix), ids.index(self.middle)
        return ids[1:behind] + ids[gap + 1 :] + ids[behind + 1 : gap]

    def _written(
        self, whole: str | Sequence[int], index: int, encode: Callable[..., Sequence[int]]
    ) -> list[int]:
        draw = np.random.default_rng((self.seed, index))
        reorder, suffix_first = draw.random(2) < (self.rate, self.spm)
        first, last = np.sort(draw.integers(0, len(whole) + 1, 2))
        cuts = (whole[:first], whole[first:last], whole[last:]) if reorder else (whole,)
        parts = [list(encode(part)) for part in cuts]
        marks = {self.prefix, self.suffix, self.middle}
        if found := marks.intersection(*[[t for part in parts for t in part]]):
            raise ValueError(
                f"expected a text without the marks of its parts, got id {min(found)} in example {index}"
            )
        if not reorder:
            return parts[0]
        before, between, after = parts
        if suffix_first:
            return [self.prefix, self.suffix, *after, self.middle, *before, *between]
        return [self.prefix, *before, self.suffix, *after, self.middle, *between]
