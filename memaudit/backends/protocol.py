"""The one protocol behind which every model stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memaudit.records import Scores

_SMALLEST = 16


@dataclass(frozen=True, kw_only=True)
class Question:
    """A probe as a model is asked it.

    Attributes:
        prefix: What it is given; not empty.
        target: What it would be a leak to say; not empty.
        prefix_tokens: The prefix in the model's own tokens, without special ones; empty where the model's keepers
            have its tokenizer.
        target_tokens: The same of the target, which is tokenised by itself.
    """

    prefix: str
    target: str
    prefix_tokens: tuple[int, ...] = ()
    target_tokens: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Said:
    """A greedy completion.

    Attributes:
        text: Without special tokens. At least as many tokens as `budget` gives the target, unless it ended.
        ended: The model said end of text.
    """

    text: str
    ended: bool


@dataclass(frozen=True, kw_only=True)
class About:
    """What is to be known of a backend, and is written beside its results.

    Attributes:
        kind: `jax`, `transformers`, `http`, ...
        name: Path or address of the model, without credentials.
        identity: What tells this model from another: a hash of its files, or the name that a server gives it.
        deterministic: The same questions get the same answers, bit for bit.
        scores: It can tell of targets how likely they are.
        spares: What a pass over the targets tells spares decoding.
        losses: What cannot be known through it, one sentence each.
    """

    kind: str
    name: str
    identity: str
    deterministic: bool
    scores: bool
    spares: bool = False
    losses: tuple[str, ...] = ()


class Backend(Protocol):
    """A model that can be asked. Questions of one call are independent of each other."""

    @property
    def about(self) -> About:
        """What is to be known of it."""
        ...

    @property
    def batch(self) -> int:
        """How many questions are best put to it in one call."""
        ...

    @property
    def parallel(self) -> int:
        """How many calls may be open at once, each in a thread of its own."""
        ...

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The model's own tokens of each text, without special ones; empty lists where it does not tell."""
        ...

    def score(self, questions: Sequence[Question]) -> list[Scores | None]:
        """One teacher-forced pass over each prefix and target. None where it cannot tell of that question."""
        ...

    def go_on(self, questions: Sequence[Question], scores: Sequence[Scores | None]) -> list[Said]:
        """Decode each prefix greedily. What a pass has told before may spare work and changes no answer."""
        ...


def budget(tokens: int) -> int:
    """Tokens that are decoded for a target of so many: the next power of two, 16 at least.

    A function of the target alone, so that what is observed does not depend on what else is asked; above its length,
    because a completion that is laid out otherwise may need more tokens for the same code.
    """
    return max(_SMALLEST, 1 << (tokens - 1).bit_length())
