"""What every stage learns on a mesh is what it learns on one device: a part of the table; all of it is marked slow."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import sharding
from benchmarks.stages import STAGES
from rlhf.mesh import Layout

ROOT = Path(__file__).parents[2]


def printed(*arguments):
    """What the benchmark prints as JSON; in a process of its own, because devices are forced at its start."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.sharding", "--json", "--layers", "1", *arguments],
        env=environment | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


def assert_equal(said, rows):
    assert len(said["rows"]) == len(said["losses"]) == rows
    assert said["missed"] == []
    for row in said["rows"]:
        assert row["losses"] <= 1e-5, row
        assert row["parameters"] <= 1e-4, row
        assert row["answers"], row
        assert row["strayed"] == 0, row


@pytest.mark.slow
def test_ppo_on_a_mesh_is_ppo_on_one_device():
    """Rollout, reference and updates: the same answers, the same losses; each device holds a fourth of the state."""
    said = printed("--only", "ppo", "--layouts", "2x2x2", "--pair")
    assert_equal(said, 1)
    assert said["rows"][0]["share"] == pytest.approx(0.25, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_on_a_mesh_is_that_stage_on_one_device(name):
    said = printed("--only", name, "--pair")
    assert_equal(said, len(sharding.LAYOUTS))
    shares = {row["layout"]: row["share"] for row in said["rows"]}
    assert shares["8x1x1"] == 1
    assert shares["1x4x2"] < 0.3


@pytest.mark.slow
def test_two_processes_write_one_checkpoint_that_one_process_reads():
    """Equal to the state of a run in one process, on one device."""
    said = printed("--layouts", "--pair", "sft", "ppo")
    assert_equal(said, 4)
    assert {row["layout"] for row in said["rows"]} == {"2x2x1"}
    assert all(row["share"] == pytest.approx(0.5, abs=0.02) for row in said["rows"])


# --- the rows


def ran(**changes):
    base = sharding.Ran(
        losses=[1.0, 2.0],
        answers=[np.zeros((2, 3), np.int32)],
        result={"w": np.ones(4, np.float32)},
        share=0.25,
        strayed=set(),
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, True),
        ({"losses": [1.0, 2.000018]}, True),
        ({"losses": [1.00002, 2.0]}, False),
        ({"losses": [1.0, float("nan")]}, False),
        ({"answers": [np.ones((2, 3), np.int32)]}, False),
        ({"strayed": {"a"}}, False),
    ],
)
def test_a_row_is_as_good_as_one_device_or_missed(changes, reached):
    row = sharding.compare("sft", Layout(2, 1, 4), ran(**changes), ran())
    assert row.layout == "2x1x4"
    assert row.reached is reached
    assert sharding.table([row]).splitlines()[1].endswith("reached" if reached else "MISSED")


def test_the_largest_differences_are_told():
    found = ran(losses=[1.5, 2.25], result={"w": np.array([1, 1, 1.125, 1], np.float32)})
    row = sharding.compare("sft", Layout(), found, ran())
    assert (row.losses, row.parameters, row.share) == (0.5, 0.125, 0.25)  # the second is 0.125 of a loss of 2


@pytest.mark.parametrize("text", ["2x2", "axbxc", "0x1x1", "4x4x1"])
def test_wrong_layouts_are_told(text, capsys):
    with pytest.raises(SystemExit):
        sharding.main(["--layouts", text])
    assert f"got '{text}'" in capsys.readouterr().err
