"""On which devices a stage runs: one, or a mesh of `data`, `fsdp` and `tensor` axes.

The code of the stages is the same for all of them. A layout places parameters and batches, and the compiler derives
from where they lie what each device computes and what they tell one another; `pin` keeps what an update returns
where it lay before. The mesh may reach over several processes (`jax.distributed`): each of them then runs the same
program on the same rows, holds its own devices' parts, and `fetch` is how it reads an array whole.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

Tree = TypeVar("Tree")

AXES = ("data", "fsdp", "tensor")
_ROWS = PartitionSpec(("data", "fsdp"))
_INTO = {"q", "k", "v", "gate", "up"}  # products whose outputs are divided among `tensor`
_OUT_OF = {"o", "down"}  # those whose inputs are
_TABLES = {"embed", "lm"}  # [vocabulary, width]


@dataclass(frozen=True)
class Layout:
    """How many devices along each axis; their product is the number of devices used.

    Batches are divided among `data` and `fsdp`. Matrices, and the moments and adapters that belong to them, are divided
    among `fsdp`, the products inside a block among `tensor` too, and the vocabulary among both. A dimension that an
    axis does not divide stays whole, and so do vectors.
    """

    data: int = 1
    """Copies of the model, each for a part of the batch."""
    fsdp: int = 1
    """Parts of the model, each for a part of the batch too: a device fetches what it lacks (arXiv 2304.11277)."""
    tensor: int = 1
    """Parts of each product (arXiv 1909.08053)."""

    def __post_init__(self) -> None:
        for axis in AXES:
            if getattr(self, axis) < 1:
                raise ValueError(f"expected `{axis}` to be at least 1, got {getattr(self, axis)}")

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.data * self.fsdp * self.tensor

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh, over the first devices there are. Raises ValueError if there are too few."""
        found = jax.devices()
        if len(found) < self.devices:
            raise ValueError(
                f"expected {self.devices} devices for {self}, got {len(found)}: set its axes smaller"
            )
        shape = (self.data, self.fsdp, self.tensor)
        grid = np.array(found[: self.devices]).reshape(shape)
        if len({device.process_index for device in grid.flat}) < jax.process_count():
            raise ValueError(
                f"expected {self} to have devices in each of {jax.process_count()} processes, got {self.devices} of "
                f"{len(found)} devices: set its axes larger"
            )
        return Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))

    def sharding(self, path: tuple[Any, ...], shape: tuple[int, ...]) -> NamedSharding:
        """Where the array at `path` of a parameter tree lies."""
        names = ["", ""] + [str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", "")))) for k in path]
        wanted: list[tuple[str, ...]] = [()] * len(shape)
        if len(shape) == 2:
            if names[-1] in _TABLES and shape[0] % (self.tensor * self.fsdp) == 0:
                # Not the width: rows of hidden states are divided among `fsdp` already, and half the traffic of a
                # step would be the change from one to the other.
                wanted = [("tensor", "fsdp"), ()]
            elif names[-1] in _TABLES or names[-2] in _OUT_OF:
                wanted = [("tensor",), ("fsdp",)]
            else:
                wanted = [("fsdp",), ("tensor",) if names[-2] in _INTO else ()]
        return NamedSharding(self.mesh, PartitionSpec(*self._fitting(wanted, shape)))

    def _fitting(
        self, wanted: Sequence[tuple[str, ...]], shape: Sequence[int]
    ) -> list[str | tuple[str, ...] | None]:
        """The entries of a PartitionSpec, written as a jit writes its own: another spelling, and it compiles again."""
        found: list[str | tuple[str, ...] | None] = []
        for axes, size in zip(wanted, shape, strict=True):
            real = tuple(axis for axis in axes if getattr(self, axis) > 1)
            if not real or size % math.prod(getattr(self, axis) for axis in real):
                found.append(None)
            else:
                found.append(real[0] if len(real) == 1 else real)
        while found and found[-1] is None:
            found.pop()
        return found

    def place(self, tree: Tree) -> Tree:
        """A copy of a tree of parameters (or optimiser moments) that may be given away to an update.

        In several processes each has to hold the same tree, or all of them the one that an earlier stage left divided.
        """
        if self._alone:
            return jax.tree.map(jnp.array, tree)

        def put(path: tuple[Any, ...], leaf: Any) -> Array:
            sharding = self.sharding(path, leaf.shape)
            if isinstance(leaf, Array) and not leaf.is_fully_addressable:
                return jax.jit(jnp.copy, out_shardings=sharding)(leaf)
            whole = np.asarray(leaf)
            # A copy of each part: a device of the processor would otherwise read the given array's own memory.
            return jax.make_array_from_callback(leaf.shape, sharding, lambda index: np.array(whole[index]))

        return jax.tree_util.tree_map_with_path(put, tree)

    def pin(self, tree: Tree) -> Tree:
        """Inside a jit: the same tree, kept where `place` would put it: the compiler alone may choose anew."""
        if self._alone:
            return tree
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.lax.with_sharding_constraint(leaf, self.sharding(path, leaf.shape)), tree
        )

    def feed(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch of arrays ``[rows, ...]``, its rows divided among devices. Raises ValueError where they do not fit.

        In several processes each has to hold the whole batch, or all of them arrays that a jit made for them.
        """
        if self._alone:
            return dict(batch)
        parts, rows = self.data * self.fsdp, NamedSharding(self.mesh, _ROWS)
        for name, value in batch.items():
            if value.shape[0] % parts:
                raise ValueError(
                    f"expected the rows of a batch to be a multiple of data * fsdp = {self.data} * {self.fsdp}, "
                    f"got {value.shape[0]} in `{name}`: set the batch (or minibatch) to a multiple of {parts}, "
                    "or `data` and `fsdp` of the layout smaller"
                )

        def put(value: Any) -> Array:
            if isinstance(value, Array):
                return jax.device_put(value, rows)
            return jax.make_array_from_callback(value.shape, rows, lambda index: value[index])

        return {name: put(value) for name, value in batch.items()}

    def fetch(self, tree: Any) -> Any:
        """A tree of arrays as NumPy, whole, on every process. All of them have to ask, and for the same arrays."""

        def whole(leaf: Any) -> Any:
            if isinstance(leaf, Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
                return multihost_utils.process_allgather(leaf, tiled=True)
            return leaf

        return jax.device_get(jax.tree.map(whole, tree))

    @property
    def _alone(self) -> bool:
        """One device, and nobody to share it with: arrays stay where JAX puts them."""
        return self.devices == 1


ONE_DEVICE = Layout()
"""The first device there is."""
