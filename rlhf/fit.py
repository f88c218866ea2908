"""The loop shared by every stage that learns from fixed rows: one update per batch, told to the hooks."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from jax import Array

from rlhf.events import BatchConsumed, RowIds, Traced, Updated
from rlhf.model import Params
from rlhf.optimiser import Loss, Optimiser, Parts, prepare, update, whole
from rlhf.stage import Stage

Batch = dict[str, np.ndarray]
Shown = Callable[[int], tuple[Batch, tuple[RowIds, ...]]]
"""Step -> its batch and the ids of its real rows. A function of the step alone, so that a stage can go on anywhere."""
Before = Callable[[int, Callable[[], Params]], None]
"""Told of a step before its batch is asked for, with a function that gives the parameters as they are then."""


def fit(
    parts: Parts,
    shown: Shown,
    *,
    loss: Loss,
    optimiser: Optimiser,
    role: str,
    steps: int,
    stage: Stage,
    key: Array | None = None,
    besides: Callable[[int], Mapping[str, tuple[RowIds, ...]]] | None = None,
    before: Before | None = None,
) -> Parts:
    """Take `steps` updates, or those that a killed run still owes. The given `parts` stay usable.

    `key` seeds the adapters, where there are any. `besides` says what the rows of a step hold in other roles than
    `role`. `before` is for a stage whose rows come of its own parameters.
    """

    def model(parts: Parts) -> Params:
        return whole(parts, frozen, stage.lora)["model"]

    state, frozen = prepare(parts, optimiser, stage.lora, jax.random.key(0) if key is None else key)
    first, state = stage.begin(steps, state)
    state, frozen = stage.layout.place(state), stage.layout.place(frozen)
    listening = [hook for hook in stage.hooks if hook.traced is not None]
    for step in range(first, steps):
        if before is not None:
            before(step, partial(model, state.parts))
        batch, ids = shown(step)
        rate = optimiser.rate(step, steps)
        state, metrics, traced = update(
            state,
            frozen,
            stage.layout.feed(batch),
            rate,
            loss=loss,
            adam=optimiser.adam,
            lora=stage.lora,
            accumulate=optimiser.accumulate,
            traces=tuple(hook.traced for hook in listening),  # pyright: ignore[reportArgumentType]
            layout=stage.layout,
        )
        held = {} if besides is None else besides(step)
        stage.announce(BatchConsumed(stage=stage.name, step=step, role=role, rows=ids, besides=held))
        for hook, value in zip(listening, stage.layout.fetch(traced), strict=True):
            stage.announce(Traced(stage=stage.name, step=step, update=0, value=value), to=[hook])
        told = {name: float(value) for name, value in jax.device_get(metrics).items()}
        now = partial(model, state.parts)
        stage.announce(
            Updated(stage=stage.name, step=step, metrics=told | {"learning_rate": rate}, model=now)
        )
        stage.keep(step + 1, steps, state)
    stage.end(steps)
    return whole(state.parts, frozen, stage.lora)
