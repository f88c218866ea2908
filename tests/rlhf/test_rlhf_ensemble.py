"""Heads on frozen features: their formulas against NumPy, and that labels and luck alone tell them apart."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf.ensemble import Ensemble, features, fit, leads, log_likelihood
from rlhf.model import Decoder, hidden_states, initialise
from rlhf.presets import preset

SMALL = Ensemble(heads=3, hidden=8, steps=100, learning_rate=3e-2, anchor=0.1)
WIDTH = 5


@pytest.fixture(scope="module")
def pairs() -> tuple[jax.Array, jax.Array]:
    """Texts whose first feature says which is preferred."""
    rng = np.random.default_rng(0)
    preferred, rejected = rng.normal(size=(2, 24, WIDTH)).astype(np.float32)
    preferred[:, 0], rejected[:, 0] = 1, -1
    return jnp.asarray(preferred), jnp.asarray(rejected)


def _score(heads: dict[str, np.ndarray], head: int, texts: np.ndarray) -> np.ndarray:
    return np.tanh(texts @ heads["in"][head] + heads["bias"][head]) @ heads["out"][head]


def test_leads_and_their_likelihood_are_those_of_the_formulas(pairs: tuple[jax.Array, jax.Array]) -> None:
    heads = fit(SMALL, *pairs, jnp.ones(24), jax.random.key(0))
    plain, (preferred, rejected) = jax.tree.map(np.asarray, heads), map(np.asarray, pairs)
    wanted = np.stack([_score(plain, h, preferred) - _score(plain, h, rejected) for h in range(3)])
    np.testing.assert_allclose(leads(heads, *pairs), wanted, rtol=1e-4, atol=1e-5)
    chance = 1 / (1 + np.exp(-wanted))
    assert log_likelihood(heads, *pairs) == pytest.approx(np.log(chance.mean(axis=0)).mean(), abs=1e-5)


def test_one_update_follows_the_gradient_of_the_stated_loss(pairs: tuple[jax.Array, jax.Array]) -> None:
    """Adam's first step is the learning rate against the gradient's sign; at the beginning the anchor pulls nowhere."""
    key = jax.random.key(3)
    first, last = jax.random.split(key)
    begun = {
        "in": jax.random.normal(first, (3, WIDTH, 8)) / np.sqrt(WIDTH),
        "bias": np.zeros((3, 8)),
        "out": jax.random.normal(last, (3, 8)) / np.sqrt(8),
    }
    moved = fit(Ensemble(heads=3, hidden=8, steps=1, learning_rate=1e-2), *pairs, jnp.ones(24), key)
    plain, (preferred, rejected) = jax.tree.map(np.asarray, begun), map(np.asarray, pairs)
    for head in range(3):
        inner = [np.tanh(t @ plain["in"][head] + plain["bias"][head]) for t in (preferred, rejected)]
        lead = (inner[0] - inner[1]) @ plain["out"][head]
        gradient = ((-1 / (1 + np.exp(lead)))[:, None] * (inner[0] - inner[1])).mean(axis=0)
        change = np.asarray(moved["out"][head]) - plain["out"][head]
        np.testing.assert_allclose(change, -1e-2 * np.sign(gradient), rtol=1e-3)


def test_pairs_that_fill_the_shape_teach_nothing(pairs: tuple[jax.Array, jax.Array]) -> None:
    preferred, rejected = pairs
    real = (jnp.arange(24) < 10).astype(jnp.float32)
    other = jnp.where(real[:, None] > 0, preferred, 7.0)
    found = [fit(SMALL, p, rejected, real, jax.random.key(1)) for p in (preferred, other)]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), *found))


def test_heads_begin_elsewhere_and_agree_where_labels_decide(pairs: tuple[jax.Array, jax.Array]) -> None:
    heads = fit(SMALL, *pairs, jnp.ones(24), jax.random.key(2))
    assert (np.asarray(leads(heads, *pairs)) > 0).all()
    assert len({float(value) for value in heads["out"][:, 0]}) == 3


def test_a_stronger_anchor_leaves_heads_nearer_to_where_they_began(
    pairs: tuple[jax.Array, jax.Array],
) -> None:
    def lead(ensemble: Ensemble) -> float:
        return float(jnp.mean(leads(fit(ensemble, *pairs, jnp.ones(24), jax.random.key(2)), *pairs)))

    assert lead(SMALL) > 2 * lead(replace(SMALL, anchor=10.0)) > 0


def test_features_are_the_last_states_of_each_text_whatever_pads_it() -> None:
    decoder = Decoder(preset("tiny", 40))
    params = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))
    tokens = np.random.default_rng(0).integers(3, 40, (3, 9)).astype(np.int32)
    lengths = np.array([4, 9, 1], np.int32)
    whole = jax.jit(hidden_states, static_argnums=0)
    found = features(decoder, params, tokens, lengths)
    assert found.shape == (3, 32)
    for row, length in enumerate(lengths):
        # What stands behind is not seen; and the row's own length is where it is read.
        other = np.where(np.arange(9) < length, tokens[row], 5)
        alone = whole(decoder, params, jnp.asarray(other[None]))[0, length - 1]
        np.testing.assert_allclose(found[row], alone, atol=1e-5)
    tokens[0, 4:] = 0
    np.testing.assert_array_equal(features(decoder, params, tokens, lengths)[0], found[0])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"heads": 1}, "`heads` to be at least 2, got 1"),
        ({"hidden": 0}, "`hidden` to be positive, got 0"),
        ({"steps": 0}, "`steps` to be positive, got 0"),
        ({"learning_rate": 0.0}, "`learning_rate` to be positive, got 0.0"),
        ({"anchor": -1.0}, "`anchor` to be 0 or more, got -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Ensemble(**setting)  # pyright: ignore[reportArgumentType]
