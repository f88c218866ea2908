"""Clusters: items that may depend on each other, such as the probes of one file or near-duplicates."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def numbered(labels: Sequence[Hashable] | None, items: int) -> tuple[NDArray[np.intp], int]:
    """The number of each item's cluster, counted from 0 as they come (``[items]``), and how many clusters there are.

    Args:
        labels: Of each item. None: each item is a cluster of its own.
        items: How many there are.

    Raises:
        ValueError: There are not as many labels as items.
    """
    if labels is None:
        return np.arange(items, dtype=np.intp), items
    if len(labels) != items:
        raise ValueError(f"expected a cluster of each of {items} items, got {len(labels)}")
    known: dict[Hashable, int] = {}
    numbers = np.array([known.setdefault(label, len(known)) for label in labels], np.intp)
    return numbers, len(known)
