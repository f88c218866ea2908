"""A run that is killed inside a stage goes on there, and leaves what an undisturbed one leaves."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from tiny import TINY, Quiet, Walked, walk

from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import parse
from memaudit.run import run
from rlhf.events import Hook, StageStarted, Updated

EVERY = "checkpoints.every=3"


def findings_of(folder: Path) -> dict:
    data = json.loads((folder / "findings.json").read_text())
    assert data.pop("times")
    # How often states are written is a setting of the recipe that changes nothing else.
    assert data["run"].pop("recipe_hash")
    recipe = tomllib.loads(data["run"]["recipe"])
    assert recipe.pop("checkpoints")
    data["run"]["recipe"] = recipe
    return data


def rows(folder: Path, table: str) -> list:
    db = sqlite3.connect(folder / "ledger.sqlite")
    found = db.execute(f"SELECT * FROM {table}").fetchall()
    db.close()
    return sorted(found)


class Stopped(Exception):
    """Stands for whatever ends a run."""


def stop_at(monkeypatch: pytest.MonkeyPatch, stage: str, step: int) -> None:
    """Let the progress hook of a stage end the run at a step."""

    class Stops(Hook):
        def __init__(self, progress: object) -> None:
            self.all = 0

        def on_stage_started(self, event: StageStarted) -> None:
            self.all = event.steps

        def on_update(self, event: Updated) -> None:
            if (event.stage, event.step) == (stage, step):
                raise Stopped

    # The hooks of a resumed stage have to be those of the one that was stopped.
    Stops.__name__ = "_Steps"
    monkeypatch.setattr("memaudit.instruments._Steps", Stops)


@pytest.mark.parametrize(
    ("stage", "step", "every"),
    [
        pytest.param("pretrain", 10, 3, marks=pytest.mark.slow),
        pytest.param("reward", 1, 1, marks=pytest.mark.slow),
        ("ppo", 1, 1),
    ],
)
def test_a_run_that_was_stopped_inside_a_stage_ends_alike(
    walked: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, step: int, every: int
) -> None:
    often = f"checkpoints.every={every}"
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, stage, step)
        with pytest.raises(Stopped):
            walk(folder, often)
    (state,) = folder.glob(f"stages/{stage}-*/state/step-*")
    saved = int(state.name.removeprefix("step-"))
    assert saved == step - step % every
    again = walk(folder, often)
    _, steps = again.progress.begun[0]
    assert f"goes on after step {saved} of {steps}" in again.progress.lines
    assert again.progress.done == sum(total for _, total in again.progress.begun)
    assert findings_of(folder) == findings_of(walked.folder)
    for table in ("exposures", "updates", "observations"):
        assert rows(folder, table) == rows(walked.folder, table)
    assert not list(folder.glob("stages/*/state"))
    for name in ("metrics.jsonl", "exposures.jsonl"):
        for file in folder.glob(f"stages/*/{name}"):
            assert file.read_bytes() == (walked.folder / file.relative_to(folder)).read_bytes()


def test_a_run_that_was_killed_goes_on(walked: Walked, tmp_path: Path, environment: dict[str, str]) -> None:
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(f"{TINY}\n[checkpoints]\nevery = 3\n")
    command = [sys.executable, "-m", "memaudit", "run", str(recipe), "--out", str(folder)]
    silent = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent, env=environment) as process:
        while process.poll() is None and not list(folder.glob("stages/sft-*/state/step-*")):
            time.sleep(0.01)
        assert process.poll() is None, "the run was over before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    run(parse(recipe.read_text(), where="tiny"), folder, Quiet())
    assert findings_of(folder) == findings_of(walked.folder)


def test_a_damaged_state_is_one_line(walked: Walked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, "pretrain", 10)
        with pytest.raises(Stopped):
            walk(folder, EVERY)
    (state,) = folder.glob("stages/pretrain-*/state/step-*")
    largest = max((p for p in state.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    with pytest.raises(BadInput, match=r"state/step-\d+.*expected") as caught:
        walk(folder, EVERY)
    assert "\n" not in str(caught.value)


def test_methods_beside_the_quickstart_s_are_audited_too(tmp_path: Path) -> None:
    """GRPO, RLOO, cDPO, mDPO, contexts, adapters, filling in the middle, in one run; and what it says of exposures."""
    more = """
[stages.grpo]
method = "grpo"
from = "sft"
reward = "reward"
cohort = "ppo"
batch = 4
size = 2
minibatch = 4
epochs = 1
response = 6
learning_rate = 1e-3
warmup = 0

[stages.rloo]
method = "rloo"
from = "sft"
reward = "reward"
cohort = "ppo"
batch = 4
size = 2
minibatch = 4
epochs = 1
response = 6
learning_rate = 1e-3
warmup = 0
lora = { rank = 2 }

[stages.cdpo]
method = "cdpo"
from = "sft"
pairs = "reward"
batch = 4
learning_rate = 1e-3
warmup = 1
accumulate = 2

[stages.mdpo]
method = "mdpo"
from = "sft"
pairs = "reward"
batch = 4
learning_rate = 1e-3
warmup = 1
"""
    changes = [
        "stages.pretrain.infill=0.5",
        "stages.sft.loss_on=all",
        "stages.sft.context=10",
        "stages.reward.context=20",
    ]
    changes += ["audit.every=0", "audit.twice=0.0"]
    recipe = parse(TINY[: TINY.index("[stages.ppo]")] + more, where="more", changes=changes)
    findings = run(recipe, tmp_path / "run", Quiet())
    stages = {stage.name: stage for stage in findings.stages}
    assert stages["grpo"].role == stages["rloo"].role == "prompt"
    assert stages["cdpo"].role == "preferred"
    assert stages["cdpo"].exposures == stages["mdpo"].exposures == stages["reward"].exposures
    # An answer is a showing of its prompt: two prompts a step, each answered twice, in both twins.
    assert stages["grpo"].exposures == 2 * stages["grpo"].steps * 4
    told = {(curve.stage, curve.metric) for curve in findings.curves}
    assert {("grpo", "objective/kl"), ("rloo", "objective/scores"), ("cdpo", "rewards/margins")} <= told
    assert ("mdpo", "rewards/corrupted") in told
    # After each stage that shows a context, all targets of both halves, under three conditions.
    with Ledger(tmp_path / "run" / LEDGER) as ledger:
        asked = {e.id for e in ledger.examples()}
        for (_, stage), record in ledger.walks().items():
            for quantity in ("context_logprob", "context_hits"):
                found = ledger.answers.readings(record.id, quantity)
                assert set(found) == (asked if stage in ("sft", "cdpo", "mdpo") else set())
                assert {len(numbers) for numbers in found.values()} <= {3}
            if stage == "sft":
                told_apart = [
                    n for n in ledger.answers.readings(record.id, "context_logprob").values() if n[0] != n[2]
                ]
                assert len(told_apart) > len(asked) / 2
