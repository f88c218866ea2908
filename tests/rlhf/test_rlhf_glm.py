"""The shape of GLM-4 (arXiv 2406.12793) as it is built: what there are parameters for, and what its attention does."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.attention import rotate, turns
from rlhf.batches import pad
from rlhf.model import Decoder, Params, hidden_states, initialise, logits_of
from rlhf.presets import parameters, preset

VOCABULARY, TIME = 300, 24
CONFIG = preset("0.9m-glm", VOCABULARY)
DECODER = Decoder(CONFIG)


def shapes(name: str, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter of a preset."""
    tree = jax.eval_shape(partial(initialise, Decoder(preset(name, vocabulary))), jax.random.key(0))
    return {
        "/".join(part.key for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_there_are_these_parameters_and_no_others() -> None:
    """Of width 96 in 4 blocks: 4 query heads of 24, 2 groups of keys and values, 320 inside, two embeddings."""
    block = {
        "attention_norm/scale": (96,),
        "attention/q/kernel": (96, 96),
        "attention/q/bias": (96,),
        "attention/k/kernel": (96, 48),
        "attention/k/bias": (48,),
        "attention/v/kernel": (96, 48),
        "attention/v/bias": (48,),
        "attention/o/kernel": (96, 96),
        "mlp_norm/scale": (96,),
        "mlp/gate/kernel": (96, 320),
        "mlp/up/kernel": (96, 320),
        "mlp/down/kernel": (320, 96),
    }
    wanted: dict[str, tuple[int, ...]] = {"embed": (300, 96), "lm": (300, 96), "norm/scale": (96,)}
    wanted |= {f"block_{i}/{path}": shape for i in range(4) for path, shape in block.items()}
    assert shapes("0.9m-glm", 300) == wanted


@pytest.mark.parametrize(
    ("name", "multiple"), [("tiny-glm", 32), ("0.9m-glm", 32), ("0.6b-glm", 32), ("9b-glm", 128)]
)
def test_the_feed_forward_part_is_ten_thirds_of_the_width_rounded_up_to_a_multiple(
    name: str, multiple: int
) -> None:
    config = preset(name, 300)
    assert config.hidden == -(-10 * config.width // (3 * multiple)) * multiple


@pytest.mark.parametrize("name", ["tiny-glm", "0.9m-glm"])
def test_keys_and_values_are_as_wide_as_their_groups(name: str) -> None:
    config, found = preset(name, 300), shapes(name, 300)
    for part in "kv":
        assert found[f"block_0/attention/{part}/kernel"][1] == 2 * config.head_size
        assert found[f"block_0/attention/{part}/bias"] == (2 * config.head_size,)


def test_the_two_shapes_of_one_size_differ_in_size_by_less_than_half_a_percent() -> None:
    """With the vocabulary that recipes have: what a study says of shapes must not be said of sizes."""
    plain, glm = (parameters(preset(name, 2048)) for name in ("0.9m", "0.9m-glm"))
    assert abs(plain / glm - 1) < 0.005


@pytest.fixture(scope="module")
def sharp() -> Params:
    """Parameters whose every part matters, the biases too, which begin as 0."""
    rng = np.random.default_rng(8)
    tree = jax.eval_shape(partial(initialise, DECODER), jax.random.key(0))

    def fill(path: tuple[Any, ...], leaf: jax.Array) -> np.ndarray:
        low, high = (0.5, 1.5) if path[-1].key == "scale" else (-0.2, 0.2)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, tree)


def test_it_computes_what_the_plain_decoder_does(sharp: Params) -> None:
    text = np.random.default_rng(9).integers(0, VOCABULARY, 12)
    found = jax.jit(lambda p, t: logits_of(DECODER, p, hidden_states(DECODER, p, t)))(sharp, text[None])
    expected = oracle.logits(sharp, CONFIG, text.tolist())
    assert np.std(expected) > 0.5
    np.testing.assert_allclose(np.asarray(found)[0], expected, atol=5e-4)


@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_every_bias_matters(sharp: Params, name: str) -> None:
    """A bias of the keys alone would cancel in the softmax if it were not turned by its position."""
    attention = sharp["block_0"]["attention"]
    without = {**attention, name: {**attention[name], "bias": np.zeros_like(attention[name]["bias"])}}
    other = {**sharp, "block_0": {**sharp["block_0"], "attention": without}}
    tokens = np.random.default_rng(9).integers(0, VOCABULARY, (1, 12))
    run = jax.jit(partial(hidden_states, DECODER))
    assert np.abs(np.asarray(run(sharp, tokens)) - np.asarray(run(other, tokens))).max() > 1e-3


@jax.jit
def _stepwise(params: Params, tokens: jax.Array) -> jax.Array:
    """Logits ``[batch, time, vocabulary]``, one token after the other, each from the cache of those before."""
    batch, time = tokens.shape
    empty = jnp.zeros((batch, CONFIG.kv_heads, time, CONFIG.head_size), jnp.float32)
    slots = jnp.arange(time)

    def step(cache: Any, place: jax.Array) -> tuple[Any, jax.Array]:
        token = jax.lax.dynamic_slice_in_dim(tokens, place, 1, axis=1)
        mask = jnp.broadcast_to(slots <= place, (1, 1, time))
        hidden, cache = DECODER.apply({"params": params}, token, place[None, None], mask, cache, place)  # pyright: ignore
        return cache, logits_of(DECODER, params, hidden)[:, 0]

    _, found = jax.lax.scan(step, ((empty, empty),) * CONFIG.layers, slots)
    return found.transpose(1, 0, 2)


def test_decoding_from_the_cache_has_the_logits_of_the_full_pass(sharp: Params) -> None:
    """To 1e-5 of the logits' scale."""
    rng = np.random.default_rng(10)
    tokens, _ = pad([rng.integers(0, VOCABULARY, TIME).tolist() for _ in range(3)], TIME, 0)
    full = jax.jit(lambda p, t: logits_of(DECODER, p, hidden_states(DECODER, p, t)))(sharp, tokens)
    scale = float(np.std(full))
    np.testing.assert_allclose(
        np.asarray(_stepwise(sharp, tokens)), np.asarray(full), atol=1e-5 * max(scale, 1)
    )


@jax.jit
def _turned(x: jax.Array, positions: jax.Array) -> jax.Array:
    return rotate(x, turns(CONFIG, positions), CONFIG.rotated)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4000))
def test_the_second_half_of_a_head_knows_no_position(seed: int, position: int) -> None:
    head = np.random.default_rng(seed).normal(size=CONFIG.head_size).astype(np.float32)
    turned = np.asarray(_turned(head[None, None, None], np.array([[position]])))[0, 0, 0]
    half = CONFIG.head_size // 2
    assert (turned[half:] == head[half:]).all()
    assert (turned[:half] != head[:half]).all()
    assert np.linalg.norm(turned[:half]) == pytest.approx(np.linalg.norm(head[:half]), rel=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 900), st.integers(0, 900), st.integers(1, 900))
def test_a_query_and_a_key_know_how_far_they_are_apart_and_not_where_they_are(
    seed: int, left: int, right: int, shift: int
) -> None:
    """The product is that of the formula: the first half by the difference of positions, the second by neither."""
    query, key = np.random.default_rng(seed).normal(size=(2, CONFIG.head_size)).astype(np.float32)
    quarter, half = CONFIG.rotated // 2, CONFIG.rotated

    def product(at: int, of: int) -> float:
        pair = _turned(np.stack([query, key])[None, None], np.array([[at, of]]))
        return float(np.dot(*np.asarray(pair)[0, 0]))

    angles = (right - left) * np.array([oracle.rope_frequency(CONFIG, i) for i in range(quarter)])
    one, other = (oracle.wide(x[:quarter]) + 1j * oracle.wide(x[quarter:half]) for x in (query, key))
    expected = (np.conj(one) * other * np.exp(1j * angles)).real.sum() + oracle.wide(query[half:]) @ key[
        half:
    ]
    assert product(left, right) == pytest.approx(expected, abs=5e-3)
    assert product(left + shift, right + shift) == pytest.approx(expected, abs=5e-3)
