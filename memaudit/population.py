"""Who there is in a run: what it may show, and what it asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from memaudit.quizzes import Question
from memaudit.records import Example, Probe
from rlhf.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Population:
    """All that a run may show and ask."""

    tokenizer: Tokenizer
    public: tuple[Example, ...]
    """The public half, for pretraining; both twins see all of it."""
    examples: tuple[Example, ...]
    """The cohorts' examples."""
    probes: tuple[Probe, ...]
    """One for each of `examples`, in the same order."""
    contexts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Example id -> tokens of what stands before it in its file, as many as any stage shows; empty: none shows any."""
    questions: Mapping[str, Question] = field(default_factory=dict)
    """Of examples that are questions about a repository, by id."""

    def as_shown(self, probe: Probe) -> Probe:
        """A probe in the words in which its example is shown. Only questions are asked in others."""
        question = self.questions.get(probe.example_id)
        return (
            probe
            if question is None
            else replace(probe, prompt=None, prefix_tokens=tuple(self.tokenizer.encode(question.shown)))
        )
