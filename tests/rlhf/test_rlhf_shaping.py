"""KL estimates, rewards, advantages and whitening against loops."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rlhf import shaping

ROWS, TIME = 4, 6

grids = hnp.arrays(np.float32, (ROWS, TIME), elements=st.floats(-8, 8, width=32))
per_row = hnp.arrays(np.float32, (ROWS,), elements=st.floats(-8, 8, width=32))
some_lengths = st.lists(st.integers(1, TIME), min_size=ROWS, max_size=ROWS)
shares = st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0])

_advantages = jax.jit(
    lambda rewards, values, mask, discount, smoothing: shaping.advantages_and_returns(
        rewards, values, mask, discount=discount, smoothing=smoothing
    )
)
_mask = jax.jit(partial(shaping.response_mask, time=TIME))
_shaped = jax.jit(shaping.shaped_rewards)
_kl = jax.jit(shaping.kl_estimate, static_argnames=("name", "clamp"))
_whiten = jax.jit(shaping.whiten, static_argnames="keep_mean")
_judged = jax.jit(shaping.judged, static_argnames=("clip", "missing_score", "missing_penalty"))


@given(some_lengths)
def test_the_mask_is_one_at_the_response_and_zero_behind(lengths: list[int]) -> None:
    mask = np.asarray(_mask(np.array(lengths)))
    assert mask.dtype == np.float32
    for row, length in zip(mask, lengths, strict=True):
        assert row.tolist() == [1.0] * length + [0.0] * (TIME - length)


@given(grids, grids, some_lengths, shares, shares)
@example(np.ones((ROWS, TIME), np.float32), np.ones((ROWS, TIME), np.float32), [1, TIME, 2, 1], 1.0, 0.95)
def test_gae(
    rewards: np.ndarray, values: np.ndarray, lengths: list[int], discount: float, smoothing: float
) -> None:
    """Rewards and values behind a response's end are noise here and must not leak in."""
    mask = _mask(np.array(lengths))
    found = _advantages(rewards * mask, values, mask, discount, smoothing)
    expected = oracle.gae(rewards, values, lengths, discount, smoothing)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-4, atol=1e-4)


@given(per_row, grids, some_lengths, st.floats(0, 2))
@example(np.ones(ROWS, np.float32), np.zeros((ROWS, TIME), np.float32), [1, TIME, 2, 3], 0.1)
def test_shaped_rewards(scores: np.ndarray, kl: np.ndarray, lengths: list[int], coefficient: float) -> None:
    mask = _mask(np.array(lengths))
    found = _shaped(scores, kl * mask, mask, coefficient)
    np.testing.assert_allclose(
        np.asarray(found), oracle.shaped_rewards(scores, kl, lengths, coefficient), rtol=1e-5, atol=1e-5
    )


def test_fractional_scores_arrive_whole_at_the_last_token() -> None:
    scores = np.array([0.73, -1.61, 0.73, -1.61], np.float32)
    lengths = [1, TIME, 3, 5]
    mask = _mask(np.array(lengths))
    rewards = np.asarray(_shaped(scores, np.zeros((ROWS, TIME), np.float32), mask, 0.05))
    assert rewards.dtype == np.float32
    for row, length in enumerate(lengths):
        assert rewards[row, length - 1] == scores[row]
        assert np.count_nonzero(rewards[row]) == 1
    # Nothing but the score, no discount, no values: the last token's advantage is the score itself.
    advantages, returns = _advantages(rewards, np.zeros_like(rewards), mask, 1.0, 0.95)
    for row, length in enumerate(lengths):
        assert float(advantages[row, length - 1]) == scores[row]
        assert float(returns[row, length - 1]) == scores[row]


@pytest.mark.parametrize("keep_mean", [False, True])
@given(x=grids, lengths=some_lengths)
@example(x=np.full((ROWS, TIME), 3.0, np.float32), lengths=[1, TIME, 2, 3])
@example(x=np.full((ROWS, TIME), 3.0, np.float32), lengths=[1, 1, 1, 1])
def test_whitening(keep_mean: bool, x: np.ndarray, lengths: list[int]) -> None:
    mask = _mask(np.array(lengths))
    found = np.asarray(_whiten(x, mask, keep_mean=keep_mean))
    real = np.array([x[row, t] for row, length in enumerate(lengths) for t in range(length)], np.float64)
    if real.std() > 1e-3:  # below, float32 rounding of the mean is what remains
        np.testing.assert_allclose(found, oracle.whiten(x, lengths, keep_mean), rtol=1e-3, atol=2e-3)
        white = np.concatenate([found[row, :length] for row, length in enumerate(lengths)])
        assert white.mean() == pytest.approx(real.mean() if keep_mean else 0, abs=2e-3)
        assert white.std() == pytest.approx(1, abs=1e-2)
    assert np.isfinite(found).all()
    assert (found[np.asarray(mask) == 0] == 0).all()


@given(grids, some_lengths)
def test_moments(x: np.ndarray, lengths: list[int]) -> None:
    real = [float(x[row, t]) for row, length in enumerate(lengths) for t in range(length)]
    mean, variance = shaping.moments(x, _mask(np.array(lengths)))
    assert float(mean) == pytest.approx(np.mean(real), abs=1e-5)
    assert float(variance) == pytest.approx(np.var(real), rel=1e-4, abs=1e-5)


# --- the KL

ESTIMATES: list[Any] = ["k1", "k2", "k3"]


@pytest.mark.parametrize("name", ESTIMATES)
@pytest.mark.parametrize("clamp", [None, 1.5])
@given(logprobs=grids, reference=grids)
def test_kl_estimates(name: Any, clamp: float | None, logprobs: np.ndarray, reference: np.ndarray) -> None:
    found = np.asarray(_kl(logprobs, reference, name=name, clamp=clamp))
    assert found.dtype == np.float32
    for index in np.ndindex(found.shape):
        wanted = oracle.kl_estimate(logprobs[index], reference[index], name, clamp)
        assert found[index] == pytest.approx(wanted, rel=1e-4, abs=2e-5)


@pytest.fixture(scope="module")
def categorical() -> tuple[np.ndarray, np.ndarray]:
    """Logits of a policy and of a reference over five tokens."""
    rng = np.random.default_rng(0)
    return rng.normal(size=5).astype(np.float32), rng.normal(size=5).astype(np.float32)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two distributions given by logits, as a loop."""
    p, q = oracle.log_softmax(p), oracle.log_softmax(q)
    return sum(float(np.exp(a) * (a - b)) for a, b in zip(p, q, strict=True))


def test_the_means_of_the_kl_estimates(categorical: tuple[np.ndarray, np.ndarray]) -> None:
    """Over all tokens of a small distribution, weighted by the policy: k1 and k3 are unbiased, k2 is near."""
    policy, reference = map(oracle.log_softmax, categorical)
    exact = divergence(*categorical)
    means = {n: float(np.sum(np.exp(policy) * np.asarray(_kl(policy, reference, name=n)))) for n in ESTIMATES}
    assert exact > 0.1
    assert means["k1"] == pytest.approx(exact, abs=1e-5)
    assert means["k3"] == pytest.approx(exact, abs=1e-5)
    assert means["k2"] != pytest.approx(exact, abs=1e-2)
    assert means["k2"] == pytest.approx(exact, rel=0.5)


def test_the_means_over_samples_come_near_the_divergence(categorical: tuple[np.ndarray, np.ndarray]) -> None:
    policy, reference = map(oracle.log_softmax, categorical)
    drawn = np.random.default_rng(1).choice(5, 20_000, p=np.exp(policy) / np.exp(policy).sum())
    spread = {}
    for name in ("k1", "k3"):
        found = np.asarray(_kl(policy[drawn], reference[drawn], name=name))
        assert found.mean() == pytest.approx(divergence(*categorical), abs=0.03)
        spread[name] = found.std()
    assert spread["k3"] < spread["k1"]


@pytest.mark.parametrize(("name", "follows"), [("k1", "nothing"), ("k2", "reverse"), ("k3", "forward")])
def test_which_divergence_an_estimate_follows_as_a_loss(
    categorical: tuple[np.ndarray, np.ndarray], name: Any, follows: str
) -> None:
    """The mean over the policy's samples of an estimate's gradient, in the policy's logits."""
    policy, reference = categorical
    weights = np.exp(oracle.log_softmax(policy))

    def loss(logits: jax.Array) -> jax.Array:
        estimate = shaping.kl_estimate(jax.nn.log_softmax(logits), jax.nn.log_softmax(reference), name)
        return jnp.sum(weights * estimate)  # the sampling itself is not differentiated

    found = np.asarray(jax.grad(loss)(policy))
    exact = np.zeros(5)
    if follows != "nothing":
        for i in range(5):
            step = np.zeros(5)
            step[i] = 1e-5
            sides = []
            for moved in (oracle.wide(policy) + step, oracle.wide(policy) - step):
                pair = (moved, reference) if follows == "reverse" else (reference, moved)
                sides.append(divergence(*pair))
            exact[i] = (sides[0] - sides[1]) / 2e-5
    np.testing.assert_allclose(found, exact, atol=1e-4)
    assert follows == "nothing" or np.abs(exact).max() > 0.05


def test_k1_in_the_reward_has_the_gradient_of_the_reverse_divergence(
    categorical: tuple[np.ndarray, np.ndarray],
) -> None:
    """sum_t pi(t) k1(t) grad log pi(t): what the policy gradient makes of a reward of -k1, but for the sign."""
    policy, reference = categorical
    logs, frozen = oracle.log_softmax(policy), oracle.log_softmax(reference)
    charged = np.asarray(_kl(logs, frozen))

    def surrogate(logits: jax.Array) -> jax.Array:
        return jnp.sum(np.exp(logs) * charged * jax.nn.log_softmax(logits))

    def exact(logits: jax.Array) -> jax.Array:
        own = jax.nn.log_softmax(logits)
        return jnp.sum(jnp.exp(own) * (own - frozen))

    np.testing.assert_allclose(jax.grad(surrogate)(policy), jax.grad(exact)(policy), atol=1e-5)


# --- the rules for scores, and the coefficient

RULES: list[dict[str, float]] = [
    {},
    {"clip": 2.0},
    {"missing_score": -1.0},
    {"missing_penalty": 0.5},
    {"clip": 2.0, "missing_score": -9.0},
    {"clip": 2.0, "missing_penalty": 3.0},
]


@pytest.mark.parametrize("rule", RULES)
@given(scores=per_row, end=st.lists(st.booleans(), min_size=ROWS, max_size=ROWS))
@example(scores=np.array([0.73, -1.61, 7.5, -7.5], np.float32), end=[False, True, False, True])
def test_scores_as_they_are_learnt_from(rule: dict[str, float], scores: np.ndarray, end: list[bool]) -> None:
    found = np.asarray(_judged(scores, np.array(end), **rule))
    arguments = [rule.get(name) for name in ("clip", "missing_score", "missing_penalty")]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle.judged(scores.tolist(), end, *arguments), rtol=1e-6, atol=1e-6)


@given(
    st.floats(1e-4, 10), st.floats(-5, 50), st.floats(0.1, 20), st.integers(100, 20_000), st.integers(1, 512)
)
@example(0.15, 6.0, 6.0, 10_000, 64)
def test_an_adaptive_coefficient(
    coefficient: float, kl: float, target: float, horizon: int, answers: int
) -> None:
    found = shaping.adapted(coefficient, kl, target=target, horizon=horizon, answers=answers)
    error = np.clip(kl / target - 1, -0.2, 0.2)
    assert found == pytest.approx(coefficient * (1 + error * answers / horizon))
    assert (found > coefficient, found < coefficient) == (error > 0, error < 0) or abs(error) < 1e-9


def test_an_adaptive_coefficient_grows_by_a_fifth_in_its_horizon() -> None:
    coefficient = 1.0
    for _ in range(100):
        coefficient = shaping.adapted(coefficient, 100.0, target=6.0, horizon=10_000, answers=100)
    assert coefficient == pytest.approx(1.2, rel=0.02)
