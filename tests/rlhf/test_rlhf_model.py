"""The decoder against a NumPy decoder that knows no batches, and the laws of its parts."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st

from rlhf import likelihood
from rlhf.batches import pad
from rlhf.model import (
    Decoder,
    Params,
    hidden_states,
    initialise,
    logits_of,
    random_head,
    scalar,
    zero_head,
)
from rlhf.presets import PRESETS, ModelConfig, RopeScaling, parameters, preset

TIME = 16
TEXTS = [np.random.default_rng(n).integers(0, 300, n).tolist() for n in (1, 16, 5, 9, 2, 12, 16, 3)]


def test_logits_and_values_are_those_of_the_plain_decoder(
    model_logits: Callable[..., np.ndarray], decoder: Decoder, sharp_actor: dict[str, Params]
) -> None:
    """Grouped keys, rotary positions, norms, gates and the tied head, for rows of all lengths in one batch."""
    assert decoder.config.kv_heads < decoder.config.heads
    params, head = sharp_actor["policy"], sharp_actor["head"]
    tokens, lengths = pad(TEXTS, TIME, 0)
    found = model_logits(params, tokens)
    assert found.dtype == np.float32
    values = jax.jit(lambda p, h, t: scalar(h, hidden_states(decoder, p, t)))(params, head, tokens)
    for row, (text, length) in enumerate(zip(TEXTS, lengths, strict=True)):
        hidden = oracle.hidden_states(params, decoder.config, text)
        expected = hidden @ oracle.wide(params["embed"]).T
        assert np.std(expected) > 1  # else agreement says little
        np.testing.assert_allclose(found[row, :length], expected, atol=5e-4)
        wanted = hidden @ oracle.wide(head["kernel"]) + float(head["bias"])
        np.testing.assert_allclose(np.asarray(values)[row, :length], wanted, atol=5e-4)


def _sharp(config: ModelConfig) -> Params:
    rng = np.random.default_rng(8)
    shapes = jax.eval_shape(partial(initialise, Decoder(config)), jax.random.key(0))

    def fill(path: tuple[Any, ...], leaf: jax.Array) -> np.ndarray:
        low, high = (0.5, 1.5) if path[-1].key == "scale" else (-0.5, 0.5)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


OTHER_SHAPES = {
    "glm": preset("tiny-glm", 40),
    "stretched": replace(
        preset("tiny", 40),
        head_size=12,
        layers=1,
        rope_scaling=RopeScaling(factor=4.0, low=1.0, high=4.0, original=32),
    ),
}


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_other_shapes_are_those_of_the_plain_decoder(name: str) -> None:
    """Biases, half rotation and a head of its own; stretched wavelengths and heads that do not add up to the width."""
    config = OTHER_SHAPES[name]
    params, tokens = _sharp(config), np.random.default_rng(9).integers(0, 40, (2, 12))
    found = jax.jit(lambda p, t: logits_of(Decoder(config), p, hidden_states(Decoder(config), p, t)))(
        params, tokens
    )
    for row, text in enumerate(tokens.tolist()):
        expected = oracle.logits(params, config, text)
        assert np.std(expected) > 1
        np.testing.assert_allclose(np.asarray(found)[row], expected, atol=5e-4)


def test_what_comes_later_changes_nothing_before(
    model_logits: Callable[..., np.ndarray], sharp: Params
) -> None:
    """So neither do pads, whatever they hold."""
    tokens, lengths = pad(TEXTS, TIME, 0)
    other = np.where(np.arange(TIME) < lengths[:, None], tokens, 299 - tokens)
    assert (other != tokens).any()
    before, after = model_logits(sharp, tokens), model_logits(sharp, other)
    for row, length in enumerate(lengths):
        assert (before[row, :length] == after[row, :length]).all()


@pytest.fixture(scope="module")
def packed(decoder: Decoder, sharp: Params) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    run = jax.jit(partial(hidden_states, decoder))
    return lambda tokens, segments: np.asarray(run(sharp, tokens, segments))


@given(st.lists(st.integers(1, 7), min_size=2, max_size=5), st.integers(0, 2**32 - 1))
def test_texts_in_one_row_do_not_see_one_another(
    packed: Callable[[np.ndarray, np.ndarray], np.ndarray],
    decoder: Decoder,
    sharp: Params,
    lengths: list[int],
    seed: int,
) -> None:
    tokens = np.random.default_rng(seed).integers(0, 300, (1, TIME))
    numbers = [number for number, length in enumerate(lengths) for _ in range(length)][:TIME]
    numbers += [len(lengths)] * (TIME - len(numbers))
    found = packed(tokens, np.array([numbers]))[0]
    first = [t for t in range(TIME) if numbers[t] == numbers[0]]
    last = [t for t in range(TIME) if numbers[t] == numbers[-1]]
    for places in (first, last):
        expected = oracle.hidden_states(sharp, decoder.config, tokens[0, places].tolist())
        np.testing.assert_allclose(found[places], expected, atol=5e-4)


@pytest.fixture(scope="module")
def positioned(decoder: Decoder, sharp: Params) -> Callable[[np.ndarray], np.ndarray]:
    tokens, _ = pad(TEXTS, TIME, 7)
    run = jax.jit(lambda positions: decoder.apply({"params": sharp}, tokens, positions)[0])
    return lambda positions: np.asarray(run(np.broadcast_to(positions, tokens.shape)))


@given(st.integers(1, 1000))
def test_only_the_distance_of_positions_counts(
    positioned: Callable[[np.ndarray], np.ndarray], shift: int
) -> None:
    counted = positioned(np.arange(TIME))
    np.testing.assert_allclose(positioned(np.arange(TIME) + shift), counted, atol=2e-3)
    assert np.abs(positioned(2 * np.arange(TIME)) - counted).max() > 0.1


def test_query_heads_share_key_heads(fresh: Params, decoder: Decoder) -> None:
    """Half as many keys and values are made and kept as there are queries."""
    attention, size = fresh["block_0"]["attention"], decoder.config.head_size
    assert attention["q"]["kernel"].shape == (32, 2 * size)
    assert attention["k"]["kernel"].shape == attention["v"]["kernel"].shape == (32, size)
    cache = jax.eval_shape(lambda p: decoder.apply({"params": p}, jnp.zeros((3, 5), jnp.int32))[1], fresh)
    assert [pair[0].shape for pair in cache] == [(3, 1, 5, size)] * decoder.config.layers


def test_biases_are_on_queries_keys_and_values_alone() -> None:
    shapes = jax.eval_shape(partial(initialise, Decoder(preset("tiny-glm", 40))), jax.random.key(0))
    biased = {
        path[-2].key for path, _ in jax.tree_util.tree_leaves_with_path(shapes) if path[-1].key == "bias"
    }
    assert biased == {"q", "k", "v"}
    assert shapes["lm"].shape == shapes["embed"].shape


def test_a_scalar_head_comes_and_goes_without_touching_the_trunk(fresh: Params, decoder: Decoder) -> None:
    """It is a part beside the trunk: the trunk's parameters are those of a language model, with or without."""
    width = decoder.config.width
    shapes = jax.eval_shape(partial(initialise, decoder), jax.random.key(0))
    assert jax.tree.structure(fresh) == jax.tree.structure(shapes)
    hidden = np.random.default_rng(0).normal(size=(2, 3, width)).astype(np.float32)
    zero = zero_head(width)
    assert not np.asarray(scalar(zero, jnp.asarray(hidden))).any()
    assert scalar(zero, jnp.asarray(hidden)).shape == (2, 3)
    assert scalar(zero, jnp.asarray(hidden, jnp.bfloat16)).dtype == jnp.float32


def test_a_random_head_has_the_published_deviation() -> None:
    kernels = np.array([random_head(48, jax.random.key(n))["kernel"] for n in range(40)])
    assert np.std(kernels) == pytest.approx(1 / 7, rel=0.05)
    assert abs(np.mean(kernels)) < 0.02
    assert float(random_head(48, jax.random.key(0))["bias"]) == 0
    assert len(np.unique(kernels)) == kernels.size


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return pad(TEXTS, TIME, 0)[0]


@partial(jax.jit, static_argnums=0)
def _logits_and_gradient(decoder: Decoder, params: Params, tokens: jax.Array) -> tuple[jax.Array, Params]:
    def loss(params: Params) -> tuple[jax.Array, jax.Array]:
        hidden = hidden_states(decoder, params, tokens[:, :-1])
        found = likelihood.of_targets(decoder, params, hidden, tokens[:, 1:])
        return -jnp.mean(found.logprobs), logits_of(decoder, params, hidden)

    gradient, logits = jax.grad(loss, has_aux=True)(params)
    return logits, gradient


def test_bfloat16_computes_nearly_the_same_from_float32_masters(
    sharp: Params, decoder: Decoder, tokens: np.ndarray
) -> None:
    """Half of the products' precision is lost, not that of parameters, logits and gradients."""
    half = Decoder(decoder.config, "bfloat16")
    fresh = jax.eval_shape(partial(initialise, half), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {np.dtype("float32")}
    exact, exact_gradient = _logits_and_gradient(decoder, sharp, jnp.asarray(tokens))
    rough, rough_gradient = _logits_and_gradient(half, sharp, jnp.asarray(tokens))
    assert rough.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(rough_gradient)} == {np.dtype("float32")}
    apart = np.abs(np.asarray(rough - exact))
    assert 0 < apart.mean() < 0.02 * np.std(exact)
    assert apart.max() < 0.2 * np.std(exact)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(rough_gradient), jax.tree.leaves(exact_gradient), strict=True
    ):
        assert np.linalg.norm(a - b) < 0.1 * np.linalg.norm(b), path


def test_bfloat16_keeps_its_cache_in_bfloat16(decoder: Decoder, fresh: Params) -> None:
    half = Decoder(decoder.config, "bfloat16")
    hidden, cache = jax.eval_shape(lambda p: half.apply({"params": p}, jnp.zeros((1, 4), jnp.int32)), fresh)  # pyright: ignore
    assert {hidden.dtype, *(a.dtype for pair in cache for a in pair)} == {np.dtype(jnp.bfloat16)}


# --- shapes


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound_shapes_with_as_many_parameters_as_they_say(name: str) -> None:
    config = preset(name, 300)
    assert config.vocabulary == 300
    assert config.head_size * config.heads == config.width
    # Two layers of it: shapes of forty take seconds.
    short = replace(config, layers=2)
    shapes = jax.eval_shape(partial(initialise, Decoder(short)), jax.random.key(0))
    assert parameters(short) == sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert parameters(replace(config, layers=4)) - parameters(short) == sum(
        leaf.size for index in range(2) for leaf in jax.tree.leaves(shapes[f"block_{index}"])
    )


@pytest.mark.parametrize(
    ("name", "vocabulary", "millions"),
    [
        ("0.3m", 2048, 0.332),
        ("0.9m", 2048, 0.872),
        ("0.9m-glm", 2048, 0.874),
        ("1m", 2048, 1.07),
        ("5m", 4096, 5.00),
        ("15m", 2048, 14.9),
        ("50m", 2048, 50.7),
        ("150m", 2048, 152.6),
        ("0.5b", 151936, 494.0),  # what Qwen2.5-0.5B has
        ("1.5b", 151936, 1543.7),
        ("3b", 151936, 3085.9),
        ("7b", 152064, 7615.6),  # the 7B's vocabulary is a little larger
        ("7b-llama", 32000, 6738.4),  # what Llama-2-7B has
        ("0.6b-glm", 151552, 573.3),
        ("9b-glm", 151552, 9400.0),  # what GLM-4-9B has
    ],
)
def test_names_are_honest(name: str, vocabulary: int, millions: float) -> None:
    assert parameters(preset(name, vocabulary)) / 1e6 == pytest.approx(millions, rel=0.005)
    assert float(name.split("-")[0][:-1]) * (1000 if "b" in name.split("-")[0] else 1) == pytest.approx(
        millions, rel=0.12
    )


@pytest.mark.parametrize("name", [name for name in PRESETS if name.endswith("glm")])
def test_glm_shapes_have_the_proportions_of_glm_4(name: str) -> None:
    config = preset(name, 300)
    assert config.bias
    assert config.kv_heads == 2
    assert config.hidden / config.width == pytest.approx(10 / 3, rel=0.01)
    assert config.rotated * 2 == config.head_size
    assert not config.tied


def test_an_unknown_preset_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match=r"tiny.*5m.*'huge'"):
        preset("huge", 300)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3, "kv_heads": 3}, "width=32, heads=3"),
        ({"heads": 32, "kv_heads": 1}, "head_size=1, got rotary=1.0"),
        ({"heads": 4, "kv_heads": 3}, "heads=4, kv_heads=3"),
        ({"rotary": 0.2}, "head_size=16, got rotary=0.2"),
        ({"rotary": 1.5}, "head_size=16, got rotary=1.5"),
        ({"layers": 0}, "`layers` to be positive, got 0"),
        ({"hidden": -1}, "`hidden` to be positive, got -1"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, Any], message: str) -> None:
    shape = {"vocabulary": 300, "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 64}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**shape, **wrong})


def test_a_head_size_of_its_own_frees_the_width() -> None:
    config = ModelConfig(vocabulary=9, width=30, layers=1, heads=4, kv_heads=2, hidden=8, head_size=6)
    shapes = jax.eval_shape(partial(initialise, Decoder(config)), jax.random.key(0))
    assert shapes["block_0"]["attention"]["o"]["kernel"].shape == (24, 30)
