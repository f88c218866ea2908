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


_SHAPES: dict[str, dict[str, int | float | bool]] = {
    "tiny": {"width": 32, "layers": 2, "heads": 2, "kv_heads": 1, "hidden": 64},
    # GLM-4 in small: biases on queries, keys and values alone, two groups of heads that share keys and values, a
    # feed-forward part of 10/3 of the width, positions on half of each head, an output head of its own.
    "tiny-glm": {
        "width": 48,
        "layers": 2,
        "heads": 4,
        "kv_heads": 2,
        "hidden": 160,
        "bias": True,
        "rotary": 0.5,
        "tied": False,
        "norm_epsilon": 1.5625e-07,
    },
    "0.3m": {"width": 64, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 176},
    "1m": {"width": 128, "layers": 4, "heads": 4, "kv_heads": 4, "hidden": 352},
    "5m": {"width": 256, "layers": 5, "heads": 4, "kv_heads": 4, "hidden": 688},
}
PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary: int) -> ModelConfig:
    """The shape called `name` over `vocabulary` token ids.

    Sizes in the names count the trunk and a vocabulary of 2048 (4096 for `5m`). `tiny` is for tests.
    """
    if name not in _SHAPES:
        raise ValueError(f"expected a preset out of {', '.join(PRESETS)}, got {name!r}")
    return ModelConfig(vocabulary=vocabulary, **_SHAPES[name])  # pyright: ignore[reportArgumentType]
