"""A sample of the probes, asked again and again while a stage is trained: when what comes out comes out first."""

from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from memaudit.extraction import Interrogation
from memaudit.records import Checkpoint, Observation
from probes import Match
from rlhf.events import Hook, StageStarted, Updated
from rlhf.journal import Journal
from rlhf.mesh import Layout


class Timeline(Hook):
    """Puts an interrogation to the model every so many steps, but for the last one, after which all are asked.

    What is said goes to a file, as what the auditor hears does, and a resumed stage cuts it back to what its state
    knows of.
    """

    def __init__(self, path: Path, interrogation: Interrogation, *, every: int, layout: Layout) -> None:
        self._journal = Journal(path)
        self._interrogation, self._every, self._layout = interrogation, every, layout
        self._steps = 0

    def on_stage_started(self, event: StageStarted) -> None:
        """Begin the file, or cut it to what was written when the state was saved."""
        self._steps = event.steps
        self._journal.cut()

    def on_update(self, event: Updated) -> None:
        """Ask, if it is time."""
        done = event.step + 1
        if done % self._every or done == self._steps:
            return
        began = monotonic()
        params = event.model()
        if self._layout.devices > 1:
            params = self._layout.fetch(params)
        said = [asdict(o) for o in self._interrogation.observe(params)]
        self._journal.append([done, round(monotonic() - began, 4), said])

    def state(self) -> int:
        """Bytes written."""
        return self._journal.written

    def restore(self, state: Any) -> None:
        """Know how far the file goes."""
        self._journal.written = state

    def checkpoints(self) -> list[Checkpoint]:
        """What was said at each of the steps, in their order."""
        return [
            Checkpoint(
                step=step, path=None, seconds=seconds, observations=[_observation(record) for record in said]
            )
            for step, seconds, said in self._journal
        ]


def _observation(record: dict[str, Any]) -> Observation:
    """What `asdict` and JSON left of an observation without scores."""
    return Observation(
        **{
            **record,
            "matches": {level: Match(**match) for level, match in record["matches"].items()},
            "recovered": {int(start): tuple(found) for start, found in record["recovered"].items()},
        }
    )
