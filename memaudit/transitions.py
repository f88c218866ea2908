"""What became of examples from one checkpoint to the next."""

from collections.abc import Iterable
from dataclasses import dataclass

from memaudit.statistics import mcnemar


@dataclass(frozen=True)
class Transition:
    """Counts over one set of examples; their sum is its size."""

    acquired: int
    persisted: int
    forgotten: int
    never: int

    @property
    def p_value(self) -> float:
        """Exact McNemar test of acquired against forgotten."""
        return mcnemar(self.acquired, self.forgotten)


def transition(pairs: Iterable[tuple[bool, bool]]) -> Transition:
    """Count (memorized before, memorized after) pairs."""
    counts = {(b, a): 0 for b in (False, True) for a in (False, True)}
    for pair in pairs:
        counts[pair] += 1
    return Transition(
        acquired=counts[False, True],
        persisted=counts[True, True],
        forgotten=counts[True, False],
        never=counts[False, False],
    )
