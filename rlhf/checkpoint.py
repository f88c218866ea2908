"""Parameters on disk, whole or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of arrays to the directory `path`.

    It is written beside and renamed, so that a directory of this name is always a whole checkpoint.
    """
    beside = path.with_name(path.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(beside.absolute(), jax.tree.map(np.asarray, dict(tree)))
        checkpointer.wait_until_finished()
    shutil.rmtree(path, ignore_errors=True)
    beside.rename(path)


def load(path: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """Read a tree with the structure, shapes and types of `like`; a checkpoint that differs is an error."""
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path.absolute(), jax.tree.map(np.asarray, dict(like)))
