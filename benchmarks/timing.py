"""Two sides of a comparison, timed in turns so that what slows the machine slows both."""

import gc
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. A ratio is `theirs / ours` where more is better, `ours / theirs` where less is."""

    name: str
    ours: str
    """What we did, with its cost."""
    theirs: str
    ratio: float
    bar: float | None = None
    """What the ratio has to reach; None for a row that only informs."""
    most: bool = False
    """The bar is an upper one."""

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is on the right side of the bar; None without one."""
        if self.bar is None:
            return None
        return self.ratio <= self.bar if self.most else self.ratio >= self.bar

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data."""
        return asdict(self) | {"reached": self.reached}


def alternate(
    ours: Callable[[int], object],
    theirs: Callable[[int], object],
    *,
    rounds: int,
    clock: Clock = time.process_time,
) -> tuple[float, float]:
    """Return the medians of what both sides cost, in seconds of `clock`.

    Both are called in turns with the number of the round, first once (-1) untimed. The clock is the processor
    time of this process, unless the work is done elsewhere; as in `timeit`, the garbage collector waits.
    """
    if rounds < 1:
        raise ValueError(f"expected at least 1 round, got {rounds}")
    costs: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, rounds):
        for side, cost in zip((ours, theirs), costs, strict=True):
            gc.collect()
            gc.disable()
            began = clock()
            try:
                side(number)
                spent = clock() - began
            finally:
                gc.enable()
            if number >= 0:
                cost.append(spent)
    return median(costs[0]), median(costs[1])
