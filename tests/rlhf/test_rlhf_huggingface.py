"""Folders of Hugging Face models: read, written, and refused. As a command, the table of parity with transformers.

python tests/rlhf/test_rlhf_huggingface.py           prints the table
python tests/rlhf/test_rlhf_huggingface.py golden    makes the files in tests/rlhf/golden anew
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from rlhf.families import FAMILIES, neighbours, to_config, to_settings
from rlhf.huggingface import read, read_scorer, write
from rlhf.model import Decoder, Head, Params, hidden_states, initialise, logits_of, scalar
from rlhf.presets import ModelConfig, RopeScaling, preset
from rlhf.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent / "golden"
ATOL = 1e-4
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": False}),
    "llama, tied, all heads": ("llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama, scaled rope": ("llama", {"rope_parameters": LLAMA3, "head_dim": 12}),
    "qwen2": (
        "qwen2",
        {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
    ),
    "qwen2, untied": ("qwen2", {"tie_word_embeddings": False}),
    "glm": ("glm", {"head_dim": 8}),
    "glm, no biases, all turned": (
        "glm",
        {
            "head_dim": 8,
            "attention_bias": False,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 1.0},
        },
    ),
}
_GOLDEN_CASES = {"llama": "llama, scaled rope", "qwen2": "qwen2", "glm": "glm"}


def _foreign(case: str, kind: str = "CausalLM") -> Any:
    """A model of transformers whose every weight matters: fresh ones have norms of 1 and biases of 0."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    family, more = CASES[case]
    names = {"llama": "Llama", "qwen2": "Qwen2", "glm": "Glm"}
    config = getattr(transformers, names[family] + "Config")(**{**_SMALL, **more})
    if kind != "CausalLM":
        config.num_labels = 1
    model = getattr(transformers, f"{names[family]}For{kind}")(config).eval()
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.uniform_(0.5, 1.5, generator=noise)
            else:
                weight.normal_(0.0, 0.6 if "embed" in name else 0.25, generator=noise)
            weight.copy_(weight.bfloat16().float())
    return model


def _their_logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.float().numpy()


@partial(jax.jit, static_argnums=0)
def _run(decoder: Decoder, params: Params, tokens: jax.Array) -> jax.Array:
    return logits_of(decoder, params, hidden_states(decoder, params, tokens))


def _our_logits(config: ModelConfig, params: Params, tokens: np.ndarray) -> np.ndarray:
    return np.asarray(_run(Decoder(config), params, jnp.asarray(tokens)))


def _tokens(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 96, (2, 40)).astype(np.int32)


def _parity(case: str, folder: Path) -> tuple[float, float, float]:
    """Largest difference of logits: theirs read by us, ours read by them; and how far theirs spread."""
    transformers = pytest.importorskip("transformers")
    model, tokens = _foreign(case), _tokens()
    model.save_pretrained(folder / "theirs")
    theirs = _their_logits(model, tokens)
    config, params = read(folder / "theirs")
    read_by_us = np.abs(_our_logits(config, params, tokens) - theirs).max()

    rng = np.random.default_rng(6)
    mine = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.05, leaf.shape).astype(np.float32), params)
    write(folder / "ours", config, mine, family=CASES[case][0], context=128)  # pyright: ignore[reportArgumentType]
    loaded, notes = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "ours", output_loading_info=True
    )
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    ours = _our_logits(config, mine, tokens)
    read_by_them = np.abs(_their_logits(loaded.eval(), tokens) - ours).max()
    return float(read_by_us), float(read_by_them), float(theirs.std())


@pytest.mark.peers
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers_both_ways(case: str, tmp_path: Path) -> None:
    read_by_us, read_by_them, spread = _parity(case, tmp_path)
    assert spread > 1  # else agreement says little
    assert read_by_us < ATOL
    assert read_by_them < ATOL


@pytest.mark.peers
@pytest.mark.parametrize("case", _GOLDEN_CASES.values())
def test_reward_models_score_as_in_transformers_both_ways(case: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    model, tokens, lengths = _foreign(case, "SequenceClassification"), _tokens(), [40, 23]
    for row, length in enumerate(lengths):
        tokens[row, length:] = 0  # their pad
    with torch.no_grad():
        theirs = model(torch.tensor(tokens)).logits[:, 0].numpy()
    model.save_pretrained(tmp_path / "theirs")
    config, params, head = read_scorer(tmp_path / "theirs")

    def scores(params: Params, head: Head) -> np.ndarray:
        hidden = hidden_states(Decoder(config), params, jnp.asarray(tokens))
        return np.asarray(scalar(head, hidden))[[0, 1], [length - 1 for length in lengths]]

    np.testing.assert_allclose(scores(params, head), theirs, atol=ATOL)
    with pytest.raises(ValueError, match=r"lm_head\.weight|score\.weight"):
        read(tmp_path / "theirs")
    head = {**head, "kernel": head["kernel"] * 2}
    write(tmp_path / "ours", config, params, head=head, family=CASES[case][0])  # pyright: ignore[reportArgumentType]
    settings = json.loads((tmp_path / "ours/config.json").read_text())
    (tmp_path / "ours/config.json").write_text(json.dumps({**settings, "pad_token_id": 0}))
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        again = loaded(torch.tensor(tokens)).logits[:, 0].numpy()
    np.testing.assert_allclose(again, scores(params, head), atol=ATOL)


@pytest.mark.peers
def test_stretched_frequencies_are_those_of_transformers() -> None:
    from rlhf.attention import frequencies

    theirs = _foreign("llama, scaled rope").model.rotary_emb.inv_freq.numpy()
    config = to_config({"model_type": "llama", **_SMALL, **CASES["llama, scaled rope"][1]}, "here")[1]
    assert config.rope_scaling is not None
    np.testing.assert_allclose(frequencies(config), theirs, rtol=1e-6)
    assert np.abs(frequencies(replace(config, rope_scaling=None)) / theirs - 1).max() > 1


# --- without torch


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_logits_of_transformers(family: str) -> None:
    """Small folders with tokens and the logits that transformers computed: bfloat16 weights, products in float32."""
    config, params = read(GOLDEN / family)
    expected = np.load(GOLDEN / family / "expected.npz")
    assert expected["logits"].std() > 1
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(_our_logits(config, params, expected["tokens"]), expected["logits"], atol=ATOL)


def _random(config: ModelConfig, seed: int = 0) -> Params:
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(partial(initialise, Decoder(config)), jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


LLAMA = replace(preset("tiny", 96), rope_scaling=RopeScaling(factor=4.0, low=1.0, high=4.0, original=64))
QWEN = replace(preset("tiny", 96), bias=True, tied=False, head_size=12, rope_base=1e6)
GLM = preset("tiny-glm", 96)
SHAPES: list[tuple[Any, ModelConfig]] = [("llama", LLAMA), ("qwen2", QWEN), ("glm", GLM)]


@pytest.mark.parametrize(("family", "config"), SHAPES)
@pytest.mark.parametrize("part", [10**9, 20_000])
def test_what_is_written_comes_back(family: Any, config: ModelConfig, part: int, tmp_path: Path) -> None:
    """In one file and in several, bit by bit."""
    params = _random(config)
    write(tmp_path / "new" / "model", config, params, family=family, part=part)
    files = sorted(path.name for path in (tmp_path / "new/model").glob("*.safetensors"))
    assert (len(files) > 1) == (part < 10**9)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    settings = json.loads((tmp_path / "new/model/config.json").read_text())
    assert [settings[f"{role}_token_id"] for role in ("pad", "bos", "eos")] == [None] * 3
    found, back = read(tmp_path / "new" / "model")
    assert found == config
    assert jax.tree.structure(back) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize(("dtype", "kind"), [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)])
def test_half_precision_is_rounded_once_and_read_to_float32(dtype: Any, kind: Any, tmp_path: Path) -> None:
    params = _random(GLM)
    write(tmp_path / "model", GLM, params, family="glm", dtype=dtype)
    assert load_file(tmp_path / "model/model.safetensors")["model.norm.weight"].dtype == kind
    assert json.loads((tmp_path / "model/config.json").read_text())["torch_dtype"] == dtype
    _, back = read(tmp_path / "model")
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, b.astype(kind).astype(np.float32)), back, params
    )
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(back))


def test_what_does_not_fit_into_float16_is_refused(tmp_path: Path) -> None:
    params = _random(LLAMA)
    params["norm"] = {"scale": params["norm"]["scale"] + np.float32(1e5)}
    with pytest.raises(ValueError, match=r"model\.norm\.weight to fit into float16.*bfloat16"):
        write(tmp_path / "model", LLAMA, params, dtype="float16")
    assert not list(tmp_path.iterdir())


def test_neighbouring_pairs_and_halves_turn_alike() -> None:
    """Rotating neighbours in their order is rotating halves in ours, for queries, keys and biases."""
    rng = np.random.default_rng(3)
    row, order = rng.normal(size=GLM.head_size), neighbours(GLM)
    turned = row.copy()
    for pair in range(GLM.rotated // 2):
        angle = 5 * oracle.rope_frequency(GLM, pair)
        a, b = row[2 * pair], row[2 * pair + 1]
        turned[2 * pair : 2 * pair + 2] = (
            a * np.cos(angle) - b * np.sin(angle),
            b * np.cos(angle) + a * np.sin(angle),
        )
    from rlhf.attention import rotate, turns

    ours = rotate(
        jnp.asarray(row[order], jnp.float32)[None, None, None], turns(GLM, jnp.array([[5]])), GLM.rotated
    )
    np.testing.assert_allclose(np.asarray(ours)[0, 0, 0], turned[order], atol=1e-5)
    assert sorted(order) == list(range(GLM.head_size))
    assert (order[GLM.rotated :] == np.arange(GLM.rotated, GLM.head_size)).all()


def test_a_reward_model_comes_back_without_its_language_head(tmp_path: Path) -> None:
    head = {"kernel": np.arange(48, dtype=np.float32), "bias": np.float32(0)}
    write(tmp_path / "model", GLM, _random(GLM), head=head, family="glm", part=20_000)  # pyright: ignore
    config, params, back = read_scorer(tmp_path / "model")
    assert config == replace(GLM, tied=True)
    assert "lm" not in params
    np.testing.assert_array_equal(back["kernel"], head["kernel"])
    with pytest.raises(ValueError, match=r"bias 0, got 0\.5"):
        write(tmp_path / "other", GLM, _random(GLM), family="glm", head={**head, "bias": np.float32(0.5)})  # pyright: ignore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "model", LLAMA, _random(LLAMA))
    return tmp_path / "model"


def _edit(folder: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    arrays = dict(load_file(folder / "model.safetensors"))
    change(arrays)
    save_file(arrays, folder / "model.safetensors")


_KEY = "model.layers.1.mlp.up_proj.weight"


def test_a_missing_key_is_named(folder: Path) -> None:
    _edit(folder, lambda arrays: arrays.pop(_KEY))
    with pytest.raises(
        ValueError, match=r"expected model\.layers\.1\.mlp\.up_proj\.weight \[64, 32\] in .*model, got no"
    ):
        read(folder)


def test_a_key_too_many_is_named(folder: Path) -> None:
    _edit(folder, lambda arrays: arrays.update({"model.layers.2.mlp.up_proj.weight": arrays[_KEY]}))
    with pytest.raises(
        ValueError, match=r"got model\.layers\.2\.mlp\.up_proj\.weight in .*model\.safetensors"
    ):
        read(folder)


def test_a_wrong_shape_is_named_beside_the_right_one(folder: Path) -> None:
    _edit(folder, lambda arrays: arrays.update({_KEY: np.ascontiguousarray(arrays[_KEY].T)}))
    with pytest.raises(
        ValueError, match=r"up_proj\.weight of .*model\.safetensors .*\[64, 32\], got \[32, 64\]"
    ):
        read(folder)


def test_a_wrong_type_is_named(folder: Path) -> None:
    _edit(folder, lambda arrays: arrays.update({_KEY: arrays[_KEY].astype(np.int32)}))
    with pytest.raises(ValueError, match=r"up_proj\.weight of .*F32, BF16, F16, got I32"):
        read(folder)


def test_a_tied_head_may_be_repeated_but_not_differ(folder: Path) -> None:
    _edit(folder, lambda arrays: arrays.update({"lm_head.weight": arrays["model.embed_tokens.weight"]}))
    assert read(folder)[0] == LLAMA
    _edit(folder, lambda arrays: arrays.update({"lm_head.weight": arrays["model.embed_tokens.weight"] + 1}))
    with pytest.raises(ValueError, match=r"lm_head\.weight of .*tie_word_embeddings"):
        read(folder)


def test_kept_frequencies_must_be_the_right_ones(folder: Path) -> None:
    """Older files of Llama have them beside the weights."""
    key = "model.layers.0.self_attn.rotary_emb.inv_freq"
    known = np.array([oracle.rope_frequency(LLAMA, pair) for pair in range(8)], np.float32)
    _edit(folder, lambda arrays: arrays.update({key: known}))
    assert read(folder)[0] == LLAMA
    _edit(folder, lambda arrays: arrays.update({key: known * np.float32(1.1)}))
    with pytest.raises(ValueError, match="inv_freq"):
        read(folder)


def test_damaged_files_are_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"safetensors file, got .*model\.safetensors"):
        read(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"weights in .*model\.safetensors, got no such file"):
        read(folder)
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match=r"config\.json, got .*model"):
        read(folder)


@given(st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_anywhere_is_refused(whole: Path, share: float) -> None:
    path = whole / "model.safetensors"
    content = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(whole / "config.json", folder)
        (Path(folder) / path.name).write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"safetensors file, got .*model\.safetensors"):
            read(folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "model"
    write(folder, LLAMA, _random(LLAMA))
    return folder


@pytest.mark.parametrize(("content", "message"), [("{", "JSON in"), ("[1]", "a JSON object in .*, got list")])
def test_broken_settings_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message + r".*config\.json" if "got" not in message else message):
        read(folder)


def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model", LLAMA, _random(LLAMA), part=20_000)
    path = tmp_path / "model/model.safetensors.index.json"
    index = json.loads(path.read_text())
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(_random(LLAMA)))
    assert index["metadata"]["total_size"] == total

    def refused(places: Mapping[str, str], message: str) -> None:
        path.write_text(json.dumps({**index, "weight_map": places}))
        with pytest.raises(ValueError, match=message):
            read(tmp_path / "model")

    places = index["weight_map"]
    first, last = places["model.embed_tokens.weight"], places["model.norm.weight"]
    assert first != last
    refused({**places, "model.norm.weight": first}, r"expected model\.norm\.weight where")
    refused({**places, "model.extra": first}, r"expected model\.extra in .*, got no such key")
    refused(
        {k: v for k, v in places.items() if k != _KEY},
        r"expected model\.layers\.1\.mlp\.up_proj\.weight where",
    )
    refused(
        {**places, "model.norm.weight": "../x.safetensors"}, r"names of files beside .*'\.\./x\.safetensors'"
    )
    refused([], r"`weight_map` in .*index\.json, got \[\]")  # pyright: ignore[reportArgumentType]
    refused({**places, "model.norm.weight": "gone.safetensors"}, r"gone\.safetensors, got no such file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "glm4"}, "`model_type` of here to be llama or qwen2 or glm, got 'glm4'"),
        ({"model_type": "mistral"}, "'mistral'"),
        ({"hidden_act": "gelu"}, "`hidden_act` of here to be 'silu', got 'gelu'"),
        ({"mlp_bias": True}, "`mlp_bias`"),
        ({"attention_bias": True}, "`attention_bias`.*output product"),
        ({"use_sliding_window": True}, "`use_sliding_window`"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "`layer_types`"),
        ({"quantization_config": {"bits": 4}}, "`quantization_config`"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "default or llama3 in here, got 'linear'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "'yarn'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "'default' with .*full_attention"),
        ({"partial_rotary_factor": 0.5}, "`partial_rotary_factor`"),
        ({"vocab_size": None}, "`vocab_size` of here to be a whole number, got None"),
        ({"num_key_value_heads": 3}, "kv_heads=3"),
    ],
)
def test_settings_that_we_do_not_compute_are_refused(change: dict[str, Any], message: str) -> None:
    plain = {"model_type": "llama", **_SMALL}
    assert to_config(plain, "here")[1].kv_heads == 2
    with pytest.raises(ValueError, match=message):
        to_config({**plain, **change}, "here")


def test_settings_have_the_defaults_of_their_family() -> None:
    """And the places in which older and newer files keep the base of the rotation."""

    def config(**more: Any) -> ModelConfig:
        return to_config({**_SMALL, **more}, "here")[1]

    llama, qwen, glm = (config(model_type=name) for name in ("llama", "qwen2", "glm"))
    assert (llama.bias, qwen.bias, glm.bias) == (False, True, True)
    assert (llama.rotary, qwen.rotary, glm.rotary) == (1, 1, 0.5)
    assert (llama.norm_epsilon, qwen.norm_epsilon, glm.norm_epsilon) == (1e-6, 1e-6, 1.5625e-07)
    assert [c.tied for c in (llama, qwen, glm)] == [False] * 3
    assert llama.head_size == 8
    assert config(model_type="llama", num_key_value_heads=None).kv_heads == 4
    assert not config(model_type="glm", attention_bias=False).bias
    older = {"rope_theta": 5e5, "rope_scaling": {k: v for k, v in LLAMA3.items() if k != "rope_theta"}}
    newer = {"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}
    assert config(model_type="llama", **older) == config(model_type="llama", **newer)
    assert config(model_type="llama", **older).rope_scaling == RopeScaling(
        factor=8, low=1, high=4, original=64
    )
    renamed = {"type" if k == "rope_type" else k: v for k, v in LLAMA3.items()}
    assert config(model_type="llama", rope_scaling=renamed).rope_scaling is not None


@pytest.mark.parametrize(("family", "config"), SHAPES)
def test_settings_come_back(family: Any, config: ModelConfig) -> None:
    assert to_config(to_settings(family, config), "here") == (family, config)


@pytest.mark.parametrize(
    ("family", "config", "message"),
    [
        ("llama", QWEN, "without biases for llama"),
        ("qwen2", LLAMA, "with biases for qwen2"),
        ("qwen2", replace(QWEN, rotary=0.5, head_size=16), "rotary=1 for qwen2"),
        ("mistral", LLAMA, "llama or qwen2 or glm, got 'mistral'"),
    ],
)
def test_shapes_that_a_family_has_not_are_refused(family: Any, config: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_settings(family, config)


def test_parameters_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected embed to be \[97, 32\].*got \[96, 32\]"):
        write(tmp_path / "model", replace(LLAMA, vocabulary=97), _random(LLAMA))
    with pytest.raises(ValueError, match=r"expected lm to be \[96, 32\].*got no such parameter"):
        write(tmp_path / "model", replace(LLAMA, tied=False), _random(LLAMA))
    with pytest.raises(ValueError, match=r"`dtype`.*'int8'"):
        write(tmp_path / "model", LLAMA, _random(LLAMA), dtype="int8")  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"new or empty folder, got .*model"):
        write(folder, LLAMA, _random(LLAMA, 1))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_tokenizer_is_written_beside_the_model(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(["def f(x):\n    return x\n"] * 5, 270)
    config = preset("tiny", tokenizer.vocabulary + 2)
    (tmp_path / "model").mkdir()
    write(tmp_path / "model", config, _random(config), tokenizer=tokenizer)
    settings = json.loads((tmp_path / "model/config.json").read_text())
    assert settings.items() >= json.loads((tmp_path / "model/generation_config.json").read_text()).items()
    assert [settings[f"{role}_token_id"] for role in ("pad", "bos", "eos")] == [0, 1, 2]
    back = Tokenizer.read(tmp_path / "model")
    assert back.vocabulary == config.vocabulary
    assert back.encode("def g(x):") == tokenizer.encode("def g(x):")
    with pytest.raises(ValueError, match="up to 96 ids, got 270"):
        write(tmp_path / "other", LLAMA, _random(LLAMA), tokenizer=tokenizer)


def make_golden() -> None:
    """Small checkpoints with the logits that transformers computes."""
    torch = pytest.importorskip("torch")
    for family, case in _GOLDEN_CASES.items():
        model, tokens = _foreign(case), _tokens()[:, :12]
        logits = _their_logits(model, tokens)
        shutil.rmtree(GOLDEN / family, ignore_errors=True)
        model.to(torch.bfloat16).save_pretrained(GOLDEN / family)
        (GOLDEN / family / "generation_config.json").unlink(missing_ok=True)
        np.savez_compressed(GOLDEN / family / "expected.npz", tokens=tokens, logits=logits)


def print_table() -> None:
    """Largest difference of logits per family and direction."""
    print(f"{'case':30}{'theirs, read by us':>20}{'ours, read by them':>20}{'deviation of logits':>22}")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            read_by_us, read_by_them, spread = _parity(case, Path(folder))
        print(f"{case:30}{read_by_us:20.1e}{read_by_them:20.1e}{spread:22.2f}")


if __name__ == "__main__":
    make_golden() if sys.argv[1:] == ["golden"] else print_table()
