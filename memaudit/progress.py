"""Long work as it is watched: what is going on, how far it is, how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Whoever watches a run."""

    def say(self, text: str) -> None:
        """Hear a line about what is going on."""
        ...

    def begin(self, title: str, total: int) -> None:
        """Hear that a piece of work of `total` parts starts."""
        ...

    def skip(self, count: int) -> None:
        """Hear that so many parts had been done before."""
        ...

    def advance(self, count: int) -> None:
        """Hear that so many parts are done."""
        ...

    def end(self, outcome: str) -> None:
        """Hear that the piece of work is over."""
        ...


@contextmanager
def watched(progress: Progress, title: str, total: int) -> Iterator:
    """Show a piece of work of `total` parts; gives a function that tells its seconds so far."""
    start = time.monotonic()
    progress.begin(title, total)
    try:
        yield lambda: time.monotonic() - start
    finally:
        progress.end(f"{title}: {time.monotonic() - start:.0f} s")
