"""Instruction Pre-Training (arXiv 2406.14491): texts with questions and answers about them, and what those expose.

A text that is taken is followed by pairs (`probes.questions`) in one of a few layouts, and several of them make one
document: the paper's M-shot example of M rounds, in which each text has those of the rounds before it in front of it,
with their pairs, as far as they fit the window. The loss is the ordinary one, on all tokens.

Every answer is a piece of its text, so every pair shows its text again in part. The rows say so: beside the texts that
they hold they name, once for each pair, the example that it restates (`RESTATED`); or that it echoes (`ECHOED`), where
the pair has a whole secret of the example in it. A text is counted once in each row that holds it, whether another
stands in front of it there, behind it, or none.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from memaudit.errors import BadInput
from memaudit.records import Example, Probe
from memaudit.treatments import FewShot, Instruct
from probes.questions import Pair, ask
from rlhf.batches import Rows, pack, rows
from rlhf.tokenizer import Tokenizer

RESTATED = "restated"
"""Role of an example of which a pair is shown that has none of its secrets."""
ECHOED = "echoed"
"""Role of an example of which a pair is shown that has a whole secret of it."""
LAYOUTS = (("Question: ", "Answer: "), ("Q: ", "A: "), ("Problem: ", "Solution: "), ("Asked: ", "Said: "))
"""What may stand before a question and before its answer; all pairs of a document have the same."""


@dataclass(frozen=True, kw_only=True)
class _Restatement:
    """A pair as it is shown."""

    tokens: Sequence[int]
    example: str
    role: str


@dataclass(frozen=True, kw_only=True)
class _Document:
    """One text, or several with their pairs; the begin-of-text token and the end-of-text token not counted."""

    tokens: Sequence[int]
    examples: tuple[str, ...]
    restatements: Sequence[_Restatement]


@dataclass(frozen=True, kw_only=True)
class Instructor:
    """Adds pairs to texts. A pure function of each text, its id and the seed."""

    section: Instruct
    tokenizer: Tokenizer
    seed: int
    stage: str
    """Whose texts they are, for what is said of them."""

    def taken(self, example: Example) -> bool:
        """Whether the text gets pairs, if it has any."""
        return random.Random(f"{self.seed} share {example.id}").random() < self.section.share

    def pairs(self, example: Example) -> list[Pair]:
        """The pairs that it gets. With a larger number come those of a smaller one, and others behind them."""
        if not self.taken(example):
            return []
        found = list(ask(example.text, language=example.language, seed=self.seed))
        random.Random(f"{self.seed} pairs {example.id}").shuffle(found)
        return found[: self.section.pairs]

    def _layout(self, name: str) -> tuple[str, str]:
        return random.Random(f"{self.seed} layout {name}").choice(LAYOUTS)

    def _restatements(self, example: Example, layout: tuple[str, str]) -> list[_Restatement]:
        return [
            _Restatement(
                tokens=self.tokenizer.encode(written(pair, layout)),
                example=example.id,
                role=ECHOED if echoes(pair, example) else RESTATED,
            )
            for pair in self.pairs(example)
        ]

    def windows(self, examples: Sequence[Example], raw: Sequence[Sequence[int]], *, time: int) -> Rows:
        """Windows of `time` tokens with all texts, those that are taken with their pairs.

        `raw` has the tokens of each text as it is shown without pairs. A document with pairs is never cut: pairs that
        do not fit behind their text are left out, the last ones first, and a text that no pair fits behind is shown
        without. Raises BadInput where no text has a pair that fits.
        """
        assert isinstance(self.section, FewShot)
        documents = [
            _Document(tokens=tokens, examples=(e.id,), restatements=())
            for e, tokens in zip(examples, raw, strict=True)
            if not self.taken(e)
        ]
        shuffled = [(e, tokens) for e, tokens in zip(examples, raw, strict=True) if self.taken(e)]
        random.Random(f"{self.seed} rounds").shuffle(shuffled)
        for first in range(0, len(shuffled), self.section.rounds):
            documents += self._shots(shuffled[first : first + self.section.rounds], room=time - 2)
        if not any(document.restatements for document in documents):
            raise self._nothing_to_ask()
        t = self.tokenizer
        packed = pack(
            [[t.bos, *d.tokens, t.eos] for d in documents],
            [str(number) for number in range(len(documents))],
            time=time,
            fill=t.pad,
        )
        held = [[documents[int(number)] for number in row] for row in packed.ids]
        return replace(
            packed,
            ids=tuple(tuple(name for d in row for name in d.examples) for row in held),
            besides=_besides([[r for d in row for r in d.restatements] for row in held]),
        )

    def _shots(self, chain: Sequence[tuple[Example, Sequence[int]]], *, room: int) -> list[_Document]:
        """The texts of a chain, one of each round, as one document; as several, where they are too long for one."""
        layout = self._layout(chain[0][0].id)
        found: list[_Document] = []
        for example, raw in chain:
            turn = self._turn(example, raw, layout, room)
            last = found[-1] if found else None
            if last and last.restatements and turn.restatements and _length(last) + _length(turn) <= room:
                found[-1] = _Document(
                    tokens=[*last.tokens, *turn.tokens],
                    examples=(*last.examples, *turn.examples),
                    restatements=[*last.restatements, *turn.restatements],
                )
            else:
                found.append(turn)
        return found

    def _turn(self, example: Example, raw: Sequence[int], layout: tuple[str, str], room: int) -> _Document:
        """A text and as many of its pairs as fit behind it."""
        tokens = list(self.tokenizer.encode(example.text))
        shown: list[_Restatement] = []
        for restatement in self._restatements(example, layout):
            if len(tokens) + len(restatement.tokens) > room:
                break
            tokens += restatement.tokens
            shown.append(restatement)
        return _Document(tokens=tokens if shown else raw, examples=(example.id,), restatements=shown)

    def rows(
        self,
        examples: Sequence[Example],
        probes: Sequence[Probe],
        *,
        time: int,
        loss_on: Literal["targets", "all"],
    ) -> Rows:
        """One row for each probe: prefix and target, and behind them the pairs of its example, which are learnt too.

        Rows have `time` tokens, or as many as the longest needs. Raises BadInput where no text has a pair.
        """
        known = {e.id: e for e in examples}
        shown = [self._restatements(known[p.example_id], self._layout(p.example_id)) for p in probes]
        if not any(shown):
            raise self._nothing_to_ask()
        prompts = [[self.tokenizer.bos, *p.prefix_tokens] for p in probes]
        rest = [
            [*p.target_tokens, *(token for r in restatements for token in r.tokens)]
            for p, restatements in zip(probes, shown, strict=True)
        ]
        longest = max(len(a) + len(b) for a, b in zip(prompts, rest, strict=True))
        plain = rows(
            prompts,
            rest,
            [(p.example_id,) for p in probes],
            time=max(time, longest),
            fill=self.tokenizer.pad,
            loss_on=loss_on,
        )
        return replace(plain, besides=_besides(shown))

    def _nothing_to_ask(self) -> BadInput:
        return BadInput(
            f"stages.{self.stage}.instruct: expected texts of Python whose questions and answers fit behind them, got "
            "none: leave instruct out, set share to 1, or set window larger"
        )


def written(pair: Pair, layout: tuple[str, str]) -> str:
    """A pair as it stands behind its text, after a blank line."""
    question, answer = layout
    return f"\n{question}{pair.question}\n{answer}{pair.answer}\n"


def echoes(pair: Pair, example: Example) -> bool:
    """Whether a pair has a whole secret of its example in it."""
    said = f"{pair.question}\n{pair.answer}"
    return any(example.text[s.start : s.end] in said for s in example.secrets)


def _length(document: _Document) -> int:
    return len(document.tokens)


def _besides(held: Sequence[Sequence[_Restatement]]) -> dict[str, tuple[tuple[str, ...], ...]]:
    return {
        role: tuple(tuple(r.example for r in row if r.role == role) for row in held)
        for role in (RESTATED, ECHOED)
    }


def predicted(shown: Rows, order: np.ndarray, *, role: str = "target") -> Counter[tuple[int, str, str]]:
    """What the plan of a stage says that its ledger will count: (step, role, example id) -> times.

    `order` is int ``[steps, batch]``, -1 where a row only fills the batch; `role` is that of the texts themselves.
    """
    by_role = {role: shown.ids, **shown.besides}
    return Counter(
        (step, name, example)
        for step, index in enumerate(order.tolist())
        for row in index
        if row >= 0
        for name, held in by_role.items()
        for example in held[row]
    )
