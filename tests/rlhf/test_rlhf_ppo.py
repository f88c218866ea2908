"""PPO: its lesson and its loss against loops, what it learns, and what holds it back."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf import generate, ppo, rollout
from rlhf.events import RolledOut, Updated
from rlhf.model import Decoder, Params
from rlhf.onpolicy import Lesson, Passes
from rlhf.optimiser import Optimiser, update
from rlhf.ppo import ClippedSurrogate, PPOConfig
from rlhf.rollout import Rollout, Sampling

EOS, BATCH, TIME, PROMPT, RESPONSE, VOCABULARY = 2, 8, 16, 8, 8, 300
STEPS, ROLLOUT = 40, 16
TEMPERATURE, CLIP, VALUE_CLIP, VALUE_COEFFICIENT = 0.7, 0.2, 0.3, 0.1
ATOL = 5e-3
Judge = Callable[[np.ndarray, np.ndarray], Any]
Batch = dict[str, np.ndarray]
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)
CONFIG = PPOConfig(sampling=Sampling(response=RESPONSE, temperature=TEMPERATURE))

_call = partial(jax.jit, static_argnums=0)(lambda loss, parts, batch: loss(parts, batch))
_gradient = partial(jax.jit, static_argnums=0)(
    lambda loss, parts, batch: jax.grad(lambda p: loss(p, batch)[0])(parts)
)


def largest(tree: Any) -> float:
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


# --- the lesson


def some_rollout(rng: np.random.Generator, lengths: list[int], ends: list[bool]) -> Rollout:
    """Random in everything; 0 behind the answers, as `roll_out` leaves it."""
    mask = np.arange(RESPONSE) < np.array(lengths)[:, None]

    def grid() -> Any:
        return (rng.normal(size=mask.shape) * mask).astype(np.float32)

    starts = rng.integers(1, PROMPT + 1, len(lengths)).astype(np.int32)
    tokens = rng.integers(3, VOCABULARY, (len(lengths), PROMPT + RESPONSE)).astype(np.int32)
    for row, end in enumerate(ends):
        tokens[row, starts[row] + lengths[row] - 1] = EOS if end else 7
    return Rollout(
        tokens=tokens,  # pyright: ignore[reportArgumentType]
        starts=starts,  # pyright: ignore[reportArgumentType]
        lengths=np.array(lengths, np.int32),  # pyright: ignore[reportArgumentType]
        logprobs=grid() - mask,
        sampled_logprobs=grid() - mask,
        reference=grid() - mask,
        values=grid(),
        scores=rng.normal(size=len(lengths), scale=2).astype(np.float32),  # pyright: ignore[reportArgumentType]
    )


RULES: list[dict[str, Any]] = [
    {},
    {
        "kl_clamp": 0.5,
        "score_clip": 1.0,
        "missing_eos_score": -1.0,
        "whiten_rewards": True,
        "discount": 0.97,
        "smoothing": 0.9,
    },
    {"missing_eos_penalty": 0.5},
]


@pytest.mark.parametrize("rules", RULES)
@few
@given(
    lengths=st.lists(st.integers(1, RESPONSE), min_size=4, max_size=4),
    ends=st.lists(st.booleans(), min_size=4, max_size=4),
    coefficient=st.floats(0, 2, width=32),
    seed=seeds,
)
@example(lengths=[1, RESPONSE, 1, RESPONSE], ends=[True, False, False, True], coefficient=0.05, seed=0)
def test_the_lesson_is_made_as_in_a_loop(
    rules: dict[str, Any], lengths: list[int], ends: list[bool], coefficient: float, seed: int
) -> None:
    said = some_rollout(np.random.default_rng(seed), lengths, ends)
    c = replace(CONFIG, **rules)
    found: Lesson = jax.device_get(
        ppo._PPO(c, None, EOS).lesson(said, np.float32(coefficient))  # pyright: ignore[reportArgumentType]
    )
    kl = np.zeros((4, RESPONSE))
    for row, length in enumerate(lengths):
        for t in range(length):
            kl[row, t] = oracle.kl_estimate(said.logprobs[row, t], said.reference[row, t], "k1", c.kl_clamp)
    scores = oracle.judged(
        said.scores.tolist(), ends, c.score_clip, c.missing_eos_score, c.missing_eos_penalty
    )
    rewards = oracle.shaped_rewards(np.array(scores), kl, lengths, coefficient)
    if c.whiten_rewards:
        rewards = oracle.whiten(rewards, lengths, keep_mean=True)
    values = oracle.wide(said.values)
    advantages, returns = oracle.gae(rewards, values, lengths, c.discount, c.smoothing)
    real = np.array([(row, t) for row, length in enumerate(lengths) for t in range(length)]).T
    real = tuple(real)
    np.testing.assert_allclose(found.batch["returns"], returns, atol=2e-3, rtol=1e-3)
    if np.std(advantages[real]) > 1e-2:
        white = oracle.whiten(advantages, lengths)
        np.testing.assert_allclose(found.batch["advantages"], white, atol=1e-2, rtol=1e-3)

    charged = -coefficient * kl.sum(axis=1).mean()
    gap = oracle.wide(said.logprobs) - oracle.wide(said.reference)
    expected = {
        "objective/kl": gap.sum(axis=1).mean(),
        "objective/kl_k2": (gap**2 / 2).sum(axis=1).mean(),
        "objective/kl_k3": (np.exp(-gap) - 1 + gap).sum(axis=1).mean(),
        "objective/entropy": -oracle.wide(said.logprobs).sum(axis=1).mean(),
        "objective/scores": oracle.wide(said.scores).mean(),
        "objective/non_score_reward": charged,
        "objective/rlhf_reward": np.mean(scores) + charged,
        "val/length": np.mean(lengths),
        "val/eos_rate": np.mean(ends),
        "val/sampler_drift": np.abs(oracle.wide(said.logprobs) - said.sampled_logprobs).max(),
        "val/returns_mean": returns[real].mean(),
        "val/returns_var": returns[real].var(),
        "val/values_mean": values[real].mean(),
        "val/values_var": values[real].var(),
    }
    if returns[real].var() > 1e-2:
        missed = ((returns - values)[real] ** 2).mean()
        expected["val/explained_variance"] = 1 - missed / returns[real].var()
    for name, value in expected.items():
        assert float(found.metrics[name]) == pytest.approx(value, rel=2e-3, abs=2e-3), name
    for name in ("tokens", "starts", "lengths", "logprobs", "values"):
        assert found.batch[name].tolist() == getattr(said, name).tolist(), name


# --- the loss

CRITICS: list[Any] = ["head", "trunk", "model"]


def surrogate(decoder: Decoder, critic: Any = "head", **changes: Any) -> ClippedSurrogate:
    c = ClippedSurrogate(decoder, RESPONSE, TEMPERATURE, CLIP, VALUE_CLIP, VALUE_COEFFICIENT, critic)
    return replace(c, **changes)


@pytest.fixture(scope="module")
def make_batch(
    decoder: Decoder, sharp_actor: dict[str, Params], model_logits: Callable[..., np.ndarray]
) -> Callable[[np.random.Generator], Batch]:
    """Old log-probabilities and values at, near and far from the new ones: inside and outside of both clips.

    `_logprobs` and `_values` are the new ones, by the plain decoder and a NumPy softmax.
    """
    hidden_of = jax.jit(lambda params, tokens: decoder.apply({"params": params}, tokens)[0])
    head = sharp_actor["head"]

    def make(rng: np.random.Generator) -> Batch:
        shape, steps = (BATCH, RESPONSE), [0.0, 0.05, -0.05, 0.6, -0.6]
        tokens = rng.integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32)
        starts = rng.integers(1, TIME - RESPONSE + 1, BATCH).astype(np.int32)
        logits = model_logits(sharp_actor["policy"], tokens)
        every = oracle.wide(hidden_of(sharp_actor["policy"], tokens)) @ oracle.wide(head["kernel"])
        logprobs, values = np.zeros(shape), np.zeros(shape)
        for row, start in enumerate(starts):
            said = tokens[row, start : start + RESPONSE].tolist()
            logprobs[row] = oracle.continuation_logprobs(logits[row], [0] * start, said, TEMPERATURE)
            # V_t stands at the token before token t.
            values[row] = every[row, start - 1 : start - 1 + RESPONSE] + float(head["bias"])
        return {
            "tokens": tokens,
            "starts": starts,
            "lengths": np.r_[1, RESPONSE, rng.integers(1, RESPONSE + 1, BATCH - 2)].astype(np.int32),
            "advantages": rng.normal(size=shape).astype(np.float32),
            "logprobs": (logprobs + rng.choice(steps, shape)).astype(np.float32),
            "values": (values + rng.choice(steps, shape)).astype(np.float32),
            "returns": (values + rng.normal(size=shape)).astype(np.float32),
            "_logprobs": logprobs,
            "_values": values,
        }

    return make


def real_part(batch: Batch) -> Batch:
    return {name: value for name, value in batch.items() if not name.startswith("_")}


@few
@given(seed=seeds)
def test_clipped_surrogate(
    decoder: Decoder, sharp_actor: dict[str, Params], make_batch: Callable[..., Batch], seed: int
) -> None:
    batch = make_batch(np.random.default_rng(seed))
    sums = oracle.clipped_surrogate(
        batch,
        batch["_logprobs"],
        batch["_values"],
        clip=CLIP,
        value_clip=VALUE_CLIP,
        value_coefficient=VALUE_COEFFICIENT,
    )
    total, count, metrics = _call(surrogate(decoder), sharp_actor, real_part(batch))
    assert float(count) == sums["count"] == batch["lengths"].sum()
    assert float(total) == pytest.approx(sums["loss"], rel=1e-3, abs=ATOL)
    named = {
        "loss/policy_avg": "policy",
        "loss/value_avg": "value",
        "policy/approxkl_avg": "approxkl",
        "val/ratio": "ratio",
        "val/ratio_max": "ratio_max",
    }
    for name, key in named.items():
        assert float(metrics[name][0]) == pytest.approx(sums[key], rel=1e-3, abs=ATOL), name
    assert float(metrics["policy/clipfrac_avg"][0]) == sums["clipfrac"]
    assert float(metrics["val/clipfrac_avg"][0]) == sums["value_clipfrac"]
    ones = {name: float(pair[1]) for name, pair in metrics.items()}
    assert ones.pop("val/ratio_max") == 1
    assert set(ones.values()) == {sums["count"]}
    assert 0 < float(metrics["policy/entropy_avg"][0]) < sums["count"] * np.log(VOCABULARY)


def test_the_clip_stops_the_gradient_where_the_gain_is_taken_already(
    decoder: Decoder, sharp_actor: dict[str, Params], make_batch: Callable[..., Batch]
) -> None:
    """All ratios far above 1: with gains the policy has nothing to follow any more, with losses it goes back."""
    batch = make_batch(np.random.default_rng(1))
    batch["logprobs"] = (batch["_logprobs"] - 0.6).astype(np.float32)
    batch["values"] = batch["returns"] = batch["_values"].astype(
        np.float32
    )  # no error, no gradient of the value
    batch = real_part(batch)
    gains = np.ones((BATCH, RESPONSE), np.float32)
    still = _gradient(surrogate(decoder), sharp_actor, batch | {"advantages": gains})
    back = _gradient(surrogate(decoder), sharp_actor, batch | {"advantages": -gains})
    assert largest(still) < 1e-3
    assert largest(back) > 1


@pytest.mark.parametrize("critic", CRITICS)
def test_what_the_value_loss_moves(
    critic: Any, decoder: Decoder, sharp_actor: dict[str, Params], make_batch: Callable[..., Batch]
) -> None:
    """Without any advantage: the head alone, the trunk too, or the critic's own trunk and not the policy."""
    batch = real_part(make_batch(np.random.default_rng(1)))
    batch["advantages"] = np.zeros((BATCH, RESPONSE), np.float32)
    parts = sharp_actor | ({"critic": sharp_actor["policy"]} if critic == "model" else {})
    found = _gradient(surrogate(decoder, critic), parts, batch)
    assert largest(found["head"]) > 0.1
    assert (largest(found["policy"]) > 0.1) == (critic == "trunk")
    assert critic != "model" or largest(found["critic"]) > 0.1


def test_gradients_do_not_depend_on_how_a_batch_is_divided(
    decoder: Decoder, sharp_actor: dict[str, Params], make_batch: Callable[..., Batch]
) -> None:
    """One half after the other, each with the rest of the rows emptied, so that no other program is compiled."""
    batch = real_part(make_batch(np.random.default_rng(2)))
    first = (np.arange(BATCH) < BATCH // 2).astype(np.int32)
    whole, *parts = (
        _gradient(surrogate(decoder), sharp_actor, batch | {"lengths": batch["lengths"] * kept})
        for kept in (np.int32(1), first, 1 - first)
    )
    size = largest(whole)
    for leaf, left, right in zip(*map(jax.tree.leaves, (whole, *parts)), strict=True):
        both = np.asarray(left) + np.asarray(right)
        np.testing.assert_allclose(both / size, np.asarray(leaf) / size, atol=5e-6, rtol=0)


# --- the whole


def rollouts(run: Any) -> list[RolledOut]:
    return [event for event in run.events if isinstance(event, RolledOut)]


def test_a_plain_callable_is_followed(ppo_run: Any) -> None:
    scores = [metrics["objective/scores"] for metrics in ppo_run.metrics]
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
    assert np.mean([metrics["objective/scores"] for metrics in leashed.metrics[-5:]]) < 0.4
    assert leashed.compiled == 0


def test_the_invariants_of_every_iteration(ppo_run: Any) -> None:
    """At a temperature other than 1, with answers of different lengths: the first ratio is 1, its KL 0."""
    assert len(ppo_run.metrics) == STEPS
    for metrics in ppo_run.metrics:
        assert metrics["val/ratio_first"] == pytest.approx(1, abs=1e-5)
        assert metrics["policy/approxkl_first"] < 1e-9
        assert metrics["val/sampler_drift"] < 1e-4
        assert metrics["objective/kl_k3"] >= 0
        assert metrics["val/ratio_max"] >= metrics["val/ratio"]
        assert all(np.isfinite(value) for value in metrics.values())
    assert ppo_run.metrics[0]["objective/kl"] == pytest.approx(0, abs=1e-6)
    assert {int(n) for event in rollouts(ppo_run) for n in event.lengths} > {2, 5, RESPONSE}


def test_the_metrics_have_their_usual_names(ppo_run: Any) -> None:
    assert set(ppo_run.metrics[0]) >= {
        *(
            f"objective/{n}"
            for n in ("kl", "kl_coef", "entropy", "non_score_reward", "rlhf_reward", "scores")
        ),
        *(f"policy/{n}" for n in ("approxkl_avg", "clipfrac_avg", "entropy_avg")),
        *(f"loss/{n}" for n in ("policy_avg", "value_avg")),
        *(f"val/{n}" for n in ("clipfrac_avg", "ratio", "ratio_var", "ratio_max", "explained_variance")),
        *(f"val/{n}" for n in ("returns_mean", "returns_var", "values_mean", "values_var")),
        *(f"val/{n}" for n in ("eos_rate", "length", "sampler_drift")),
        *("loss", "grad_norm", "learning_rate"),
    }
    assert ppo_run.metrics[0]["objective/kl_coef"] == np.float32(0.01)


def test_what_is_told_of_a_rollout_is_what_was_said(ppo_run: Any, judge: Judge) -> None:
    """The response alone, its scores as the reward gave them, and the metrics that follow from both."""
    for event, metrics in zip(rollouts(ppo_run), ppo_run.metrics, strict=True):
        for array in (event.tokens, event.logprobs, event.reference, event.values, event.kl, event.mask):
            assert isinstance(array, np.ndarray)
            assert array.shape == (ROLLOUT, RESPONSE)
        inside = np.arange(RESPONSE) < event.lengths[:, None]
        assert event.mask.tolist() == inside.tolist()
        assert event.scores.tolist() == judge(event.tokens, inside).astype(np.float32).tolist()
        assert (event.logprobs[inside] < 0).all()
        assert (event.kl == event.logprobs - event.reference).all()
        assert not event.kl[~inside].any()
        assert not event.values[~inside].any()
        assert not event.tokens[~inside].any()
        last = event.tokens[np.arange(ROLLOUT), event.lengths - 1]
        assert ((last == EOS) | (event.lengths == RESPONSE)).all()
        expected = {
            "objective/kl": event.kl.sum(axis=1).mean(),
            "objective/scores": event.scores.mean(),
            "objective/entropy": -event.logprobs.sum(axis=1).mean(),
            "objective/non_score_reward": -0.01 * event.kl.sum(axis=1).mean(),
            "val/length": event.lengths.mean(),
            "val/eos_rate": (last == EOS).mean(),
        }
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(float(value), abs=1e-5, rel=1e-5), name


def test_the_value_learns_to_expect_the_reward(ppo_run: Any) -> None:
    losses = [metrics["loss/value_avg"] for metrics in ppo_run.metrics]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
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
    programs: tuple[Any, ...] = (update, generate.decode, rollout._look, rollout._keys, ppo._lesson)
    known = [program._cache_size() for program in programs]
    again = train_ppo(parent, judge, 0.01)
    assert [program._cache_size() for program in programs] == known
    for left, right in zip(*map(jax.tree.leaves, (again.result, ppo_run.result)), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
    updates = [[e.metrics for e in run.events if isinstance(e, Updated)] for run in (again, ppo_run)]
    assert updates[0] == updates[1]


# --- the configuration


def test_the_defaults_are_the_published_ones() -> None:
    assert ppo.ADAM.epsilon == 1e-5
    assert CONFIG.optimiser.adam == ppo.ADAM
    assert CONFIG.optimiser.rate(99, 100) < CONFIG.optimiser.rate(0, 100) / 50
    assert Passes() == Passes(epochs=4, minibatch=None)
    assert (CONFIG.kl_coefficient, CONFIG.clip, CONFIG.value_clip, CONFIG.value_coefficient) == (
        0.05,
        0.2,
        0.2,
        0.1,
    )
    assert (CONFIG.discount, CONFIG.smoothing, CONFIG.critic) == (1.0, 0.95, "head")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"clip": 0.0}, "`clip` to be positive, got 0.0"),
        ({"value_clip": -1.0}, "`value_clip` to be positive, got -1.0"),
        ({"kl_horizon": 0}, "`kl_horizon` to be positive, got 0"),
        ({"kl_target": 0.0}, "`kl_target` to be positive or None, got 0.0"),
        ({"kl_clamp": -1.0}, "`kl_clamp` to be positive or None, got -1.0"),
        ({"score_clip": 0.0}, "`score_clip` to be positive or None, got 0.0"),
        ({"missing_eos_penalty": -1.0}, "`missing_eos_penalty` to be positive or None, got -1.0"),
        ({"kl_coefficient": -0.1}, "`kl_coefficient` to be at least 0, got -0.1"),
        ({"value_coefficient": -0.1}, "`value_coefficient` to be at least 0, got -0.1"),
        ({"discount": 1.1}, "`discount` between 0 and 1, got 1.1"),
        ({"smoothing": -0.1}, "`smoothing` between 0 and 1, got -0.1"),
        ({"critic": "none"}, "`critic` to be head, trunk or model, got 'none'"),
        ({"missing_eos_score": -1.0, "missing_eos_penalty": 1.0}, "leave one of them None"),
        (
            {"sampling": Sampling(response=8, stop=False), "missing_eos_score": -1.0},
            "got sampling.stop=False",
        ),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        replace(CONFIG, **fields)


@pytest.mark.parametrize("field", ["epochs", "minibatch"])
def test_passes_that_train_nothing_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"`{field}` to be positive, got 0"):
        Passes(**{field: 0})


def test_a_critic_to_start_from_is_refused_where_there_is_none(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge
) -> None:
    with pytest.raises(ValueError, match="got one beside critic='head': set it to 'model'"):
        train_ppo(parent, judge, 0.1, start={"model": parent})


def test_an_optimiser_of_the_callers_own_is_taken() -> None:
    own = Optimiser(learning_rate=1.0)
    assert replace(CONFIG, optimiser=own).optimiser is own
