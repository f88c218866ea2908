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


@pytest.mark.parametrize(
    ("stage", "count"),
    # One start, a batch and an update a step (and a rollout an iteration), one end.
    [("sft", "6"), pytest.param("ppo", "5", marks=pytest.mark.slow)],
)
def test_json_names_the_share_of_a_stage(stage, count, capsys):
    events.main(["--json", "--only", stage, *TINY])
    printed = json.loads(capsys.readouterr().out)
    barred, paired = printed["rows"]
    assert (barred["name"], paired["name"]) == (f"events_{stage}", f"events_{stage}_paired")
    assert 0 < printed[f"events_{stage}"] < 1
    assert (barred["bar"], barred["most"], paired["bar"]) == (0.02, True, None)
    assert barred["ours"].split()[0] == count
    assert printed["missed"] == [row["name"] for row in printed["rows"] if row["reached"] is False]


def test_making_a_rollout_counts_too(monkeypatch):
    ticks = iter([1.0, 4.0])
    monkeypatch.setattr(events.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(onpolicy, "_rolled_out", lambda *arguments: arguments)
    make, spent = onpolicy._rolled_out, [0.5, 7.0]
    with events.making(spent):
        assert onpolicy._rolled_out(1, 2) == (1, 2)
    assert spent == [3.5, 7.0]
    assert onpolicy._rolled_out is make


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
