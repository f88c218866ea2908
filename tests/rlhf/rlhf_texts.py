"""Texts of a language that is quickly learnt, for tests that train on them."""

import numpy as np

from rlhf.batches import Rows, rows

FIRST = 3
"""The first token that is not special."""


def written(rng: np.random.Generator, count: int, length: int, table: np.ndarray) -> np.ndarray:
    """Texts int ``[count, length]`` in which each token has as many successors as the table has columns."""
    texts = np.empty((count, length), np.int64)
    texts[:, 0] = rng.integers(len(table), size=count)
    for place in range(1, length):
        texts[:, place] = table[texts[:, place - 1], rng.integers(table.shape[1], size=count)]
    return texts + FIRST


def learnt(texts: np.ndarray) -> Rows:
    """Rows of texts, of which all but the first token is a target."""
    listed = texts.tolist()
    names = [(str(i),) for i in range(len(listed))]
    return rows([t[:1] for t in listed], [t[1:] for t in listed], names, time=texts.shape[1], fill=0)
