"""One update, and the loop that repeats it: shared by every stage that learns from fixed rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from rlhf.events import BatchConsumed, Hook, RowIds, StageEnded, StageStarted, Updated, announce
from rlhf.model import Params

Batch = dict[str, np.ndarray]


class Loss(Protocol):
    """A hashable object (its fields are static under jit) that sums a loss over a batch.

    Returns the sum, the number it is to be divided by, and metrics as (sum, count) pairs. Sums and counts, never
    means: the mean over a batch must not depend on how the batch was divided.
    """

    def __call__(self, params: Params, batch: Mapping[str, Array]) -> tuple[Array, Array, dict[str, Any]]:
        """Sum, count, metrics."""
        ...


@dataclass(frozen=True, kw_only=True)
class Adam:
    """AdamW (arXiv 1711.05101) with a linear warm-up, a cosine end, and clipping by norm.

    The first step already moves: its rate is 1 / `warmup` of the peak. A scalar head is clipped by itself, so that
    a large error of the values does not shrink the step of the trunk.
    """

    learning_rate: float
    steps: int
    """Length of the schedule."""
    warmup: int = 0
    """Steps over which the rate rises to its peak."""
    final: float = 0.0
    """Share of the rate that the cosine runs down to."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient, of the trunk and of the head each."""

    def transform(self) -> optax.GradientTransformation:
        """The optax transformation."""
        rate = optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=self.learning_rate,
            warmup_steps=min(self.warmup, self.steps),
            decay_steps=self.steps + 1,
            end_value=self.learning_rate * self.final,
        )
        clip = optax.clip_by_global_norm(self.clip)
        return optax.chain(
            optax.partition({"head": clip, "trunk": clip}, _parts),
            optax.adamw(
                lambda count: rate(count + 1), b1=0.9, b2=0.95, eps=1e-8, weight_decay=self.weight_decay
            ),
        )


def _parts(params: Params) -> dict[str, str]:
    return {name: "head" if name == "head" else "trunk" for name in params}


def divide(pairs: Mapping[str, tuple[Array, Array]]) -> dict[str, Array]:
    """Means out of (sum, count) pairs."""
    return {name: total / jnp.maximum(count, 1e-9) for name, (total, count) in pairs.items()}


@partial(jax.jit, static_argnames=("loss", "adam"), donate_argnames=("params", "moments"))
def update(
    params: Params, moments: optax.OptState, batch: Mapping[str, Array], *, loss: Loss, adam: Adam
) -> tuple[Params, optax.OptState, dict[str, Array]]:
    """One step of `adam` on `loss`. `params` and `moments` are given away: their buffers are reused."""

    def mean(p: Params) -> tuple[Array, dict[str, Any]]:
        total, count, metrics = loss(p, batch)
        count = jnp.maximum(count, 1.0)
        return total / count, {"loss": (total, count), **metrics}

    gradient, metrics = jax.grad(mean, has_aux=True)(params)
    step, moments = adam.transform().update(gradient, moments, params)
    metrics = divide(metrics)
    metrics["grad_norm"] = optax.tree.norm(gradient)
    return optax.apply_updates(params, step), moments, metrics  # pyright: ignore[reportReturnType]


def own(params: Params) -> Params:
    """A copy that may be given away: an update reuses the buffers of what it is given."""
    return jax.tree.map(jnp.array, params)


def fit(
    params: Params,
    batches: Iterable[tuple[Batch, tuple[RowIds, ...]]],
    *,
    loss: Loss,
    adam: Adam,
    stage: str,
    role: str,
    steps: int,
    hooks: Sequence[Hook],
) -> Params:
    """Take one update per batch and tell the hooks. The given `params` stay usable."""
    announce(hooks, StageStarted(stage=stage, steps=steps))
    params = own(params)
    moments = adam.transform().init(params)
    for step, (batch, ids) in enumerate(batches):
        params, moments, metrics = update(params, moments, batch, loss=loss, adam=adam)  # pyright: ignore
        announce(hooks, BatchConsumed(stage=stage, step=step, role=role, rows=ids))
        announce(
            hooks,
            Updated(
                stage=stage, step=step, metrics={k: float(v) for k, v in jax.device_get(metrics).items()}
            ),
        )
    announce(hooks, StageEnded(stage=stage, steps=steps))
    return params
