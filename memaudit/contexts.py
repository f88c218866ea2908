"""What stands before an example where it was found, and what an answer owes to it.

A prompt may have such a context in front. It can be asked under three conditions: with its true context, with a
corrupted one, and with none. What an answer scores with its context less what it scores without is what it owes to the
context (`dependence`); what is left without, the model has in its weights.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

from memaudit.records import Example, Probe
from rlhf.tokenizer import Tokenizer

KEPT = 0.2
"""Largest share of a context's tokens that is left of it when it is corrupted (in arXiv 2406.11839, of an image)."""
_CHARACTERS = 16  # more than a token has, so that what is cut off before it is encoded was not wanted

Key = TypeVar("Key")


class Condition(IntEnum):
    """What a prompt has in front; readings are numbered by it."""

    TRUE = 0
    """What stands before the example."""
    CORRUPTED = 1
    """A piece of that."""
    EMPTY = 2
    """Nothing."""


def contexts(
    examples: Sequence[Example],
    public: Sequence[Example],
    files: Mapping[str, str],
    tokenizer: Tokenizer,
    *,
    longest: int,
    seed: int,
) -> dict[str, tuple[int, ...]]:
    """Example id -> the last `longest` tokens of what stands before it in its file, fewer where there are fewer.

    The context begins behind any other of the `examples` that stands there: else a twin would be shown, as a context,
    what it must not see. What has no file, such as a synthetic secret, has a public text drawn from the seed before it,
    as if it had been pasted there. A question about a repository has the code that its answer can be read off, up to
    the last line of that.
    """
    found = {}
    ends: dict[str, list[int]] = {}
    for example in examples:
        ends.setdefault(example.source, []).append(example.last_line)
    for example in examples:
        if example.source in files:
            question = example.kind == "question"
            last = example.last_line if question else example.first_line - 1
            first = 0 if question else max((end for end in ends[example.source] if end <= last), default=0)
            lines = files[example.source].split("\n")[first:last]
            before = "".join(f"{line}\n" for line in lines)
        else:
            before = random.Random(f"{seed} context {example.id}").choice(public).text
        found[example.id] = tuple(tokenizer.encode(before[-_CHARACTERS * longest :])[-longest:])
    return found


@dataclass(frozen=True)
class Context:
    """What an example is shown behind, and what is put in its place."""

    true: tuple[int, ...]
    corrupted: tuple[int, ...]
    """Drawn once: every model that is asked under this condition is given the same, and at every step the same."""

    def under(self, condition: Condition) -> tuple[int, ...]:
        """The tokens in front of the prompt."""
        return {Condition.TRUE: self.true, Condition.CORRUPTED: self.corrupted, Condition.EMPTY: ()}[
            condition
        ]


def corruptible(tokens: Sequence[int], example_id: str, seed: int) -> Context:
    """A context with its corruption: a run of `KEPT` of its tokens, rounded down, its place drawn for the example."""
    size = int(KEPT * len(tokens))
    start = random.Random(f"{seed} corruption {example_id}").randrange(len(tokens) - size + 1)
    return Context(tuple(tokens), tuple(tokens[start : start + size]))


def start(
    tokenizer: Tokenizer, probe: Probe, found: Mapping[str, Context], condition: Condition = Condition.TRUE
) -> list[int]:
    """What a target is given: the begin of text, its example's context if there are any, the probe's prefix."""
    before = found[probe.example_id].under(condition) if found else ()
    return [tokenizer.bos, *before, *probe.prefix_tokens]


def dependence(given: Mapping[Key, float], without: Mapping[Key, float]) -> dict[Key, float]:
    """By item: its score with its context less its score without, of the items that have both.

    The score may be nats of an answer, or 1 and 0 for right and wrong.
    """
    return {key: score - without[key] for key, score in given.items() if key in without}
