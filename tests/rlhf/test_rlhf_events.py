"""Hooks hear everything, in order, with exactly the examples that were shown; and they change nothing."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from rlhf_listening import Recorder

from rlhf import onpolicy, ppo, rollout, sft
from rlhf.batches import Prompts, Rows, epochs, schedule
from rlhf.checkpoint import Saver
from rlhf.events import (
    BatchConsumed,
    Checkpointed,
    Hook,
    RolledOut,
    StageEnded,
    StageStarted,
    Traced,
    Updated,
    announce,
    check,
)
from rlhf.model import Decoder, Params
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage

STEPS, BATCH, RESPONSE, EOS, PAD, TEMPERATURE = 120, 8, 8, 2, 0, 0.7
Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]


def shown(run: Any) -> Counter[Any]:
    return Counter(row for event in run.events if isinstance(event, BatchConsumed) for row in event.rows)


def assert_sequence(
    events: Sequence[Any], stage: str, steps: int, role: str, *, rollouts: bool = False
) -> None:
    """One start, then per step a batch, a rollout where there are any, and an update, then one end."""
    kinds = [BatchConsumed, RolledOut, Updated] if rollouts else [BatchConsumed, Updated]
    assert [type(event) for event in events] == [StageStarted, *kinds * steps, StageEnded]
    assert {event.stage for event in events} == {stage}
    assert events[0].steps == events[-1].steps == steps
    assert [event.step for event in events[1:-1]] == [n for n in range(steps) for _ in kinds]
    assert {event.role for event in events if isinstance(event, BatchConsumed)} == {role}


def test_sft_tells_of_every_step(memorised: Any, lesson_rows: Rows) -> None:
    assert_sequence(memorised.events, "sft", STEPS, "target")
    # `epochs` of eight rows by eight: each batch holds each row once.
    for event in memorised.events:
        if isinstance(event, BatchConsumed):
            assert sorted(event.rows) == sorted(lesson_rows.ids)
    assert {"loss", "grad_norm", "learning_rate"} <= set(memorised.metrics[0])
    assert all(type(value) is float for value in memorised.metrics[0].values())


def test_reward_and_ipo_tell_of_the_preferred_examples(scored: Any, ipo_run: Any) -> None:
    assert_sequence(scored.events, "reward", 40, "preferred")
    assert_sequence(ipo_run.events, "ipo", 80, "preferred")
    assert set(shown(scored).values()) == {40}
    assert set(shown(ipo_run).values()) == {80}
    assert set(shown(ipo_run)) == {(f"pair-{i}",) for i in range(8)}


def test_ppo_tells_of_prompts_rollouts_and_updates(ppo_run: Any) -> None:
    assert_sequence(ppo_run.events, "ppo", 40, "prompt", rollouts=True)
    assert shown(ppo_run) == {(f"prompt-{i}",): 80 for i in range(8)}
    for batch, said in zip(ppo_run.events[1::3], ppo_run.events[2::3], strict=False):
        assert batch.rows == said.rows


def test_exposures_counted_from_events_are_the_repetitions(
    train_sft: Callable[..., Any], fresh: Params, lesson_rows: Rows
) -> None:
    """Rows that only fill the last batch are not told of: nobody was shown anything."""
    repetitions = [1, 4, 16, 64, 128, 256, 300, 188]
    order = schedule(repetitions, BATCH, 3)
    run = train_sft(fresh, lesson_rows, order=order)
    assert shown(run) == dict(zip(lesson_rows.ids, repetitions, strict=True))
    batches = [event for event in run.events if isinstance(event, BatchConsumed)]
    assert (order < 0).sum() == 3
    assert [len(event.rows) for event in batches] == [BATCH] * (STEPS - 1) + [BATCH - 3]
    for event, index in zip(batches, order, strict=True):
        assert event.rows == tuple(lesson_rows.ids[i] for i in index if i >= 0)


class Deaf(Hook):
    """Raises at the third step; notes what it has heard until then."""

    def __init__(self, on: str) -> None:
        self.heard: list[str] = []
        self.on = on

    def on_stage_started(self, event: StageStarted) -> None:
        self.heard.append("started")

    def on_batch(self, event: BatchConsumed) -> None:
        self._hear("batch", event.step)

    def on_rollout(self, event: RolledOut) -> None:
        self._hear("rollout", event.step)

    def on_update(self, event: Updated) -> None:
        self._hear("update", event.step)

    def on_stage_ended(self, event: StageEnded) -> None:
        self.heard.append("ended")

    def _hear(self, what: str, step: int) -> None:
        self.heard.append(what)
        if what == self.on and step == 2:
            raise RuntimeError(f"no room left at the {what} of step {step}")


def test_a_hook_that_raises_stops_the_stage(
    train_sft: Callable[..., Any],
    train_ppo: Callable[..., Any],
    parent: Params,
    lesson_rows: Rows,
    judge: Any,
) -> None:
    for on, heard in (
        ("batch", ["started", *["batch", "update"] * 2, "batch"]),
        ("update", ["started", *["batch", "update"] * 3]),
    ):
        deaf = Deaf(on)
        with pytest.raises(RuntimeError, match=f"no room left at the {on} of step 2"):
            train_sft(parent, lesson_rows, [deaf])
        assert deaf.heard == heard
    deaf = Deaf("rollout")
    with pytest.raises(RuntimeError, match="no room left at the rollout of step 2"):
        train_ppo(parent, judge, 0.01, [deaf])
    assert deaf.heard == ["started", *["batch", "rollout", "update"] * 2, "batch", "rollout"]


def an_update(**metrics: float) -> Updated:
    return Updated(stage="x", step=0, metrics=metrics, model=lambda: dict(metrics))


def a_rollout() -> RolledOut:
    arrays = {field.name: np.zeros((1, 1)) for field in fields(RolledOut)}
    return RolledOut(**(arrays | {"stage": "x", "step": 0, "rows": ()}))  # pyright: ignore[reportArgumentType]


def test_hooks_are_told_in_turn_and_need_not_listen() -> None:
    told = []

    class Second(Hook):
        def on_update(self, event: Updated) -> None:
            told.append(("second", event))

    class First(Hook):
        def on_update(self, event: Updated) -> None:
            told.append(("first", event))

    update = an_update(loss=1.0)
    announce([First(), Hook(), Second()], update)
    assert told == [("first", update), ("second", update)]
    for event in (
        StageStarted(stage="x", steps=1),
        BatchConsumed(stage="x", step=0, role="target", rows=()),
        a_rollout(),
        Traced(stage="x", step=0, update=0, value=()),
        Checkpointed(stage="x", step=1, path=Path("x")),
        StageEnded(stage="x", steps=1),
    ):
        announce([Hook(), First()], event)
    assert len(told) == 2


def test_events_cannot_be_changed() -> None:
    update, said = an_update(loss=1.0), a_rollout()
    with pytest.raises(FrozenInstanceError):
        update.step = 1  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError, match="does not support item assignment"):
        update.metrics["loss"] = 0.0  # pyright: ignore[reportIndexIssue]
    with pytest.raises(FrozenInstanceError):
        said.tokens = np.ones(1)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="read-only"):
        said.tokens[0, 0] = 1


def test_the_giver_of_an_event_keeps_arrays_and_metrics_of_its_own() -> None:
    given = np.zeros((1, 1))
    said = RolledOut(**({f.name: given for f in fields(RolledOut)} | {"rows": ()}))  # pyright: ignore
    given[0, 0] = 1
    assert given.flags.writeable
    assert said.scores[0, 0] == 1  # a view: nothing is copied
    metrics = {"loss": 1.0}
    update = Updated(stage="x", step=0, metrics=metrics, model=dict)
    metrics["loss"] = 2.0
    assert update == an_update(loss=1.0) != an_update(loss=2.0)


def test_a_hook_changes_nothing_of_what_is_learnt(
    train_sft: Callable[..., Any], memorised: Any, fresh: Params, lesson_rows: Rows
) -> None:
    run = train_sft(fresh, lesson_rows, [Deaf("never")])
    assert [dict(m) for m in run.metrics] == [dict(m) for m in memorised.metrics]


# --- what a rollout tells


class Copier(Hook):
    """Keeps rollouts and a copy of the policy after each of the first updates."""

    def __init__(self) -> None:
        self.rollouts: list[RolledOut] = []
        self.policies: list[Params] = []

    def on_rollout(self, event: RolledOut) -> None:
        self.rollouts.append(event)

    def on_update(self, event: Updated) -> None:
        if len(self.policies) < 2:
            self.policies.append(jax.tree.map(np.array, event.model()))


@pytest.fixture(scope="session")
def told(
    train_ppo: Callable[..., Any], parent: Params, judge: Judge
) -> tuple[Any, Copier, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """A run of PPO; its rollouts and first policies; and each call of the reward with its answer."""
    asked, copier = [], Copier()

    def overheard(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        scores = judge(tokens, weights)
        asked.append((np.array(tokens), np.array(weights), scores))
        return scores

    return train_ppo(parent, overheard, 0.01, [copier]), copier, asked


def test_a_rollout_is_told_in_numpy_of_fixed_types(told: Any, prompts: Prompts) -> None:
    _, copier, _ = told
    assert len(copier.rollouts) == 40
    prompt = prompts.tokens.shape[1]
    expected = {
        "prompts": (np.int32, (16, prompt)),
        "prompt_lengths": (np.int32, (16,)),
        "tokens": (np.int32, (16, RESPONSE)),
        "lengths": (np.int32, (16,)),
        "mask": (np.bool_, (16, RESPONSE)),
        "scores": (np.float32, (16,)),
    } | dict.fromkeys(("logprobs", "reference", "kl", "values"), (np.float32, (16, RESPONSE)))
    assert {f.name for f in fields(RolledOut)} == expected.keys() | {"stage", "step", "rows"}
    for event in copier.rollouts:
        for name, (kind, shape) in expected.items():
            array = getattr(event, name)
            assert type(array) is np.ndarray
            assert (array.dtype, array.shape) == (kind, shape), name
            assert not array.flags.writeable
        assert event.mask.sum(axis=1).tolist() == event.lengths.tolist()
        assert event.mask.tolist() == (np.arange(RESPONSE) < event.lengths[:, None]).tolist()
        for name in ("logprobs", "reference", "kl", "values"):
            assert not getattr(event, name)[~event.mask].any()
        assert not event.tokens[~event.mask].any()
        assert (event.logprobs[event.mask] < 0).all()


def test_a_rollout_is_told_as_the_reward_saw_it(told: Any, prompts: Prompts) -> None:
    """Prompts by their rows, the sampled tokens behind them, and the scores that were given to them."""
    _, copier, asked = told
    assert len(asked) == len(copier.rollouts)
    for event, (tokens, weights, scores) in zip(copier.rollouts, asked, strict=True):
        assert event.scores.tolist() == scores.astype(np.float32).tolist()
        for row, name in enumerate(event.rows):
            source = prompts.ids.index(name)
            start, length = event.prompt_lengths[row], event.lengths[row]
            assert event.prompts[row].tolist() == prompts.tokens[source].tolist()
            assert start == prompts.lengths[source]
            assert tokens[row, :start].tolist() == event.prompts[row, :start].tolist()
            assert tokens[row, weights[row] > 0].tolist() == event.tokens[row, :length].tolist()
            assert np.flatnonzero(weights[row]).tolist() == list(range(start, start + length))


def test_a_rollout_is_told_with_the_numbers_of_the_policy_that_answered(
    told: Any, parent: Params, model_logits: Callable[..., np.ndarray]
) -> None:
    """Log-probabilities recomputed, at the sampling temperature: the policy's as it was then, the reference's."""
    _, copier, asked = told
    for event, (tokens, weights, _), policy in zip(
        copier.rollouts, asked, [parent, *copier.policies], strict=False
    ):
        inside = weights[:, 1:] > 0
        for params, given in ((policy, event.logprobs), (parent, event.reference)):
            every = oracle.log_softmax(model_logits(params, tokens) / TEMPERATURE)
            said = np.take_along_axis(every[:, :-1], tokens[:, 1:, None], axis=2)[..., 0]
            np.testing.assert_allclose(given[event.mask], said[inside], atol=1e-4)
        np.testing.assert_allclose(event.kl, event.logprobs - event.reference, atol=1e-6)
    assert not copier.rollouts[0].values.any()  # a fresh value foretells nothing
    assert copier.rollouts[1].values[copier.rollouts[1].mask].all()
    assert not np.allclose(copier.rollouts[1].logprobs, copier.rollouts[1].reference, atol=1e-4)


# --- the traced half


class Gradients(Recorder):
    """Sees gradients inside the jit: returns the embedding's, the model's scale, and how many rows there were."""

    def on_traced(self, event: Traced) -> None:
        self.events.append(event)

    def on_checkpoint(self, event: Checkpointed) -> None:
        self.events.append(event)

    @staticmethod
    def traced(parts: Any, gradient: Any, batch: Any) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        part = "policy" if "policy" in parts else "model"
        return {
            "gradient": gradient[part]["embed"],
            "scale": parts[part]["norm"]["scale"],
            "rows": batch["tokens"].shape[0] * jnp.ones(()),
        }


def test_the_traced_half_sees_gradients_before_clipping(
    decoder: Decoder, fresh: Params, lesson_rows: Rows, tmp_path: Path
) -> None:
    """Against a gradient of the same loss taken outside; told to its own hook, between the batch and the update."""
    order = epochs(BATCH, BATCH, 3, 0)
    hook, other = Gradients(), Recorder()
    saver = Saver(folder=tmp_path / "state", every=2, identity="x")
    sft.train(
        fresh,
        lesson_rows,
        order,
        Optimiser(learning_rate=2e-2, warmup=5, final=0.1),
        decoder=decoder,
        stage=Stage(name="sft", hooks=[hook, other], saver=saver),
    )
    per_step = [BatchConsumed, Traced, Updated]
    assert [type(event) for event in hook.events] == [
        StageStarted,
        *per_step,
        *per_step,
        Checkpointed,
        *per_step,
        Checkpointed,
        StageEnded,
    ]
    assert [event.step for event in hook.events if isinstance(event, Checkpointed)] == [2, 3]
    assert Traced not in {type(event) for event in other.events}
    seen = [event for event in hook.events if isinstance(event, Traced)]
    assert [(event.step, event.update) for event in seen] == [(0, 0), (1, 0), (2, 0)]
    loss = sft.CrossEntropy(decoder)
    index = order[0]

    @jax.jit
    def mean(params: Params) -> jax.Array:
        shown = lesson_rows.tokens[index], lesson_rows.weights[index]
        batch: dict[str, jax.Array] = dict(zip(("tokens", "weights"), map(jnp.asarray, shown), strict=True))
        total, count, _ = loss({"model": params}, batch)
        return total / count

    expected = np.asarray(jax.grad(mean)(fresh)["embed"])
    assert np.linalg.norm(expected) > 1e-3
    np.testing.assert_allclose(seen[0].value["gradient"], expected, rtol=1e-4, atol=1e-7)
    assert seen[0].value["scale"].tolist() == np.ones(decoder.config.width).tolist()
    assert seen[1].value["scale"].tolist() != seen[0].value["scale"].tolist()
    assert seen[0].value["rows"] == BATCH
    for array in seen[0].value.values():
        assert isinstance(array, np.ndarray)
        assert not array.flags.writeable


def test_on_rollouts_each_update_is_traced(
    decoder: Decoder, parent: Params, prompts: Prompts, judge: Judge
) -> None:
    hook = Gradients()
    ppo.train(
        parent,
        prompts,
        epochs(BATCH, 16, 2, 0),
        judge,
        ppo.PPOConfig(
            optimiser=Optimiser(learning_rate=2e-3, warmup=4),
            sampling=rollout.Sampling(response=RESPONSE, temperature=TEMPERATURE),
            passes=onpolicy.Passes(epochs=2, minibatch=8),
            kl_coefficient=0.01,
        ),
        decoder=decoder,
        key=jax.random.key(7),
        eos=EOS,
        pad=PAD,
        stage=Stage(name="ppo", hooks=[hook]),
    )
    step = [BatchConsumed, RolledOut, *[Traced] * 4, Updated]
    assert [type(event) for event in hook.events] == [StageStarted, *step, *step, StageEnded]
    seen = [event for event in hook.events if isinstance(event, Traced)]
    assert [(event.step, event.update) for event in seen] == [(s, u) for s in range(2) for u in range(4)]
    assert all(event.value["rows"] == 8 and event.value["gradient"].any() for event in seen)


# --- failing, and going on


def short_sft(decoder: Decoder, params: Params, shown: Rows, order: np.ndarray, stage: Stage) -> Params:
    """With the shapes of `train_sft`, so that nothing is compiled."""
    optimiser = Optimiser(learning_rate=2e-2, warmup=5, final=0.1)
    return sft.train(params, shown, order, optimiser, decoder=decoder, stage=stage)


def test_a_failing_hook_may_be_logged_instead(
    decoder: Decoder, fresh: Params, lesson_rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told all the same of what comes after, and so are those behind it."""
    deaf, recorder = Deaf("batch"), Recorder()
    order = epochs(BATCH, BATCH, 4, 0)
    stage = Stage(name="sft", hooks=[deaf, recorder], on_error="log")
    with caplog.at_level(logging.ERROR):
        short_sft(decoder, fresh, lesson_rows, order, stage)
    assert deaf.heard == ["started", *["batch", "update"] * 4, "ended"]
    assert_sequence(recorder.events, "sft", 4, "target")
    assert [record.message for record in caplog.records] == ["hook Deaf failed on BatchConsumed"]
    assert "no room left at the batch of step 2" in caplog.text


class Ledger(Hook):
    """Counts exposures; stopped by hand at one step."""

    def __init__(self, stop: int = -1) -> None:
        self.exposures: Counter[str] = Counter()
        self.started: list[int] = []
        self.stop = stop

    def on_stage_started(self, event: StageStarted) -> None:
        self.started.append(event.first)

    def on_batch(self, event: BatchConsumed) -> None:
        self.exposures.update(name for row in event.rows for name in row)
        if event.step == self.stop:
            raise KeyboardInterrupt

    def state(self) -> Any:
        return dict(self.exposures)

    def restore(self, state: Any) -> None:
        self.exposures = Counter(state)


def test_a_resumed_stage_tells_each_step_once(
    decoder: Decoder, fresh: Params, lesson_rows: Rows, tmp_path: Path
) -> None:
    """What a hook heard after the last state was lost with it, and is told again: the count is that of the order."""
    repetitions = [1, 2, 3, 9, 4, 5, 6, 7]
    order = schedule(repetitions, BATCH, 0)
    assert len(order) == 5

    def stage(hooks: Sequence[Hook]) -> Stage:
        return Stage(name="sft", hooks=hooks, saver=Saver(folder=tmp_path / "s", every=2, identity="x"))

    stopped, resumed = Ledger(3), Ledger()
    with pytest.raises(KeyboardInterrupt):
        short_sft(decoder, fresh, lesson_rows, order, stage([stopped]))
    assert sum(stopped.exposures.values()) == 4 * BATCH
    short_sft(decoder, fresh, lesson_rows, order, stage([resumed]))
    assert (stopped.started, resumed.started) == ([0], [2])
    assert resumed.exposures == {name: n for (name,), n in zip(lesson_rows.ids, repetitions, strict=True)}


def test_the_model_of_an_update_is_what_was_learnt(
    decoder: Decoder, fresh: Params, lesson_rows: Rows
) -> None:
    models = []

    class Keep(Hook):
        def on_update(self, event: Updated) -> None:
            models.append(jax.tree.map(np.array, event.model()))

    result = short_sft(
        decoder, fresh, lesson_rows, epochs(BATCH, BATCH, 2, 0), Stage(name="sft", hooks=[Keep()])
    )
    assert jax.tree.structure(models[1]) == jax.tree.structure(result)
    assert all(
        (a == np.asarray(b)).all()
        for a, b in zip(jax.tree.leaves(models[1]), jax.tree.leaves(result), strict=True)
    )
    assert (models[0]["embed"] != models[1]["embed"]).any()


# --- liveness


class Quiet(Hook):
    pass


class Misspelt(Hook):
    def on_updated(self, event: Updated) -> None: ...

    def on_update(self, event: Updated) -> None: ...


class NoEvent(Hook):
    def on_update(self) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]


class OnlyTraced(Hook):
    def on_traced(self, event: Traced) -> None: ...


class Untold(Hook):
    def on_update(self, event: Updated) -> None: ...

    def traced(self, parts: Any, gradient: Any, batch: Any) -> Any:  # pyright: ignore
        return gradient


class NoFunction(OnlyTraced):
    traced = 3  # pyright: ignore


class Forgetful(Hook):
    def on_update(self, event: Updated) -> None: ...

    def state(self) -> Any:
        return 1


class Unasked(Hook):
    def on_update(self, event: Updated) -> None: ...

    def restore(self, state: Any) -> None: ...


class Stranger:
    def on_update(self, event: Updated) -> None: ...


@pytest.mark.parametrize(
    ("hook", "error", "message"),
    [
        (Stranger(), TypeError, "expected hooks to be of rlhf.events.Hook, got Stranger"),
        (Recorder, TypeError, "expected hooks to be of rlhf.events.Hook, got Recorder"),
        (Quiet(), ValueError, "expected hook Quiet to override one of on_batch, .*, got none"),
        (OnlyTraced(), ValueError, "expected hook OnlyTraced to override one of on_batch, .*, got none"),
        (Misspelt(), ValueError, "methods of hook Misspelt to be among on_batch, .*, got on_updated"),
        (NoEvent(), TypeError, "expected on_update of hook NoEvent to take one event, got too many"),
        (Untold(), ValueError, "expected hook Untold to override on_traced, got only `traced`"),
        (NoFunction(), TypeError, "expected `traced` of hook NoFunction to be a function, got int"),
        (Forgetful(), ValueError, "expected hook Forgetful .* `state` and `restore` .*, got only state"),
        (Unasked(), ValueError, "expected hook Unasked .* `state` and `restore` .*, got only restore"),
    ],
)
def test_a_hook_that_would_not_hear_is_refused(hook: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        check([Recorder(), hook])


def test_a_stage_refuses_it_before_its_first_step(decoder: Decoder, fresh: Params, lesson_rows: Rows) -> None:
    recorder = Recorder()
    with pytest.raises(ValueError, match="expected hook Quiet to override"):
        short_sft(
            decoder,
            fresh,
            lesson_rows,
            epochs(BATCH, BATCH, 1, 0),
            Stage(name="sft", hooks=[recorder, Quiet()]),
        )
    assert recorder.events == []


def test_hooks_that_hear_are_let_through() -> None:
    late = Hook()
    late.on_rollout = lambda event: None
    check([])
    check([Recorder(), Gradients(), Ledger(), Deaf("never"), late])
