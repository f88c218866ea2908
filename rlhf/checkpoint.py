"""State on disk, whole or not at all, and read back only as what it is.

A checkpoint is a directory of three things: `arrays`, orbax's, where each array has a directory of its own name;
`note.json`, what is known about them; and `SHA256SUMS` over all other files, in the form of `sha256sum`. It is
read only if every byte is as it was written, so that what is damaged is named by file and array before orbax sees it.

With several processes all of them call, all see one file system, and one checkpoint is written.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

Tree = TypeVar("Tree")
_ARRAYS, _NOTE, _SUMS = "arrays", "note.json", "SHA256SUMS"
_VERSION = 1


class Unusable(ValueError):
    """What is on disk is damaged, or of another stage: nobody may go on from it."""


def flatten(tree: Any) -> dict[str, Any]:
    """Name of each array, its path joined by slashes -> the array."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {jax.tree_util.keystr(place, simple=True, separator="/"): leaf for place, leaf in leaves}
    # A dot would be a step down to orbax.
    if "" in flat or len(flat) != len(leaves) or any("." in name for name in flat):
        raise ValueError(
            f"expected {len(leaves)} arrays with names of their own and without dots, got {', '.join(flat)}"
        )
    return flat


def save(path: Path, tree: Any, note: Mapping[str, Any] | None = None) -> None:
    """Write a tree of arrays, and a `note` that JSON can hold, to the new directory `path`.

    It is written beside and renamed: under this name there is a whole checkpoint or none, whenever the process ends.
    No system renames one directory onto another in a single step, so what is there has to be removed before.
    """
    if path.exists():
        raise FileExistsError(f"expected nothing at {path} yet, got a checkpoint: remove it before")
    flat = {name: _writable(leaf) for name, leaf in flatten(tree).items()}
    said = json.dumps({"version": _VERSION, "arrays": _described(flat), "note": dict(note or {})})
    beside = _beside(path)
    if jax.process_index() == 0:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / _ARRAYS).mkdir(parents=True)
    multihost_utils.sync_global_devices(f"begin {path}")
    _orbax().save(epath.Path((beside / _ARRAYS).absolute()), args=ocp.args.PyTreeSave(flat))
    multihost_utils.sync_global_devices(f"written {path}")
    if jax.process_index() == 0:
        (beside / _NOTE).write_text(said, encoding="utf-8")
        (beside / _SUMS).write_text(_lines(_digests(beside)), encoding="utf-8")
        # The arrays are in safety already: tensorstore waits for the disk.
        for written in (beside / _NOTE, beside / _SUMS, *(beside / _ARRAYS).glob("_*"), beside):
            _wait_for_disk(written)
        beside.rename(path)
        _wait_for_disk(path.parent)
    multihost_utils.sync_global_devices(f"end {path}")


def load(path: Path, like: Tree) -> Tree:
    """Read a tree of NumPy arrays with the names, shapes and types of `like`.

    Raises FileNotFoundError where there is nothing, and ValueError where it is damaged, naming the file and the array,
    or where it is another tree, naming the array: left to itself, orbax would hand back whatever shape it finds.
    """
    said = _read(path)
    _check_files(path, said["arrays"])
    flat = flatten(like)
    found, wanted = said["arrays"], _described(flat)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(
                f"{path}: expected {name} to be {wanted.get(name, 'absent')}, got {found.get(name, 'nothing')}"
            )
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    arrays = _orbax().restore(
        epath.Path((path / _ARRAYS).absolute()),
        args=ocp.args.PyTreeRestore(item=flat, restore_args=dict.fromkeys(flat, as_numpy)),
    )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in flat])


def note(path: Path) -> dict[str, Any]:
    """The note that was saved with a checkpoint. Raises as `load` does; of the arrays nothing is read."""
    return _read(path)["note"]


def remove(path: Path) -> None:
    """Remove a directory, if it is there; under its name there is all of it or nothing, whenever the process ends."""
    multihost_utils.sync_global_devices(f"read {path}")
    if jax.process_index() == 0:
        _remove(path)
    multihost_utils.sync_global_devices(f"removed {path}")


@dataclass(frozen=True, kw_only=True)
class Saver:
    """Where a running stage keeps its state, and how often it writes it."""

    folder: Path
    """A directory of the stage's own; the newest state is in `step-NUMBER` below."""
    every: int
    """Steps between two states."""
    identity: str
    """Of all that determines the stage; a state of another identity is refused."""

    def __post_init__(self) -> None:
        if not self.every > 0:
            raise ValueError(f"expected `every` to be positive, got {self.every}")

    def latest(self, like: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
        """The newest state: steps that are in it, the tree, the note. None where there is none.

        Raises `Unusable` where it is damaged or another stage's. Not even an older one is taken in its place: a
        stage that goes back on its own may have lost more than anyone wants to lose without a word.
        """
        states = sorted(self._states(), key=lambda path: int(path.name.removeprefix("step-")))
        if not states:
            return None
        newest = states[-1]
        try:
            said = note(newest)
            if said.get("identity") != self.identity:
                raise ValueError(
                    f"{newest}: expected the state of a stage with identity {self.identity}, "
                    f"got {said.get('identity')}"
                )
            return said["step"], load(newest, like), said
        except ValueError as error:
            raise Unusable(f"{error}: {self.way_out}") from None

    def path(self, step: int) -> Path:
        """Where the state after `step` steps is."""
        return self.folder / f"step-{step:08d}"

    @property
    def way_out(self) -> str:
        """What to do about a state that is refused."""
        return f"remove {self.folder} to start the stage anew"

    def save(self, step: int, tree: Any, note: Mapping[str, Any]) -> Path:
        """Write the state after `step` steps, and only then remove the one before and what a killed run left."""
        path = self.path(step)
        save(path, tree, {**note, "step": step, "identity": self.identity})
        if jax.process_index() == 0:
            for state in self._states():
                if state != path:
                    _remove(state)
            for left in self.folder.glob("step-*.partial"):
                shutil.rmtree(left)
        return path

    def clear(self) -> None:
        """Remove all state: the stage's result is on disk."""
        remove(self.folder)

    def _states(self) -> list[Path]:
        return [path for path in self.folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]


@cache
def _orbax() -> ocp.PyTreeCheckpointHandler:
    """Orbax, writing each array to a directory of its own name, as it is.

    Its single store for all arrays (ocdbt) would save a third of the time, and a damaged file of it would name none.
    What its checkpointers add, a directory that is renamed when it is whole, is done here around the note as well.
    """
    return ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False)


def _writable(leaf: Any) -> Any:
    """What orbax is given: NumPy, which process 0 writes, or an array of which each process writes its shards."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        return leaf
    return np.asarray(leaf)


def _described(flat: Mapping[str, Any]) -> dict[str, str]:
    """Name of each array -> its type and shape."""
    return {name: f"{np.dtype(leaf.dtype)}{list(leaf.shape)}" for name, leaf in flat.items()}


def _remove(path: Path) -> None:
    beside = _beside(path)
    shutil.rmtree(beside, ignore_errors=True)
    if path.exists():
        path.rename(beside)
        shutil.rmtree(beside)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _wait_for_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digests(path: Path) -> dict[str, str]:
    """Each file below `path` except the sums themselves -> its sha256."""
    files = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
    return {file.relative_to(path).as_posix(): _digest(file) for file in files if file != path / _SUMS}


def _lines(digests: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))


def _sums(path: Path) -> dict[str, str]:
    """What `SHA256SUMS` says. Every byte of it counts, so that it vouches for itself together with the files."""
    if not path.is_dir():
        raise FileNotFoundError(f"expected a checkpoint at {path}, got nothing")
    try:
        text = (path / _SUMS).read_bytes().decode("utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise ValueError(f"{path / _SUMS}: expected the checksums of a checkpoint, got {error}") from None
    said = {line[66:]: line[:64] for line in text.split("\n")[:-1]}
    if not said or _lines(said) != text:
        raise ValueError(
            f"{path / _SUMS}: expected a sorted line of sha256 and name per file, got another text"
        )
    return said


def _read(path: Path) -> dict[str, Any]:
    """What `note.json` holds, if it is as it was written."""
    sums, file = _sums(path), path / _NOTE
    found = _digest(file) if file.is_file() else "nothing"
    if found != sums.get(_NOTE):
        raise ValueError(f"{file}: expected sha256 {sums.get(_NOTE)}, as {_SUMS} says, got {found}")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        version = said["version"]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{file}: expected JSON with a `version`, got another text") from None
    if version != _VERSION:
        raise ValueError(f"{file}: expected a checkpoint of version {_VERSION}, got {version}")
    return said


def _check_files(path: Path, arrays: Mapping[str, str]) -> None:
    """Raise ValueError unless all files are as they were written; name the file and the array."""
    said, found = _sums(path), _digests(path)
    for name in sorted(said.keys() | found.keys()):
        if said.get(name) != found.get(name):
            owners = [array for array in arrays if name.startswith(f"{_ARRAYS}/{array}/")]
            whose = f"the array {owners[0]}" if owners else "all arrays"
            raise ValueError(
                f"{path / name}, of {whose}: expected sha256 {said.get(name, 'absent')}, as {_SUMS} says, "
                f"got {found.get(name, 'nothing')}"
            )
