"""Model shapes by name."""

from rlhf.model import ModelConfig

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
