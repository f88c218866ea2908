"""Folders of models as transformers writes them, looked at before any library opens them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memaudit.errors import BadInput
from memaudit.sources import printable
from rlhf.specials import settings

BRIEF = 300
"""Characters of a hostile text that a message repeats."""
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_VOCABULARIES = ("*token*", "vocab*", "merges*", "*.model")
_SAVED = "set the folder that save_pretrained wrote"


def files_of(folder: Path) -> list[Path]:
    """The files that a language model's answers depend on: configuration, weights, tokenizer; ordered by name.

    Raises BadInput, which names the folder and what is missing, where it is no whole model or keeps its weights in
    anything but safetensors.
    """
    name = printable(str(folder))

    def refused(expected: str, got: str) -> BadInput:
        return BadInput(f"expected a model folder with {expected}, got {name} {got}")

    if not folder.is_dir():
        raise refused("config.json", f"which is no folder: {_SAVED}")
    if not (folder / "config.json").is_file():
        raise refused("config.json", f"without: {_SAVED}")
    if (folder / "adapter_config.json").exists():
        raise refused("all of a model", "with an adapter for another: merge them and save the whole")
    try:
        config, index = settings(folder / "config.json"), settings(folder / _INDEX)
    except RecursionError as error:
        raise refused("configuration files", f"with one that is nested too deeply: {_SAVED}") from error
    except (ValueError, OSError) as error:
        raise BadInput(f"{printable(str(error))[:BRIEF]}: {_SAVED}") from error
    kinds = config.get("architectures")
    if isinstance(kinds, list) and any("Classification" in str(kind) for kind in kinds):
        raise refused("a language model", f"with {printable(str(kinds[0]))[:BRIEF]}: set another folder")
    if "transformers_weights" in config:
        raise refused(_WEIGHTS, f"whose config.json names other weights: {_SAVED}")
    weights = [_WEIGHTS] if (folder / _WEIGHTS).is_file() else _parts(index)
    if not weights:
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        got = (
            f"with {printable(pickles[0])[:BRIEF]}, which may run code when it is opened"
            if pickles
            else "without"
        )
        raise refused(_WEIGHTS, f"{got}: save the model as safetensors")
    for part in weights:
        # A library would open what has another ending as a pickle.
        if Path(part).name != part or not part.endswith(".safetensors") or not (folder / part).is_file():
            raise refused(
                "all files of its weights",
                f"without {printable(part)[:BRIEF]}, which {_INDEX} names: copy it there",
            )
    words = {path.name for pattern in _VOCABULARIES for path in folder.glob(pattern) if path.is_file()}
    if not words:
        raise refused("tokenizer.json", "without: save the tokenizer beside the model")
    named = {
        "config.json",
        "generation_config.json",
        *([] if weights == [_WEIGHTS] else [_INDEX]),
        *weights,
        *words,
    }
    return [folder / part for part in sorted(named) if (folder / part).is_file()]


def _parts(index: Mapping[str, Any]) -> list[str]:
    """Names of the files that weights are divided into."""
    listed = index.get("weight_map")
    return sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []


def identity_of(files: Sequence[Path]) -> str:
    """SHA-256 over names, sizes and bytes, as 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        whole.update(f"{path.name!r} {path.stat().st_size} {digest}\n".encode())
    return whole.hexdigest()
