"""A file of JSON lines that a stage appends to, and that a resumed stage cuts back to what its checkpoint knows of."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.checkpoint import Unusable


class Journal:
    """Lines appended one by one; `written` is how many bytes they take.

    Whoever keeps a journal saves `written` with its state. After a kill the file may hold more: `cut` takes that off,
    so that what the stage does again is in the file once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0

    def cut(self) -> None:
        """Make the file as long as is known, empty at first. Raises `Unusable` where it is shorter."""
        there = self.path.stat().st_size if self.path.is_file() else 0
        if there < self.written:
            raise Unusable(
                f"{self.path}: expected at least {self.written} bytes, which the stage's state knows of, got {there}"
            )
        with self.path.open("ab") as file:
            file.truncate(self.written)

    def append(self, value: Any) -> None:
        """Write one value as one line."""
        line = (json.dumps(value) + "\n").encode()
        with self.path.open("ab") as file:
            file.write(line)
        self.written += len(line)

    def __iter__(self) -> Iterator[Any]:
        """The values, in order."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
