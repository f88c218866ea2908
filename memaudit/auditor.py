"""The auditor's ears: a hook that records every exposure from the batches a stage has consumed."""

import json
from collections import Counter
from pathlib import Path

from rlhf.events import BatchConsumed, Hook, Updated


class Auditor(Hook):
    """Counts what was shown and writes each update's metrics to a file, one JSON object a line."""

    def __init__(self, metrics: Path) -> None:
        self.exposures: Counter[tuple[int, str, str]] = Counter()
        """(step, role, example id) -> times."""
        self.last: dict[str, float] = {}
        """Metrics of the last update."""
        self._file = metrics.open("w", encoding="utf-8")

    def on_batch(self, event: BatchConsumed) -> None:
        """Count the examples of each row."""
        for row in event.rows:
            for example in row:
                self.exposures[event.step, event.role, example] += 1

    def on_update(self, event: Updated) -> None:
        """Keep the metrics."""
        self.last = {name: round(value, 6) for name, value in sorted(event.metrics.items())}
        self._file.write(json.dumps({"step": event.step, **self.last}) + "\n")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
