import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import kills
from rlhf.events import BatchConsumed, Checkpointed, RolledOut, StageEnded, StageStarted, Updated

ROOT = Path(__file__).parents[2]


# --- the notebook


@pytest.fixture
def report(tmp_path: Path) -> Any:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def rolled_out(logprobs: np.ndarray) -> RolledOut:
    empty = np.zeros((1, 2), np.float32)
    return RolledOut(
        stage="x",
        step=3,
        rows=(),
        prompts=empty,
        prompt_lengths=empty,
        tokens=empty,
        lengths=empty,
        mask=empty,
        logprobs=logprobs,
        reference=empty,
        kl=empty,
        values=empty,
        scores=empty,
    )


def test_a_notebook_holds_what_was_heard_and_forgets_what_did_not_count(tmp_path: Path, report: Any) -> None:
    path = tmp_path / "notebook.jsonl"
    path.write_text("of another run\n")
    book = kills.Notebook(path, report[1], 0.0)
    book.on_stage_started(StageStarted(stage="x", steps=9))
    assert path.read_text() == ""
    book.on_batch(BatchConsumed(stage="x", step=3, role="target", rows=(("a", "b"),)))
    book.on_rollout(rolled_out(np.float32([[0, 1]])))
    book.on_update(Updated(stage="x", step=3, metrics={"loss": 0.1 + 0.2, "a": 1.0}, model=dict))
    state, before = json.loads(json.dumps(book.state())), path.read_text()
    lines = [json.loads(line) for line in before.splitlines()]
    assert [line[0] for line in lines] == [1, 2, 3]
    assert lines[0] == [1, 3, "target", [["a", "b"]]]
    assert lines[2] == [3, 3, {"a": 1.0, "loss": 0.1 + 0.2}]
    book.on_checkpoint(Checkpointed(stage="x", step=4, path=Path("step-00000004")))
    book.on_stage_ended(StageEnded(stage="x", steps=9))
    ended = path.read_text()
    assert ended.startswith(before)
    assert len(ended.splitlines()) == 5

    again = kills.Notebook(path, report[1], 0.0)
    again.restore(state)
    again.on_stage_started(StageStarted(stage="x", steps=9, first=4))
    assert path.read_text() == before
    again.on_checkpoint(Checkpointed(stage="x", step=4, path=Path("step-00000004")))
    again.on_stage_ended(StageEnded(stage="x", steps=9))
    assert path.read_text() == ended
    assert os.read(report[0], 100) == b"0\nstep\n4\n"


def test_a_last_bit_of_a_rollout_changes_the_notebook(tmp_path: Path, report: Any) -> None:
    texts = []
    for one in (np.float32(1), np.nextafter(np.float32(1), np.float32(2))):
        path = tmp_path / f"{len(texts)}"
        kills.Notebook(path, report[1], 0.0).on_rollout(rolled_out(np.array([[0, one]])))
        texts.append(path.read_text())
    assert texts[0] != texts[1]


# --- what is printed


def printed(*differs: str) -> Any:
    def drill(name: str, times: int, folder: Path, rng: random.Random, by: Any) -> kills.Row:
        assert folder.is_dir()
        bad = list(differs) if name == "ppo" else []
        return kills.Row(stage=name, steps=12, kills=times, writing=1, starts=[0, 4], differs=bad)

    return drill


@pytest.mark.parametrize(("differs", "code"), [((), 0), (("state", "result"), 1)])
def test_a_difference_is_shown_and_is_the_exit_code(
    differs: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kills, "drill", printed(*differs))
    asked = ["--kills", "3", "--stages", "sft", "ppo"]
    assert kills.main(asked) == code
    table = capsys.readouterr().out
    assert ("NO: state, result" in table) == bool(differs)
    assert ("NOT all equal" in table) == bool(differs)
    assert kills.main([*asked, "--json"]) == code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["stage"], row["equal"]) for row in rows] == [("sft", True), ("ppo", not differs)]
    assert rows[0] | {"equal": True} == {
        "stage": "sft",
        "steps": 12,
        "kills": 3,
        "writing": 1,
        "starts": [0, 4],
        "differs": [],
        "equal": True,
    }


def test_every_method_is_drilled_and_one_of_each_loop_with_adapters() -> None:
    assert list(kills.STAGES) == [
        "sft",
        "sft, LoRA",
        "reward",
        "ppo",
        "ppo, LoRA",
        "grpo",
        "rloo",
        "dpo",
        "ipo",
    ]
    assert {name for name, (_, lora) in kills.STAGES.items() if lora} == {"sft, LoRA", "ppo, LoRA"}


# --- that a drill can fail

_PREAMBLE = """
import random, sys, tempfile
from pathlib import Path
import jax, numpy as np
from benchmarks import kills
from rlhf.checkpoint import Saver
latest = Saver.latest

def spoilt(change):
    def read(self, like):
        found = latest(self, like)
        return found and (found[0], change(found[1]), found[2])
    return read
"""
_DRILL = """
rng = random.Random(0)
rng.randint = lambda low, high: 7
row = kills.drill("sft", 1, Path(tempfile.mkdtemp(dir=sys.argv[1])), rng)
assert row.kills == 1 and row.starts[-1] > 0, row
print(",".join(row.differs))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "differs"),
    [
        ("", ""),
        # The hook forgets to tear out what came after the checkpoint.
        ("kills.Notebook.restore = lambda self, state: None", "notebook,state"),
        # One bit of one moment is lost.
        (
            "Saver.latest = spoilt(lambda s: s._replace(moments=jax.tree.map("
            "lambda m: np.nextafter(m, np.float32(1)) if m.dtype == np.float32 else m, s.moments)))",
            "notebook,result,state",
        ),
        # The count of steps in the moments begins anew.
        (
            "Saver.latest = spoilt(lambda s: s._replace(moments=jax.tree.map("
            "lambda m: m * 0 if m.dtype == np.int32 else m, s.moments)))",
            "notebook,result,state",
        ),
    ],
)
def test_a_drill_sees_what_a_resumed_run_lost(fault: str, differs: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"{_PREAMBLE}\n{fault}\n{_DRILL}", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == differs
