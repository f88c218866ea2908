"""The loop around PPO, GRPO and RLOO: order, noise, what is told, what is kept, and where a run is stopped."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf import onpolicy
from rlhf.batches import Prompts
from rlhf.checkpoint import Saver
from rlhf.events import BatchConsumed, Hook, RolledOut, Updated
from rlhf.model import Decoder, Params, zero_head
from rlhf.onpolicy import Lesson, Passes, follow, objective
from rlhf.optimiser import Optimiser
from rlhf.rollout import Rollout, Sampling
from rlhf.stage import Stage

EOS, RESPONSE, STEPS, ROLLOUT = 2, 8, 40, 16
Judge = Callable[[np.ndarray, np.ndarray], Any]


def rollouts(run: Any) -> list[RolledOut]:
    return [event for event in run.events if isinstance(event, RolledOut)]


def same_bits(left: Any, right: Any) -> bool:
    pairs = zip(*map(jax.tree.leaves, (left, right)), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


# --- order and noise


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_every_row_is_learnt_from_once_an_epoch(epochs: int, minibatches: int, size: int, seed: int) -> None:
    batch = minibatches * size
    parts = list(onpolicy._minibatches(jax.random.key(seed), epochs, batch, size))
    assert len(parts) == epochs * minibatches
    for epoch in range(epochs):
        rows = np.concatenate(parts[epoch * minibatches : (epoch + 1) * minibatches])
        assert sorted(rows.tolist()) == list(range(batch))


def test_each_epoch_and_each_iteration_has_an_order_of_its_own() -> None:
    orders = {
        tuple(part.tolist())
        for step in range(3)
        for part in onpolicy._minibatches(jax.random.fold_in(jax.random.key(0), step), 4, 16, 16)
    }
    assert len(orders) == 12


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
    steps = 6
    order = np.tile(np.arange(8), (steps, 2))
    run = train_ppo(parent, lambda tokens, weights: np.zeros(len(tokens)), 0.0, order=order)
    assert same_bits(run.result, parent)
    assert len({event.tokens.tobytes() for event in rollouts(run)}) == steps


def test_the_parent_is_left_as_it_was(ppo_run: Any) -> None:
    """It is the reference: no update may reuse its buffers."""
    assert same_bits(ppo_run.parent, ppo_run.parent_before)
    assert not same_bits(ppo_run.result, ppo_run.parent_before)
    # And it stays the reference: an answer's log-probability under it does not move with the policy.
    known: dict[Any, float] = {}
    for event in rollouts(ppo_run):
        for ids, tokens, reference in zip(event.rows, event.tokens, event.reference, strict=True):
            said = (ids, tokens.tobytes())
            assert known.setdefault(said, reference.sum()) == pytest.approx(reference.sum(), abs=1e-4)


def test_an_unfilled_batch_is_filled_with_its_own_prompts(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge, prompts: Prompts
) -> None:
    """And every showing is told, the additional ones too."""
    order = np.array([[*range(8)] * 2, [3, 5, 5, *[-1] * 13]])
    run = train_ppo(parent, judge, 0.01, order=order)
    *_, last = [event for event in run.events if isinstance(event, BatchConsumed)]
    assert last.role == "prompt"
    assert len(last.rows) == ROLLOUT
    assert Counter(last.rows) == {prompts.ids[3]: 6, prompts.ids[5]: 10}
    assert rollouts(run)[-1].rows == last.rows
    at = {ids: row for row, ids in enumerate(prompts.ids)}
    for ids, tokens, length in zip(
        last.rows, rollouts(run)[-1].prompts, rollouts(run)[-1].prompt_lengths, strict=True
    ):
        assert tokens.tolist() == prompts.tokens[at[ids]].tolist()
        assert length == prompts.lengths[at[ids]]


def test_a_minibatch_must_divide_the_batch(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge
) -> None:
    with pytest.raises(ValueError, match="multiple of `minibatch`, got 16 and 3"):
        train_ppo(parent, judge, 0.1, passes=Passes(epochs=1, minibatch=3))


# --- metrics


def test_metrics_are_means_over_updates_and_maxima_where_they_say_so() -> None:
    learnt = [
        {
            "loss": np.float32(value),
            "val/ratio": np.float32(ratio),
            "val/ratio_max": np.float32(most),
            "policy/approxkl_avg": np.float32(value / 10),
        }
        for value, ratio, most in ((1.0, 1.0, 1.5), (2.0, 1.5, 9.0), (6.0, 0.5, 3.0))
    ]
    told = onpolicy._told({"objective/kl": np.float32(0.25)}, learnt)
    assert told == pytest.approx(
        {
            "objective/kl": 0.25,
            "loss": 3.0,
            "val/ratio": 1.0,
            "val/ratio_max": 9.0,
            "policy/approxkl_avg": 0.3,
            "val/ratio_var": 0.25,
            "val/ratio_first": 1.0,
            "policy/approxkl_first": 0.1,
        }
    )
    assert onpolicy._told({}, learnt[:1])["val/ratio_var"] == 0


def test_the_rate_of_the_last_update_is_told(ppo_run: Any) -> None:
    rates = [metrics["learning_rate"] for metrics in ppo_run.metrics]
    assert rates[0] == pytest.approx(2e-3)  # four updates of warmup, and as many in an iteration
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-5


# --- the ratio before the first update


@dataclass(frozen=True)
class Drifted:
    """A method whose loss says that the policy has moved by `gap` before any update. It learns nothing."""

    gap: float

    @property
    def loss(self) -> "Drifted":
        return self

    def __call__(self, parts: Any, batch: Any) -> tuple[Any, Any, dict[str, Any]]:
        count = jnp.float32(len(batch["tokens"]))
        metrics = {
            "val/ratio": (jnp.exp(self.gap) * count, count),
            "policy/approxkl_avg": (0.5 * self.gap**2 * count, count),
        }
        return 0.0 * jnp.sum(parts["policy"]["norm"]["scale"]), count, metrics

    def lesson(self, rollout: Rollout, coefficient: Any) -> Lesson:
        return Lesson({"tokens": rollout.tokens}, objective(rollout, EOS))

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        return coefficient


@pytest.mark.parametrize(
    ("gap", "dtype", "refused"),
    [
        (0.009, "float32", False),
        (0.011, "float32", True),
        (0.09, "bfloat16", False),
        (0.11, "bfloat16", True),
        (float("nan"), "float32", True),
    ],
)
def test_a_run_whose_first_ratio_is_not_one_is_stopped(gap: float, dtype: Any, refused: bool) -> None:
    decoder = Decoder(None, dtype)  # pyright: ignore[reportArgumentType]
    metrics = {"policy/approxkl_avg": np.float32(0.5 * gap**2), "val/ratio": np.float32(np.exp(gap))}
    if not refused:
        onpolicy._check_first(metrics, decoder, "ppo", 3)
        return
    with pytest.raises(
        FloatingPointError, match="ppo, step 3: expected the log-ratio of the first minibatch"
    ):
        onpolicy._check_first(metrics, decoder, "ppo", 3)


def test_nothing_is_told_or_kept_of_an_iteration_that_is_stopped(
    decoder: Decoder, parent: Params, prompts: Prompts, tmp_path: Path
) -> None:
    told = []

    class Listener(Hook):
        def on_update(self, event: Updated) -> None:
            told.append(event)

    with pytest.raises(FloatingPointError, match=r"got 0\.5 "):
        follow(
            {"policy": parent, "head": zero_head(decoder.config.width)},
            prompts,
            np.tile(np.arange(8), (2, 2)),
            lambda tokens, weights: np.zeros(len(tokens)),
            Drifted(0.5),
            sampling=Sampling(response=RESPONSE, temperature=0.7),
            passes=Passes(epochs=1),
            optimiser=Optimiser(learning_rate=1e-3),
            coefficient=0.1,
            decoder=decoder,
            key=jax.random.key(0),
            eos=EOS,
            pad=0,
            stage=Stage(
                name="ppo", hooks=[Listener()], saver=Saver(folder=tmp_path / "s", every=1, identity="x")
            ),
        )
    assert not told
    assert not list(tmp_path.rglob("step-*"))


# --- the state


class Accident(Exception):
    pass


class Stumble(Hook):
    """Raises once, while step `step` is told: after its updates, before it is kept."""

    def __init__(self, step: int | None) -> None:
        self.step = step

    def on_update(self, event: Updated) -> None:
        if event.step == self.step:
            raise Accident


STATEFUL: dict[str, Any] = {"kl_target": 0.05, "kl_horizon": 20, "whiten_rewards": True}
"""A coefficient that moves at every step."""
KEPT = 4


@pytest.fixture(scope="module")
def run_stateful(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int | None], Any]:
    """A critic of its own beside the policy and an adaptive coefficient: as much state as there can be."""
    base = tmp_path_factory.mktemp("onpolicy")
    order = np.stack([np.roll(np.tile(np.arange(8), 2), step) for step in range(KEPT)])
    head = {"kernel": np.full(parent["embed"].shape[1], 0.01, np.float32), "bias": np.float32(0.5)}

    def run(folder: str, stumble: int | None) -> Any:
        return train_ppo(
            parent,
            judge,
            0.1,
            hooks=[Stumble(stumble)],
            order=order,
            saver=Saver(folder=base / folder, every=1, identity="x"),
            start={"model": parent, "head": head},
            critic="model",
            **STATEFUL,
        )

    return run


@pytest.fixture(scope="module")
def uninterrupted(run_stateful: Callable[..., Any]) -> Any:
    return run_stateful("whole", None)


def test_an_adaptive_coefficient_follows_the_divergence(uninterrupted: Any) -> None:
    """Of the step before, rounded to float32 at each step as it is saved."""
    coefficient = np.float32(0.1)
    for metrics in uninterrupted.metrics:
        assert metrics["objective/kl_coef"] == coefficient
        error = np.clip(metrics["objective/kl"] / STATEFUL["kl_target"] - 1, -0.2, 0.2)
        coefficient = np.float32(float(coefficient) * (1 + error * ROLLOUT / STATEFUL["kl_horizon"]))
    assert coefficient != np.float32(0.1)


def test_a_critic_starts_from_what_it_was_given(uninterrupted: Any) -> None:
    """The head's bias shows in the first rollout's values, and they differ from token to token."""
    first = rollouts(uninterrupted)[0]
    assert first.values[first.mask].mean() == pytest.approx(0.5, abs=0.3)
    assert first.values[first.mask].std() > 1e-3


@pytest.mark.parametrize("step", range(KEPT))
def test_a_run_resumed_from_any_step_ends_with_the_same_bits(
    step: int, run_stateful: Callable[..., Any], uninterrupted: Any
) -> None:
    """Policy, critic, coefficient, noise and order: stopped after the updates of a step, before it was kept."""
    with pytest.raises(Accident):
        run_stateful(f"stopped-{step}", step)
    resumed = run_stateful(f"stopped-{step}", None)
    assert same_bits(resumed.result, uninterrupted.result)
    whole = [e.metrics for e in uninterrupted.events if isinstance(e, Updated)]
    rest = [e.metrics for e in resumed.events if isinstance(e, Updated)]
    assert rest == whole[step:]
    assert resumed.events[0].first == step
    assert resumed.compiled == 0
