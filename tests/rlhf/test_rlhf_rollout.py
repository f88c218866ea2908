"""A rollout from end to end: every array of it recomputed from its tokens, row by row."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf.batches import Prompts
from rlhf.model import Decoder, Params
from rlhf.rollout import (
    Rollout,
    Sampling,
    checked,
    critic_values,
    ended,
    join,
    response_hidden,
    roll_out,
    truncated,
)
from rlhf.stage import Stage

PAD, EOS, PROMPT, RESPONSE, TEMPERATURE = 0, 2, 8, 8, 0.7
SAMPLING = Sampling(response=RESPONSE, temperature=TEMPERATURE)
Judge = Callable[[np.ndarray, np.ndarray], Any]

_join = jax.jit(lambda prompts, lengths, response: join(prompts, lengths, response, PAD))
_truncated = jax.jit(truncated, static_argnames=("eos", "after"))


@given(st.lists(st.integers(1, PROMPT), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_join_leaves_no_gap(lengths: list[int], seed: int) -> None:
    """Whatever stands in the prompt's pads is gone; the pads of the joined row come last."""
    rng = np.random.default_rng(seed)
    prompts, answers = (rng.integers(1, 300, (4, n)).astype(np.int32) for n in (PROMPT, RESPONSE))
    found = np.asarray(_join(prompts, np.array(lengths), answers))
    for row, length in enumerate(lengths):
        text = [*prompts[row, :length].tolist(), *answers[row].tolist()]
        assert found[row].tolist() == text + [PAD] * (PROMPT - length)


@given(
    st.lists(st.lists(st.sampled_from([EOS, 5, 7]), min_size=6, max_size=6), min_size=3, max_size=3),
    st.data(),
)
@example([[EOS, 5, EOS, 5, EOS, 5], [5] * 6, [EOS] * 6], None)
def test_answers_are_cut_behind_the_first_stop_from_an_index_on(answers: list[list[int]], data: Any) -> None:
    after = 3 if data is None else data.draw(st.integers(0, 5))
    found = _truncated(np.array(answers), eos=EOS, after=after)
    assert found.dtype == np.int32
    assert found.tolist() == [oracle.truncated_length(answer, EOS, after) for answer in answers]


def test_hidden_states_before_the_response_row_by_row(
    decoder: Decoder, sharp: Params, prompt_lists: list[list[int]]
) -> None:
    """Junk behind the response, each row in the plain decoder alone."""
    rng = np.random.default_rng(11)
    answers = [rng.integers(3, 300, RESPONSE).tolist() for _ in prompt_lists]
    tokens = rng.integers(3, 300, (len(prompt_lists), PROMPT + RESPONSE)).astype(np.int32)
    for row, (prompt, answer) in enumerate(zip(prompt_lists, answers, strict=True)):
        tokens[row, : len(prompt) + RESPONSE] = prompt + answer
    starts = np.array([len(prompt) for prompt in prompt_lists])
    run = jax.jit(lambda p, t, s: response_hidden(decoder, p, t, s, RESPONSE))
    before, said = map(np.asarray, run(sharp, tokens, starts))
    assert said.tolist() == answers
    for row, (prompt, answer) in enumerate(zip(prompt_lists, answers, strict=True)):
        hidden = oracle.hidden_states(sharp, decoder.config, prompt + answer)
        place = slice(len(prompt) - 1, len(prompt) - 1 + RESPONSE)
        np.testing.assert_allclose(before[row], hidden[place], atol=1e-3)


SCORES = [0.73, -1.61, 0.0, 2.5, -0.001, 1e-3, 7.0, -3.25]


class Answered:
    """A policy that has moved away from its reference, and its rollouts."""

    def __init__(
        self, decoder: Decoder, policy: Params, reference: Params, head: Params, prompts: Prompts
    ) -> None:
        self.decoder, self.policy, self.reference = decoder, policy, reference
        self.head, self.prompts = head, prompts

    def __call__(
        self, judge: Judge, sampling: Sampling = SAMPLING, reference: Params | None = None, **parts: Params
    ) -> Rollout:
        rollout = roll_out(
            {"policy": self.policy, "head": self.head, **parts},
            self.reference if reference is None else reference,
            self.prompts,
            judge,
            jax.random.key(3),
            sampling,
            decoder=self.decoder,
            eos=EOS,
            pad=PAD,
            stage=Stage(name="test"),
        )
        return Rollout(*map(np.asarray, rollout))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def answered(
    decoder: Decoder, parent: Params, memorised: Any, sharp_actor: dict[str, Params], prompts: Prompts
) -> Answered:
    blend = jax.tree.map(lambda a, b: np.float32(0.7) * a + np.float32(0.3) * b, parent, memorised.result)
    return Answered(decoder, blend, parent, sharp_actor["head"], prompts)


@pytest.fixture(scope="module")
def leashed(answered: Answered) -> tuple[Rollout, list[tuple[np.ndarray, np.ndarray]]]:
    """A rollout, and what its reward was asked."""
    asked = []

    def judge(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        asked.append((tokens.copy(), weights.copy()))
        return np.array(SCORES)

    return answered(judge), asked


def test_the_reward_is_asked_once_about_whole_rows(leashed: Any, prompt_lists: list[list[int]]) -> None:
    """NumPy arrays of prompt and response, with weight on the response alone, its end of text included."""
    rollout, asked = leashed
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
        assert bool(ended(rollout, EOS)[row]) == (answer[-1] == EOS)


def test_every_array_of_a_rollout_follows_from_its_tokens(leashed: Any, answered: Answered) -> None:
    """The sampler, the training graph, the reference and the values, all by loops; 0 behind each answer."""
    rollout, _ = leashed
    moved = 0.0
    for row, (start, length) in enumerate(zip(rollout.starts, rollout.lengths, strict=True)):
        text = rollout.tokens[row, : start + length].tolist()
        prompt, answer = text[:start], text[start:]
        hidden = oracle.hidden_states(answered.policy, answered.decoder.config, text)
        head = answered.head
        values = hidden[start - 1 : start - 1 + length] @ oracle.wide(head["kernel"]) + float(head["bias"])
        every = hidden @ oracle.wide(answered.policy["embed"]).T
        new = oracle.continuation_logprobs(every, prompt, answer, TEMPERATURE)
        frozen = oracle.logits(answered.reference, answered.decoder.config, text)
        old = oracle.continuation_logprobs(frozen, prompt, answer, TEMPERATURE)
        moved = max(moved, np.abs(new - old).max())
        for found, expected in (
            (rollout.sampled_logprobs, new),
            (rollout.logprobs, new),
            (rollout.reference, old),
            (rollout.values, values),
        ):
            np.testing.assert_allclose(found[row, :length], expected, atol=1e-3)
            assert not found[row, length:].any()
    assert moved > 0.1  # the two models differ


def test_sampler_and_trainer_agree(leashed: Any) -> None:
    rollout, _ = leashed
    assert np.abs(rollout.sampled_logprobs - rollout.logprobs).max() < 1e-4


def test_a_critic_of_its_own_is_asked(answered: Answered, leashed: Any) -> None:
    """Not the policy's trunk, whose values differ."""
    rollout, _ = leashed
    run = jax.jit(critic_values, static_argnums=0)
    parts = {"policy": answered.policy, "critic": answered.reference, "head": answered.head}
    unused = np.zeros((len(rollout.tokens), RESPONSE, answered.decoder.config.width), np.float32)
    found = np.asarray(run(answered.decoder, parts, rollout.tokens, rollout.starts, unused))
    row = int(np.argmax(rollout.lengths))
    start, length = int(rollout.starts[row]), int(rollout.lengths[row])
    text = rollout.tokens[row, : start + length].tolist()
    hidden = oracle.hidden_states(answered.reference, answered.decoder.config, text)
    expected = hidden[start - 1 : -1] @ oracle.wide(answered.head["kernel"]) + float(answered.head["bias"])
    np.testing.assert_allclose(found[row, :length], expected, atol=1e-3)
    assert np.abs(found[row, :length] - rollout.values[row, :length]).max() > 1e-2


def test_a_policy_that_is_its_reference_has_no_divergence(answered: Answered) -> None:
    """At a temperature other than 1: the same one divides the reference's logits."""
    found = answered(lambda tokens, weights: np.zeros(len(tokens)), reference=answered.policy)
    assert np.abs(found.logprobs - found.reference).max() < 1e-6


def test_truncated_answers_were_sampled_whole(answered: Answered, leashed: Any) -> None:
    """The same noise: up to the cut the answers are those that ended by themselves, or go on where they had ended."""
    stopped, _ = leashed
    asked = []

    def judge(tokens: np.ndarray, weights: np.ndarray) -> list[float]:
        asked.append((tokens, weights))
        return [0.5] * len(tokens)

    found = answered(judge, replace(SAMPLING, truncate_after=3))
    went_on = 0
    for row, (start, length) in enumerate(zip(found.starts, found.lengths, strict=True)):
        answer = found.tokens[row, start : start + length].tolist()
        assert EOS not in answer[3:-1]
        assert length == RESPONSE or (length > 3 and answer[-1] == EOS)
        assert not found.tokens[row, start + length :].any()
        assert asked[0][1][row].sum() == length
        shared = min(int(length), int(stopped.lengths[row]))
        assert answer[:shared] == stopped.tokens[row, start : start + shared].tolist()
        went_on += length > stopped.lengths[row]
    assert went_on
    assert asked[0][0].tolist() == found.tokens.tolist()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"response": 0}, "`response` to be positive, got 0"),
        ({"temperature": 0.0}, "`temperature` to be positive, got 0.0"),
        ({"truncate_after": 8}, "index below response=8, got 8"),
        ({"truncate_after": -1}, "index below response=8, got -1"),
        ({"truncate_after": 2, "stop": False}, "got stop=False: set it to True"),
    ],
)
def test_sampling_that_makes_no_sense_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(SAMPLING, **fields)


@pytest.mark.parametrize("cut", ["top_k", "top_p"])
def test_a_cut_of_the_distribution_is_not_to_be_had(cut: str) -> None:
    with pytest.raises(TypeError, match=cut):
        Sampling(response=4, **{cut: 1})  # pyright: ignore[reportCallIssue]


# --- what a reward may answer

KINDS: list[Callable[[list[float]], Any]] = [
    list,
    tuple,
    lambda x: np.array(x, np.float64),
    lambda x: np.array(x, np.float32),
    lambda x: jnp.array(x, jnp.float32),
    lambda x: np.array(x, object).astype(float),
    lambda x: [np.float64(v) for v in x],
]


@pytest.mark.parametrize("kind", range(len(KINDS)))
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=8))
@example([0.73, -1.61, 0.0])
def test_fractions_of_a_reward_stay_whatever_their_type(kind: int, scores: list[float]) -> None:
    found = checked(KINDS[kind](scores), len(scores))
    assert found.dtype == np.float32
    assert found.tolist() == np.array(scores, np.float32).tolist()


@given(
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=8),
    st.sampled_from([np.int32, np.int64, np.int16]),
)
def test_whole_numbers_arrive_as_floats(scores: list[int], kind: Any) -> None:
    """So that what is added to them afterwards, a KL, is not cut to whole numbers."""
    found = checked(np.array(scores, kind), len(scores))
    assert found.dtype == np.float32
    assert found.tolist() == scores


def test_a_bool_or_a_short_float_is_a_score() -> None:
    assert checked(np.array([True, False]), 2).tolist() == [1.0, 0.0]
    assert checked(jnp.array([0.5, -2.0], jnp.bfloat16), 2).tolist() == [0.5, -2.0]
    assert checked(np.array([0.5, -2.0], np.float16), 2).dtype == np.float32


@settings(max_examples=10)
@given(scores=st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8), whole=st.booleans())
@example(scores=SCORES, whole=False)
def test_a_rollout_holds_the_scores_as_they_were_given(
    answered: Answered, scores: list[float], whole: bool
) -> None:
    given = [int(score) for score in scores] if whole else scores
    found = answered(lambda tokens, weights: np.array(given))
    assert found.scores.dtype == np.float32
    assert found.scores.tolist() == np.array(given, np.float32).tolist()


@pytest.mark.parametrize(
    ("answer", "error", "named"),
    [
        (np.zeros(1), ValueError, r"one score a row, shape \(4,\), got \(1,\)"),
        (np.zeros((4, 1)), ValueError, r"got \(4, 1\)"),
        (0.5, ValueError, r"got \(\)"),
        ([0.0, 1.0, 2.0, np.nan], ValueError, "got nan for row 3"),
        ([0.0, np.inf, 2.0, 0.0], ValueError, "got inf for row 1"),
        (["a", "b", "c", "d"], TypeError, "real numbers, got an array of <U1"),
        ([None, 1.0, 1.0, 1.0], TypeError, "real numbers, got an array of object"),
        (np.zeros(4, complex), TypeError, "real numbers, got an array of complex128"),
    ],
)
def test_a_reward_that_answers_otherwise_is_refused(answer: Any, error: Any, named: str) -> None:
    with pytest.raises(error, match=named):
        checked(answer, 4)
