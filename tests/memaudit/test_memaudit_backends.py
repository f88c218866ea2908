"""Models that can be asked, as far as no model is needed for it: what is refused before a library opens anything."""

import importlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from memaudit.backends.folder import files_of, identity_of
from memaudit.backends.huggingface import Transformers, read
from memaudit.errors import BadInput

INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model from outside."""
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (path / "tokenizer.json").write_text("{}")
    save_file({"x": np.zeros(3, np.float32)}, path / "model.safetensors")
    return path


def refusal(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read(folder, batch=1, samplers=())
    (line,) = str(caught.value).splitlines()
    assert line.isprintable()
    assert "model" in line
    return line


def in_parts(folder: Path, listed: Any) -> None:
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": listed}))


def elsewhere(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder.parent)
    in_parts(folder, {"x": "../model.safetensors"})


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text)


def only_pickles(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({}))


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (
        shutil.rmtree,
        "config.json, got {} which is no folder: set the folder that save_pretrained",
    ),
    "nothing": (remove("config.json"), "with config.json, got {} without: set"),
    "no JSON": (write("config.json", "{"), "expected JSON in {}/config.json"),
    "no object": (write("config.json", "[]"), "expected a JSON object in {}/config.json, got list"),
    "deep JSON": (
        write("config.json", '{"a":' * 100_000),
        "got {} with one that is nested too deeply: set the",
    ),
    "an adapter": (write("adapter_config.json", "{}"), "got {} with an adapter for another: merge them"),
    "a classifier": (
        write("config.json", '{"architectures": ["LlamaForSequenceClassification"]}'),
        "expected a model folder with a language model, got {} with LlamaForSequenceClassification",
    ),
    "other weights": (
        write("config.json", '{"transformers_weights": "../model.safetensors"}'),
        "got {} whose config.json names other weights",
    ),
    "no weights": (remove("model.safetensors"), "with model.safetensors, got {} without: save the model as"),
    "pickles": (
        only_pickles,
        "got {} with pytorch_model.bin, which may run code when it is opened: save the model",
    ),
    "no tokenizer": (remove("tokenizer.json"), "with tokenizer.json, got {} without: save the tokenizer"),
    "a part missing": (
        lambda folder: in_parts(folder, {"x": "a.safetensors"}),
        f"all files of its weights, got {{}} without a.safetensors, which {INDEX} names",
    ),
    "a part elsewhere": (
        elsewhere,
        f"got {{}} without ../model.safetensors, which {INDEX} names",
    ),
    "a part that is a pickle": (
        lambda folder: in_parts(folder, {"x": "tokenizer.json"}),
        f"got {{}} without tokenizer.json, which {INDEX} names",
    ),
    "a part with a hostile name": (
        lambda folder: in_parts(folder, {"x": "a\n\x1b[31m\ud800.safetensors"}),
        "without a\\n\\u001b[31m\\ud800.safetensors, which",
    ),
    "no parts": (lambda folder: in_parts(folder, ["x"]), "with model.safetensors, got {} without"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_no_whole_model_is_refused_before_it_is_opened(folder: Path, fault: str) -> None:
    spoil, expected = BROKEN[fault]
    spoil(folder)
    assert expected.format(folder) in refusal(folder)


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_a_missing_library_is_named_with_what_installs_it(
    folder: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, name, importlib.import_module("json"))
    monkeypatch.setitem(sys.modules, library, None)
    expected = (
        f"expected {library}, which models of transformers need, got no such library: pip install 'memaudit"
    )
    assert refusal(folder).startswith(expected)
    with pytest.raises(BadInput, match=r"pip install 'memaudit\[hf\]'"):
        Transformers(None, None)


def test_no_library_is_imported_before_a_model_is_read() -> None:
    code = "import memaudit.backends.huggingface, sys; print({'torch', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_a_model_is_told_by_its_files_and_not_by_where_they_are(folder: Path, tmp_path: Path) -> None:
    whole = identity_of(files_of(folder))
    assert len(whole) == 64
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("not part of it")
    assert identity_of(files_of(tmp_path / "copy")) == whole
    (tmp_path / "copy" / "tokenizer.json").rename(tmp_path / "copy" / "tokenizer_config.json")
    assert identity_of(files_of(tmp_path / "copy")) != whole


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "generation_config.json"]
)
def test_another_byte_of_a_file_is_another_model(folder: Path, name: str) -> None:
    (folder / "generation_config.json").write_text("{}")
    whole, path = identity_of(files_of(folder)), folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert identity_of(files_of(folder)) != whole


def test_what_stands_in_which_file_is_part_of_a_models_identity(folder: Path) -> None:
    """Two files whose contents change places are another model."""
    parts = [folder / name for name in ("a.safetensors", "b.safetensors")]
    in_parts(folder, {path.stem: path.name for path in parts})
    contents = [b"one", b"two"]
    found = set()
    for order in (contents, contents[::-1], [b"on", b"etwo"]):
        for path, content in zip(parts, order, strict=True):
            path.write_bytes(content)
        assert set(parts) < set(files_of(folder))
        found.add(identity_of(files_of(folder)))
    assert len(found) == 3
