"""A directory of parameters is whole, and is what was asked for, or it is an error."""

import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from rlhf import checkpoint
from rlhf.model import Params


def assert_same(found: Params, expected: Params) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def scaled(tree: Params, by: float) -> Params:
    return jax.tree.map(lambda leaf: np.asarray(leaf) * np.float32(by), tree)


def test_parameters_round_trip_bit_for_bit(tmp_path: Path, sharp_actor: Params, fresh: Params) -> None:
    """NaN, infinities and negative zero too; `like` only gives the shapes. JAX arrays are written as well."""
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4e38], np.float32)
    tree = {**sharp_actor, "head": np.resize(odd, sharp_actor["head"].shape)}
    checkpoint.save(tmp_path / "params", tree)
    assert_same(checkpoint.load(tmp_path / "params", scaled(sharp_actor, 0)), tree)
    checkpoint.save(tmp_path / "fresh", fresh)
    assert_same(checkpoint.load(tmp_path / "fresh", fresh), fresh)
    assert {entry.name for entry in tmp_path.iterdir()} == {"params", "fresh"}


def test_a_second_save_replaces_the_first(tmp_path: Path, sharp: Params) -> None:
    checkpoint.save(tmp_path / "params", sharp)
    checkpoint.save(tmp_path / "params", scaled(sharp, 2))
    assert_same(checkpoint.load(tmp_path / "params", sharp), scaled(sharp, 2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["params"]


def test_an_interrupted_save_leaves_the_former_checkpoint(
    tmp_path: Path, sharp: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save breaks off in the middle, with files already written; the next one is none the worse for it."""
    path = tmp_path / "params"
    checkpoint.save(path, sharp)

    def break_off(self: Any, directory: Any, *args: Any, **kwargs: Any) -> None:
        Path(directory).mkdir(parents=True)
        (Path(directory) / "half").write_text("half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ocp.StandardCheckpointer, "save", break_off)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(path, scaled(sharp, 2))
    assert_same(checkpoint.load(path, sharp), sharp)
    checkpoint.save(path, scaled(sharp, 3))
    assert_same(checkpoint.load(path, sharp), scaled(sharp, 3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["params"]


def test_a_save_that_breaks_off_while_replacing_leaves_a_whole_checkpoint(
    tmp_path: Path, sharp: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends while the former directory is being deleted: the old or the new one is there, no half."""
    path = tmp_path / "params"
    checkpoint.save(path, sharp)

    def break_off(directory: Any, *args: Any, **kwargs: Any) -> None:
        files = sorted(entry for entry in Path(directory).rglob("*") if entry.is_file())
        for file in files[:-1]:
            file.unlink()
        if files:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", break_off)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(path, scaled(sharp, 2))
    found = checkpoint.load(path, sharp)
    assert_same(found, scaled(sharp, 2) if (found["embed"] != sharp["embed"]).any() else sharp)
    checkpoint.save(path, scaled(sharp, 3))
    assert_same(checkpoint.load(path, sharp), scaled(sharp, 3))


@pytest.mark.parametrize(
    ("what", "named"), [("lacks", "block_1"), ("more", "head"), ("renamed", "block_[12]")]
)
def test_a_tree_of_other_names_is_refused(what: str, named: str, tmp_path: Path, sharp: Params) -> None:
    """A reward model is no language model and the other way round."""
    checkpoint.save(tmp_path / "params", sharp)
    like = dict(sharp)
    if what in ("lacks", "renamed"):
        del like["block_1"]
    if what == "more":
        like["head"] = np.zeros(32, np.float32)
    if what == "renamed":
        like["block_2"] = sharp["block_1"]
    with pytest.raises(ValueError, match=named):
        checkpoint.load(tmp_path / "params", like)


@pytest.mark.parametrize("other", ["smaller", "larger", "flat", "whole numbers", "half precision"])
def test_a_tree_of_other_shapes_or_types_is_refused(other: str, tmp_path: Path, sharp: Params) -> None:
    """Whoever loads with the wrong configuration is to hear of it here, and not of what comes of it later."""
    checkpoint.save(tmp_path / "params", sharp)
    rows, width = sharp["embed"].shape
    like = {
        "smaller": np.zeros((rows - 1, width), np.float32),
        "larger": np.zeros((rows + 1, width), np.float32),
        "flat": np.zeros(rows * width, np.float32),
        "whole numbers": np.zeros((rows, width), np.int32),
        "half precision": np.zeros((rows, width), np.float16),
    }
    with pytest.raises(ValueError, match="embed"):
        checkpoint.load(tmp_path / "params", {**sharp, "embed": like[other]})


def test_what_is_not_there_is_an_error(tmp_path: Path, sharp: Params) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        checkpoint.load(tmp_path / "nothing", sharp)
