"""What an audit knows of: examples, probes, scores, observations, stages. Plain data that the ledger keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probes import Match, Secret


@dataclass(frozen=True, kw_only=True)
class Example:
    """A piece of training code as the ledger knows it."""

    id: str
    kind: str
    """harvested, sensitive or given."""
    language: str
    text: str
    source: str
    first_line: int
    last_line: int
    cohort: str | None = None
    half: str | None = None
    repetition: int | None = None
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A prefix to give and the target that would be a leak. Both are parts of the example's text."""

    id: int
    example_id: str
    kind: str
    prefix: str
    target: str
    prefix_tokens: tuple[int, ...]
    """Of what the model is given, without the begin-of-text token. Empty, as the target's, where its tokenizer is not
    known."""
    target_tokens: tuple[int, ...]
    prompt: str | None = None
    """What the model is given, where that is not the prefix: prefix and suffix, with the marks of a format around
    them."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model thinks of a target's tokens, each given the prefix and the tokens before it.

    All but `sampled` have one entry a token. What a backend does not see is empty.
    """

    logprobs: tuple[float, ...]
    """Log-probability (nats)."""
    argmax: tuple[bool, ...]
    """It is the most likely token (the lowest id wins a tie)."""
    entropies: tuple[float, ...] = ()
    """Entropy (nats) of the whole distribution that the token is one of."""
    deviations: tuple[float, ...] = ()
    """Standard deviation (nats) of the log-probability of a token drawn from that distribution."""
    sampled: Mapping[str, float] = field(default_factory=dict)
    """Name of a sampler -> log-probability (nats) that it draws the whole target; -inf where it cannot."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A probe put to a checkpoint."""

    probe_id: int
    completion: str
    """Greedy, up to the audit's budget, so that it may run on behind the target's length; or only as far as its
    verdicts needed it, where its matches are lower bounds."""
    ended: bool
    """The model said end of text within the budget."""
    scores: Scores | None
    """None: not asked for, or the model's keepers do not tell."""
    matches: Mapping[str, Match]
    recovered: Mapping[int, tuple[int, int]]
    """Start of a secret in the example's text -> (characters recovered, characters in all)."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Another number that was read off a checkpoint."""

    example_id: str
    quantity: str
    number: int
    """Tells several of one quantity apart."""
    value: float


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of a stage, and all that was asked of it."""

    step: int
    path: str | None
    """Below the run's directory; None: it was not kept."""
    seconds: float
    """Spent on asking."""
    observations: Sequence[Observation]
    again: Sequence[Observation] = ()
    """Some of the probes asked once more, in another order and batch: what differs is noise."""
    readings: Sequence[Reading] = ()


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """A stage that is done."""

    id: str
    name: str
    method: str
    steps: int
    seconds: float
    audit_seconds: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    """All that a stage leaves in the ledger when it has been trained and audited."""

    stage: StageRecord
    exposures: Mapping[tuple[int, str, str], int]
    """(step, role, example id) -> times."""
    updates: Sequence[tuple[int, Mapping[str, float]]]
    """Step and metrics of each update, in order."""
    checkpoints: Sequence[Checkpoint]
    """In the order of their steps; the last is what the stage made."""
