"""A checkpoint is whole, and is what was asked for, or it is an error that names what is wrong."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rlhf import checkpoint
from rlhf.checkpoint import Saver
from rlhf.optimiser import State


def assert_same(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(left) is np.ndarray
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == np.asarray(right).tobytes()


SMALL = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a-b": {"0": np.float32([1, 0, -1]), "c": np.uint32([7, 8])},
    "count": np.int32(5),
}
"""Names that could be taken for one another's files among them."""


def scaled(tree: Any, by: int) -> Any:
    return jax.tree.map(lambda leaf: (np.asarray(leaf) * by).astype(leaf.dtype), tree)


def listing(folder: Path) -> dict[str, bytes]:
    files = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "small"
    checkpoint.save(path, SMALL, {"said": ["this", 1]})
    return path


# --- there and back


def test_arrays_come_back_bit_for_bit(tmp_path: Path) -> None:
    """The odd numbers and types too; `like` only gives names, shapes and types."""
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    tree = {
        "state": State({"model": {"embed": odd[:, None]}}, (np.int32(3), {"mu": -odd})),
        "odd": odd,
        "zeros": np.zeros((2, 3), np.float32),
        "half": jnp.arange(4, dtype=jnp.bfloat16),
        "key": jax.random.key_data(jax.random.key(3)),
        "flags": np.array([True, False]),
        "pair": (np.float32(1), jnp.int32(2)),
        "none": None,
    }
    checkpoint.save(tmp_path / "state", tree)
    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), tree)
    found = checkpoint.load(tmp_path / "state", like)
    assert_same(found, tree)
    assert found["half"].dtype == ml_dtypes.bfloat16
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]


def test_a_note_comes_back(written: Path, tmp_path: Path) -> None:
    assert checkpoint.note(written) == {"said": ["this", 1]}
    checkpoint.save(tmp_path / "bare", SMALL)
    assert checkpoint.note(tmp_path / "bare") == {}
    with pytest.raises(TypeError, match="JSON"):
        checkpoint.save(tmp_path / "no", SMALL, {"said": {1, 2}})
    assert [entry.name for entry in tmp_path.iterdir()] == ["bare"]


def test_a_checkpoint_is_the_same_bytes_each_time(written: Path, tmp_path: Path) -> None:
    """So two runs can be compared by their sums, and those can be checked by whoever has `sha256sum`."""
    checkpoint.save(tmp_path / "again", SMALL, {"said": ["this", 1]})
    assert listing(tmp_path / "again") == listing(written)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"], cwd=written, check=True)


def test_names_that_would_fall_together_are_refused(tmp_path: Path) -> None:
    one = np.zeros(1, np.float32)
    for tree in ({"a/b": one, "a": {"b": one}}, {"a.b": one}, one):
        with pytest.raises(ValueError, match="names of their own"):
            checkpoint.save(tmp_path / "no", tree)
    assert list(tmp_path.iterdir()) == []


# --- damage


def damaged(path: Path, how: str, rng: np.random.Generator) -> None:
    """Damage one file. Of one byte, every change is a change."""
    before = path.read_bytes()
    if how == "removed":
        path.unlink()
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(before[: int(rng.integers(0, len(before)))])
    elif how == "longer":
        path.write_bytes(before + bytes([int(rng.integers(0, 256))]))
    else:
        at, bit = int(rng.integers(0, len(before))), int(rng.integers(0, 8))
        path.write_bytes(before[:at] + bytes([before[at] ^ (1 << bit)]) + before[at + 1 :])


def owner(file: str) -> str | None:
    """The array of SMALL that a file belongs to, by eye."""
    for name in ("a-b/0", "a-b/c", "count", "a"):
        if file.startswith(f"arrays/{name}/"):
            return name
    return None


@pytest.mark.parametrize("how", ["removed", "emptied", "truncated", "longer", "flipped"])
def test_damage_to_any_file_is_noticed_and_named(how: str, written: Path, tmp_path: Path) -> None:
    """Every file in turn, at random places; the file is named, and its array."""
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged"
    shutil.copytree(written, path)
    whole = listing(written)
    assert {owner(file) for file in whole} == {"a-b/0", "a-b/c", "count", "a", None}
    for file in sorted(whole):
        for _ in range(12 if how in ("truncated", "flipped") else 1):
            damaged(path / file, how, rng)
            with pytest.raises(ValueError, match=r".") as caught:
                checkpoint.load(path, SMALL)
            said = str(caught.value)
            if file == "SHA256SUMS":
                # What stands in a line of it is the line's word against the file's.
                assert (str(path / file) if how == "emptied" else file) in said
            else:
                assert str(path / file) in said
                if array := owner(file):
                    assert f"the array {array}:" in said
            (path / file).write_bytes(whole[file])
    assert_same(checkpoint.load(path, SMALL), SMALL)


def test_flipped_bits_all_over_the_sums_and_the_note_are_noticed(written: Path, tmp_path: Path) -> None:
    """They vouch for the rest, so here it is a bit of every third byte."""
    path = tmp_path / "damaged"
    shutil.copytree(written, path)
    for file in ("SHA256SUMS", "note.json"):
        before = (path / file).read_bytes()
        for at in range(0, len(before), 3):
            (path / file).write_bytes(before[:at] + bytes([before[at] ^ (1 << at % 8)]) + before[at + 1 :])
            with pytest.raises(ValueError, match="SHA256SUMS"):
                checkpoint.load(path, SMALL)
        (path / file).write_bytes(before)


def test_a_file_too_many_is_noticed(written: Path, tmp_path: Path) -> None:
    """A chunk of zeros need not be there: one that is added would be read."""
    path = tmp_path / "more"
    shutil.copytree(written, path)
    (path / "arrays" / "a" / "1.0").write_bytes(b"\0" * 48)
    with pytest.raises(ValueError, match=r"arrays/a/1\.0, of the array a: expected sha256 absent"):
        checkpoint.load(path, SMALL)


def renoted(path: Path, text: str) -> None:
    """Put another note in the place of the one that is there, and vouch for it."""
    (path / "note.json").write_text(text)
    (path / "SHA256SUMS").write_text(checkpoint._lines(checkpoint._digests(path)))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "`version`"),
        ("{", "`version`"),
        ("[]", "`version`"),
        ("{}", "`version`"),
        ('{"version": 2, "arrays": {}, "note": {}}', "version 1, got 2"),
    ],
)
def test_a_note_of_another_kind_is_refused(text: str, named: str, written: Path, tmp_path: Path) -> None:
    path = tmp_path / "other"
    shutil.copytree(written, path)
    renoted(path, text)
    for read in (checkpoint.note, lambda where: checkpoint.load(where, SMALL)):
        with pytest.raises(ValueError, match=r"note\.json: expected .*" + re.escape(named)):
            read(path)


def test_what_is_not_there_or_is_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    for read in (checkpoint.note, lambda where: checkpoint.load(where, SMALL)):
        with pytest.raises(FileNotFoundError, match="nothing"):
            read(tmp_path / "nothing")
        with pytest.raises(ValueError, match="SHA256SUMS"):
            read(tmp_path)


# --- another's


@pytest.mark.parametrize(
    ("like", "named"),
    [
        ({"a": SMALL["a"], "count": SMALL["count"]}, r"a-b/0 to be absent, got float32\[3\]"),
        (SMALL | {"head": np.zeros(4, np.float32)}, r"head to be float32\[4\], got nothing"),
        (SMALL | {"a": np.zeros((4, 3), np.float32)}, r"a to be float32\[4, 3\], got float32\[3, 4\]"),
        (SMALL | {"a": np.zeros(12, np.float32)}, r"a to be float32\[12\], got float32\[3, 4\]"),
        (SMALL | {"a": np.zeros((3, 4), np.int32)}, r"a to be int32\[3, 4\], got float32\[3, 4\]"),
        (SMALL | {"a": np.zeros((3, 4), np.float16)}, r"a to be float16\[3, 4\], got float32\[3, 4\]"),
    ],
)
def test_another_tree_is_refused_with_both_sides(like: Any, named: str, written: Path) -> None:
    """Whoever loads with the wrong configuration is to hear of it here, and not of what comes of it later."""
    with pytest.raises(ValueError, match="expected " + named):
        checkpoint.load(written, like)


# --- whole or not at all


def break_off(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_a_save_that_breaks_off_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whichever step it ends; the next one is none the worse for what is left."""
    path = tmp_path / "params"
    steps: list[tuple[Any, str]] = [
        (ocp.PyTreeCheckpointHandler, "save"),
        (checkpoint, "_digests"),
        (checkpoint, "_lines"),
        (checkpoint, "_wait_for_disk"),
        (Path, "rename"),
    ]
    for where, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(where, name, break_off)
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(path, SMALL)
        assert [entry.name for entry in tmp_path.iterdir()] == ["params.partial"], name
    checkpoint.save(path, SMALL)
    assert_same(checkpoint.load(path, SMALL), SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["params"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "params"
    checkpoint.save(path, SMALL)
    with pytest.raises(FileExistsError, match="remove it before"):
        checkpoint.save(path, scaled(SMALL, 2))
    assert_same(checkpoint.load(path, SMALL), SMALL)
    checkpoint.remove(path)
    checkpoint.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_a_removal_that_breaks_off_leaves_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "params"
    checkpoint.save(path, SMALL)

    def half(folder: Path, **kwargs: Any) -> None:
        if folder.exists():
            next(Path(folder).rglob("note.json")).unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.remove(path)
    assert not path.exists()
    checkpoint.save(path, SMALL)
    assert [entry.name for entry in tmp_path.iterdir()] == ["params"]


def test_every_byte_waits_for_the_disk_before_the_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the arrays tensorstore takes care."""
    waited: list[Path] = []
    monkeypatch.setattr(checkpoint, "_wait_for_disk", waited.append)
    checkpoint.save(tmp_path / "params", SMALL)
    beside = tmp_path / "params.partial"
    ours = {beside / name for name in listing(tmp_path / "params") if owner(name) is None}
    assert set(waited[:-1]) == ours | {beside}
    assert waited[-1] == tmp_path


# --- the state of a stage


@pytest.fixture
def saver(tmp_path: Path) -> Saver:
    return Saver(folder=tmp_path / "state", every=2, identity="mine")


def names(saver: Saver) -> list[str]:
    return sorted(entry.name for entry in saver.folder.iterdir())


def test_the_newest_state_is_kept_and_read(saver: Saver) -> None:
    assert saver.latest(SMALL) is None
    for step in (2, 10, 100_000_000):
        assert saver.save(step, scaled(SMALL, step % 7), {"heard": step}) == saver.path(step)
        assert names(saver) == [f"step-{step:08d}"]
        found = saver.latest(SMALL)
        assert found is not None
        assert found[0] == step
        assert_same(found[1], scaled(SMALL, step % 7))
        assert found[2] == {"heard": step, "step": step, "identity": "mine"}
    saver.path(99_999_999).mkdir()  # older, though not by the alphabet
    found = saver.latest(SMALL)
    assert found is not None
    assert found[0] == 100_000_000
    saver.clear()
    assert not saver.folder.exists()
    assert saver.latest(SMALL) is None
    saver.clear()


def test_the_former_state_goes_only_when_the_new_one_is_there(
    saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver.save(2, SMALL, {})
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_lines", break_off)
        with pytest.raises(KeyboardInterrupt):
            saver.save(4, scaled(SMALL, 2), {})
    found = saver.latest(SMALL)
    assert found is not None
    assert found[0] == 2
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_remove", break_off)
        with pytest.raises(KeyboardInterrupt):
            saver.save(4, scaled(SMALL, 2), {})
    assert names(saver) == ["step-00000002", "step-00000004"]
    found = saver.latest(SMALL)
    assert found is not None
    assert found[0] == 4


def test_what_killed_runs_left_is_cleaned_away_and_nothing_else(saver: Saver) -> None:
    for left in ("step-00000002", "step-00000003.partial", "step-00000009.partial", "step-wise"):
        (saver.folder / left / "arrays").mkdir(parents=True)
    (saver.folder / ".DS_Store").write_text("not ours")
    saver.save(4, SMALL, {})
    assert names(saver) == [".DS_Store", "step-00000004", "step-wise"]
    found = saver.latest(SMALL)
    assert found is not None
    assert found[0] == 4


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(
    ("spoil", "like", "named"),
    [
        (lambda state: flip(state / "arrays" / "a" / "0.0"), SMALL, r"arrays/a/0\.0, of the array a:"),
        (lambda state: flip(state / "note.json"), SMALL, r"note\.json: expected sha256"),
        (lambda state: (state / "SHA256SUMS").unlink(), SMALL, "SHA256SUMS: expected"),
        (lambda state: renoted(state, '{"version": 7}'), SMALL, "version 1, got 7"),
        (lambda state: None, {"a": SMALL["a"]}, r"a-b/0 to be absent"),
        (lambda state: None, SMALL | {"a": np.zeros(2)}, r"a to be float64\[2\], got float32\[3, 4\]"),
    ],
)
def test_a_state_that_cannot_be_used_is_refused_with_the_way_out(
    spoil: Callable[[Path], Any], like: Any, named: str, saver: Saver
) -> None:
    """An older one that is whole is not taken in its place without a word."""
    saver.save(4, SMALL, {})
    shutil.copytree(saver.path(4), saver.path(3))
    spoil(saver.path(4))
    with pytest.raises(ValueError, match=named) as caught:
        saver.latest(like)
    assert str(saver.path(4)) in str(caught.value)
    assert str(caught.value).endswith(f": remove {saver.folder} to start the stage anew")
    saver.clear()
    assert saver.latest(like) is None


def test_the_state_of_another_stage_is_refused_with_both_sides(saver: Saver) -> None:
    saver.save(4, SMALL, {})
    other = Saver(folder=saver.folder, every=2, identity="another's")
    with pytest.raises(
        ValueError, match=r"step-00000004: expected .* identity another's, got mine: remove .*state to start"
    ):
        other.latest({"entirely": np.zeros(1)})


def test_a_saver_that_never_saves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected `every` to be positive, got 0"):
        Saver(folder=tmp_path, every=0, identity="mine")


def test_the_sums_are_told_by_their_form(written: Path) -> None:
    lines = (written / "SHA256SUMS").read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line[66:])
    assert all(re.fullmatch(r"[0-9a-f]{64}  [^ ]+", line) for line in lines)
    said = json.loads((written / "note.json").read_text())
    assert said["version"] == 1
    assert said["arrays"]["a-b/c"] == "uint32[2]"
