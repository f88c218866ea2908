"""What the cohorts of a recipe are made of."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from memaudit.errors import BadInput
from memaudit.section import Name, Positive, Rate, Section, Share
from probes.quiz import KINDS, OPTIONS

Half: TypeAlias = Literal["A", "B"]


class Copies(Section):
    """Near-copies of another cohort's examples, each shown once. A copy is of the half that its original is of."""

    of: Name
    """The cohort whose examples are copied."""
    examples: Positive
    """How many of a half's examples are."""
    times: Positive = 1
    """Different copies of each."""
    noise: Rate = 0.1
    """Share of a text's words that are replaced by other words of it."""


class Quiz(Section):
    """Questions about a repository (CityGPT, arXiv 2406.13948) in place of pieces of code: an example is a question
    with its answer. It is shown in one wording and asked in another."""

    of: dict[Half, Annotated[list[str], Field(min_length=1)]]
    """Half -> patterns of relative paths, as in `corpus.exclude`: the Python files of the repository that its questions
    are about. Each half has one, and none of these files is public or in another cohort."""
    kinds: Annotated[list[str], Field(min_length=1)] = Field(default=list(KINDS))
    """Which questions are asked; each kind is about something else that the repository's graph tells."""
    echoes: bool = True
    """Also ask the kinds of which a question's own words often give the answer away."""


class Makeup(Section):
    """What one cohort has in place of what all have, or besides."""

    strata: dict[int, Positive] | None = None
    """As in `cohorts`."""
    sensitive: Share | None = None
    """As in `cohorts`."""
    paths: list[str] = Field(default=[])
    """Patterns of relative paths, as in `corpus.exclude`: the files that its ordinary examples are of. Empty: any."""
    copies: Copies | None = None
    """Near-copies that it has besides."""
    quiz: Quiz | None = None
    """Questions that it has instead."""

    @property
    def shown(self) -> dict[int, int]:
        """`strata`, of a make-up with nothing left open (see `makeup`)."""
        return self.strata or {}

    @property
    def share(self) -> float:
        """`sensitive`, likewise."""
        return self.sensitive or 0.0


class Cohorts(Section):
    """The examples whose memorization is followed. Every cohort has two halves of this make-up."""

    strata: dict[int, Positive] = Field(default={1: 16, 4: 12, 16: 12, 64: 10})
    """How often an example is shown = how many examples of a half are shown so often."""
    sensitive: Share = 0.34
    """Share of synthetic sensitive examples in each stratum."""
    shortest: Annotated[int, Field(ge=16)] = 56
    """Tokens that an example has at least."""
    longest: Annotated[int, Field(ge=24)] = 96
    """Tokens that it has at most; of longer code the first lines are taken."""
    overlap: Share = 0.2
    """Largest share of an example's 8-grams that may occur anywhere else in the corpus or the cohorts."""
    of: dict[Name, Makeup] = Field(default={})
    """Cohort -> in what it differs."""

    def makeup(self, cohort: str) -> Makeup:
        """What a cohort is made of, nothing left open."""
        own = self.of.get(cohort, Makeup())
        sensitive = 0.0 if own.quiz else self.sensitive
        return own.model_copy(
            update={
                "strata": self.strata if own.strata is None else own.strata,
                "sensitive": sensitive if own.sensitive is None else own.sensitive,
            }
        )


def check_quiz(key: str, own: Makeup) -> None:
    """A quiz stands alone, and in fours. Raises BadInput, which names the setting below `key`."""
    if own.quiz is None:
        return
    for name, given in (("sensitive", own.sensitive), ("paths", own.paths), ("copies", own.copies)):
        if given:
            raise BadInput(f"{key}.{name}: expected none beside quiz, got {given!r}: leave one out")
    if missing := {"A", "B"} - set(own.quiz.of):
        raise BadInput(f"{key}.quiz.of: expected patterns for A and for B, got none for {missing.pop()}")
    if unknown := [kind for kind in own.quiz.kinds if kind not in KINDS]:
        raise BadInput(f"{key}.quiz.kinds: expected some of {', '.join(KINDS)}, got {unknown[0]!r}")
    for times, count in own.shown.items():
        if count % OPTIONS:
            raise BadInput(
                f"{key}.strata: expected a multiple of {OPTIONS} questions in each, as they come in fours that share "
                f"their options, got {times} = {count}"
            )
