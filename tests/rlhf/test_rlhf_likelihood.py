"""Log-probabilities, entropies and hits: against loops, in parts as at once, and never in half precision."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf import likelihood
from rlhf.model import Decoder, Params
from rlhf.sampling import Sampler

VOCABULARY, COUNT, WIDTH = 300, 10, 32

_of_targets = partial(jax.jit, static_argnums=(0, 4))(likelihood.of_targets)
_sampled = partial(jax.jit, static_argnums=(0, 4, 5))(likelihood.of_targets)


def random_hidden(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(0, 2, (2, COUNT // 2, WIDTH)).astype(np.float32)
    return hidden, rng.integers(0, VOCABULARY, (2, COUNT // 2)).astype(np.int32)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.sampled_from([0.5, 1.0]))
def test_against_loops(decoder: Decoder, sharp: Params, seed: int, temperature: float) -> None:
    hidden, targets = random_hidden(seed)
    logits = oracle.wide(hidden) @ oracle.wide(sharp["embed"]).T / temperature
    targets[0] = logits[0].argmax(axis=-1)  # some that are hits
    found = _of_targets(decoder, sharp, hidden, targets, temperature)
    for place in np.ndindex(targets.shape):
        logprobs = oracle.log_softmax(logits[place])
        assert float(found.logprobs[place]) == pytest.approx(logprobs[targets[place]], rel=1e-4, abs=1e-4)
        entropy = -sum(np.exp(p) * p for p in logprobs)
        assert float(found.entropy[place]) == pytest.approx(entropy, rel=1e-3, abs=1e-4)
        variance = sum(np.exp(p) * (p + entropy) ** 2 for p in logprobs)
        assert float(found.deviation[place]) == pytest.approx(np.sqrt(variance), rel=1e-3, abs=1e-3)
        assert bool(found.hit[place]) == (int(np.argmax(logits[place])) == targets[place])


SAMPLERS = (
    Sampler(),
    Sampler(temperature=0.7),
    Sampler(top_k=1),
    Sampler(top_k=5),
    Sampler(top_k=1000),
    Sampler(top_p=0.9),
    Sampler(temperature=1.3, top_k=7, top_p=0.6),
)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_samplers_draw_is_what_their_rule_says(decoder: Decoder, seed: int) -> None:
    """Logits that are whole numbers, so that many tie: the lowest ids are kept."""
    rng = np.random.default_rng(seed)
    table = rng.integers(-3, 4, (VOCABULARY, WIDTH)).astype(np.float32)
    hidden = np.eye(WIDTH, dtype=np.float32)[None, :COUNT]
    logits = table.T[:COUNT]
    targets = np.where(rng.random(COUNT) < 0.5, logits.argmax(axis=-1), rng.integers(0, VOCABULARY, COUNT))
    found = _sampled(decoder, {"embed": table}, hidden, targets[None].astype(np.int32), 1.0, SAMPLERS)
    for place, target in enumerate(targets):
        for number, sampler in enumerate(SAMPLERS):
            known = oracle.truncated_logprobs(
                logits[place].tolist(), sampler.temperature, sampler.top_k, sampler.top_p
            )[target]
            value = float(found.sampled[0, place, number])
            assert value == pytest.approx(known, rel=1e-4, abs=1e-4)


def test_the_lowest_id_wins_a_tie(decoder: Decoder, sharp: Params) -> None:
    """Nothing in, and so all logits alike; then two that share the top."""
    nothing = np.zeros((1, 3, WIDTH), np.float32)
    found = _of_targets(decoder, sharp, nothing, np.array([[0, 1, 299]], np.int32), 1.0)
    assert found.hit.tolist() == [[True, False, False]]
    np.testing.assert_allclose(found.entropy, np.log(VOCABULARY), rtol=1e-6)
    twins = {"embed": jnp.zeros((VOCABULARY, WIDTH)).at[jnp.array([7, 9])].set(1.0)}
    found = _of_targets(decoder, twins, nothing + 1, np.array([[7, 9, 0]], np.int32), 1.0)
    assert found.hit.tolist() == [[True, False, False]]


def test_in_parts_as_at_once(decoder: Decoder, sharp: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients; 10 tokens in parts of 4, so that the last is filled up."""
    hidden, targets = random_hidden(0)

    def run(limit: int) -> Any:
        monkeypatch.setattr(likelihood, "_LOGITS_AT_ONCE", limit)

        def summed(params: Params, hidden: jax.Array) -> tuple[jax.Array, Any]:
            found = likelihood.of_targets(decoder, params, hidden, jnp.asarray(targets), 0.7)
            scale = jnp.arange(1.0, COUNT + 1).reshape(targets.shape)
            return jnp.sum(scale * (found.logprobs + 0.3 * found.entropy)), found

        with_gradient = jax.value_and_grad(summed, argnums=(0, 1), has_aux=True)
        text = str(jax.make_jaxpr(with_gradient)(sharp, hidden))
        (_, found), gradient = jax.jit(with_gradient)(sharp, hidden)
        return found, gradient, text

    whole, whole_gradient, whole_text = run(2**27)
    parts, parts_gradient, parts_text = run(4 * VOCABULARY)
    assert "scan" in parts_text
    assert "scan" not in whole_text
    assert f"f32[{COUNT},{VOCABULARY}]" in whole_text
    assert f"f32[{COUNT},{VOCABULARY}]" not in parts_text
    assert whole.logprobs.shape == parts.logprobs.shape == targets.shape
    for left, right in zip(whole, parts, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)
    for left, right in zip(*map(jax.tree.leaves, (whole_gradient, parts_gradient)), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_always_in_float32(sharp: Params, decoder: Decoder, dtype: Any) -> None:
    """Only the product's inputs are rounded: the sums behind it are those of float32."""
    half = Decoder(decoder.config, dtype)
    hidden, targets = random_hidden(1)
    rounded = jnp.asarray(hidden, dtype)
    found = _of_targets(half, sharp, rounded, targets, 0.7)
    assert {x.dtype for x in found} == {jnp.dtype("float32"), jnp.dtype("bool")}
    embed = np.asarray(jnp.asarray(sharp["embed"], dtype).astype(jnp.float32))
    logits = oracle.wide(rounded.astype(jnp.float32)) @ oracle.wide(embed).T / 0.7
    wanted = np.take_along_axis(oracle.log_softmax(logits), targets[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.logprobs, wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        found.entropy,
        -(np.exp(oracle.log_softmax(logits)) * oracle.log_softmax(logits)).sum(-1),
        rtol=1e-3,
        atol=1e-4,
    )
