"""Folders of Hugging Face models: config.json, safetensors in one file or several, tokenizer.json.

Strict both ways: every array of the files is used and every parameter filled, or the folder is refused with file,
key and shapes. Weights become float32, whatever they are kept in. Nothing is fetched and nothing is executed.
"""

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rlhf.attention import frequencies
from rlhf.families import FAMILIES, FamilyName, Weight, to_config, to_settings, weights
from rlhf.model import Decoder, Head, Params, initialise
from rlhf.presets import ModelConfig
from rlhf.specials import settings
from rlhf.tokenizer import Tokenizer

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
_READ = ("F32", "BF16", "F16")
_SCORE = "score.weight"
_PART = 5 * 10**9  # bytes in one file, as their library divides them


class _Files:
    """The arrays of a folder by key, read when asked for; which were asked for is kept."""

    def __init__(self, folder: Path) -> None:
        if (folder / _INDEX).is_file():
            listed = settings(folder / _INDEX).get("weight_map")
            if not isinstance(listed, dict):
                raise ValueError(f"expected a `weight_map` in {folder / _INDEX}, got {listed!r}")
            names = sorted(set(map(str, listed.values())))
            if strange := [name for name in names if Path(name).name != name]:
                raise ValueError(f"expected names of files beside {folder / _INDEX}, got {strange[0]!r}")
        else:
            listed, names = None, [_WEIGHTS]
        self._where: dict[str, tuple[Path, Any]] = {}
        for name in names:
            path = folder / name
            if not path.is_file():
                raise ValueError(f"expected weights in {path}, got no such file")
            try:
                file = safe_open(path, framework="np")
            except SafetensorError as error:
                raise ValueError(f"expected a safetensors file, got {path}: {error}") from error
            for key in file.keys():  # noqa: SIM118 - no mapping
                if key in self._where or (listed is not None and listed.get(key) != name):
                    raise ValueError(f"expected {key} where {folder / _INDEX} says, got it in {path}")
                self._where[key] = (path, file)
        for key, name in (listed or {}).items():
            if key not in self._where:
                raise ValueError(f"expected {key} in {folder / name}, as {_INDEX} says, got no such key")
        self.folder = folder
        self.unused = set(self._where)

    def take(self, key: str, shape: tuple[int, ...]) -> np.ndarray:
        """The array of a key, which must have this shape."""
        if key not in self._where:
            raise ValueError(f"expected {key} {list(shape)} in {self.folder}, got no such key")
        path, file = self._where[key]
        part = file.get_slice(key)
        found, dtype = part.get_shape(), part.get_dtype()
        if tuple(found) != shape:
            raise ValueError(f"expected {key} of {path} to have shape {list(shape)}, got {list(found)}")
        if dtype not in _READ:
            raise ValueError(f"expected {key} of {path} to be of type {', '.join(_READ)}, got {dtype}")
        self.unused.discard(key)
        return file.get_tensor(key)

    def finish(self, config: ModelConfig, params: Params) -> None:
        """Refuse keys that nobody asked for, but for such as repeat what is known."""
        for key in sorted(self.unused):
            if key == "lm_head.weight" and config.tied:
                if (self.take(key, params["embed"].shape) == params["embed"]).all():
                    continue
                raise ValueError(
                    f"expected {key} of {self._where[key][0]} to be the embedding again, as config.json ties them, "
                    "got another matrix: set `tie_word_embeddings` to false"
                )
            if key.endswith("self_attn.rotary_emb.inv_freq"):
                known = frequencies(config)
                if np.allclose(self.take(key, known.shape).astype(np.float32), known, rtol=1e-2):
                    continue
            raise ValueError(
                f"expected only keys that parameters are made of, got {key} in {self._where[key][0]}"
            )


def _shapes(config: ModelConfig) -> Params:
    return jax.eval_shape(partial(initialise, Decoder(config)), jax.random.key(0))


def _at(tree: Params, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _file_shape(weight: Weight, shapes: Params) -> tuple[int, ...]:
    """What a weight's shape in a file must be."""
    ours = [_at(shapes, path).shape for path in weight.paths]
    if weight.transposed:
        ours = [shape[::-1] for shape in ours]
    return (sum(shape[0] for shape in ours), *ours[0][1:])


def _open(folder: Path) -> tuple[FamilyName, ModelConfig, _Files]:
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"expected a folder with a config.json, got {folder}")
    family, config = to_config(settings(path), path)
    return family, config, _Files(folder)


def _params(files: _Files, family: FamilyName, config: ModelConfig) -> Params:
    shapes, params = _shapes(config), {}
    for weight in weights(family, config):
        array = files.take(weight.name, _file_shape(weight, shapes))
        for path, value in zip(weight.paths, weight.to_ours(array, config), strict=True):
            tree = params
            for name in path[:-1]:
                tree = tree.setdefault(name, {})
            tree[path[-1]] = value
    return params


def read(folder: str | Path) -> tuple[ModelConfig, Params]:
    """Shape and parameters (NumPy, float32) of a language model: Llama, Qwen2 or GLM.

    Its tokenizer is read by `Tokenizer.read`. Raises ValueError for a folder that holds anything else.
    """
    family, config, files = _open(Path(folder))
    params = _params(files, family, config)
    files.finish(config, params)
    return config, params


def read_scorer(folder: str | Path) -> tuple[ModelConfig, Params, Head]:
    """Shape, trunk and scalar head of a reward model that is kept as a sequence classifier with one label.

    It has no language-model head, so the shape is a tied one, whose logits mean nothing.
    """
    family, config, files = _open(Path(folder))
    config = replace(config, tied=True)
    params = _params(files, family, config)
    kernel = files.take(_SCORE, (1, config.width))[0].astype(np.float32)
    files.finish(config, params)
    return config, params, {"kernel": kernel, "bias": np.zeros((), np.float32)}  # pyright: ignore


def write(
    folder: str | Path,
    config: ModelConfig,
    params: Params,
    *,
    tokenizer: Tokenizer | None = None,
    head: Head | None = None,
    family: FamilyName = "llama",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    context: int = 4096,
    part: int = _PART,
) -> None:
    """Write a folder that `transformers` loads: a language model, or with a `head` a classifier with one label.

    The folder must be new or empty, and appears as a whole or not at all. `context` is the number of tokens that
    the model is said to be trained on; weights are divided into files of up to `part` bytes. The classifier reads
    its score at the last token that is not the pad, and keeps no bias: the head's must be 0.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"expected a new or empty folder, got {folder}")
    if dtype not in _DTYPES:
        raise ValueError(f"expected `dtype` to be {', '.join(_DTYPES)}, got {dtype!r}")
    said = {**to_settings(family, config), "max_position_embeddings": context, "torch_dtype": dtype}
    _check_shapes(params, _shapes(config))
    if head is not None:
        if float(head["bias"]) != 0:
            raise ValueError(
                f"expected a head with bias 0, got {float(head['bias'])}: a classifier has no bias"
            )
        said |= {"architectures": [f"{FAMILIES[family].prefix}ForSequenceClassification"]}
        said |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    if tokenizer is not None and tokenizer.vocabulary > config.vocabulary:
        raise ValueError(
            f"expected a tokenizer of up to {config.vocabulary} ids, got {tokenizer.vocabulary}: "
            "the model has no embeddings for the others"
        )
    # Null where there is no tokenizer: left out, a default would be taken (GLM's pad is 151329, whatever the size).
    roles = {f"{role}_token_id": getattr(tokenizer, role, None) for role in ("bos", "eos", "pad")}
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        _write_weights(staging, family, config, params, head, dtype, part)
        _dump(staging / "config.json", said | roles)
        if tokenizer is not None:
            tokenizer.write(staging)
            _dump(staging / "generation_config.json", roles)
        staging.replace(folder)  # over an empty folder, too
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_weights(
    folder: Path,
    family: FamilyName,
    config: ModelConfig,
    params: Params,
    head: Head | None,
    dtype: str,
    part: int,
) -> None:
    """One file, or several and their index. No more than one of them is held in memory."""
    shapes = _shapes(config)
    listed = list(weights(family, config if head is None else replace(config, tied=True)))
    sizes = {w.name: int(np.prod(_file_shape(w, shapes))) * np.dtype(_DTYPES[dtype]).itemsize for w in listed}
    files: list[list[Weight]] = [[]]
    filled = 0
    for weight in listed:
        if files[-1] and filled + sizes[weight.name] > part:
            files.append([])
            filled = 0
        files[-1].append(weight)
        filled += sizes[weight.name]
    places: dict[str, str] = {}
    for number, group in enumerate(files, 1):
        name = _WEIGHTS if len(files) == 1 else f"model-{number:05}-of-{len(files):05}.safetensors"
        arrays = {weight.name: _cast(weight, config, params, dtype) for weight in group}
        if head is not None and number == len(files):
            arrays[_SCORE] = np.asarray(head["kernel"])[None].astype(_DTYPES[dtype])
        save_file(arrays, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(arrays, name)
    if len(files) > 1:
        _dump(folder / _INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": places})


def _cast(weight: Weight, config: ModelConfig, params: Params, dtype: str) -> np.ndarray:
    array = weight.to_theirs([np.asarray(_at(params, path)) for path in weight.paths], config)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(array.astype(_DTYPES[dtype]))
    if dtype == "float16" and not np.isfinite(cast).all():
        raise ValueError(
            f"expected {weight.name} to fit into float16, got {np.abs(array).max():.3g}: use bfloat16"
        )
    return cast


def _check_shapes(params: Params, shapes: Params) -> None:
    """Refuse parameters of another shape than the configuration's."""

    def flat(tree: Params) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {"/".join(key.key for key in path): tuple(np.shape(leaf)) for path, leaf in leaves}

    wanted, given = flat(shapes), flat(params)
    for path in sorted(wanted.keys() | given.keys()):
        if wanted.get(path) != given.get(path):
            expected, got = (list(t[path]) if path in t else "no such parameter" for t in (wanted, given))
            raise ValueError(f"expected {path} to be {expected}, as `config` says, got {got}")


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
