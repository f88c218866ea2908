"""Rotation and the mix of values: laws, a plain loop, and which kernel is taken where."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st

from rlhf.attention import attend, causal, fits_cudnn, frequencies, rotate, turns
from rlhf.presets import ModelConfig, RopeScaling

SHAPE = {"vocabulary": 9, "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 8}
WHOLE, HALF = ModelConfig(**SHAPE), ModelConfig(**SHAPE, rotary=0.5)  # pyright: ignore[reportArgumentType]


@partial(jax.jit, static_argnums=0)
def _turned(config: ModelConfig, x: jax.Array, positions: jax.Array) -> jax.Array:
    return rotate(x, turns(config, positions), config.rotated)


@pytest.mark.parametrize("config", [WHOLE, HALF])
@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_rotation_keeps_lengths_and_depends_on_differences(
    config: ModelConfig, seed: int, left: int, right: int, shift: int
) -> None:
    query, key = np.random.default_rng(seed).normal(size=(2, 16)).astype(np.float32)

    def product(at: int, of: int) -> float:
        turned = np.asarray(_turned(config, np.stack([query, key])[None, None], np.array([[at, of]])))[0, 0]
        np.testing.assert_allclose(
            np.linalg.norm(turned, axis=-1), np.linalg.norm([query, key], axis=-1), rtol=1e-5
        )
        np.testing.assert_array_equal(
            turned[:, config.rotated :], np.stack([query, key])[:, config.rotated :]
        )
        return float(turned[0] @ turned[1])

    assert product(left, right) == pytest.approx(product(left + shift, right + shift), abs=5e-3)


def test_every_rotated_entry_turns() -> None:
    x = np.ones((1, 1, 1, 16), np.float32)
    for config in (WHOLE, HALF):
        moved = np.asarray(_turned(config, x, np.array([[3]])))[0, 0, 0] != 1
        assert moved.sum() == moved[: config.rotated].sum() == config.rotated


@given(
    st.floats(1.0, 32.0),
    st.floats(0.5, 2.0),
    st.floats(1.5, 8.0),
    st.sampled_from([16, 64, 8192]),
    st.sampled_from([1e4, 5e5]),
)
def test_frequencies_are_those_of_the_formula(
    factor: float, low: float, ratio: float, original: int, base: float
) -> None:
    """Short wavelengths stay, long ones grow by the factor, those between by something between."""
    scaling = RopeScaling(factor=factor, low=low, high=low * ratio, original=original)
    config = ModelConfig(**SHAPE, head_size=32, rope_base=base, rope_scaling=scaling)  # pyright: ignore
    expected = [oracle.rope_frequency(config, pair) for pair in range(16)]
    np.testing.assert_allclose(frequencies(config), expected, rtol=1e-6)


def _random(
    seed: int, heads: int, kv_heads: int, time: int, slots: int, size: int, dtype: Any
) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    shapes = ((2, heads, time, size), (2, kv_heads, slots, size), (2, kv_heads, slots, size))
    return [jnp.asarray(2 * rng.normal(size=shape), dtype) for shape in shapes]


def _plain(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    mixed = np.zeros(query.shape)
    group = query.shape[1] // key.shape[1]
    for row, head, t in np.ndindex(*query.shape[:3]):
        seen = [s for s in range(key.shape[2]) if mask[row % len(mask), t, s]]
        products = [query[row, head, t] @ key[row, head // group, s] / np.sqrt(query.shape[3]) for s in seen]
        mixed[row, head, t] = np.exp(oracle.log_softmax(np.array(products))) @ value[row, head // group, seen]
    return mixed


_attend = jax.jit(attend)


@given(st.integers(0, 2**32 - 1))
def test_values_are_mixed_as_in_the_plain_loop(seed: int) -> None:
    """With groups of three query heads that share keys, and any mask that shows each query something."""
    arrays = _random(seed, 6, 2, 5, 7, 8, jnp.float32)
    mask = np.random.default_rng(seed).random((2, 5, 7)) < 0.5
    mask[:, :, seed % 7] = True
    found = _attend(*arrays, mask)
    np.testing.assert_allclose(found, _plain(*map(oracle.wide, arrays), mask), atol=2e-5)  # pyright: ignore


@given(st.integers(0, 2**32 - 1))
def test_without_a_mask_it_is_causal_and_as_jax_computes_it(seed: int) -> None:
    arrays = _random(seed, 6, 2, 7, 7, 8, jnp.float32)
    found = np.asarray(_attend(*arrays, None))
    np.testing.assert_allclose(found, _jax_own(*arrays), atol=2e-5)
    np.testing.assert_allclose(found, _attend(*arrays, causal(7)), atol=2e-6)


@jax.jit
def _jax_own(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Of ``[batch, time, head, size]``, as ours are not."""
    mixed = jax.nn.dot_product_attention(
        *(a.transpose(0, 2, 1, 3) for a in (query, key, value)), is_causal=True, implementation="xla"
    )
    return mixed.transpose(0, 2, 1, 3)


def test_half_precision_is_summed_and_weighed_in_float32() -> None:
    arrays = _random(1, 6, 2, 9, 9, 8, jnp.bfloat16)
    found = _attend(*arrays, None)
    assert found.dtype == jnp.bfloat16
    exact = np.asarray(_attend(*(a.astype(jnp.float32) for a in arrays), None))
    assert np.abs(np.asarray(found, np.float32) - exact).max() < 0.05


@pytest.mark.parametrize(
    ("backend", "dtype", "size", "masked", "fits"),
    [
        ("gpu", jnp.bfloat16, 64, False, True),
        ("gpu", jnp.float16, 128, False, True),
        ("gpu", jnp.bfloat16, 64, True, False),
        ("gpu", jnp.float32, 64, False, False),
        ("gpu", jnp.bfloat16, 60, False, False),
        ("gpu", jnp.bfloat16, 136, False, False),
        ("cpu", jnp.bfloat16, 64, False, False),
        ("tpu", jnp.bfloat16, 64, False, False),
    ],
)
def test_cudnn_is_taken_where_it_applies(
    monkeypatch: pytest.MonkeyPatch, backend: str, dtype: Any, size: int, masked: bool, fits: bool
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    query = jnp.zeros((1, 2, 4, size), dtype)
    assert fits_cudnn(query, causal(4) if masked else None) is fits


def test_cudnn_is_handed_what_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same call with XLA's implementation, as no GPU is here: layout, causality and groups are as we mean them."""
    asked: list[str] = []
    own = jax.nn.dot_product_attention

    def stand_in(*arrays: jax.Array, implementation: str, **options: Any) -> jax.Array:
        asked.append(implementation)
        return own(*arrays, implementation="xla", **options)

    arrays = _random(2, 6, 2, 9, 9, 8, jnp.bfloat16)
    expected = np.asarray(_attend(*arrays, None), np.float32)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    found = jax.jit(lambda *arrays: attend(*arrays, None))(*arrays)  # traced anew: the backend has changed
    np.testing.assert_allclose(np.asarray(found, np.float32), expected, atol=0.05)
    assert asked == ["cudnn"]
    jax.eval_shape(lambda *arrays: attend(*arrays, causal(9)), *arrays)
    assert asked == ["cudnn"]
