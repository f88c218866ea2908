"""Adam, its schedule, and the one jitted update that every stage shares."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from rlhf.lora import Lora, attach, merge
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Params

Parts = dict[str, Params]
"""A stage's parameters by part: `model` in SFT and preference learning, `model` and `head` in reward modelling,
`policy`, `head` and perhaps `critic` where a policy follows a reward."""

Trace = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], Any]
"""See `events.Hook.traced`."""


class Loss(Protocol):
    """A hashable object (its fields are static under jit) that sums a loss over a batch.

    Returns the sum, the number it is to be divided by, and metrics: (sum, count) pairs, or totals. Never means: the
    mean over a batch must not depend on how the batch was divided.
    """

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """Sum, count, metrics."""
        ...


@dataclass(frozen=True, kw_only=True)
class Adam:
    """AdamW (arXiv 1711.05101) without its rate. Each part is clipped by itself, so that a large error of a scalar
    head does not shrink the step of the trunk."""

    b1: float = 0.9
    b2: float = 0.95
    epsilon: float = 1e-8
    placement: Literal["torch", "tensorflow"] = "torch"
    """What `epsilon` is added to: the root of the corrected second moment, as PyTorch and optax do, or that of the
    raw one, as TensorFlow and so the first PPO from preferences did. The second moves less in the first steps."""
    weight_decay: float = 0.0
    """Share of the rate by which matrices (embeddings and adapters among them) shrink in a step; scales of norms and
    biases do not."""
    clip: float | None = 1.0
    """Largest norm of a part's gradient; None: no clipping."""

    def __post_init__(self) -> None:
        for name in ("b1", "b2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected `{name}` to be at least 0 and below 1, got {getattr(self, name)}")
        for name in ("epsilon", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected `{name}` not to be negative, got {getattr(self, name)}")
        if self.placement not in ("torch", "tensorflow"):
            raise ValueError(f"expected `placement` torch or tensorflow, got {self.placement!r}")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"expected `clip` to be positive, got {self.clip}: None is no clipping")

    def transform(self) -> optax.GradientTransformation:
        """The optax transformation, for a rate of -1."""
        if self.placement == "torch":
            scaled = optax.scale_by_adam(b1=self.b1, b2=self.b2, eps=self.epsilon)
        else:
            scaled = _raw_epsilon(self.b1, self.b2, self.epsilon)
        if not self.weight_decay:
            return scaled
        return optax.chain(scaled, optax.add_decayed_weights(self.weight_decay, mask=_decays))


def _raw_epsilon(b1: float, b2: float, epsilon: float) -> optax.GradientTransformation:
    """Adam as in section 2 of arXiv 1412.6980: sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon)."""

    def step(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, updates)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, updates)
        share = jnp.sqrt(1 - b2**count) / (1 - b1**count)
        direction = jax.tree.map(lambda m, v: share * m / (jnp.sqrt(v) + epsilon), mu, nu)
        return direction, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(optax.scale_by_adam(b1=b1, b2=b2).init, step)


def _decays(tree: Any) -> Any:
    """True for what weight decay shrinks: by name, as the kernel of a scalar head is a matrix of one column."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("scale", "bias"), tree)


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How parameters follow a gradient."""

    learning_rate: float
    """Peak of the rate."""
    warmup: int = 0
    """Steps over which the rate rises to its peak; the first step moves already, at 1 / `warmup` of it."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """The way down from the peak."""
    final: float = 0.0
    """Share of the peak that a falling schedule ends at."""
    adam: Adam = Adam()
    accumulate: int = 1
    """Pieces that each batch is cut into, to be gone through one after another: less memory, the same update."""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError(f"expected `learning_rate` not to be negative, got {self.learning_rate}")
        if self.warmup < 0:
            raise ValueError(f"expected `warmup` not to be negative, got {self.warmup}")
        if not 0 <= self.final <= 1:
            raise ValueError(f"expected `final` to be a share of the peak, 0 to 1, got {self.final}")
        if self.schedule not in ("cosine", "linear", "constant"):
            raise ValueError(f"expected `schedule` cosine, linear or constant, got {self.schedule!r}")
        if self.accumulate < 1:
            raise ValueError(f"expected `accumulate` to be positive, got {self.accumulate}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`."""
        now, warm = step + 1, min(self.warmup, steps)
        if now < warm:
            return self.learning_rate * now / warm
        progress = (now - warm) / (steps + 1 - warm)
        share = {
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
            "linear": 1 - progress,
            "constant": 1.0,
        }[self.schedule]
        return self.learning_rate * (
            share if self.schedule == "constant" else self.final + (1 - self.final) * share
        )


class State(NamedTuple):
    """What an update moves, a pytree."""

    parts: Parts
    """What is trained: whole parts, or adapters in their place."""
    moments: Any
    """The optimiser's."""


def prepare(parts: Parts, optimiser: Optimiser, lora: Lora | None, key: Array) -> tuple[State, Parts]:
    """The state to start from, and the parts that stay frozen because adapters are trained in their place."""
    frozen: Parts = {}
    if lora is not None:
        frozen = {name: part for name, part in parts.items() if name != "head"}
        adapters = {
            name: attach(part, lora, jax.random.fold_in(key, index))
            for index, (name, part) in enumerate(frozen.items())
        }
        parts = {**parts, **adapters}
    return State(parts, optimiser.adam.transform().init(parts)), frozen


def whole(parts: Parts, frozen: Parts, lora: Lora | None) -> Parts:
    """Parts as the losses see them: adapters merged into what they adapt."""
    if lora is None:
        return parts
    return {n: merge(frozen[n], part, lora) if n in frozen else part for n, part in parts.items()}


def _clipped(gradient: Parts, largest: float | None) -> tuple[Parts, dict[str, Array]]:
    """Each part cut to norm `largest`; also the norms before."""
    norms = {name: optax.tree.norm(part) for name, part in gradient.items()}
    if largest is None:
        return gradient, norms
    shares = {name: jnp.minimum(1.0, largest / jnp.maximum(norm, 1e-12)) for name, norm in norms.items()}
    return {name: optax.tree.scale(shares[name], part) for name, part in gradient.items()}, norms


def divide(metrics: Mapping[str, tuple[Array, Array] | Array]) -> dict[str, Array]:
    """Means out of (sum, count) pairs; totals as they are."""
    return {
        name: found[0] / jnp.maximum(found[1], 1e-9) if isinstance(found, tuple) else found
        for name, found in metrics.items()
    }


def _pieces(batch: Mapping[str, Array], count: int) -> dict[str, Array]:
    """A batch cut into ``[count, rows / count, ...]``: every `count`-th row, so that each device keeps its own rows."""
    rows = len(next(iter(batch.values())))
    if rows % count:
        raise ValueError(f"expected `accumulate` to divide the {rows} rows of a batch, got {count}")
    return {
        name: value.reshape(rows // count, count, *value.shape[1:]).swapaxes(0, 1)
        for name, value in batch.items()
    }


@partial(
    jax.jit,
    static_argnames=("loss", "adam", "lora", "accumulate", "traces", "layout"),
    donate_argnames=("state",),
)
def update(
    state: State,
    frozen: Parts,
    batch: Mapping[str, Array],
    rate: Array | float,
    *,
    loss: Loss,
    adam: Adam,
    lora: Lora | None = None,
    accumulate: int = 1,
    traces: tuple[Trace, ...] = (),
    layout: Layout = ONE_DEVICE,
) -> tuple[State, dict[str, Array], tuple[Any, ...]]:
    """One step on the mean of `loss` over `batch`; also the metrics and what `traces` made of the gradient.

    `state` is given away: its buffers are reused. Every array of `batch` has the rows first. What comes back lies
    where `layout` puts it.
    """

    def total(parts: Parts, piece: Mapping[str, Array]) -> tuple[Array, dict[str, Any]]:
        summed, count, metrics = loss(whole(parts, frozen, lora), piece)
        return summed, {"loss": (summed, count), **metrics}

    gradient_of = jax.grad(total, has_aux=True)
    if accumulate == 1:
        gradient, pairs = gradient_of(state.parts, batch)
    else:
        pieces = _pieces(batch, accumulate)
        shapes = jax.eval_shape(gradient_of, state.parts, jax.tree.map(lambda x: x[0], pieces))
        empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        add = partial(jax.tree.map, jnp.add)
        (gradient, pairs), _ = jax.lax.scan(
            lambda so_far, piece: (add(so_far, gradient_of(state.parts, piece)), None), empty, pieces
        )
    count = jnp.maximum(pairs["loss"][1], 1.0)
    gradient = layout.pin(jax.tree.map(lambda g: g / count, gradient))
    traced = tuple(trace(whole(state.parts, frozen, lora), gradient, batch) for trace in traces)
    clipped, norms = _clipped(gradient, adam.clip)
    direction, moments = adam.transform().update(clipped, state.moments, state.parts)
    parts = jax.tree.map(lambda p, d: p - rate * d, state.parts, direction)
    metrics = divide(pairs)
    metrics["grad_norm"] = jnp.sqrt(sum(jnp.square(norm) for norm in norms.values()))
    return layout.pin(State(parts, moments)), metrics, traced  # pyright: ignore[reportArgumentType]
