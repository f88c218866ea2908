"""On which devices a stage runs: one, or a mesh of `data`, `fsdp` and `tensor` axes.

The code of the stages is the same for all of them. A layout places parameters and batches, and the compiler derives
from where they lie what each device computes and what they tell one another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

AXES = ("data", "fsdp", "tensor")
_COLUMNS = {"q", "k", "v", "gate", "up"}  # kernels [in, out] whose outputs are divided among `tensor`
_ROWS = {"o", "down"}  # those whose inputs are


@dataclass(frozen=True)
class Layout:
    """How many devices along each axis; their product is the number of devices used.

    Batches are divided among `data` and `fsdp`; parameters and moments among `fsdp`, and the products inside a block
    among `tensor`. A dimension that an axis does not divide stays whole.
    """

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.data * self.fsdp * self.tensor

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh, over the first devices there are. Raises ValueError if there are too few."""
        if len(jax.devices()) < self.devices:
            raise ValueError(
                f"expected {self.devices} devices for {self}, got {len(jax.devices())}: set its axes smaller"
            )
        shape = (self.data, self.fsdp, self.tensor)
        return Mesh(np.array(jax.devices()[: self.devices]).reshape(shape), AXES)

    def sharding(self, path: tuple[Any, ...], shape: tuple[int, ...]) -> NamedSharding:
        """Where the array at `path` of a parameter tree lies."""
        names = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
        wanted: list[str | None] = [None] * len(shape)
        if len(shape) == 2:
            owner = names[-2] if len(names) > 1 else ""
            wanted = (
                ["tensor", "fsdp"] if owner in _ROWS or names[-1] in ("embed", "lm") else ["fsdp", "tensor"]
            )
            if owner not in _ROWS | _COLUMNS and names[-1] not in ("embed", "lm"):
                wanted = ["fsdp", None]
        sizes: dict[str, int] = dict(zip(AXES, (self.data, self.fsdp, self.tensor), strict=True))
        fitting = [
            axis if axis and size % sizes[axis] == 0 else None
            for axis, size in zip(wanted, shape, strict=True)
        ]
        return NamedSharding(self.mesh, PartitionSpec(*fitting))

    def place(self, tree: Tree) -> Tree:
        """A copy of a tree of parameters (or optimiser moments) that may be given away to an update."""
        if self.devices == 1:
            return jax.tree.map(jnp.array, tree)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: self._put(np.asarray(leaf), self.sharding(path, leaf.shape)), tree
        )

    def feed(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch of arrays ``[rows, ...]``, its rows divided among the devices."""
        if self.devices == 1:
            return dict(batch)
        rows = NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))
        return {name: self._put(np.asarray(value), rows) for name, value in batch.items()}

    def fetch(self, tree: Any) -> Any:
        """A tree of arrays as NumPy, whole, on every process."""
        return jax.device_get(tree)

    def _put(self, value: np.ndarray, sharding: NamedSharding) -> Array:
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])
