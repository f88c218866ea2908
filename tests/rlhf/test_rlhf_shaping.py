"""Rewards, advantages and whitening against loops."""

from functools import partial

import jax
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
_kl = jax.jit(shaping.kl_estimate)
_whiten = jax.jit(shaping.whiten)


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


@given(grids, some_lengths)
@example(np.full((ROWS, TIME), 3.0, np.float32), [1, TIME, 2, 3])
def test_whitening(x: np.ndarray, lengths: list[int]) -> None:
    found = np.asarray(_whiten(x, _mask(np.array(lengths))))
    real = np.array([x[row, t] for row, length in enumerate(lengths) for t in range(length)])
    if real.std() > 1e-3:  # below, float32 rounding of the mean is what remains
        np.testing.assert_allclose(found, oracle.whiten(x, lengths), rtol=1e-3, atol=2e-3)
        white = np.concatenate([found[row, :length] for row, length in enumerate(lengths)])
        assert white.mean() == pytest.approx(0, abs=1e-3)
        assert white.std() == pytest.approx(1, abs=1e-2)
    assert np.isfinite(found).all()
    assert (found[np.asarray(_mask(np.array(lengths))) == 0] == 0).all()


@given(grids, grids)
def test_the_kl_estimate_is_k1(logprobs: np.ndarray, reference: np.ndarray) -> None:
    found = np.asarray(_kl(logprobs, reference))
    for index in np.ndindex(found.shape):
        assert found[index] == np.float32(logprobs[index] - reference[index])


def test_the_mean_kl_estimate_is_the_divergence() -> None:
    """Over all tokens of a small distribution, weighted by the policy: exactly the reverse KL."""
    rng = np.random.default_rng(0)
    policy, reference = (oracle.log_softmax(rng.normal(size=5)) for _ in range(2))
    mean = np.sum(np.exp(policy) * np.asarray(_kl(policy, reference)))
    divergence = sum(np.exp(p) * (p - r) for p, r in zip(policy, reference, strict=True))
    assert mean == pytest.approx(divergence)
    assert mean > 0
