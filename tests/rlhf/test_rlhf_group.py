"""GRPO and RLOO: advantages, lessons and losses against loops, and a short run of each."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf import group, optimiser
from rlhf.batches import Prompts
from rlhf.events import BatchConsumed, Hook, RolledOut, Updated
from rlhf.group import (
    GRPOConfig,
    RLOOConfig,
    SequenceSurrogate,
    TokenSurrogate,
    _Group,
    _look_again,
    group_advantages,
    leave_one_out,
)
from rlhf.likelihood import Likelihood
from rlhf.model import Decoder, Params
from rlhf.onpolicy import Passes
from rlhf.optimiser import Optimiser
from rlhf.rollout import Rollout, Sampling
from rlhf.stage import Stage

PAD, BOS, EOS, VOCABULARY = 0, 1, 2, 300
BATCH, TIME, RESPONSE, SIZE = 8, 16, 8, 4
TEMPERATURE, LOW, HIGH = 0.7, 0.2, 0.3
KLS, AGGREGATIONS = ("corrected", "plain", "reward"), ("grpo", "dapo", "dr_grpo")
Batch = dict[str, np.ndarray]
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=6)
some = settings(max_examples=40)
floats = st.floats(-100, 100, width=32)
groups = st.integers(2, 6).flatmap(
    lambda size: st.tuples(st.just(size), st.lists(floats, min_size=size, max_size=size))
)
GRPO = GRPOConfig(
    sampling=Sampling(response=RESPONSE, temperature=TEMPERATURE),
    optimiser=Optimiser(learning_rate=3e-3),
    passes=Passes(epochs=2, minibatch=BATCH),
    size=SIZE,
    kl_coefficient=0.05,
    clip_low=LOW,
    clip_high=HIGH,
)
SHARED = ("sampling", "optimiser", "passes", "size", "kl_coefficient", "clip_low", "clip_high")
RLOO = RLOOConfig(**{name: getattr(GRPO, name) for name in SHARED})


def made(baseline: str, rewards: Any, size: int) -> np.ndarray:
    rewards = np.asarray(rewards, np.float32)
    if baseline == "others":
        return np.asarray(leave_one_out(rewards, size))  # pyright: ignore[reportArgumentType]
    return np.asarray(group_advantages(rewards, size, baseline == "normalised"))  # pyright: ignore


# --- advantages


@pytest.mark.parametrize("baseline", ["others", "mean", "normalised"])
@some
@given(drawn=groups, seed=seeds)
def test_advantages_are_made_as_in_a_loop(baseline: str, drawn: tuple[int, list[float]], seed: int) -> None:
    size, first = drawn
    rewards = [*first, *np.random.default_rng(seed).normal(0, 3, size).astype(np.float32).tolist()]
    wanted = oracle.group_advantages(rewards, size, baseline)
    # Relative to the deviation, which rounding of nearly equal rewards may change by its own size.
    near = 1e-3 if baseline == "normalised" else 1e-4
    np.testing.assert_allclose(made(baseline, rewards, size), wanted, rtol=1e-3, atol=near)


@pytest.mark.parametrize("baseline", ["others", "mean", "normalised"])
@some
@given(reward=st.floats(-1e4, 1e4, width=32), size=st.integers(2, 7))
@example(reward=0.1, size=3)
@example(reward=0.7, size=7)
def test_equal_rewards_are_no_advantage_at_all(baseline: str, reward: float, size: int) -> None:
    """Not even a rounding, which normalising would blow up; and no division of 0 by 0."""
    rewards = [*[reward] * size, *range(size)]
    found = made(baseline, rewards, size)
    assert (found[:size] == 0).all()
    assert np.isfinite(found).all()
    assert np.abs(found[size:]).max() > 0.1


@some
@given(drawn=groups, shift=st.integers(-50, 50))
def test_what_all_of_a_group_get_makes_no_difference(drawn: tuple[int, list[float]], shift: int) -> None:
    size, rewards = drawn
    for baseline in ("others", "mean"):
        found = made(baseline, rewards, size)
        assert float(found.sum()) == pytest.approx(0, abs=1e-3)
        shifted = made(baseline, np.array(rewards, np.float32) + np.float32(shift), size)
        np.testing.assert_allclose(found, shifted, atol=1e-3)
    np.testing.assert_allclose(
        made("mean", rewards, size), made("others", rewards, size) * (size - 1) / size, atol=1e-4
    )


# --- the lesson


def some_rollout(rng: np.random.Generator) -> Rollout:
    lengths = np.r_[1, RESPONSE, rng.integers(1, RESPONSE + 1, BATCH - 2)].astype(np.int32)
    mask = np.arange(RESPONSE) < lengths[:, None]

    def grid() -> Any:
        return (rng.normal(size=mask.shape) * mask).astype(np.float32)

    return Rollout(
        tokens=rng.integers(3, VOCABULARY, (BATCH, TIME)).astype(np.int32),  # pyright: ignore
        starts=rng.integers(1, TIME - RESPONSE + 1, BATCH).astype(np.int32),  # pyright: ignore
        lengths=lengths,  # pyright: ignore[reportArgumentType]
        logprobs=grid(),
        sampled_logprobs=grid(),
        reference=grid(),
        values=np.zeros_like(grid()),
        scores=rng.normal(0, 2, BATCH).astype(np.float32),  # pyright: ignore[reportArgumentType]
    )


LESSONS = {
    "grpo": (GRPO, False, "normalised"),
    "without deviation": (replace(GRPO, normalise=False), False, "mean"),
    "kl in reward": (replace(GRPO, kl="reward"), True, "normalised"),
    "rloo": (RLOO, True, "others"),
}


@pytest.mark.parametrize("name", LESSONS)
@few
@given(seed=seeds, coefficient=st.sampled_from([0.0, 0.05, 2.0]))
def test_the_lesson_is_made_of_the_whole_rollout(
    name: str, decoder: Decoder, seed: int, coefficient: float
) -> None:
    config, in_reward, baseline = LESSONS[name]
    rollout = some_rollout(np.random.default_rng(seed))
    rewards = []
    for row in range(BATCH):
        kl = sum(
            float(rollout.logprobs[row, t] - rollout.reference[row, t])
            for t in range(int(rollout.lengths[row]))
        )
        rewards.append(float(rollout.scores[row]) - in_reward * coefficient * kl)
    lesson = _Group(config, decoder, EOS).lesson(rollout, np.float32(coefficient))  # pyright: ignore
    wanted = oracle.group_advantages(rewards, SIZE, baseline)
    np.testing.assert_allclose(lesson.batch["advantages"], wanted, rtol=1e-3, atol=1e-4)
    assert all(len(value) == BATCH for value in lesson.batch.values())
    for field in ("tokens", "starts", "lengths", "logprobs", "reference"):
        np.testing.assert_array_equal(lesson.batch[field], getattr(rollout, field))
    np.testing.assert_array_equal(lesson.batch["coefficient"], np.float32(coefficient))
    near = partial(pytest.approx, rel=1e-3, abs=1e-4)
    told = {key: float(value) for key, value in lesson.metrics.items()}
    assert told["objective/rlhf_reward"] == near(np.mean(rewards))
    charged = np.mean(rewards) - np.mean(np.asarray(rollout.scores))
    assert told["objective/non_score_reward"] == near(charged)
    spread = np.mean([np.std(rewards[i : i + SIZE], ddof=1) for i in range(0, BATCH, SIZE)])
    assert told["reward_std"] == pytest.approx(spread, rel=1e-3)
    assert told["frac_reward_zero_std"] == 0


def test_groups_that_teach_nothing_are_counted(decoder: Decoder) -> None:
    rollout = some_rollout(np.random.default_rng(0))
    scores = np.r_[[0.1] * SIZE, np.arange(BATCH - SIZE)].astype(np.float32)
    rollout = rollout._replace(scores=scores)  # pyright: ignore[reportArgumentType]
    lesson = _Group(GRPO, decoder, EOS).lesson(rollout, np.float32(0.05))  # pyright: ignore
    assert float(lesson.metrics["frac_reward_zero_std"]) == SIZE / BATCH
    assert not np.asarray(lesson.batch["advantages"][:SIZE]).any()


# --- losses


def make_batch(rng: np.random.Generator) -> Batch:
    """Old log-probabilities at, near and far from the new ones, which are `_logprobs`."""
    rollout, shape = some_rollout(rng), (BATCH, RESPONSE)
    logprobs = rng.normal(-3, 1, shape)
    return {
        "lengths": np.asarray(rollout.lengths),
        # Not 0 behind the answers: nothing there may count.
        "logprobs": (logprobs + rng.choice([0.0, 0.0, 0.05, -0.05, 0.5, -0.5], shape)).astype(np.float32),
        "reference": (logprobs + rng.normal(0, 1, shape)).astype(np.float32),
        "advantages": rng.normal(size=BATCH).astype(np.float32),
        "coefficient": np.full(BATCH, 0.3, np.float32),
        "_logprobs": logprobs,
    }


def seen(logprobs: Any, lengths: np.ndarray) -> Any:
    """What a loss is to find when it looks at the answers again: a formula is tested without a model."""
    width = logprobs.shape[1]
    mask = (np.arange(width) < lengths[:, None]).astype(np.float32)
    entropy = 0.5 * np.ones(logprobs.shape, np.float32)
    found = Likelihood(logprobs, entropy, deviation=None, hit=None, sampled=None)  # pyright: ignore
    return patch.object(group, "_look_again", lambda *_: (found, jax.numpy.asarray(mask)))


def means(loss: Any, batch: Batch) -> dict[str, float]:
    with seen(batch["_logprobs"].astype(np.float32), batch["lengths"]):
        total, count, metrics = loss({}, {k: v for k, v in batch.items() if not k.startswith("_")})
    pairs = {"loss": (total, count), **metrics}
    return {name: float(value) / float(number) for name, (value, number) in pairs.items()}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("kl", KLS)
@few
@given(seed=seeds)
def test_the_loss_on_tokens(kl: Any, aggregation: Any, decoder: Decoder, seed: int) -> None:
    batch = make_batch(np.random.default_rng(seed))
    wanted = oracle.group_loss(
        batch, batch["_logprobs"], low=LOW, high=HIGH, kl=kl, aggregation=aggregation, longest=RESPONSE
    )
    found = means(TokenSurrogate(decoder, RESPONSE, TEMPERATURE, LOW, HIGH, kl, aggregation), batch)
    near = partial(pytest.approx, rel=1e-4, abs=1e-5)
    assert found["loss"] == near(wanted["loss"])
    assert found["loss/policy_avg"] == near(wanted["policy"])
    assert found["loss/kl_avg"] == near(wanted["kl"])
    assert found["policy/clipfrac_avg"] == near(wanted["clipfrac"])


@few
@given(seed=seeds)
def test_the_loss_on_answers(decoder: Decoder, seed: int) -> None:
    batch = make_batch(np.random.default_rng(seed))
    wanted = oracle.sequence_loss(batch, batch["_logprobs"], low=LOW, high=HIGH)
    found = means(SequenceSurrogate(decoder, RESPONSE, TEMPERATURE, LOW, HIGH), batch)
    near = partial(pytest.approx, rel=1e-4, abs=1e-5)
    assert found["loss"] == near(wanted["loss"])
    assert found["policy/clipfrac_avg"] == wanted["clipfrac"]
    change = [
        batch["_logprobs"][row, t] - batch["logprobs"][row, t]
        for row, length in enumerate(batch["lengths"])
        for t in range(length)
    ]
    assert found["val/ratio"] == near(np.mean(np.exp(change)))
    assert found["policy/approxkl_avg"] == near(np.mean(np.square(change)) / 2)
    assert found["val/ratio_max"] == near(max(1, np.exp(np.max(change))))
    assert found["policy/entropy_avg"] == near(0.5)


def test_answers_are_looked_at_with_their_temperature_and_no_further_than_they_go(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray]
) -> None:
    rollout = some_rollout(np.random.default_rng(3))
    batch = {name: np.asarray(getattr(rollout, name)) for name in ("tokens", "starts", "lengths")}
    loss = SequenceSurrogate(decoder, RESPONSE, TEMPERATURE, LOW, HIGH)
    found, mask = jax.jit(lambda params, batch: _look_again(loss, {"policy": params}, batch))(sharp, batch)
    logits = model_logits(sharp, batch["tokens"])
    for row, (start, length) in enumerate(zip(batch["starts"], batch["lengths"], strict=True)):
        said = batch["tokens"][row, start : start + length].tolist()
        wanted = oracle.continuation_logprobs(logits[row], [0] * start, said, TEMPERATURE)
        np.testing.assert_allclose(found.logprobs[row, :length], wanted, atol=2e-3)
        assert mask[row].tolist() == [1] * length + [0] * (RESPONSE - length)


@few
@given(seed=seeds)
def test_the_gradient_of_the_kl_is_what_the_docstring_says(decoder: Decoder, seed: int) -> None:
    """All one-token answers, each with the weight of its probability: an exact expectation under the policy."""
    arms = 7
    rng = np.random.default_rng(seed)
    theta, reference = rng.normal(size=(2, arms))
    policy, reference = np.exp(oracle.log_softmax(theta)), np.exp(oracle.log_softmax(reference))
    batch = {
        "lengths": np.ones(arms, np.int32),
        "logprobs": np.log(policy)[:, None].astype(np.float32),
        "reference": np.log(reference)[:, None].astype(np.float32),
        "advantages": np.zeros(arms, np.float32),
        "coefficient": policy.astype(np.float32),
    }
    exact = {
        "corrected": policy * (np.log(policy / reference) - (policy * np.log(policy / reference)).sum()),
        "plain": policy - reference,
    }
    for kl, wanted in exact.items():
        loss = TokenSurrogate(decoder, 1, 1.0, LOW, HIGH, kl, "dapo")  # pyright: ignore[reportArgumentType]

        def total(theta: jax.Array, loss: TokenSurrogate = loss) -> jax.Array:
            with seen(jax.nn.log_softmax(theta)[:, None], batch["lengths"]):
                return loss({}, batch)[0]  # pyright: ignore[reportArgumentType]

        np.testing.assert_allclose(jax.grad(total)(theta.astype(np.float32)), wanted, atol=2e-5)


def test_an_impossible_token_does_not_overflow(decoder: Decoder) -> None:
    batch = make_batch(np.random.default_rng(0))
    batch["reference"][0, 0] = batch["_logprobs"][0, 0] + 200
    for coefficient in (0.0, 0.3):
        batch["coefficient"][:] = coefficient
        found = means(TokenSurrogate(decoder, RESPONSE, 1.0, LOW, HIGH, "plain", "grpo"), batch)
        assert np.isfinite(found["loss"])
    assert found["loss/kl_avg"] == pytest.approx(0.3 * np.exp(20.0) / BATCH, rel=0.01)


# --- the whole


class Recorder(Hook):
    def __init__(self) -> None:
        self.shown: list[BatchConsumed] = []
        self.said: list[RolledOut] = []
        self.updates: list[Updated] = []

    def on_batch(self, event: BatchConsumed) -> None:
        self.shown.append(event)

    def on_rollout(self, event: RolledOut) -> None:
        self.said.append(event)

    def on_update(self, event: Updated) -> None:
        self.updates.append(event)


ORDER = np.array([[0, 3, 5, 3], *np.random.default_rng(0).integers(0, 8, (22, 4)).tolist(), [6, 2, -1, -1]])


@pytest.fixture(scope="module")
def follow(
    decoder: Decoder, parent: Params, prompts: Prompts, judge: Callable[..., np.ndarray]
) -> Callable[..., tuple[Params, Recorder]]:
    @cache
    def run(config: GRPOConfig | RLOOConfig) -> tuple[Params, Recorder]:
        hook = Recorder()
        result = group.train(
            parent,
            prompts,
            ORDER,
            judge,
            config,
            decoder=decoder,
            key=jax.random.key(7),
            eos=EOS,
            pad=PAD,
            stage=Stage(name="group", hooks=[hook]),
        )
        return result, hook

    return run


RUNS = {"grpo": GRPO, "rloo": RLOO}


@pytest.fixture(scope="module", params=RUNS)
def finished(request: Any, follow: Callable[..., Any]) -> tuple[Any, Params, Recorder]:
    config = RUNS[request.param]
    return config, *follow(config)


def test_every_answer_counts_as_a_showing_of_its_prompt(finished: Any) -> None:
    _, _, hook = finished
    for step, (shown, said) in enumerate(zip(hook.shown, hook.said, strict=True)):
        asked = np.repeat(np.resize(ORDER[step][ORDER[step] >= 0], ORDER.shape[1]), SIZE)
        assert shown.role == "prompt"
        assert shown.rows == said.rows == tuple((f"prompt-{i}",) for i in asked)


def test_the_answers_of_a_group_are_drawn_each_for_itself(finished: Any, prompts: Prompts) -> None:
    _, _, hook = finished
    for said in hook.said:
        asked = said.prompts.reshape(ORDER.shape[1], SIZE, -1)
        assert (asked == asked[:, :1]).all()
        groups = said.tokens.reshape(ORDER.shape[1], SIZE, -1).tolist()
        # Of one prompt's few answers all may end at once.
        assert any(len({tuple(row) for row in group}) > 1 for group in groups)
        assert not said.values.any()


def test_the_reward_is_followed(finished: Any) -> None:
    _, _, hook = finished
    scores = [update.metrics["objective/scores"] for update in hook.updates]
    assert np.mean(scores[-5:]) > np.mean(scores[:5]) + 0.3


def test_the_metrics_have_their_usual_names(finished: Any) -> None:
    config, _, hook = finished
    wanted = {
        "loss",
        "grad_norm",
        "learning_rate",
        "loss/policy_avg",
        "objective/kl",
        "objective/kl_coef",
        "objective/scores",
        "objective/rlhf_reward",
        "objective/non_score_reward",
        "policy/approxkl_avg",
        "policy/clipfrac_avg",
        "policy/entropy_avg",
        "reward_std",
        "frac_reward_zero_std",
        "val/ratio",
        "val/ratio_first",
        "val/ratio_max",
    }
    for update in hook.updates:
        assert wanted <= update.metrics.keys()
        assert ("loss/kl_avg" in update.metrics) == isinstance(config, GRPOConfig)
        assert all(np.isfinite(value) for value in update.metrics.values())
        assert update.metrics["val/ratio_first"] == pytest.approx(1, abs=1e-5)
        assert update.metrics["policy/approxkl_first"] < 1e-9


def test_a_leash_in_the_loss_holds(follow: Callable[..., Any]) -> None:
    """And another coefficient compiles nothing, because the weight is data."""
    ends = {}
    for coefficient in (GRPO.kl_coefficient, 5.0):
        known = optimiser.update._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
        _, hook = follow(replace(GRPO, kl_coefficient=coefficient))
        ends[coefficient] = np.mean([update.metrics["objective/kl_k3"] for update in hook.updates[-5:]])
    assert ends[5.0] < 0.3 * ends[GRPO.kl_coefficient]
    assert optimiser.update._cache_size() == known  # pyright: ignore[reportFunctionMemberAccess]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"size": 1}, "size"),
        ({"kl_coefficient": -0.1}, "kl_coefficient"),
        ({"clip_low": 0.0}, "clip_low"),
        ({"clip_low": 1.5}, "clip_low"),
        ({"clip_high": 0.0}, "clip_high"),
        ({"kl": "k3"}, "kl"),
        ({"aggregation": "mean"}, "aggregation"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"expected `{named}`"):
        replace(GRPO, **fields)
