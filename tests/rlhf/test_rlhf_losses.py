"""Every loss against loops, with log-probabilities from a NumPy softmax of the model's own logits."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.model import Decoder, Params
from rlhf.ppo import ClippedSurrogate
from rlhf.sft import CrossEntropy

BATCH, TIME, RESPONSE, VOCABULARY = 8, 16, 8, 300
TEMPERATURE, CLIP, VALUE_COEFFICIENT = 0.7, 0.2, 0.1
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)

_call = partial(jax.jit, static_argnums=0)(lambda loss, params, batch: loss(params, batch))
_gradient = partial(jax.jit, static_argnums=0)(
    lambda loss, params, batch: jax.grad(lambda p: loss(p, batch)[0])(params)
)


def supervised_batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of 0, of 1 and between; a row without any."""
    weights = rng.choice([0.0, 0.25, 1.0], (BATCH, TIME)).astype(np.float32)
    weights[rng.integers(BATCH)] = 0
    tokens = rng.integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32)
    return {"tokens": tokens, "weights": weights, "real": np.ones(BATCH, np.float32)}


def surrogate_batch(
    rng: np.random.Generator, new_logprobs: Callable[..., np.ndarray], new_values: Callable[..., np.ndarray]
) -> dict[str, np.ndarray]:
    """Old log-probabilities and values at, near and far from the new ones: inside and outside of both clips."""
    batch = {
        "tokens": rng.integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32),
        "starts": rng.integers(1, TIME - RESPONSE + 1, BATCH).astype(np.int32),
        "lengths": np.r_[1, RESPONSE, rng.integers(1, RESPONSE + 1, BATCH - 2)].astype(np.int32),
        "advantages": rng.normal(size=(BATCH, RESPONSE)).astype(np.float32),
    }
    shape, steps = (BATCH, RESPONSE), [0.0, 0.05, -0.05, 0.6, -0.6]
    logprobs, values = new_logprobs(batch), new_values(batch)
    batch["logprobs"] = (logprobs + rng.choice(steps, shape)).astype(np.float32)
    batch["values"] = (values + rng.choice(steps, shape)).astype(np.float32)
    batch["returns"] = (values + rng.normal(size=shape)).astype(np.float32)
    return batch


@pytest.fixture(scope="module")
def row_values(actor: Decoder, sharp_actor: Params) -> Callable[[np.ndarray], np.ndarray]:
    """The scalar at every position, ``[batch, time]``, by the plain decoder."""

    def run(tokens: np.ndarray) -> np.ndarray:
        hidden = jax.device_get(_hidden(actor, sharp_actor, tokens))
        return oracle.wide(hidden) @ oracle.wide(sharp_actor["head"])

    return run


_hidden = partial(jax.jit, static_argnums=0)(
    lambda actor, params, tokens: actor.apply({"params": params}, tokens)[0]
)


@pytest.fixture(scope="module")
def surrogate(actor: Decoder) -> ClippedSurrogate:
    return ClippedSurrogate(actor, RESPONSE, CLIP, VALUE_COEFFICIENT, TEMPERATURE)


@pytest.fixture(scope="module")
def make_surrogate_batch(
    model_logits: Callable[..., np.ndarray], row_values: Callable[..., np.ndarray], sharp_actor: Params
) -> Callable[[np.random.Generator], dict[str, np.ndarray]]:
    def logprobs(batch: dict[str, np.ndarray]) -> np.ndarray:
        every = model_logits(sharp_actor, batch["tokens"])
        return np.stack(
            [
                oracle.continuation_logprobs(
                    every[r], [0] * start, text[start : start + RESPONSE], TEMPERATURE
                )
                for r, (start, text) in enumerate(zip(batch["starts"], batch["tokens"].tolist(), strict=True))
            ]
        )

    def values(batch: dict[str, np.ndarray]) -> np.ndarray:
        """V_t stands at the token before token t."""
        every = row_values(batch["tokens"])
        return np.stack([every[r, s - 1 : s - 1 + RESPONSE] for r, s in enumerate(batch["starts"])])

    def make(rng: np.random.Generator) -> dict[str, np.ndarray]:
        batch = surrogate_batch(rng, logprobs, values)
        batch["_logprobs"], batch["_values"] = logprobs(batch), values(batch)
        return batch

    return make


def split(batch: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    real = {k: v for k, v in batch.items() if not k.startswith("_")}
    half = BATCH // 2
    return {k: v[:half] for k, v in real.items()}, {k: v[half:] for k, v in real.items()}


@few
@given(seeds)
def test_cross_entropy(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray], seed: int
) -> None:
    batch = supervised_batch(np.random.default_rng(seed))
    total, count, metrics = _call(CrossEntropy(decoder), sharp, batch)
    wanted = oracle.cross_entropy(model_logits(sharp, batch["tokens"]), batch["tokens"], batch["weights"])
    assert float(total) == pytest.approx(wanted[0], rel=1e-4)
    assert float(count) == pytest.approx(wanted[1])
    assert [float(x) for x in metrics["accuracy"]] == pytest.approx([wanted[2], wanted[1]])


@few
@given(seeds)
def test_clipped_surrogate(
    surrogate: ClippedSurrogate,
    sharp_actor: Params,
    make_surrogate_batch: Callable[..., dict[str, np.ndarray]],
    seed: int,
) -> None:
    batch = make_surrogate_batch(np.random.default_rng(seed))
    logprobs, values = batch.pop("_logprobs"), batch.pop("_values")
    sums = oracle.clipped_surrogate(batch, logprobs, values, clip=CLIP, value_coefficient=VALUE_COEFFICIENT)
    total, count, metrics = _call(surrogate, sharp_actor, batch)
    assert float(count) == sums["count"] == batch["lengths"].sum()
    assert float(total) == pytest.approx(sums["loss"], rel=1e-3, abs=5e-3)
    named = {
        "policy/loss": "policy",
        "value/loss": "value",
        "policy/approxkl": "approxkl",
        "policy/ratio": "ratio",
    }
    for name, key in named.items():
        assert float(metrics[name][0]) == pytest.approx(sums[key], rel=1e-3, abs=5e-3), name
    assert float(metrics["policy/clipfrac"][0]) == sums["clipfrac"]
    assert {float(pair[1]) for pair in metrics.values()} == {sums["count"]}


def test_the_clip_stops_the_gradient_where_the_gain_is_taken_already(
    surrogate: ClippedSurrogate,
    sharp_actor: Params,
    make_surrogate_batch: Callable[..., dict[str, np.ndarray]],
) -> None:
    """All ratios far above 1: with gains the policy has nothing to follow any more, with losses it goes back."""
    batch = make_surrogate_batch(np.random.default_rng(1))
    logprobs, values = batch.pop("_logprobs"), batch.pop("_values")
    batch["logprobs"] = (logprobs - 0.6).astype(np.float32)
    batch["values"] = batch["returns"] = values.astype(np.float32)  # no error, no gradient from the value
    still = _gradient(surrogate, sharp_actor, batch | {"advantages": np.ones((BATCH, RESPONSE), np.float32)})
    back = _gradient(surrogate, sharp_actor, batch | {"advantages": -np.ones((BATCH, RESPONSE), np.float32)})
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(still)) < 1e-3
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(back)) > 1


def test_gradients_do_not_depend_on_how_a_batch_is_divided(
    decoder: Decoder,
    sharp: Params,
    surrogate: ClippedSurrogate,
    sharp_actor: Params,
    make_surrogate_batch: Callable[..., dict[str, np.ndarray]],
) -> None:
    rng = np.random.default_rng(2)
    for loss, params, batch in (
        (CrossEntropy(decoder), sharp, supervised_batch(rng)),
        (surrogate, sharp_actor, make_surrogate_batch(rng)),
    ):
        halves = split(batch)
        whole = _gradient(loss, params, {k: np.concatenate([h[k] for h in halves]) for k in halves[0]})
        parts = [_gradient(loss, params, half) for half in halves]
        size = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(whole))
        for leaf, left, right in zip(*map(jax.tree.leaves, (whole, *parts)), strict=True):
            both = np.asarray(left) + np.asarray(right)
            np.testing.assert_allclose(both / size, np.asarray(leaf) / size, atol=5e-6, rtol=0)
