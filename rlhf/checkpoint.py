"""State on disk, whole or not at all, and read back only as what it is."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

Tree = TypeVar("Tree")
_ARRAYS, _NOTE = "arrays", "note.json"


def flatten(tree: Any) -> dict[str, Any]:
    """Name of each array, its path joined by slashes -> the array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(place, simple=True, separator="/"): leaf for place, leaf in leaves}


def save(path: Path, tree: Any, note: Mapping[str, Any] | None = None) -> None:
    """Write a tree of arrays, and a `note` that JSON can hold, to the new directory `path`.

    It is written beside and renamed: under this name there is a whole checkpoint or none, whenever the process ends.
    """
    beside = path.with_name(path.name + ".partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((beside / _ARRAYS).absolute(), jax.tree.map(np.asarray, flatten(tree)))
        checkpointer.wait_until_finished()
    (beside / _NOTE).write_text(json.dumps(note or {}), encoding="utf-8")
    beside.rename(path)


def load(path: Path, like: Tree) -> Tree:
    """Read a tree with the names, shapes and types of `like`.

    Raises FileNotFoundError where there is none, and ValueError, naming the array, where it is another tree:
    left to itself, orbax would hand back whatever shape it finds.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"expected a checkpoint at {path}, got nothing")
    with ocp.StandardCheckpointer() as checkpointer:
        known = checkpointer.metadata((path / _ARRAYS).absolute()).item_metadata
        if known is None:
            raise ValueError(f"{path}: expected a checkpoint, got a directory without a readable description")
        found, wanted = _described(known.tree), _described(flatten(like))
        for name in sorted(found.keys() | wanted.keys()):
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"{path}: expected {name} to be {wanted.get(name, 'absent')}, got {found.get(name, 'nothing')}"
                )
        flat = checkpointer.restore((path / _ARRAYS).absolute(), jax.tree.map(np.asarray, flatten(like)))
    return jax.tree.unflatten(jax.tree.structure(like), [flat[name] for name in flatten(like)])


def note(path: Path) -> dict[str, Any]:
    """The note that was saved with a checkpoint."""
    return json.loads((path / _NOTE).read_text(encoding="utf-8"))


def _described(flat: Mapping[str, Any]) -> dict[str, str]:
    """Name of each array -> its type and shape."""
    return {name: f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for name, leaf in flat.items()}


@dataclass(frozen=True, kw_only=True)
class Saver:
    """Where a running stage keeps its state, and how often it writes it."""

    folder: Path
    """A directory of the stage's own; the newest state is in `step-NUMBER` below."""
    every: int
    """Steps between two states."""
    identity: str
    """Of all that determines the stage; a state of another identity is refused."""

    def latest(self, like: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
        """The newest whole state: steps that are in it, the tree, the note. None where there is none."""
        done = sorted(self.folder.glob("step-*[0-9]"))
        if not done:
            return None
        said = note(done[-1])
        if said.get("identity") != self.identity:
            raise ValueError(
                f"{done[-1]}: expected the state of a stage with identity {self.identity}, got {said.get('identity')}"
            )
        return said["step"], load(done[-1], like), said

    def save(self, step: int, tree: Any, note: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps, and only then remove the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}"
        if not path.exists():
            save(path, tree, {**note, "step": step, "identity": self.identity})
        for other in self.folder.iterdir():
            if other != path:
                shutil.rmtree(other)
        return path

    def clear(self) -> None:
        """Remove all state: the stage's result is on disk."""
        shutil.rmtree(self.folder, ignore_errors=True)
