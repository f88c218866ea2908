"""What is written down of a stage's metrics, and that a resumed stage writes each step once."""

import struct
from pathlib import Path

import pytest

from rlhf.events import Hook, StageEnded, StageStarted, Updated
from rlhf.journal import Journal
from rlhf.metrics import MetricsFile, TensorBoard, tensorboard_installed


def tell(hook: Hook, *, first: int, last: int, value: float = 1.0) -> None:
    """A stage of ten steps, from `first` on, that is killed before `last`."""
    hook.on_stage_started(StageStarted(stage="sft", steps=10, first=first))
    for step in range(first, last):
        metrics = {"loss": value / (step + 1), "grad_norm": value}
        hook.on_update(Updated(stage="sft", step=step, metrics=metrics, model=dict))
    if last == 10:
        hook.on_stage_ended(StageEnded(stage="sft", steps=10))


def test_every_update_is_a_line_of_its_metrics(tmp_path: Path) -> None:
    hook = MetricsFile(tmp_path / "metrics.jsonl")
    tell(hook, first=0, last=10)
    assert [step for step, _ in hook.read()] == list(range(10))
    assert hook.read()[2][1] == {"grad_norm": 1.0, "loss": 0.333333}
    assert (tmp_path / "metrics.jsonl").read_text().splitlines()[1] == (
        '{"step": 1, "grad_norm": 1.0, "loss": 0.5}'
    )


def test_a_stage_that_goes_on_writes_each_step_once(tmp_path: Path) -> None:
    path, whole = tmp_path / "metrics.jsonl", tmp_path / "whole.jsonl"
    tell(MetricsFile(whole), first=0, last=10)
    killed = MetricsFile(path)
    tell(killed, first=0, last=4)
    state = killed.state()
    for step in range(4, 7):  # told after the last checkpoint
        killed.on_update(Updated(stage="sft", step=step, metrics={"loss": 9.0}, model=dict))
    with path.open("ab") as file:
        file.write(b'{"step": 7, "lo')  # the line that the kill cut
    goes_on = MetricsFile(path)
    goes_on.restore(state)
    tell(goes_on, first=4, last=10)
    assert path.read_bytes() == whole.read_bytes()
    assert goes_on.read() == MetricsFile(whole).read()


def test_a_stage_that_starts_anew_begins_its_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tell(MetricsFile(path), first=0, last=6)
    again = MetricsFile(path)
    tell(again, first=0, last=2)
    assert [step for step, _ in again.read()] == [0, 1]


def test_a_journal_that_lost_lines_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "lines.jsonl")
    journal.cut()
    journal.append([1, "two"])
    journal.path.write_bytes(journal.path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"lines\.jsonl: expected at least 11 bytes.*got 8"):
        journal.cut()


def test_tensorboard_has_the_scalars_by_name(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    assert tensorboard_installed()
    tell(TensorBoard(tmp_path), first=0, last=10, value=3.0)
    (events,) = tmp_path.glob("events.out.tfevents.*")
    data = events.read_bytes()
    assert data.count(b"loss") == data.count(b"grad_norm") == 10
    assert struct.pack("<f", 3.0) in data
