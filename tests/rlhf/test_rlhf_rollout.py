"""A rollout from end to end: every array of it recomputed from its tokens, row by row."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given
from hypothesis import strategies as st

from rlhf.batches import Prompts
from rlhf.model import Decoder, Params
from rlhf.ppo import ClippedSurrogate
from rlhf.rollout import Rollout, join, response_logprobs, roll_out

PAD, EOS, PROMPT, RESPONSE, TEMPERATURE = 0, 2, 8, 8, 0.7
COEFFICIENT, DISCOUNT, SMOOTHING = 0.3, 0.97, 0.9

_join = jax.jit(lambda prompts, lengths, response: join(prompts, lengths, response, PAD))


@given(st.lists(st.integers(1, PROMPT), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_join_leaves_no_gap(lengths: list[int], seed: int) -> None:
    """Whatever stands in the prompt's pads is gone; the pads of the joined row come last."""
    rng = np.random.default_rng(seed)
    prompts, answers = (rng.integers(1, 300, (4, n)).astype(np.int32) for n in (PROMPT, RESPONSE))
    found = np.asarray(_join(prompts, np.array(lengths), answers))
    for row, length in enumerate(lengths):
        text = [*prompts[row, :length].tolist(), *answers[row].tolist()]
        assert found[row].tolist() == text + [PAD] * (PROMPT - length)


def test_response_logprobs_row_by_row(
    actor: Decoder, sharp_actor: Params, prompt_lists: list[list[int]]
) -> None:
    """Junk behind the response, each row in the plain decoder alone: log-probability, entropy, hidden state."""
    rng = np.random.default_rng(11)
    answers = [rng.integers(3, 300, RESPONSE).tolist() for _ in prompt_lists]
    tokens = rng.integers(3, 300, (len(prompt_lists), PROMPT + RESPONSE)).astype(np.int32)
    for row, (prompt, answer) in enumerate(zip(prompt_lists, answers, strict=True)):
        tokens[row, : len(prompt) + RESPONSE] = prompt + answer
    starts = np.array([len(prompt) for prompt in prompt_lists])
    run = jax.jit(lambda p, t, s: response_logprobs(actor, p, t, s, RESPONSE, TEMPERATURE))
    picked, entropy, before = map(np.asarray, run(sharp_actor, tokens, starts))
    for row, (prompt, answer) in enumerate(zip(prompt_lists, answers, strict=True)):
        hidden = oracle.hidden_states(sharp_actor, actor.config, prompt + answer)
        every = hidden @ oracle.wide(sharp_actor["embed"]).T
        place = slice(len(prompt) - 1, len(prompt) - 1 + RESPONSE)
        expected = oracle.continuation_logprobs(every, prompt, answer, TEMPERATURE)
        np.testing.assert_allclose(picked[row], expected, atol=1e-3)
        np.testing.assert_allclose(before[row], hidden[place], atol=1e-3)
        logs = oracle.log_softmax(every[place] / TEMPERATURE)
        np.testing.assert_allclose(entropy[row], -np.sum(np.exp(logs) * logs, axis=-1), atol=1e-3)


SCORES = [0.73, -1.61, 0.0, 2.5, -0.001, 1e-3, 7.0, -3.25]


@pytest.fixture(scope="module")
def leashed(
    actor: Decoder, parent: Params, memorised: Any, prompts: Prompts
) -> tuple[Params, Params, Rollout, list[tuple[np.ndarray, np.ndarray]]]:
    """A policy that has moved away from its reference, its rollout, and what its reward was asked."""
    head = np.random.default_rng(12).normal(0, 0.2, actor.config.width).astype(np.float32)
    asked = []

    def judge(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        asked.append((tokens.copy(), weights.copy()))
        return np.array(SCORES)

    blend = jax.tree.map(lambda a, b: np.float32(0.7) * a + np.float32(0.3) * b, parent, memorised.result)
    policy, reference = ({**trunk, "head": head} for trunk in (blend, parent))
    rollout = roll_out(
        policy,
        reference,
        prompts,
        judge,
        jax.random.key(3),
        decoder=actor,
        response=RESPONSE,
        temperature=TEMPERATURE,
        coefficient=COEFFICIENT,
        discount=DISCOUNT,
        smoothing=SMOOTHING,
        eos=EOS,
        pad=PAD,
    )
    arrays = Rollout(*map(np.asarray, rollout))  # pyright: ignore[reportArgumentType]
    return policy, reference, arrays, asked


def test_the_reward_is_asked_once_about_whole_rows(leashed: Any, prompt_lists: list[list[int]]) -> None:
    """NumPy arrays of prompt and response, with weight on the response alone, its end of text included."""
    _, _, rollout, asked = leashed
    [(tokens, weights)] = asked
    assert isinstance(tokens, np.ndarray)
    assert tokens.tolist() == rollout.tokens.tolist()
    assert len(set(rollout.lengths.tolist())) > 1
    for row, prompt in enumerate(prompt_lists):
        length = int(rollout.lengths[row])
        assert tokens[row, : len(prompt)].tolist() == prompt
        assert not tokens[row, len(prompt) + length :].any()
        expected = [0.0] * len(prompt) + [1.0] * length + [0.0] * (PROMPT + RESPONSE - len(prompt) - length)
        assert weights[row].tolist() == expected
        answer = tokens[row, len(prompt) : len(prompt) + length].tolist()
        assert EOS not in answer[:-1]
        assert length == RESPONSE or answer[-1] == EOS


def test_float_rewards_stay_fractional(leashed: Any) -> None:
    _, _, rollout, _ = leashed
    assert rollout.scores.dtype == np.float32
    assert rollout.scores.tolist() == np.array(SCORES, np.float32).tolist()


def test_every_array_of_a_rollout_follows_from_its_tokens(leashed: Any, actor: Decoder) -> None:
    """The sampler, the training graph, the reference, KL, values, advantages and returns, all by loops."""
    policy, reference, rollout, _ = leashed
    lengths, shape = rollout.lengths.tolist(), rollout.kl.shape
    new, old, values = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, (start, length) in enumerate(zip(rollout.starts, lengths, strict=True)):
        text = rollout.tokens[row, : start + length].tolist()
        prompt, answer = text[:start], text[start:]
        hidden = oracle.hidden_states(policy, actor.config, text)
        values[row, :length] = hidden[start - 1 : start - 1 + length] @ oracle.wide(policy["head"])
        every = hidden @ oracle.wide(policy["embed"]).T
        new[row, :length] = oracle.continuation_logprobs(every, prompt, answer, TEMPERATURE)
        frozen = oracle.logits(reference, actor.config, text)
        old[row, :length] = oracle.continuation_logprobs(frozen, prompt, answer, TEMPERATURE)
        for found, expected in (
            (rollout.sampled_logprobs, new),
            (rollout.logprobs, new),
            (rollout.reference, old),
            (rollout.values, values),
        ):
            np.testing.assert_allclose(found[row, :length], expected[row, :length], atol=1e-3)
    kl = new - old
    assert np.abs(kl).max() > 0.1  # the two models differ
    np.testing.assert_allclose(rollout.kl, kl, atol=2e-3)
    rewards = oracle.shaped_rewards(np.array(SCORES), kl, lengths, COEFFICIENT)
    advantages, returns = oracle.gae(rewards, values, lengths, DISCOUNT, SMOOTHING)
    np.testing.assert_allclose(rollout.returns, returns, atol=5e-3)
    np.testing.assert_allclose(rollout.advantages, oracle.whiten(advantages, lengths), atol=5e-3)


def test_sampler_and_trainer_agree(leashed: Any) -> None:
    _, _, rollout, _ = leashed
    for row, length in enumerate(rollout.lengths):
        gap = rollout.sampled_logprobs[row, :length] - rollout.logprobs[row, :length]
        assert np.abs(gap).max() < 1e-4


def test_the_first_ratio_is_one_and_the_first_approxkl_zero(leashed: Any, actor: Decoder) -> None:
    """The whole chain of temperature, positions and masks, for a policy that has not moved since."""
    policy, _, rollout, _ = leashed
    batch = {
        name: getattr(rollout, name)
        for name in ("tokens", "starts", "lengths", "logprobs", "values", "advantages", "returns")
    }
    loss = ClippedSurrogate(actor, RESPONSE, 0.2, 0.1, TEMPERATURE)
    _, _, metrics = jax.jit(lambda p, b: loss(p, b))(policy, batch)
    total, count = map(float, metrics["policy/ratio"])
    assert total / count == pytest.approx(1, abs=1e-5)
    assert float(metrics["policy/approxkl"][0]) < 1e-8
    assert float(metrics["policy/clipfrac"][0]) == 0


def test_a_policy_that_is_its_reference_has_no_divergence(
    actor: Decoder, leashed: Any, prompts: Prompts
) -> None:
    """At a temperature other than 1: the same one divides the reference's logits."""
    policy, _, _, _ = leashed
    judge: Callable[..., np.ndarray] = lambda tokens, weights: np.zeros(len(tokens))  # noqa: E731
    found = roll_out(
        policy,
        policy,
        prompts,
        judge,
        jax.random.key(4),
        decoder=actor,
        response=RESPONSE,
        temperature=TEMPERATURE,
        coefficient=COEFFICIENT,
        discount=DISCOUNT,
        smoothing=SMOOTHING,
        eos=EOS,
        pad=PAD,
    )
    assert float(np.abs(np.asarray(found.kl)).max()) < 1e-6
