"""A stage goes on where it was killed, with its hooks as they were, or says why it does not."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf import checkpoint
from rlhf.checkpoint import Saver
from rlhf.events import BatchConsumed, Checkpointed, Event, Hook, StageEnded, StageStarted
from rlhf.stage import Stage

STEPS = 5
START = {"weight": np.float32([0, 0]), "key": np.uint32([1, 2])}


class Memory(Hook):
    """Remembers all that it hears, as JSON can hold it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_stage_started(self, event: StageStarted) -> None:
        self.heard.append(["started", event.first, event.steps])

    def on_batch(self, event: BatchConsumed) -> None:
        self.heard.append(["batch", event.step])

    def on_checkpoint(self, event: Checkpointed) -> None:
        self.heard.append(["checkpoint", event.step, event.path.name])

    def on_stage_ended(self, event: StageEnded) -> None:
        self.heard.append(["ended", event.steps])

    def state(self) -> Any:
        return self.heard

    def restore(self, state: Any) -> None:
        self.heard = state


class Other(Memory):
    pass


def saver(folder: Path, every: int = 2) -> Saver:
    return Saver(folder=folder / "state", every=every, identity="mine")


def train(stage: Stage, steps: int = STEPS, until: int | None = None) -> Any:
    """A loop as the stages have it; `until`: the step in which the process is killed."""
    first, state = stage.begin(steps, START)
    for step in range(first, steps):
        if step == until:
            raise KeyboardInterrupt
        stage.announce(BatchConsumed(stage=stage.name, step=step, role="target", rows=()))
        state = {"weight": state["weight"] + np.float32([1, step]), "key": state["key"]}
        stage.keep(step + 1, steps, state)
    stage.end(steps)
    return state


def stage(hooks: list[Any], saver: Saver | None, **more: Any) -> Stage:
    return Stage(name="sft", hooks=hooks, saver=saver, **more)


def cut_short(folder: Path, hooks: list[Any], until: int = 3, **more: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(stage(hooks, saver(folder), **more), until=until)


WHOLE = [
    ["started", 0, 5],
    ["batch", 0],
    ["batch", 1],
    ["checkpoint", 2, "step-00000002"],
    ["batch", 2],
    ["batch", 3],
    ["checkpoint", 4, "step-00000004"],
    ["batch", 4],
    ["checkpoint", 5, "step-00000005"],
    ["ended", 5],
]


# --- killed and resumed


def test_state_is_kept_when_it_is_due_and_at_the_last_step(tmp_path: Path) -> None:
    """Every second step, and the fifth, which is the last. The event comes when the state is on disk."""

    class Reader(Memory):
        def on_checkpoint(self, event: Checkpointed) -> None:
            super().on_checkpoint(event)
            found = checkpoint.load(event.path, START)
            assert found["weight"].tolist() == [event.step, sum(range(event.step))]
            assert [entry.name for entry in event.path.parent.iterdir()] == [event.path.name]

    memory = Reader()
    train(stage([memory], saver(tmp_path)))
    assert memory.heard == WHOLE


def test_without_a_saver_nothing_is_kept(tmp_path: Path) -> None:
    memory = Memory()
    result = train(stage([memory], None))
    assert memory.heard == [event for event in WHOLE if event[0] != "checkpoint"]
    assert result["weight"].tolist() == [5, 10]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("until", range(STEPS))
def test_a_stage_goes_on_where_it_was_killed(until: int, tmp_path: Path) -> None:
    """With the state of then, and a hook that remembers what it did then: but for the new start it hears each event
    once, the checkpoint that it was restored from among them."""
    cut_short(tmp_path, [Memory()], until)
    kept = until // 2 * 2
    memory = Memory()
    result = train(stage([memory], saver(tmp_path)))
    assert result["weight"].tolist() == [5, 10]
    assert result["key"].tolist() == [1, 2]
    again = ["started", kept, 5]
    if kept:
        assert memory.heard.count(again) == 1
        at = memory.heard.index(again)
        assert memory.heard[at - 1] == ["batch", kept - 1]
        assert memory.heard[at + 1][:2] == ["checkpoint", kept]
        memory.heard.remove(again)
    assert memory.heard == WHOLE


def test_a_stage_that_was_killed_at_its_very_end_only_ends(tmp_path: Path) -> None:
    """The last state was on disk, the result was not."""
    train(stage([Memory()], saver(tmp_path)))
    memory = Memory()
    result = train(stage([memory], saver(tmp_path)))
    assert memory.heard[-3:] == [["started", 5, 5], ["checkpoint", 5, "step-00000005"], ["ended", 5]]
    assert memory.heard.count(["batch", 4]) == 1
    assert result["weight"].tolist() == [5, 10]


def test_each_hook_gets_its_own_state_back(tmp_path: Path) -> None:
    class Counter(Hook):
        def __init__(self) -> None:
            self.count = 0

        def on_batch(self, event: BatchConsumed) -> None:
            self.count += 1

        def state(self) -> Any:
            return {"count": self.count}

        def restore(self, state: Any) -> None:
            self.count = state["count"]

    class Deafish(Hook):
        def on_stage_ended(self, event: StageEnded) -> None:
            pass

    cut_short(tmp_path, [Counter(), Deafish(), Memory()])
    counter, memory = Counter(), Memory()
    first, _ = stage([counter, Deafish(), memory], saver(tmp_path)).begin(STEPS, START)
    assert first == 2
    assert counter.count == 2
    assert memory.heard[:3] == WHOLE[:3]


def test_a_resumed_stage_asks_its_hooks_before_it_starts(tmp_path: Path) -> None:
    """What hears nothing is refused even where there is a state to go on from, and before that is read."""
    cut_short(tmp_path, [Memory()])
    with pytest.raises(TypeError, match="Hook"):
        stage(["no hook"], saver(tmp_path)).begin(STEPS, START)

    class Deaf(Hook):
        def on_bach(self, event: Event) -> None:
            pass

    with pytest.raises(ValueError, match="on_bach"):
        stage([Deaf()], None).begin(STEPS, START)


# --- refused


def refusal(folder: Path, changed: Stage, steps: int = STEPS, state: Any = START) -> str:
    memory = Memory()
    hooks = [*changed.hooks] if changed.hooks else [memory]
    before = [list(hook.heard) for hook in hooks]
    with pytest.raises(ValueError, match=r".") as caught:
        changed.begin(steps, state)
    assert [hook.heard for hook in hooks] == before, "a hook was told or changed"
    message = str(caught.value)
    assert str(folder / "state" / "step-00000002") in message
    assert message.endswith(f": remove {folder / 'state'} to start the stage anew")
    return message


def test_another_list_of_hooks_is_refused(tmp_path: Path) -> None:
    cut_short(tmp_path, [Memory(), Other()])
    for hooks, named in (
        ([Memory()], "['Memory']"),
        ([Other(), Memory()], "['Other', 'Memory']"),
        ([Memory(), Other(), Other()], "['Memory', 'Other', 'Other']"),
        ([], "[]"),
    ):
        said = refusal(tmp_path, stage(hooks, saver(tmp_path)))
        assert f"expected `hooks` to be {named}, as in this stage, got ['Memory', 'Other']" in said


def test_another_stage_or_number_of_steps_is_refused(tmp_path: Path) -> None:
    cut_short(tmp_path, [Memory()])
    said = refusal(tmp_path, Stage(name="ppo", hooks=[Memory()], saver=saver(tmp_path)))
    assert "expected `stage` to be ppo, as in this stage, got sft" in said
    said = refusal(tmp_path, stage([Memory()], saver(tmp_path)), steps=4)
    assert "expected `steps` to be 4, as in this stage, got 5" in said


def test_another_identity_or_tree_is_refused(tmp_path: Path) -> None:
    cut_short(tmp_path, [Memory()])
    other = Saver(folder=tmp_path / "state", every=2, identity="other")
    assert "identity other, got mine" in refusal(tmp_path, stage([Memory()], other))
    like = {"weight": START["weight"]}
    said = refusal(tmp_path, stage([Memory()], saver(tmp_path)), state=like)
    assert "expected key to be absent, got uint32[2]" in said


def test_a_damaged_state_is_refused_until_it_is_removed(tmp_path: Path) -> None:
    cut_short(tmp_path, [Memory()])
    damaged = tmp_path / "state" / "step-00000002" / "arrays" / "weight" / "0"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    said = refusal(tmp_path, stage([Memory()], saver(tmp_path)))
    assert f"{damaged}, of the array weight: expected sha256" in said
    shutil.rmtree(tmp_path / "state")
    memory = Memory()
    assert train(stage([memory], saver(tmp_path)))["weight"].tolist() == [5, 10]
    assert memory.heard == WHOLE


# --- hooks that fail


class Fails(Memory):
    """Raises in one of its methods."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def on_batch(self, event: BatchConsumed) -> None:
        self._maybe("batch")

    def on_checkpoint(self, event: Checkpointed) -> None:
        self._maybe("checkpoint")

    def state(self) -> Any:
        self._maybe("state")

    def restore(self, state: Any) -> None:
        self._maybe("restore")

    def _maybe(self, where: str) -> None:
        if where == self.where:
            raise RuntimeError(f"failed at {where}")


@pytest.mark.parametrize("where", ["batch", "checkpoint"])
def test_a_hook_that_raises_stops_the_stage_unless_told_otherwise(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match=where):
        train(stage([Fails(where), Memory()], saver(tmp_path / "raise")))
    memory = Memory()
    with caplog.at_level(logging.ERROR):
        result = train(stage([Fails(where), memory], saver(tmp_path / "log"), on_error="log"))
    assert result["weight"].tolist() == [5, 10]
    assert memory.heard == WHOLE
    assert len(caplog.records) == sum(event[0] == where for event in WHOLE)
    assert "Fails" in caplog.text
    assert f"failed at {where}" in caplog.text


@pytest.mark.parametrize("on_error", ["raise", "log"])
def test_a_hook_that_cannot_be_saved_or_restored_always_stops_it(on_error: Any, tmp_path: Path) -> None:
    """Otherwise there would be a checkpoint that is whole but for one hook."""
    with pytest.raises(RuntimeError, match="failed at state"):
        train(stage([Fails("state")], saver(tmp_path), on_error=on_error))
    assert not (tmp_path / "state").exists()
    cut_short(tmp_path, [Fails("restore")], on_error=on_error)
    with pytest.raises(RuntimeError, match="failed at restore"):
        train(stage([Fails("restore")], saver(tmp_path), on_error=on_error))


def test_a_state_that_json_cannot_hold_is_refused_with_the_hook_named(tmp_path: Path) -> None:
    class Odd(Memory):
        def state(self) -> Any:
            return {"seen": {1, 2}}

    with pytest.raises(TypeError, match=r"Odd\.state\(\) to return what JSON can hold, got: .*set"):
        train(stage([Memory(), Odd()], saver(tmp_path)))
    assert not (tmp_path / "state").exists()


def test_the_note_says_what_a_reader_wants_to_know(tmp_path: Path) -> None:
    cut_short(tmp_path, [Memory()])
    said = json.loads((tmp_path / "state" / "step-00000002" / "note.json").read_text())["note"]
    assert said == {
        "stage": "sft",
        "steps": 5,
        "hooks": ["Memory"],
        "remembered": [WHOLE[:3]],
        "step": 2,
        "identity": "mine",
    }
