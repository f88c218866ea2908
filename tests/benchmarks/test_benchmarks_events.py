import json

import pytest

from benchmarks import events
from rlhf import onpolicy
from rlhf.events import BatchConsumed, Hook
from rlhf.stage import Stage

SIZES = {
    "model": "tiny",
    "rounds": 1,
    "steps": 2,
    "iterations": 1,
    "batch": 2,
    "time": 8,
    "prompts": 2,
    "tokens": 4,
}
TINY = [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
ROWS = ["events_sft", "events_sft_paired", "events_ppo", "events_ppo_paired"]


def test_json_names_the_share_of_every_stage(capsys):
    make = onpolicy._rolled_out
    events.main(["--json", *TINY])
    assert onpolicy._rolled_out is make
    printed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in printed["rows"]] == ROWS
    for name in ("events_sft", "events_ppo"):
        assert 0 < printed[name] < 1
    assert {row["name"]: row["bar"] for row in printed["rows"]} == dict(
        zip(ROWS, [0.02, None, 0.02, None], strict=True)
    )
    # One start, a batch and an update a step (and a rollout an iteration), one end.
    assert [row["ours"].split()[0] for row in printed["rows"] if row["bar"]] == ["6", "5"]
    assert printed["missed"] == [row["name"] for row in printed["rows"] if row["reached"] is False]


def test_the_time_of_events_is_that_of_the_hooks(monkeypatch):
    ticks = iter([1.0, 3.0, 10.0, 10.5])
    monkeypatch.setattr(events.time, "perf_counter", lambda: next(ticks))
    heard = []

    class Listener(Hook):
        def on_batch(self, event):
            heard.append(event)

    stage = events.Timed(name="x", hooks=[Listener()])
    for step in range(2):
        stage.announce(BatchConsumed(stage="x", step=step, role="target", rows=()))
    assert stage.spent == [2.5, 2]
    assert [event.step for event in heard] == [0, 1]
    assert isinstance(stage, Stage)


def test_the_table_names_what_was_missed():
    row = events.Row(name="events_sft", ours="2 events", theirs="stage", ratio=0.03, bar=0.02, most=True)
    lines = events.table([row]).splitlines()
    assert lines[1].split() == ["events_sft", "2", "events", "stage", "3.000%", "<=", "2%", "MISSED"]


def test_wrong_sizes_are_told(capsys):
    with pytest.raises(SystemExit):
        events.main(["--rounds", "0"])
    assert "expected --rounds of at least 1, got 0" in capsys.readouterr().err
