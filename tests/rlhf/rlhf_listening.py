"""What tests hear of a run, and see of a model. Not in `conftest`: there are several of that name."""

from functools import partial
from typing import Any

import jax

from rlhf.events import BatchConsumed, Event, Hook, RolledOut, StageEnded, StageStarted, Updated
from rlhf.likelihood import Likelihood, of_targets
from rlhf.model import Decoder, Params, hidden_states


@partial(jax.jit, static_argnums=0)
def scores(decoder: Decoder, params: Params, tokens: Any) -> Likelihood:
    """Of each token of right-padded rows but the first, given those before it."""
    return of_targets(decoder, params, hidden_states(decoder, params, tokens[:, :-1]), tokens[:, 1:])


class Recorder(Hook):
    """Keeps all events in the order in which they come."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_stage_started(self, event: StageStarted) -> None:
        self.events.append(event)

    def on_batch(self, event: BatchConsumed) -> None:
        self.events.append(event)

    def on_rollout(self, event: RolledOut) -> None:
        self.events.append(event)

    def on_update(self, event: Updated) -> None:
        self.events.append(event)

    def on_stage_ended(self, event: StageEnded) -> None:
        self.events.append(event)
