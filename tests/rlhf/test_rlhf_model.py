"""The decoder against a NumPy decoder that knows no batches, and the laws of its parts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st

from rlhf.batches import pad
from rlhf.model import (
    Decoder,
    ModelConfig,
    Params,
    hidden_states,
    initialise,
    rotate,
    values_of,
    with_scalar,
    without_scalar,
)
from rlhf.presets import PRESETS, preset

TIME = 16
TEXTS = [np.random.default_rng(n).integers(0, 300, n).tolist() for n in (1, 16, 5, 9, 2, 12, 16, 3)]


def test_logits_and_values_are_those_of_the_plain_decoder(
    model_logits: Callable[..., np.ndarray], actor: Decoder, sharp_actor: Params
) -> None:
    """Grouped keys, rotary positions, norms, gates and the tied head, for rows of all lengths in one batch."""
    assert actor.config.kv_heads < actor.config.heads
    tokens, lengths = pad(TEXTS, TIME, 0)
    found = model_logits(sharp_actor, tokens)
    assert found.dtype == np.float32
    values = jax.jit(lambda p, t: values_of(actor, p, hidden_states(actor, p, t)))(sharp_actor, tokens)
    for row, (text, length) in enumerate(zip(TEXTS, lengths, strict=True)):
        hidden = oracle.hidden_states(sharp_actor, actor.config, text)
        expected = hidden @ oracle.wide(sharp_actor["embed"]).T
        assert np.std(expected) > 1  # else agreement says little
        np.testing.assert_allclose(found[row, :length], expected, atol=5e-4)
        np.testing.assert_allclose(
            np.asarray(values)[row, :length], hidden @ oracle.wide(sharp_actor["head"]), atol=5e-4
        )


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


_rotate = jax.jit(lambda x, positions: rotate(x, positions, 10_000.0))


@given(st.integers(0, 2**32 - 1), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_rotation_keeps_lengths_and_depends_on_differences(
    seed: int, left: int, right: int, shift: int
) -> None:
    query, key = np.random.default_rng(seed).normal(size=(2, 16)).astype(np.float32)

    def product(at: int, of: int) -> float:
        turned = np.asarray(_rotate(np.stack([query, key])[None, None], np.array([[at, of]])))[0, 0]
        np.testing.assert_allclose(
            np.linalg.norm(turned, axis=-1), np.linalg.norm([query, key], axis=-1), rtol=1e-5
        )
        return float(turned[0] @ turned[1])

    assert product(left, right) == pytest.approx(product(left + shift, right + shift), abs=5e-3)


def test_query_heads_share_key_heads(fresh: Params, decoder: Decoder) -> None:
    """Half as many keys and values are made and kept as there are queries."""
    attention, size = fresh["block_0"]["attention"], decoder.config.head_size
    assert attention["q"]["kernel"].shape == (32, 2 * size)
    assert attention["k"]["kernel"].shape == attention["v"]["kernel"].shape == (32, size)
    cache = jax.eval_shape(lambda p: decoder.apply({"params": p}, jnp.zeros((3, 5), jnp.int32))[1], fresh)
    assert [pair[0].shape for pair in cache] == [(3, 1, 5, size)] * decoder.config.layers


def test_a_scalar_head_comes_and_goes_without_touching_the_trunk(fresh: Params, actor: Decoder) -> None:
    headed = with_scalar(fresh, actor.config.width)
    assert jax.tree.structure(headed) == jax.tree.structure(
        jax.eval_shape(lambda key: initialise(actor, key), jax.random.key(0))
    )
    assert not np.asarray(headed["head"]).any()
    assert headed["block_0"] is fresh["block_0"]
    bare = without_scalar(headed)
    assert "head" in headed
    assert jax.tree.leaves_with_path(bare) == jax.tree.leaves_with_path(fresh)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound_shapes(name: str) -> None:
    config = preset(name, 2048)
    assert config.vocabulary == 2048
    assert config.head_size * config.heads == config.width


def test_an_unknown_preset_is_refused_with_the_known_ones_named() -> None:
    with pytest.raises(ValueError, match=r"tiny.*5m.*'huge'"):
        preset("huge", 300)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 3, "kv_heads": 3}, "width=32, heads=3"),
        ({"heads": 32, "kv_heads": 1}, "width=32, heads=32"),
        ({"heads": 4, "kv_heads": 3}, "heads=4, kv_heads=3"),
    ],
)
def test_impossible_shapes_are_refused(wrong: dict[str, int], message: str) -> None:
    shape = {"vocabulary": 300, "width": 32, "layers": 1, "heads": 2, "kv_heads": 1, "hidden": 64}
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**shape, **wrong})
