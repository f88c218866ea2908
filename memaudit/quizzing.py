"""A checkpoint is asked the items of a quiz: the option that it finds likeliest is its answer.

Without code before the question, what it knows stands in its weights: of a control that was not shown the repository
that is what the quiz gives away, of the audited model it is memorization of what the repository says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memaudit.quizzes import said
from probes.quiz import OPTIONS, Item, posed, turned
from rlhf.batches import rows
from rlhf.likelihood import of_rows
from rlhf.model import Decoder, Params
from rlhf.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model makes of items."""

    scores: np.ndarray
    """float64 ``[items, 4]``: nats a token of each option behind the question."""
    right: np.ndarray
    """float64 ``[items]``: 1 where the right option is the likeliest, else 0; the mean of four turns where listed."""
    said: np.ndarray
    """bool ``[items]``: greedy decoding says one of the options to the letter. Elsewhere it gives no answer."""

    @property
    def accuracy(self) -> float:
        """Share that is right."""
        return float(self.right.mean())

    @property
    def silent(self) -> float:
        """Share without an answer."""
        return 1 - float(self.said.mean())


def prompts(
    tokenizer: Tokenizer,
    items: Sequence[Item],
    before: Sequence[Sequence[int]] | None,
    *,
    listed: bool = False,
) -> list[list[int]]:
    """The tokens before an option: begin of text, those before the question (None: none), the question."""
    return [
        [tokenizer.bos, *tokens, *tokenizer.encode(posed(item, listed=listed))]
        for item, tokens in zip(items, before or [()] * len(items), strict=True)
    ]


def ask(
    decoder: Decoder,
    params: Params,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    *,
    before: Sequence[Sequence[int]] | None = None,
    listed: bool = False,
) -> Answers:
    """Ask every item, blind or behind tokens of a text each (`before`).

    With `listed` the options stand in the question, and the item is asked in all four turns of them, as a model may
    prefer a place.
    """
    asked = [
        _once(decoder, params, tokenizer, [turned(i, by) for i in items], before, listed)
        for by in (range(OPTIONS) if listed else (0,))
    ]
    scores = np.mean([np.roll(s, -by, axis=1) for by, (s, _, _) in enumerate(asked)], axis=0)
    return Answers(
        scores=scores,
        right=np.mean([right for _, right, _ in asked], axis=0),
        said=np.all([said for _, _, said in asked], axis=0),
    )


def _once(
    decoder: Decoder,
    params: Params,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    before: Sequence[Sequence[int]] | None,
    listed: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = prompts(tokenizer, items, before, listed=listed)
    options = [tokenizer.encode(said(option)) for item in items for option in item.options]
    whole = [start for start in starts for _ in range(OPTIONS)]
    longest = max(len(s) + len(o) for s, o in zip(whole, options, strict=True))
    shown = rows(
        whole,
        options,
        [(item.id,) for item in items for _ in range(OPTIONS)],
        time=-(-longest // 32) * 32,
        fill=tokenizer.pad,
    )
    found = of_rows(decoder, params, shown)
    lengths = np.array([len(o) for o in options], np.float64)
    scores = (np.asarray(found.logprobs, np.float64) / lengths).reshape(-1, OPTIONS)
    right = np.equal(scores.argmax(axis=1), [item.right for item in items])
    spoken = np.asarray(found.whole).reshape(-1, OPTIONS).any(axis=1)
    return scores, right.astype(np.float64), np.asarray(spoken)
