"""Model shapes, and the ones that have a name. Without arrays, so that a recipe can be checked in no time."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder."""

    vocabulary: int
    """Number of token ids."""
    width: int
    """Size of the residual stream."""
    layers: int
    """Number of blocks."""
    heads: int
    """Query heads; `width` is a multiple of it."""
    kv_heads: int
    """Key and value heads; `heads` is a multiple of it."""
    hidden: int
    """Inner size of the feed-forward part."""
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (arXiv 2104.09864)."""
    norm_epsilon: float = 1e-5
    """Added to the mean square in RMSNorm."""

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(
                f"expected `width` to be an even multiple of `heads`, got width={self.width}, heads={self.heads}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"expected `heads` to be a multiple of `kv_heads`, got heads={self.heads}, "
                f"kv_heads={self.kv_heads}"
            )

    @property
    def head_size(self) -> int:
        """Size of one attention head."""
        return self.width // self.heads


_SHAPES = {
    # name: width, layers, heads, kv_heads, hidden
    "tiny": (32, 2, 2, 1, 64),
    "0.3m": (64, 4, 4, 4, 176),
    "1m": (128, 4, 4, 4, 352),
    "5m": (256, 5, 4, 4, 688),
}
PRESETS = tuple(_SHAPES)


def preset(name: str, vocabulary: int) -> ModelConfig:
    """The shape called `name` over `vocabulary` token ids.

    Sizes in the names count the trunk and a vocabulary of 2048 (4096 for `5m`). `tiny` is for tests.
    """
    if name not in _SHAPES:
        raise ValueError(f"expected a preset out of {', '.join(PRESETS)}, got {name!r}")
    width, layers, heads, kv_heads, hidden = _SHAPES[name]
    return ModelConfig(
        vocabulary=vocabulary, width=width, layers=layers, heads=heads, kv_heads=kv_heads, hidden=hidden
    )
