"""Whether a diffusion head hits both of two modes, and a regressing head neither: `python modes.py`.

Eight contexts, each with two points in four dimensions that are as likely and at least 1.2 apart.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from memaudit.statistics import over_seeds
from rlhf.diffusion import Denoiser, initialise, losses, sample
from rlhf.generate import row_keys
from rlhf.model import Params
from rlhf.optimiser import Adam

CONTEXTS, SIZE, APART, NEAR = 8, 4, 1.2, 0.4
STEPS, BATCH, RATE, SAMPLES = 4000, 64, 1e-3, 250
HEAD = Denoiser(size=SIZE)


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Shares of one seed's samples."""

    near: float
    """Samples of the diffusion head within `NEAR` of a mode."""
    rarer: float
    """Of a context's samples, those nearer the mode that has fewer; the mean over contexts."""
    regressed: float
    """Outputs of a head of the same shape that regresses the points, within `NEAR` of a mode."""
    ideal: float
    """The same of the mean of both modes."""


def trial(seed: int) -> Hits:
    """Train both heads and ask them."""
    modes, conditions = points(seed)
    key = jax.random.key(seed)

    def drawn(key: Array) -> tuple[Array, Array]:
        context = jax.random.randint(jax.random.fold_in(key, 0), (BATCH,), 0, CONTEXTS)
        mode = jax.random.randint(jax.random.fold_in(key, 1), (BATCH,), 0, 2)
        return jnp.asarray(modes)[context, mode], jnp.asarray(conditions)[context]

    def denoising(params: Params, key: Array) -> Array:
        targets, given = drawn(key)
        keys = row_keys(jax.random.fold_in(key, 2), jnp.arange(BATCH))
        return losses(HEAD, params, targets, given, keys).mean()

    def regressing(params: Params, key: Array) -> Array:
        targets, given = drawn(key)
        return jnp.mean(jnp.square(said(params, given) - targets))

    def said(params: Params, given: Array) -> Array:
        # Not zeros: a network whose gates and output begin as 0 has no slope where it is given nothing.
        blank = jnp.ones((len(given), SIZE)), jnp.zeros(len(given), jnp.int32)
        return HEAD.apply({"params": params}, *blank, given)  # pyright: ignore[reportReturnType]

    asked = np.repeat(np.arange(CONTEXTS), SAMPLES)
    found = sample(
        fitted(denoising, seed),
        jnp.asarray(conditions[asked]),
        row_keys(key, jnp.arange(len(asked))),
        denoiser=HEAD,
        bound=float(np.abs(modes).max()),
    )
    apart = distances(np.asarray(found), modes[asked])
    first = (apart.argmin(axis=1) == 0).reshape(CONTEXTS, SAMPLES).mean(axis=1)
    regressed = np.asarray(said(fitted(regressing, seed), jnp.asarray(conditions)))
    return Hits(
        near=near(apart),
        rarer=float(np.minimum(first, 1 - first).mean()),
        regressed=near(distances(regressed, modes)),
        ideal=near(distances(modes.mean(axis=1), modes)),
    )


def points(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The modes, float32 ``[contexts, 2, size]``, and what each context is told to the head as."""
    rng = np.random.default_rng(seed)
    modes = rng.normal(size=(CONTEXTS, 2, SIZE))
    middle, half = modes.mean(axis=1, keepdims=True), (modes[:, :1] - modes[:, 1:]) / 2
    half *= np.maximum(1, APART / 2 / np.linalg.norm(half, axis=-1, keepdims=True))
    found = np.concatenate([middle + half, middle - half], axis=1)
    return found.astype(np.float32), np.eye(CONTEXTS, dtype=np.float32)


def fitted(loss: Callable[[Params, Array], Array], seed: int) -> Params:
    """A head that has followed a loss."""
    params = initialise(HEAD, CONTEXTS, jax.random.key(seed))
    adam = Adam(b2=0.999).transform()

    @jax.jit
    def train(params: Params, keys: Array) -> Params:
        def step(state: Any, now: tuple[Array, Array]) -> tuple[Any, None]:
            key, rate = now
            params, moments = state
            direction, moments = adam.update(jax.grad(loss)(params, key), moments, params)
            return (jax.tree.map(lambda p, d: p - rate * d, params, direction), moments), None

        rates = RATE * jnp.minimum(1.0, (STEPS - jnp.arange(STEPS)) / (STEPS / 2))
        return jax.lax.scan(step, (params, adam.init(params)), (keys, rates))[0][0]

    return train(params, jax.random.split(jax.random.key(seed + 1000), STEPS))


def distances(found: np.ndarray, modes: np.ndarray) -> np.ndarray:
    """Of each point to both modes, ``[n, 2]``."""
    return np.linalg.norm(found[:, None] - modes, axis=-1)


def near(apart: np.ndarray) -> float:
    """Share of points that are near a mode."""
    return float((apart.min(axis=1) < NEAR).mean())


def main() -> None:
    """Print a Markdown table of five seeds."""
    found = [trial(seed) for seed in range(5)]
    print("| share | mean | 95 % interval | by seed |")
    print("|---|---|---|---|")
    for name in ("near", "rarer", "regressed", "ideal"):
        values = [getattr(hits, name) for hits in found]
        told = over_seeds(values)
        bounds = "none: all alike" if told.method == "unknown" else f"{told.low:.3f} to {told.high:.3f}"
        print(f"| {name} | {told.value:.3f} | {bounds} | {', '.join(f'{v:.3f}' for v in values)} |")


if __name__ == "__main__":
    main()
