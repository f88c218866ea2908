"""Killed at random moments, a stage ends as if nothing had been: the same bits, the same record.

In a process of its own, because a process that has started JAX must not fork. What is compared, and how, is in
`benchmarks.kills`, whose own tests see it fail.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def kills(*arguments: str, timeout: float = 600) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.kills", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)
    assert done.stdout, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert done.returncode == 0, rows
    return rows


def assert_survived(rows: list[dict[str, Any]], stages: list[str], times: int) -> None:
    assert [row["stage"] for row in rows] == stages
    for row in rows:
        assert row["equal"], row
        assert row["differs"] == []
        assert row["kills"] == times
        assert len(row["starts"]) >= times + 1
        assert row["starts"][0] == 0


def test_a_stage_that_was_killed_ends_bit_for_bit_as_if_it_had_not_been() -> None:
    rows = kills("--kills", "1", "--stages", "sft", "ppo")
    assert_survived(rows, ["sft", "ppo"], 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["sft", "sft, LoRA", "reward", "ppo", "ppo, LoRA", "grpo", "rloo", "dpo", "ipo"]
)
def test_twenty_kills_leave_no_trace(stage: str) -> None:
    """Some of them while the state was being written."""
    rows = kills("--kills", "20", "--stages", stage, timeout=3600)
    assert_survived(rows, [stage], 20)
    assert max(rows[0]["starts"]) > 0
    assert rows[0]["writing"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["TERM", "INT"])
def test_a_stage_may_be_asked_to_stop_as_well(signal: str) -> None:
    """The process just ends; there is nothing that it would have to do first."""
    rows = kills("--kills", "5", "--stages", "sft", "ppo", "--signal", signal, timeout=3600)
    assert_survived(rows, ["sft", "ppo"], 5)
