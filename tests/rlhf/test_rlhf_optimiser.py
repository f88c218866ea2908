"""The one update: Adam and its schedules against loops, and means that do not depend on how a batch was divided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st

from rlhf.batches import Pairs, Rows, take
from rlhf.model import Decoder, Params
from rlhf.optimiser import Adam, Optimiser, State, divide, prepare, update
from rlhf.reward import BradleyTerry, pair_batch
from rlhf.sft import CrossEntropy

shares = st.floats(0, 1)


@dataclass(frozen=True)
class Slope:
    """A loss whose gradient is what the batch says, at any parameters."""

    def __call__(self, parts: Mapping[str, Params], batch: Mapping[str, Any]) -> Any:
        flat = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(parts)])
        return jnp.sum(batch["slope"] @ flat), jnp.sum(batch["count"]), {"rows": jnp.sum(batch["count"])}


def toy() -> dict[str, Params]:
    """Something of every kind: a matrix, the scale of a norm, a head with its bias. Three, two, two and one entries."""
    return {
        "head": {"bias": jnp.ones(()), "kernel": jnp.full((2,), 2.0)},
        "model": {"dense": {"kernel": jnp.full((3, 1), 3.0)}, "norm": {"scale": jnp.full((2,), 4.0)}},
    }


SIZES = [("head", False, 1), ("head", True, 2), ("model", True, 3), ("model", False, 2)]
"""Part, whether it decays, entries: in the order of `jax.tree.leaves`."""


def flat(parts: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(parts)])


@pytest.mark.parametrize("placement", ["torch", "tensorflow"])
def test_an_update_is_adamw(placement: Any) -> None:
    """Clipping part by part, decay of matrices alone, and epsilon where it was asked for, against loops."""
    adam = Adam(b2=0.9, epsilon=0.05, placement=placement, weight_decay=0.1, clip=1.0)
    optimiser = Optimiser(learning_rate=0.1, warmup=3, final=0.25, adam=adam)
    rng, steps = np.random.default_rng(30), 12
    slopes = rng.normal(size=(steps, 2, 8)).astype(np.float32) * 2
    slopes[4] /= 100  # below the clip
    state, frozen = prepare(toy(), optimiser, None, jax.random.key(0))
    parts = np.repeat([part for part, _, n in SIZES], [n for _, _, n in SIZES])
    decays = np.repeat([decay for _, decay, _ in SIZES], [n for _, _, n in SIZES])
    expected, mean, square = flat(toy()).astype(np.float64), np.zeros(8), np.zeros(8)
    for step in range(steps):
        rate = optimiser.rate(step, steps)
        batch = {"slope": slopes[step], "count": np.ones(2, np.float32)}
        state, metrics, _ = update(state, frozen, batch, rate, loss=Slope(), adam=adam)
        gradient = oracle.wide(slopes[step]).sum(axis=0) / 2
        assert float(metrics["grad_norm"]) == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
        assert float(metrics["rows"]) == 2
        for part in ("head", "model"):
            norm = np.linalg.norm(gradient[parts == part])
            gradient[parts == part] *= min(1.0, 1.0 / norm)
        direction, mean, square = oracle.adam(
            gradient, mean, square, step + 1, b1=0.9, b2=0.9, epsilon=0.05, placement=placement
        )
        expected = expected - rate * (direction + 0.1 * expected * decays)
        np.testing.assert_allclose(flat(state.parts), expected, rtol=1e-5, atol=1e-6)


def test_the_raw_epsilon_makes_the_first_steps_gentler() -> None:
    """By about sqrt(1 - b2) where gradients are as small as epsilon, and not at all later."""
    moved = {}
    for placement in ("torch", "tensorflow"):
        adam = Adam(b2=0.999, epsilon=1e-5, placement=placement, clip=None)  # pyright: ignore
        moments = adam.transform().init({"w": jnp.zeros(1)})
        moved[placement] = float(adam.transform().update({"w": jnp.full(1, 1e-5)}, moments)[0]["w"][0])
    assert moved["torch"] == pytest.approx(0.5, rel=1e-3)
    assert moved["tensorflow"] == pytest.approx(np.sqrt(0.001) / (np.sqrt(0.001) + 1), rel=1e-3)


@given(st.integers(1, 60), st.integers(0, 80), st.sampled_from(["cosine", "linear", "constant"]), shares)
def test_the_rate_rises_and_falls(steps: int, warmup: int, schedule: Any, final: float) -> None:
    optimiser = Optimiser(learning_rate=0.5, warmup=warmup, schedule=schedule, final=final)
    found = [optimiser.rate(step, steps) for step in range(steps)]
    wanted = [oracle.rate(0.5, step, steps, warmup, schedule, final) for step in range(steps)]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)
    assert all(0 < rate <= 0.5 for rate in found)


def gradient_of(parts: Any, gradient: Any, batch: Any) -> Any:
    return gradient


STEADY = Adam(epsilon=1e-3)
"""An epsilon well above rounding: else Adam's first step is the sign of gradients that are nought but rounding."""


def updated(loss: Any, parts: dict[str, Params], batch: Any, accumulate: int) -> Any:
    """Metrics, gradient and change of one update."""
    state, frozen = prepare(parts, Optimiser(learning_rate=1.0), None, jax.random.key(0))
    state = jax.tree.map(jnp.array, state)
    state, metrics, (gradient,) = update(
        state, frozen, batch, 1e-3, loss=loss, adam=STEADY, accumulate=accumulate, traces=(gradient_of,)
    )
    return metrics, gradient, jax.tree.map(lambda new, old: np.asarray(new - old), state.parts, parts)


def assert_same_updates(loss: Any, parts: dict[str, Params], batch: Any) -> None:
    """1 x 8 == 2 x 4 == 8 x 1 in gradients, changes and metrics."""
    assert len(batch["real"]) == 8
    metrics, gradient, change = updated(loss, parts, batch, 1)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(change)) > 5e-4
    for pieces in (2, 8):
        other_metrics, other_gradient, other_change = updated(loss, parts, batch, pieces)
        assert {k: float(v) for k, v in other_metrics.items()} == pytest.approx(
            {k: float(v) for k, v in metrics.items()}, rel=1e-5, abs=1e-5
        )
        largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient))
        for left, right in zip(*map(jax.tree.leaves, (gradient, other_gradient)), strict=True):
            np.testing.assert_allclose(left / largest, right / largest, atol=1e-6, rtol=0)
        for left, right in zip(*map(jax.tree.leaves, (change, other_change)), strict=True):
            np.testing.assert_allclose(left, right, atol=1e-6, rtol=0)


def test_accumulation_changes_nothing_of_sft(decoder: Decoder, fresh: Params, lesson_rows: Rows) -> None:
    """Although the pieces have different numbers of targets and one row has none."""
    batch, _ = take(lesson_rows, np.array([0, 1, 2, 3, 4, 5, 6, -1]))
    assert_same_updates(CrossEntropy(decoder), {"model": fresh}, batch)


def test_accumulation_changes_nothing_of_a_pair_loss(
    decoder: Decoder, fresh: Params, sharp_actor: dict[str, Params], preference_pairs: Pairs
) -> None:
    batch, _ = pair_batch(preference_pairs, np.array([0, 1, 2, 3, 4, -1, 6, -1]))
    parts = {"model": fresh, "head": sharp_actor["head"]}
    assert_same_updates(BradleyTerry(decoder), parts, batch)


def test_accumulation_has_to_divide_the_batch() -> None:
    state, frozen = prepare(toy(), Optimiser(learning_rate=1.0), None, jax.random.key(0))
    batch = {"slope": np.ones((8, 8), np.float32), "count": np.ones(8, np.float32)}
    with pytest.raises(ValueError, match="`accumulate` to divide the 8 rows of a batch, got 3"):
        update(state, frozen, batch, 1.0, loss=Slope(), adam=Adam(), accumulate=3)


def test_totals_stay_totals_and_pairs_become_means() -> None:
    told = divide(
        {"mean": (jnp.float32(6), jnp.float32(4)), "none": (jnp.zeros(()), jnp.zeros(()))} | {"sum": 5.0}
    )  # pyright: ignore
    assert {name: float(value) for name, value in told.items()} == {"mean": 1.5, "none": 0, "sum": 5}


def test_a_batch_without_weight_moves_nothing() -> None:
    state, frozen = prepare(toy(), Optimiser(learning_rate=1.0), None, jax.random.key(0))
    batch = {"slope": np.zeros((2, 8), np.float32), "count": np.zeros(2, np.float32)}
    state, metrics, _ = update(state, frozen, batch, 1.0, loss=Slope(), adam=Adam())
    assert flat(state.parts).tolist() == flat(toy()).tolist()
    assert float(metrics["loss"]) == float(metrics["grad_norm"]) == 0
    assert isinstance(state, State)


@pytest.mark.parametrize(
    ("made", "fields", "message"),
    [
        (Adam, {"b1": 1.0}, "`b1` to be at least 0 and below 1, got 1.0"),
        (Adam, {"epsilon": -1.0}, "`epsilon` not to be negative, got -1.0"),
        (Adam, {"weight_decay": -0.1}, "`weight_decay` not to be negative"),
        (Adam, {"clip": 0.0}, "`clip` to be positive, got 0.0: None is no clipping"),
        (Adam, {"placement": "jax"}, "`placement` torch or tensorflow, got 'jax'"),
        (Optimiser, {"learning_rate": -1.0}, "`learning_rate` not to be negative"),
        (Optimiser, {"warmup": -1}, "`warmup` not to be negative, got -1"),
        (Optimiser, {"final": 1.5}, "`final` to be a share of the peak, 0 to 1, got 1.5"),
        (Optimiser, {"schedule": "step"}, "`schedule` cosine, linear or constant, got 'step'"),
        (Optimiser, {"accumulate": 0}, "`accumulate` to be positive, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(made: Any, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**({"learning_rate": 1.0} | fields if made is Optimiser else fields))
