"""What a stage tells while it runs: frozen events for a list of hooks.

A hook is told, it does not answer. One that raises stops the run: a stage whose record has a hole is worth less
than a stage that has to be run again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

RowIds: TypeAlias = tuple[str, ...]
"""Ids of the examples that one row of a batch holds: one for a fine-tuning row, several in a packed window."""


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A stage is about to take its first step."""

    stage: str
    steps: int
    """Steps it will take."""


@dataclass(frozen=True, kw_only=True)
class BatchConsumed:
    """A batch has gone into an update, or a batch of prompts into a rollout."""

    stage: str
    step: int
    role: str
    """How the examples entered: target, preferred, rejected, prompt."""
    rows: tuple[RowIds, ...]
    """One entry per real row; rows that only fill the shape are not there."""


@dataclass(frozen=True, kw_only=True)
class RolledOut:
    """The policy has answered a batch of prompts. Arrays are ``[rows, response]`` unless said."""

    stage: str
    step: int
    rows: tuple[RowIds, ...]
    tokens: np.ndarray
    """int32, right-padded."""
    lengths: np.ndarray
    """int32 ``[rows]``, the end-of-text token counted."""
    logprobs: np.ndarray
    """Log-probabilities (nats) under the distribution that was sampled from."""
    kl: np.ndarray
    """Per-token estimate of the divergence from the reference (nats)."""
    values: np.ndarray
    scores: np.ndarray
    """float32 ``[rows]``: what the reward gave to each response."""


@dataclass(frozen=True, kw_only=True)
class Updated:
    """The parameters have moved once."""

    stage: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class StageEnded:
    """The last step is done."""

    stage: str
    steps: int


Event: TypeAlias = StageStarted | BatchConsumed | RolledOut | Updated | StageEnded


class Hook:
    """Base of hooks: override what you want to hear of."""

    def on_stage_started(self, event: StageStarted) -> None:
        """Hear that a stage starts."""

    def on_batch(self, event: BatchConsumed) -> None:
        """Hear which examples were shown."""

    def on_rollout(self, event: RolledOut) -> None:
        """Hear what the policy answered."""

    def on_update(self, event: Updated) -> None:
        """Hear the metrics of an update."""

    def on_stage_ended(self, event: StageEnded) -> None:
        """Hear that a stage is over."""


_HEARD_BY = {
    StageStarted: "on_stage_started",
    BatchConsumed: "on_batch",
    RolledOut: "on_rollout",
    Updated: "on_update",
    StageEnded: "on_stage_ended",
}


def announce(hooks: Sequence[Hook], event: Event) -> None:
    """Tell every hook, in order."""
    for hook in hooks:
        getattr(hook, _HEARD_BY[type(event)])(event)
