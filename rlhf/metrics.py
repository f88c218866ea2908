"""Hooks that write a stage's metrics down: one JSON object a line, and TensorBoard's event files."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlhf.events import Hook, StageEnded, StageStarted, Updated
from rlhf.journal import Journal

_DIGITS = 6


def rounded(event: Updated) -> dict[str, float]:
    """The metrics of an update by name, to as many digits as anybody reads."""
    return {name: round(value, _DIGITS) for name, value in sorted(event.metrics.items())}


class MetricsFile(Hook):
    """Writes each update's metrics to a file, one JSON object a line: `step`, then the metrics by name."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)

    def on_stage_started(self, event: StageStarted) -> None:
        """Begin the file, or cut it to what was written when the state was saved."""
        self.journal.cut()

    def on_update(self, event: Updated) -> None:
        """Write a line."""
        self.journal.append({"step": event.step, **rounded(event)})

    def state(self) -> int:
        """Bytes written."""
        return self.journal.written

    def restore(self, state: Any) -> None:
        """Know how far the file goes."""
        self.journal.written = state

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """Step and metrics of every update so far, in order."""
        return [(line.pop("step"), line) for line in self.journal]


def tensorboard_installed() -> bool:
    """Whether the extra `tensorboard` is there."""
    return find_spec("tensorboardX") is not None


class TensorBoard(Hook):
    """Writes each update's metrics as scalars below `folder`. Needs the extra `tensorboard`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_stage_started(self, event: StageStarted) -> None:
        """Open an event file; steps that a killed run wrote beyond its last checkpoint are purged."""
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=event.first or None)

    def on_update(self, event: Updated) -> None:
        """Write the scalars."""
        for name, value in rounded(event).items():
            self._writer.add_scalar(name, value, event.step)

    def on_stage_ended(self, event: StageEnded) -> None:
        """Close the file."""
        self._writer.close()
