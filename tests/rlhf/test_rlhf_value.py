"""A value net learns what it is taught, and is bounded."""

import jax
import jax.numpy as jnp
import numpy as np

from rlhf import value
from rlhf.model import Decoder, hidden_states, initialise, random_head
from rlhf.optimiser import Optimiser
from rlhf.presets import ModelConfig

DECODER = Decoder(ModelConfig(vocabulary=16, width=16, layers=1, heads=1, kv_heads=1, hidden=16))
TEXTS = [[1, 3, 4], [1, 3, 4, 5, 6], [1, 7], [1, 7, 8, 9]]
QUALITIES = np.array([1.0, 0.25, 0.5, 0.0])


def test_the_loss_is_the_square_of_what_a_sigmoid_at_the_last_token_is_off() -> None:
    params, head = initialise(DECODER, jax.random.key(0)), random_head(16, jax.random.key(1))
    tokens = np.array([[1, 3, 4, 0], [1, 7, 0, 0]], np.int32)
    batch = {
        "tokens": jnp.asarray(tokens),
        "last": jnp.array([2, 1], jnp.int32),
        "quality": jnp.array([0.9, 0.2], jnp.float32),
    }
    total, count, _ = value.Squared(DECODER)({"model": params, "head": head}, batch)
    hidden = np.asarray(hidden_states(DECODER, params, jnp.asarray(tokens)))
    raw = np.array([hidden[0, 2], hidden[1, 1]]) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(total, np.sum((1 / (1 + np.exp(-raw)) - [0.9, 0.2]) ** 2), rtol=1e-5)
    assert count == 2


def test_it_learns_and_answers_in_order_whatever_the_batch() -> None:
    net = value.train(
        initialise(DECODER, jax.random.key(0)),
        TEXTS,
        QUALITIES,
        decoder=DECODER,
        optimiser=Optimiser(learning_rate=3e-3),
        steps=150,
        batch=4,
        time=6,
        seed=0,
    )
    found = net(TEXTS)
    assert found.dtype == np.float32
    assert np.abs(found - QUALITIES).max() < 0.1
    assert ((found > 0) & (found < 1)).all()
    small = value.ValueNet(decoder=DECODER, parts=net.parts, time=6, at_once=3)
    np.testing.assert_allclose(small(TEXTS), found, atol=1e-6)
    assert small([]).shape == (0,)
