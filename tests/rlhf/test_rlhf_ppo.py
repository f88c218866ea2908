"""PPO as a whole: what it learns, what holds it back, and the invariants of its metrics."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from rlhf import generate, ppo, rollout
from rlhf.batches import Prompts
from rlhf.events import BatchConsumed, RolledOut, Updated
from rlhf.fit import update
from rlhf.model import Decoder, Params

EOS, RESPONSE, STEPS, BATCH = 2, 8, 40, 16
Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rollouts(run: Any) -> list[RolledOut]:
    return [event for event in run.events if isinstance(event, RolledOut)]


def test_a_plain_callable_is_followed(ppo_run: Any) -> None:
    scores = [metrics["objective/score"] for metrics in ppo_run.metrics]
    assert np.mean(scores[:3]) < 0.4
    assert np.mean(scores[-5:]) > 0.8
    assert np.mean([metrics["objective/kl"] for metrics in ppo_run.metrics[-5:]]) > 3


@pytest.mark.parametrize("coefficient", [10.0, 1000.0])
def test_a_short_leash_holds_the_policy_at_its_parent(
    coefficient: float, train_ppo: Callable[..., Any], parent: Params, judge: Judge, ppo_run: Any
) -> None:
    """The same run with a far greater KL coefficient, whose returns are greater too; it compiles no update anew."""
    leashed = train_ppo(parent, judge, coefficient)
    divergence = [metrics["objective/kl"] for metrics in leashed.metrics]
    assert abs(np.mean(divergence[-10:])) < 0.3
    assert max(divergence) < 1
    assert np.mean([metrics["objective/score"] for metrics in leashed.metrics[-5:]]) < 0.4
    assert leashed.compiled == 0


def test_ratio_is_one_before_the_first_step_of_every_iteration(ppo_run: Any) -> None:
    """At a temperature other than 1, with answers of different lengths."""
    assert len(ppo_run.metrics) == STEPS
    for metrics in ppo_run.metrics:
        assert metrics["policy/first_ratio"] == pytest.approx(1, abs=1e-5)
        assert metrics["objective/sampler_drift"] < 1e-4
        assert all(np.isfinite(value) for value in metrics.values())
    assert ppo_run.metrics[0]["objective/kl"] == pytest.approx(0, abs=1e-6)
    assert {int(n) for event in rollouts(ppo_run) for n in event.lengths} > {2, 5, RESPONSE}


def test_what_is_told_of_a_rollout_is_what_was_said(ppo_run: Any, judge: Judge) -> None:
    """The response alone, its scores as the reward gave them, and the metrics that follow from both."""
    told = rollouts(ppo_run)
    for event, metrics in zip(told, ppo_run.metrics, strict=True):
        assert (
            event.tokens.shape
            == event.logprobs.shape
            == event.values.shape
            == event.kl.shape
            == (BATCH, RESPONSE)
        )
        inside = np.arange(RESPONSE) < event.lengths[:, None]
        assert event.scores.tolist() == judge(event.tokens, inside).astype(np.float32).tolist()
        assert (event.logprobs[inside] < 0).all()
        assert not event.kl[~inside].any()
        assert not event.tokens[~inside].any()
        last = event.tokens[np.arange(BATCH), event.lengths - 1]
        assert ((last == EOS) | (event.lengths == RESPONSE)).all()
        expected = {
            "objective/kl": event.kl.sum(axis=1).mean(),
            "objective/score": event.scores.mean(),
            "objective/length": event.lengths.mean(),
            "objective/eos_rate": (last == EOS).mean(),
        }
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(float(value), abs=1e-5), name


def test_each_rollout_draws_anew(ppo_run: Any) -> None:
    """The same prompt, twice in a batch and in every batch, is not answered with the same noise."""
    first = rollouts(ppo_run)[0]
    by_prompt: dict[Any, set[tuple[int, ...]]] = {}
    for ids, tokens in zip(first.rows, first.tokens.tolist(), strict=True):
        by_prompt.setdefault(ids, set()).add(tuple(tokens))
    assert sum(len(answers) == 2 for answers in by_prompt.values()) >= 6


def test_without_anything_to_gain_the_policy_stays_and_still_draws_anew(
    train_ppo: Callable[..., Any], parent: Params
) -> None:
    """No reward and no leash: no advantage, no gradient. Each iteration has noise of its own all the same."""

    def indifferent(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.zeros(len(tokens))

    run = train_ppo(parent, indifferent, 0.0, order=np.tile(np.arange(8), (STEPS, 2)))
    for left, right in zip(*map(jax.tree.leaves, (run.result, parent)), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
    assert len({event.tokens.tobytes() for event in rollouts(run)}) == STEPS


def test_the_value_learns_to_expect_the_reward(ppo_run: Any) -> None:
    values = [metrics["value/loss"] for metrics in ppo_run.metrics]
    assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5])
    spread = [np.abs(event.values[0]).max() for event in rollouts(ppo_run)]
    assert spread[0] == 0  # a fresh head predicts nothing
    assert spread[-1] > 0.3


def test_the_policy_comes_back_without_its_value_head(ppo_run: Any, parent: Params) -> None:
    assert jax.tree.structure(ppo_run.result) == jax.tree.structure(parent)
    shapes = [[leaf.shape for leaf in jax.tree.leaves(tree)] for tree in (ppo_run.result, parent)]
    assert shapes[0] == shapes[1]


def test_the_same_run_again_gives_the_same_bits_and_compiles_nothing(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge, ppo_run: Any
) -> None:
    programs: tuple[Any, ...] = (update, generate.generate, rollout._look, rollout._shape)
    known = [program._cache_size() for program in programs]
    again = train_ppo(parent, judge, 0.01)
    assert [program._cache_size() for program in programs] == known
    for left, right in zip(*map(jax.tree.leaves, (again.result, ppo_run.result)), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
    assert [e for e in again.events if isinstance(e, Updated)] == [
        e for e in ppo_run.events if isinstance(e, Updated)
    ]


def test_an_unfilled_batch_is_filled_with_its_own_prompts(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge, prompts: Prompts
) -> None:
    """And every showing is told, the additional ones too."""
    order = np.tile(np.arange(8), (STEPS, 2))
    order[-1] = [3, 5, 5, *[-1] * 13]
    run = train_ppo(parent, judge, 0.01, order=order)
    *_, last = [event for event in run.events if isinstance(event, BatchConsumed)]
    assert len(last.rows) == BATCH
    assert Counter(last.rows) == {prompts.ids[3]: 6, prompts.ids[5]: 10}
    assert rollouts(run)[-1].rows == last.rows


def test_a_minibatch_must_divide_the_batch(
    decoder: Decoder, parent: Params, prompts: Prompts, judge: Judge
) -> None:
    config = ppo.PPOConfig(
        learning_rate=1e-3, warmup=1, response=8, stop=True, epochs=1, minibatch=3, kl_coefficient=0.1
    )
    with pytest.raises(ValueError, match="multiple of `minibatch`, got 8 and 3"):
        ppo.train(
            parent,
            prompts,
            np.arange(8)[None],
            judge,
            config,
            decoder=decoder,
            key=jax.random.key(0),
            eos=EOS,
            pad=0,
            stage="ppo",
        )


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        (lambda tokens: np.zeros(1), r"\(1,\)"),
        (lambda tokens: np.zeros((len(tokens), 1)), "one score a row"),
        (lambda tokens: np.where(np.arange(len(tokens)) == 3, np.nan, 0.0), "nan for row 3"),
    ],
)
def test_a_reward_that_answers_otherwise_is_refused(
    answer: Callable[[np.ndarray], np.ndarray], named: str, train_ppo: Callable[..., Any], parent: Params
) -> None:
    with pytest.raises(ValueError, match=named):
        train_ppo(parent, lambda tokens, weights: answer(tokens), 0.1)


@pytest.mark.parametrize("field", ["response", "epochs", "minibatch", "temperature"])
def test_a_configuration_that_trains_nothing_is_refused(field: str) -> None:
    good = {"learning_rate": 1e-3, "warmup": 0, "response": 4, "stop": True, "epochs": 1, "minibatch": 2}
    good |= {"kl_coefficient": 0.1, "temperature": 1.0}
    ppo.PPOConfig(**good)
    with pytest.raises(ValueError, match=f"`{field}` to be positive"):
        ppo.PPOConfig(**{**good, field: 0})
