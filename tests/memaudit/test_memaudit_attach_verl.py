"""verl: its files of rollouts are read as it writes them, and its score function hears what it scores."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from watched import NAMES, TEXTS, write_probes

from memaudit.attach import Rollouts, summarise
from memaudit.attach.summary import Count
from memaudit.attach.verl import read_rollouts, wrap_score
from memaudit.errors import BadInput

(PREFIX, TARGET), (OTHER_PREFIX, OTHER) = TEXTS[:2]


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    return write_probes(tmp_path / "probes.jsonl")


def dump(folder: Path, step: int, rollouts: Sequence[tuple[str, str]]) -> None:
    """As verl 0.9.1's `RayPPOTrainer._write_generations` does: its keys, its order, its file name."""
    folder.mkdir(exist_ok=True)
    with open(folder / f"{step}.jsonl", "w") as stream:
        for number, (prompt, answer) in enumerate(rollouts):
            record = {
                "input": f"system\nYou are a helpful assistant.\nuser\n{prompt}\nassistant\n",
                "output": answer,
                "gts": None,
                "score": 0.0,
                "step": step,
                "acc": 0.0,
                "uid": f"u{number}_0_0",
            }
            stream.write(json.dumps(record, ensure_ascii=False, default=str) + "\n")


def test_dumped_rollouts_are_read_step_by_step(probes: Path) -> None:
    out, folder = probes.parent / "out", probes.parent / "rollouts"
    dump(folder, 9, [(PREFIX, "    pass\n"), (OTHER_PREFIX, "naïve \N{SNOWMAN}")])
    dump(folder, 10, [(PREFIX, TARGET), ("Say something.", f"{OTHER} and more")])
    (folder / "notes.jsonl").write_text("not verl's")
    found = read_rollouts(folder, probes=probes, out=out)
    assert (found.heard, found.prompted, found.steps) == (4, Count(rollouts=3, probes=2), (9, 10))
    assert [(one.probe, one.times, one.first_step) for one in found.repeated] == [(NAMES[0], 1, 10)]
    # Read again as it has grown, nothing counts twice.
    dump(folder, 11, [(PREFIX, TARGET)])
    again = read_rollouts(str(folder), probes=probes, out=out, anywhere=True, threshold=0.0)
    assert (again.heard, again.threshold, again.steps) == (5, 0.0, (9, 11))
    assert again.anywhere == Count(rollouts=3, probes=2)
    assert [(one.probe, one.times) for one in again.repeated] == [(NAMES[0], 2), (NAMES[1], 1)]
    assert len(list((out / "rollouts").iterdir())) == 1
    # Another folder adds to it.
    dump(probes.parent / "validation", 10, [(PREFIX, TARGET)])
    assert read_rollouts(probes.parent / "validation", probes=probes, out=out).heard == 6


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"input": "a", "outp', "text that does not parse: wait until verl has written it"),
        ("[1]", "expected a JSON object, got a list"),
        ('{"input": "a", "output": null}', '"output" to be a string, got null'),
        ('{"output": "a"}', '"input" to be a string, got null'),
        ("[" * 100_000, "text that does not parse"),
    ],
)
def test_a_line_at_fault_is_named_and_nothing_is_written(probes: Path, line: str, told: str) -> None:
    folder = probes.parent / "rollouts"
    dump(folder, 1, [(PREFIX, TARGET)])
    with (folder / "1.jsonl").open("a") as stream:
        stream.write(line)
    with pytest.raises(BadInput, match=r"1\.jsonl:2: ") as error:
        read_rollouts(folder, probes=probes, out=probes.parent / "out")
    assert told in str(error.value)
    assert list((probes.parent / "out").rglob("*.*")) == []


def test_a_folder_without_rollouts_is_no_folder_of_rollouts(probes: Path) -> None:
    for folder in (probes.parent, probes.parent / "nowhere"):
        with pytest.raises(BadInput, match=r"which verl writes into trainer\.rollout_data_dir"):
            read_rollouts(folder, probes=probes, out=probes.parent / "out")


def scored(**told: Any) -> dict[str, Any]:
    """A score."""
    return {"score": float(len(told["solution_str"])), "source": told["data_source"], **told["extra_info"]}


async def scored_later(**told: Any) -> dict[str, Any]:
    await asyncio.sleep(0)
    return scored(**told)


def test_a_wrapped_score_is_the_score_and_what_it_scored_is_heard(probes: Path) -> None:
    # As verl 0.9.1's naive reward manager calls it.
    called = {
        "data_source": "ours",
        "solution_str": TARGET,
        "ground_truth": "",
        "extra_info": {"probe": NAMES[0], "num_turns": None, "rollout_reward_scores": {}},
    }
    rollouts = Rollouts(probes=probes, out=probes.parent / "out", anywhere=True)
    wrapped, later = wrap_score(scored, rollouts), wrap_score(scored_later, rollouts)
    assert wrapped(**called) == scored(**called)
    assert (wrapped.__name__, wrapped.__doc__) == ("scored", "A score.")
    assert asyncio.iscoroutinefunction(later)
    assert asyncio.run(later(**called)) == scored(**called)
    zero = wrap_score(None, rollouts)
    assert zero(**called, reward_router_address="...") == 0.0
    assert zero(**{**called, "extra_info": {"probe": 7}, "solution_str": "Here:\n" + OTHER}) == 0.0
    assert zero(**{**called, "extra_info": None, "solution_str": ""}) == 0.0
    found = summarise(probes.parent / "out")
    assert (found.heard, found.prompted) == (5, Count(rollouts=3, probes=1))
    assert found.anywhere == Count(rollouts=4, probes=2)
