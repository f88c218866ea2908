"""Parameters on disk, whole or not at all, and read back only as what they are."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def save(path: Path, tree: Mapping[str, Any]) -> None:
    """Write a tree of arrays to the directory `path`.

    The new one is written beside and renamed, the former one renamed before it is deleted: under this name there
    is a whole checkpoint or none, whenever the process ends.
    """
    beside, former = (path.with_name(path.name + ending) for ending in (".partial", ".former"))
    shutil.rmtree(beside, ignore_errors=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(beside.absolute(), jax.tree.map(np.asarray, dict(tree)))
        checkpointer.wait_until_finished()
    shutil.rmtree(former, ignore_errors=True)
    if path.exists():
        path.rename(former)
    beside.rename(path)
    shutil.rmtree(former, ignore_errors=True)


def load(path: Path, like: Mapping[str, Any]) -> dict[str, Any]:
    """Read a tree with the names, shapes and types of `like`.

    Raises FileNotFoundError where there is none, and ValueError, naming the array, where it is another tree:
    left to itself, orbax would hand back whatever shape it finds.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"expected a checkpoint at {path}, got nothing")
    with ocp.StandardCheckpointer() as checkpointer:
        known = checkpointer.metadata(path.absolute()).item_metadata
        if known is None:
            raise ValueError(f"{path}: expected a checkpoint, got a directory without a readable description")
        found = _described(known.tree)
        wanted = _described(dict(like))
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{path}: expected {name} to be {wanted.get(name, 'absent')}, got {found.get(name, 'nothing')}"
                )
        return checkpointer.restore(path.absolute(), jax.tree.map(np.asarray, dict(like)))


def _described(tree: Any) -> dict[str, str]:
    """Name of each array -> its type and shape."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(place, simple=True, separator="/"): f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"
        for place, leaf in leaves
    }
