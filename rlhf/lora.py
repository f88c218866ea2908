"""Low-rank adapters (arXiv 2106.09685): W + (alpha / rank) A B, with A and B trained and W left as it is.

On the parameter tree, not on modules: an update merges, and the gradient flows through the merging. So any stage's
loss works on adapters without knowing of them, and the reference of PPO or DPO is the frozen base at no cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from rlhf.model import Params


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Which products get adapters, and how large ones."""

    rank: int = 8
    """Inner size of the adapters."""
    alpha: float = 16.0
    """The product of the adapters counts alpha / rank times."""
    targets: tuple[str, ...] = ("q", "k", "v", "o", "gate", "up", "down")
    """Names of the products that get adapters."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected `rank` to be positive, got {self.rank}")


def attach(params: Params, lora: Lora, key: Array) -> Params:
    """Fresh adapters for `params`: A uniform within 1 / sqrt(inputs), B zero, so that nothing changes yet."""

    def walk(tree: Params, key: Array) -> Params:
        found = {}
        for index, (name, value) in enumerate(sorted(tree.items())):
            here = jax.random.fold_in(key, index)
            if name in lora.targets and "kernel" in value:
                inputs, outputs = value["kernel"].shape
                bound = inputs**-0.5
                a = jax.random.uniform(here, (inputs, lora.rank), jnp.float32, -bound, bound)
                found[name] = {"a": a, "b": jnp.zeros((lora.rank, outputs), jnp.float32)}
            elif isinstance(value, Mapping) and (below := walk(dict(value), here)):
                found[name] = below
        return found

    adapters = walk(params, key)
    if not adapters:
        raise ValueError(f"expected `targets` to name products of the model, got {', '.join(lora.targets)}")
    return adapters


def merge(params: Params, adapters: Params, lora: Lora) -> Params:
    """`params` with the adapters added in; arrays without adapters are shared, not copied."""
    merged = dict(params)
    for name, adapter in adapters.items():
        if "a" in adapter:
            change = (lora.alpha / lora.rank) * (adapter["a"] @ adapter["b"])
            merged[name] = {**params[name], "kernel": params[name]["kernel"] + change}
        else:
            merged[name] = merge(params[name], adapter, lora)
    return merged
