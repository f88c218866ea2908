"""What the model families of Hugging Face call things: the settings of config.json, and the weights by name.

A family of theirs and a shape of ours describe the same functions; what differs is spelling and the order of rows:

- their products are ``[outputs, inputs]``, ours ``[inputs, outputs]``;
- GLM turns the neighbours 2i and 2i + 1 of a head together, ours turns i and i + rotated / 2. The rows of the query
  and key products are put in our order, which leaves every dot product of a query and a key as it was;
- GLM keeps gate and up as one product, gate first.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rlhf.presets import ModelConfig, RopeScaling

FamilyName = Literal["llama", "qwen2", "glm"]
Path = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Family:
    prefix: str
    """Of the class names of its models."""
    bias: bool | None
    """Whether queries, keys and values have biases; None: as `attention_bias` says."""
    neighbours: bool = False
    """Whether neighbouring entries of a head are turned together."""
    merged: bool = False
    """Whether gate and up are one product."""
    rotary: float = 1.0
    """Share of a head that is turned, where config.json says nothing."""
    epsilon: float = 1e-6
    """Of the norms, where config.json says nothing."""


FAMILIES: dict[str, _Family] = {
    "llama": _Family(prefix="Llama", bias=False),
    "qwen2": _Family(prefix="Qwen2", bias=True),
    "glm": _Family(prefix="Glm", bias=None, neighbours=True, merged=True, rotary=0.5, epsilon=1.5625e-07),
}
_SCALED = {
    "factor": "factor",
    "low": "low_freq_factor",
    "high": "high_freq_factor",
    "original": "original_max_position_embeddings",
}


@dataclass(frozen=True)
class Weight:
    """One array of a file, and where its rows go."""

    name: str
    """Its key in the file."""
    paths: tuple[Path, ...]
    """Our parameters: one, or several whose outputs lie one after the other."""
    heads: int = 0
    """How many heads of neighbouring pairs its rows are; 0: rows are in our order."""

    @property
    def transposed(self) -> bool:
        """Whether the file has outputs first where ours have inputs first."""
        return self.paths[0][-1] == "kernel"

    def to_ours(self, array: np.ndarray, config: ModelConfig) -> list[np.ndarray]:
        """Our parameters, float32, of the file's array."""
        if self.heads:
            array = self._reordered(array, neighbours(config))
        parts = np.split(array, len(self.paths))
        return [np.array(part.T if self.transposed else part, np.float32, order="C") for part in parts]

    def to_theirs(self, arrays: list[np.ndarray], config: ModelConfig) -> np.ndarray:
        """The file's array of our parameters."""
        array = np.concatenate([part.T if self.transposed else part for part in arrays])
        if self.heads:
            array = self._reordered(array, np.argsort(neighbours(config)))
        return array

    def _reordered(self, array: np.ndarray, order: np.ndarray) -> np.ndarray:
        return array.reshape(self.heads, -1, *array.shape[1:])[:, order].reshape(array.shape)


def neighbours(config: ModelConfig) -> np.ndarray:
    """At which entry of a head of neighbouring pairs each entry of ours is."""
    turned = config.rotated
    return np.concatenate(
        [np.arange(0, turned, 2), np.arange(1, turned, 2), np.arange(turned, config.head_size)]
    )


def weights(family: FamilyName, config: ModelConfig) -> Iterator[Weight]:
    """All weights of a decoder, in the order of the computation."""
    style = FAMILIES[family]
    yield Weight("model.embed_tokens.weight", (("embed",),))
    for index in range(config.layers):
        theirs, ours = f"model.layers.{index}.", f"block_{index}"
        yield Weight(theirs + "input_layernorm.weight", ((ours, "attention_norm", "scale"),))
        for part, heads in (("q", config.heads), ("k", config.kv_heads), ("v", config.kv_heads)):
            turned = heads if style.neighbours and part != "v" else 0
            name = f"{theirs}self_attn.{part}_proj."
            yield Weight(name + "weight", ((ours, "attention", part, "kernel"),), turned)
            if config.bias:
                yield Weight(name + "bias", ((ours, "attention", part, "bias"),), turned)
        yield Weight(theirs + "self_attn.o_proj.weight", ((ours, "attention", "o", "kernel"),))
        yield Weight(theirs + "post_attention_layernorm.weight", ((ours, "mlp_norm", "scale"),))
        gate, up = (ours, "mlp", "gate", "kernel"), (ours, "mlp", "up", "kernel")
        if style.merged:
            yield Weight(theirs + "mlp.gate_up_proj.weight", (gate, up))
        else:
            yield Weight(theirs + "mlp.gate_proj.weight", (gate,))
            yield Weight(theirs + "mlp.up_proj.weight", (up,))
        yield Weight(theirs + "mlp.down_proj.weight", ((ours, "mlp", "down", "kernel"),))
    yield Weight("model.norm.weight", (("norm", "scale"),))
    if not config.tied:
        yield Weight("lm_head.weight", (("lm",),))


def to_config(settings: Mapping[str, Any], source: object) -> tuple[FamilyName, ModelConfig]:
    """The family and the shape of a config.json. Raises ValueError that names `source` for what we cannot compute."""

    def expect(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ValueError(f"expected `{name}` of {source} to be {expected}, got {settings.get(name)!r}")

    family = settings.get("model_type")
    expect(family in FAMILIES, "model_type", " or ".join(FAMILIES))
    style = FAMILIES[str(family)]
    expect(settings.get("hidden_act", "silu") == "silu", "hidden_act", "'silu'")
    expect(not settings.get("mlp_bias"), "mlp_bias", "false")
    expect(not settings.get("use_sliding_window"), "use_sliding_window", "false")
    layers = settings.get("layer_types") or []
    expect(all(kind == "full_attention" for kind in layers), "layer_types", "'full_attention' in every layer")
    expect(settings.get("quantization_config") is None, "quantization_config", "absent")
    bias = settings.get("attention_bias")
    if family == "llama":
        expect(not bias, "attention_bias", "false (where it is true the output product has a bias too)")
    for name in (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    ):
        expect(type(settings.get(name)) is int, name, "a whole number")
    heads = settings["num_attention_heads"]
    base, rotary, scaling = _rope(settings, style, source)
    expect(rotary == 1 or family == "glm", "partial_rotary_factor", "1 outside of glm")
    config = ModelConfig(
        vocabulary=settings["vocab_size"],
        width=settings["hidden_size"],
        layers=settings["num_hidden_layers"],
        heads=heads,
        kv_heads=settings.get("num_key_value_heads") or heads,
        hidden=settings["intermediate_size"],
        head_size=settings.get("head_dim") or settings["hidden_size"] // heads,
        bias=style.bias if style.bias is not None else bias is not False,
        rotary=rotary,
        tied=bool(settings.get("tie_word_embeddings", False)),
        rope_base=base,
        rope_scaling=scaling,
        norm_epsilon=settings.get("rms_norm_eps", style.epsilon),
    )
    return family, config  # pyright: ignore[reportReturnType]


def _rope(
    settings: Mapping[str, Any], style: _Family, source: object
) -> tuple[float, float, RopeScaling | None]:
    """Base, rotated share and scaling, from where older files (top level, `rope_scaling`) and newer ones keep them."""
    rope: dict[str, Any] = {name: settings.get(name) for name in ("rope_theta", "partial_rotary_factor")}
    for name in ("rope_scaling", "rope_parameters"):
        rope |= {key: value for key, value in (settings.get(name) or {}).items() if value is not None}
    base = rope.pop("rope_theta") or 10_000.0
    rotary = rope.pop("partial_rotary_factor") or style.rotary
    older = rope.pop("type", "default")
    kind = rope.pop("rope_type", older)
    if kind == "llama3":
        rope.setdefault("original_max_position_embeddings", settings.get("max_position_embeddings"))
        if set(rope) != set(_SCALED.values()):
            raise ValueError(
                f"expected {', '.join(_SCALED.values())} for llama3 rope of {source}, got {rope}"
            )
        return base, rotary, RopeScaling(**{ours: rope[theirs] for ours, theirs in _SCALED.items()})
    if kind != "default" or rope:
        raise ValueError(f"expected rope of type default or llama3 in {source}, got {kind!r} with {rope}")
    return base, rotary, None


def to_settings(family: FamilyName, config: ModelConfig) -> dict[str, Any]:
    """config.json of a language model of this shape. Raises ValueError where the family has no such shape."""
    if family not in FAMILIES:
        raise ValueError(f"expected `family` to be {' or '.join(FAMILIES)}, got {family!r}")
    style = FAMILIES[family]
    if style.bias is not None and config.bias != style.bias:
        raise ValueError(
            f"expected a model {'with' if style.bias else 'without'} biases for {family}, got bias={config.bias}: "
            "qwen2 has them, llama has not, glm may"
        )
    if config.rotary != 1 and family != "glm":
        raise ValueError(f"expected rotary=1 for {family}, got {config.rotary}: write it as glm")
    settings: dict[str, Any] = {
        "architectures": [f"{style.prefix}ForCausalLM"],
        "model_type": family,
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_size,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "tie_word_embeddings": config.tied,
        "attention_bias": config.bias,
        "rope_theta": config.rope_base,
        "rope_scaling": None,
    }
    if family == "glm":
        settings["partial_rotary_factor"] = config.rotary
    if (scaling := config.rope_scaling) is not None:
        spelled = {theirs: getattr(scaling, ours) for ours, theirs in _SCALED.items()}
        settings["rope_scaling"] = {"rope_type": "llama3", **spelled}
    return settings
