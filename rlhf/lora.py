"""Low-rank adapters (arXiv 2106.09685): W + (alpha / rank) A B, with A and B trained and W left as it is.

On the parameter tree, not on modules: an update merges, and the gradient flows through the merging. So any stage's
loss works on adapters without knowing of them, and the reference of PPO or DPO is the frozen base at no cost. A
scalar head has no adapters and is trained as it is. Moments and checkpoints hold adapters and head alone; the gradient
of W is made for a moment all the same.
"""

from collections.abc import Iterator, Mapping
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
    """Names of the products that get adapters, in every block."""

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected `rank` to be positive, got {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"expected `alpha` to be positive, got {self.alpha}")
        if isinstance(self.targets, str) or not self.targets:
            raise ValueError(f"expected `targets` to be names of products, got {self.targets!r}")
        object.__setattr__(self, "targets", tuple(self.targets))  # hashable, as jit wants it

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank


def attach(params: Params, lora: Lora, key: Array) -> Params:
    """Fresh adapters for `params`: A uniform within 1 / sqrt(inputs), B zero, so that nothing changes yet.

    A nested dict like `params` that holds, in place of each target ``{"kernel": [inputs, outputs], ...}``, a float32
    ``{"a": [inputs, rank], "b": [rank, outputs]}``, and nothing else. Raises ValueError for a target that is no
    product of the model.
    """
    products = set(_products(params))
    if unknown := [name for name in lora.targets if name not in products]:
        raise ValueError(f"expected `targets` out of {', '.join(sorted(products))}, got {', '.join(unknown)}")

    def walk(tree: Params, key: Array) -> Params:
        found = {}
        for index, (name, value) in enumerate(sorted(tree.items())):
            here = jax.random.fold_in(key, index)
            if name in lora.targets and _is_product(value):
                inputs, outputs = value["kernel"].shape
                bound = inputs**-0.5
                a = jax.random.uniform(here, (inputs, lora.rank), jnp.float32, -bound, bound)
                found[name] = {"a": a, "b": jnp.zeros((lora.rank, outputs), jnp.float32)}
            elif isinstance(value, Mapping) and (below := walk(dict(value), here)):
                found[name] = below
        return found

    return walk(params, key)


def merge(params: Params, adapters: Params, lora: Lora) -> Params:
    """`params` with the adapters added in; arrays without adapters are shared, not copied."""
    merged = dict(params)
    for name, adapter in adapters.items():
        if "a" in adapter:
            # In full precision: next to the model's own products this one costs nothing.
            change = lora.scale * jnp.matmul(adapter["a"], adapter["b"], precision="highest")
            merged[name] = {**params[name], "kernel": params[name]["kernel"] + change}
        else:
            merged[name] = merge(params[name], adapter, lora)
    return merged


def _is_product(value: object) -> bool:
    return isinstance(value, Mapping) and "kernel" in value


def _products(tree: Params) -> Iterator[str]:
    """Names of all products in a tree."""
    for name, value in tree.items():
        if _is_product(value):
            yield name
        elif isinstance(value, Mapping):
            yield from _products(dict(value))
