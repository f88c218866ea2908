"""The auditor's ears: a hook that records every exposure from the batches a stage has consumed."""

from collections import Counter
from pathlib import Path
from typing import Any

from rlhf.events import BatchConsumed, Hook, StageStarted
from rlhf.journal import Journal


class Auditor(Hook):
    """Writes down which examples each batch held, and in which role.

    To a file and not to memory: a long stage shows more rows than one wants in every checkpoint, and the file's
    length is all the state there is to save.
    """

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    def on_stage_started(self, event: StageStarted) -> None:
        """Begin the file, or cut it to what was written when the state was saved."""
        self._journal.cut()

    def on_batch(self, event: BatchConsumed) -> None:
        """Write down the examples of each row."""
        for role, rows in ((event.role, event.rows), *event.besides.items()):
            self._journal.append([event.step, role, [name for row in rows for name in row]])

    def state(self) -> int:
        """Bytes written."""
        return self._journal.written

    def restore(self, state: Any) -> None:
        """Know how far the file goes."""
        self._journal.written = state

    def exposures(self) -> Counter[tuple[int, str, str]]:
        """(step, role, example id) -> times."""
        counted: Counter[tuple[int, str, str]] = Counter()
        for step, role, names in self._journal:
            counted.update((step, role, name) for name in names)
        return counted
