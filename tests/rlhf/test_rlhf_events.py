"""Hooks hear everything, in order, with exactly the examples that were shown."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from rlhf.batches import Rows, schedule
from rlhf.events import BatchConsumed, Hook, RolledOut, StageEnded, StageStarted, Updated, announce
from rlhf.model import Params

STEPS, BATCH = 120, 8


def shown(run: Any) -> Counter[Any]:
    return Counter(row for event in run.events if isinstance(event, BatchConsumed) for row in event.rows)


def assert_sequence(
    events: Sequence[Any], stage: str, steps: int, role: str, *, rollouts: bool = False
) -> None:
    """One start, then per step a batch, a rollout where there are any, and an update, then one end."""
    kinds = [BatchConsumed, RolledOut, Updated] if rollouts else [BatchConsumed, Updated]
    assert [type(event) for event in events] == [StageStarted, *kinds * steps, StageEnded]
    assert {event.stage for event in events} == {stage}
    assert events[0].steps == events[-1].steps == steps
    assert [event.step for event in events[1:-1]] == [n for n in range(steps) for _ in kinds]
    assert {event.role for event in events if isinstance(event, BatchConsumed)} == {role}


def test_sft_tells_of_every_step(memorised: Any, lesson_rows: Rows) -> None:
    assert_sequence(memorised.events, "sft", STEPS, "target")
    # `epochs` of eight rows by eight: each batch holds each row once.
    for event in memorised.events:
        if isinstance(event, BatchConsumed):
            assert sorted(event.rows) == sorted(lesson_rows.ids)
    assert {"loss", "accuracy", "grad_norm"} == set(memorised.metrics[0])
    assert all(type(value) is float for value in memorised.metrics[0].values())


def test_reward_and_ipo_tell_of_the_preferred_examples(scored: Any, ipo_run: Any) -> None:
    assert_sequence(scored.events, "reward", 40, "preferred")
    assert_sequence(ipo_run.events, "ipo", 80, "preferred")
    assert set(shown(scored).values()) == {40}
    assert set(shown(ipo_run).values()) == {80}
    assert set(shown(ipo_run)) == {(f"pair-{i}",) for i in range(8)}


def test_ppo_tells_of_prompts_rollouts_and_updates(ppo_run: Any) -> None:
    assert_sequence(ppo_run.events, "ppo", 40, "prompt", rollouts=True)
    assert shown(ppo_run) == {(f"prompt-{i}",): 80 for i in range(8)}
    for batch, rollout in zip(ppo_run.events[1::3], ppo_run.events[2::3], strict=False):
        assert batch.rows == rollout.rows


def test_exposures_counted_from_events_are_the_repetitions(
    train_sft: Callable[..., Any], fresh: Params, lesson_rows: Rows
) -> None:
    """Rows that only fill the last batch are not told of: nobody was shown anything."""
    repetitions = [1, 4, 16, 64, 128, 256, 300, 188]
    order = schedule(repetitions, BATCH, 3)
    run = train_sft(fresh, lesson_rows, order=order)
    assert shown(run) == dict(zip(lesson_rows.ids, repetitions, strict=True))
    batches = [event for event in run.events if isinstance(event, BatchConsumed)]
    assert (order < 0).sum() == 3
    assert [len(event.rows) for event in batches] == [BATCH] * (STEPS - 1) + [BATCH - 3]
    for event, index in zip(batches, order, strict=True):
        assert event.rows == tuple(lesson_rows.ids[i] for i in index if i >= 0)


class Deaf(Hook):
    """Raises at the third step; notes what it has heard until then."""

    def __init__(self, on: str) -> None:
        self.heard: list[str] = []
        self.on = on

    def on_stage_started(self, event: StageStarted) -> None:
        self.heard.append("started")

    def on_batch(self, event: BatchConsumed) -> None:
        self._hear("batch", event.step)

    def on_rollout(self, event: RolledOut) -> None:
        self._hear("rollout", event.step)

    def on_update(self, event: Updated) -> None:
        self._hear("update", event.step)

    def on_stage_ended(self, event: StageEnded) -> None:
        self.heard.append("ended")

    def _hear(self, what: str, step: int) -> None:
        self.heard.append(what)
        if what == self.on and step == 2:
            raise RuntimeError(f"no room left at the {what} of step {step}")


def test_a_hook_that_raises_stops_the_stage(
    train_sft: Callable[..., Any],
    train_ppo: Callable[..., Any],
    parent: Params,
    lesson_rows: Rows,
    judge: Any,
) -> None:
    for on, heard in (
        ("batch", ["started", *["batch", "update"] * 2, "batch"]),
        ("update", ["started", *["batch", "update"] * 3]),
    ):
        deaf = Deaf(on)
        with pytest.raises(RuntimeError, match=f"no room left at the {on} of step 2"):
            train_sft(parent, lesson_rows, [deaf])
        assert deaf.heard == heard
    deaf = Deaf("rollout")
    with pytest.raises(RuntimeError, match="no room left at the rollout of step 2"):
        train_ppo(parent, judge, 0.01, [deaf])
    assert deaf.heard == ["started", *["batch", "rollout", "update"] * 2, "batch", "rollout"]


def test_hooks_are_told_in_turn_and_need_not_listen() -> None:
    told = []

    class Second(Hook):
        def on_update(self, event: Updated) -> None:
            told.append(("second", event))

    class First(Hook):
        def on_update(self, event: Updated) -> None:
            told.append(("first", event))

    update = Updated(stage="x", step=0, metrics={})
    announce([First(), Hook(), Second()], update)
    assert told == [("first", update), ("second", update)]
    silent = Hook()
    nothing = np.zeros((1, 1))
    for event in (
        StageStarted(stage="x", steps=1),
        BatchConsumed(stage="x", step=0, role="target", rows=()),
        RolledOut(
            stage="x",
            step=0,
            rows=(),
            tokens=nothing,
            lengths=nothing,
            logprobs=nothing,
            kl=nothing,
            values=nothing,
            scores=nothing,
        ),
        StageEnded(stage="x", steps=1),
    ):
        announce([silent, First()], event)
    assert len(told) == 2
    with pytest.raises(FrozenInstanceError):
        update.step = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_hook_changes_nothing_of_what_is_learnt(
    train_sft: Callable[..., Any], memorised: Any, fresh: Params, lesson_rows: Rows
) -> None:
    run = train_sft(fresh, lesson_rows, [Hook(), Deaf("never")])
    assert [dict(m) for m in run.metrics] == [dict(m) for m in memorised.metrics]
