"""A data step before a stage: which of the texts that it could show it shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from memaudit.errors import BadInput
from memaudit.records import Example
from memaudit.treatments import ColorSelect, RandomSelect, Select
from probes.duplicates import clusters
from rlhf.mesh import Layout
from rlhf.model import Decoder, Params
from rlhf.selection import best, best_by_batch, scores
from rlhf.tokenizer import Tokenizer

SELECTION = "selection.npz"
"""What was offered and what was taken, beside the parameters of a stage that selects: `ids`; `scores`, float64, nats a
token, NaN where chance decides; `offered` and `taken`, int64, copies of each."""


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """What a selection is made with."""

    where: str
    """The key of the settings, for messages."""
    decoder: Decoder
    tokenizer: Tokenizer
    model: Callable[[str], Params]
    """Name of a stage that is done -> its language model."""
    time: int
    """Tokens of a window of the stage."""
    batch: int
    """Candidates that are taken at a time, where they are taken batch by batch."""
    seed: int
    layout: Layout

    def chosen(self, asked: Select, offered: Sequence[Example], path: Path) -> list[Example]:
        """What is taken of `offered`, in its order, each as often as it is taken; written down at `path`.

        An example that is to be shown several times is that many candidates, which all have one score. With
        `deduplicate` the first of each cluster of near-duplicates is one candidate, and the others are none.
        """
        if asked.deduplicate:
            texts = [e.text.encode() for e in offered]
            labels = clusters(texts, language=[e.language for e in offered])
            kept = [(e, 1) for place, e in enumerate(offered) if labels[place] == place]
        else:
            kept = [(e, e.repetition or 1) for e in offered]
        examples, copies = [e for e, _ in kept], np.array([n for _, n in kept], np.int64)
        if copies.sum() < asked.keep:
            raise BadInput(
                f"{self.where}.keep: expected at most {copies.sum()}, the texts that there are to choose from, got "
                f"{asked.keep}"
            )
        whose = np.repeat(np.arange(len(examples)), copies)
        found = self._scores(asked, examples)
        each = np.random.default_rng(self.seed).permutation(len(whose)) if found is None else found[whose]
        if asked.scope == "batch":
            places = best_by_batch(each, asked.keep, self.batch, self.seed)
        else:
            places = best(each, asked.keep)
        taken = np.bincount(whose[places], minlength=len(examples))
        np.savez(
            path,
            ids=np.array([e.id for e in examples]),
            scores=np.full(len(examples), np.nan) if found is None else found,
            offered=copies,
            taken=taken,
        )
        return [e for e, n in zip(examples, taken, strict=True) for _ in range(n)]

    def _scores(self, asked: Select, examples: Sequence[Example]) -> np.ndarray | None:
        """None: chance decides."""
        if isinstance(asked, RandomSelect):
            return None
        t = self.tokenizer
        return scores(
            self.decoder,
            [[t.bos, *ids, t.eos] for ids in t.encode_batch([e.text for e in examples])],
            conditional=self.model(asked.conditional),
            prior=self.model(asked.prior) if isinstance(asked, ColorSelect) else None,
            time=self.time,
            fill=t.pad,
            layout=self.layout,
        )
