"""Model shapes, and the ones that have a name. Without arrays, so that a recipe can be checked in no time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Llama 3's stretching of the rotary wavelengths for contexts longer than were trained on."""

    factor: float
    """By how much the longest wavelengths grow."""
    low: float
    """Wavelengths longer than `original` / `low` grow by the whole `factor`."""
    high: float
    """Wavelengths shorter than `original` / `high` stay as they are."""
    original: int
    """Tokens of context before the stretching."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder: everything of it that is not a weight."""

    vocabulary: int
    """Number of token ids."""
    width: int
    """Size of the residual stream."""
    layers: int
    """Number of blocks."""
    heads: int
    """Query heads."""
    kv_heads: int
    """Key and value heads; `heads` is a multiple of it."""
    hidden: int
    """Inner size of the feed-forward part."""
    head_size: int = 0
    """Size of one attention head; 0 stands for `width` / `heads`."""
    bias: bool = False
    """Biases on queries, keys and values (Qwen2, GLM-4); the other products never have one."""
    rotary: float = 1.0
    """Share of each head, from its first entry on, that carries the position (GLM-4: a half)."""
    tied: bool = True
    """The embedding is the output head too."""
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (arXiv 2104.09864)."""
    rope_scaling: RopeScaling | None = None
    """How long wavelengths are stretched, if they are."""
    norm_epsilon: float = 1e-5
    """Added to the mean square in RMSNorm."""

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers", "heads", "kv_heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")
        if self.head_size == 0:
            if self.width % self.heads:
                raise ValueError(
                    f"expected `width` to be a multiple of `heads`, got width={self.width}, heads={self.heads}: "
                    "set `head_size` where it is not"
                )
            object.__setattr__(self, "head_size", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise ValueError(
                f"expected `heads` to be a multiple of `kv_heads`, got heads={self.heads}, "
                f"kv_heads={self.kv_heads}"
            )
        if not 0 < self.rotary <= 1 or self.rotated % 2 or not self.rotated:
            raise ValueError(
                f"expected `rotary` to leave an even part of head_size={self.head_size}, got rotary={self.rotary}"
            )

    @property
    def rotated(self) -> int:
        """Entries of each head that carry the position."""
        return int(self.head_size * self.rotary)


def parameters(config: ModelConfig) -> int:
    """How many numbers a decoder of this shape is made of, scalar heads not counted."""
    queries, shared = config.heads * config.head_size, config.kv_heads * config.head_size
    attention = 2 * config.width * (queries + shared) + config.bias * (queries + 2 * shared)
    block = attention + 3 * config.width * config.hidden + 2 * config.width
    ends = config.vocabulary * config.width * (1 if config.tied else 2) + config.width
    return config.layers * block + ends


_Shape = dict[str, int | float | bool]
_QWEN: _Shape = {"bias": True, "rope_base": 1e6, "norm_epsilon": 1e-6}
_GLM: _Shape = {"kv_heads": 2, "bias": True, "rotary": 0.5, "tied": False, "norm_epsilon": 1.5625e-07}

_SHAPES: dict[str, _Shape] = {
    "tiny": {"width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "hidden": 64},
    # GLM-4 in small: biases on queries, keys and values alone, two groups of heads that share keys and values, a
    # feed-forward part of 10/3 of the width, positions on half of each head, an output head of its own.
    "tiny-glm": {**_GLM, "width": 48, "layers": 2, "heads": 4, "hidden": 160},
    "0.3m": {"width": 64, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 176},
    # The two differ in shape and not in size: what comes of the one and not of the other is the shape's.
    "0.9m": {"width": 112, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 328},
    "0.9m-glm": {**_GLM, "width": 96, "layers": 4, "heads": 4, "hidden": 320},
    "1m": {"width": 128, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 352},
    "5m": {"width": 256, "layers": 5, "heads": 4, "kv_heads": 4, "hidden": 688},
    "15m": {"width": 384, "layers": 8, "heads": 6, "kv_heads": 6, "hidden": 1024},
    "50m": {"width": 576, "layers": 14, "heads": 9, "kv_heads": 3, "hidden": 1536},
    "150m": {"width": 768, "layers": 24, "heads": 12, "kv_heads": 4, "hidden": 2048},
    # Qwen2.5-Coder, whose own vocabulary has 151936 ids.
    "0.5b": {**_QWEN, "width": 896, "layers": 24, "heads": 14, "kv_heads": 2, "hidden": 4864},
    "1.5b": {**_QWEN, "width": 1536, "layers": 28, "heads": 12, "kv_heads": 2, "hidden": 8960},
    "3b": {**_QWEN, "width": 2048, "layers": 36, "heads": 16, "kv_heads": 2, "hidden": 11008},
    "7b": {**_QWEN, "width": 3584, "layers": 28, "heads": 28, "kv_heads": 4, "hidden": 18944, "tied": False},
    # Llama 2, with 32000 ids of its own.
    "7b-llama": {"width": 4096, "layers": 32, "heads": 32, "kv_heads": 32, "hidden": 11008, "tied": False},
    # GLM-4-9B, with 151552 ids of its own, in heads of 128; and its proportions at a quarter of the width.
    "0.6b-glm": {**_GLM, "width": 1024, "layers": 20, "heads": 8, "hidden": 3424},
    "9b-glm": {**_GLM, "width": 4096, "layers": 40, "heads": 32, "hidden": 13696},
}
PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary: int) -> ModelConfig:
    """The shape called `name` over `vocabulary` token ids.

    Sizes in the names count all parameters: up to `150m` with a vocabulary of 2048 (4096 for `5m`), from `0.5b` on
    with that of the model whose shape it is (a 7B of Qwen2.5 has 7.6). `parameters` gives the count with any other.
    `tiny` is for tests.
    """
    if name not in _SHAPES:
        raise ValueError(f"expected a preset out of {', '.join(PRESETS)}, got {name!r}")
    return ModelConfig(vocabulary=vocabulary, **_SHAPES[name])  # pyright: ignore[reportArgumentType]
