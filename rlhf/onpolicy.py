"""The loop shared by the methods whose policy learns from its own answers: PPO, GRPO, RLOO.

One iteration: answer a batch of prompts, score the answers, make of them what the method learns from, and then
several epochs of updates on that. The parent is the reference, frozen. Everything random in an iteration follows from
the key and the iteration's number, so that a stage can go on anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Prompts
from rlhf.events import BatchConsumed, RolledOut, RowIds, Traced, Updated
from rlhf.model import Decoder
from rlhf.optimiser import Loss, Optimiser, Parts, State, prepare, update, whole
from rlhf.rollout import Reward, Rollout, Sampling, roll_out
from rlhf.shaping import kl_estimate, response_mask
from rlhf.stage import Stage


class Lesson(NamedTuple):
    """What a method makes of a rollout."""

    batch: dict[str, Array]
    """What its loss learns from; every array has the rows first."""
    metrics: dict[str, Array]
    """Scalars."""


class Method(Protocol):
    """A method, hashable: what it learns from a rollout, by which loss, and how its KL coefficient moves."""

    @property
    def loss(self) -> Loss:
        """On minibatches of the lesson."""
        ...

    def lesson(self, rollout: Rollout, coefficient: Array) -> Lesson:
        """Made of the whole rollout batch; `coefficient` weighs the KL."""
        ...

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        """The KL coefficient after an iteration of `answers` answers with mean summed KL `kl`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often each rollout batch is learnt from."""

    epochs: int
    """Passes over it, each in a new order."""
    minibatch: int
    """Rows per update; divides the rollout batch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatch"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")


class Carried(NamedTuple):
    """All of a stage's state, a pytree."""

    learner: State
    coefficient: Array
    """float32 ``[]``: weight of the KL."""
    key: Array
    """uint32: the raw key that all samples and orders follow from."""


def follow(
    parts: Parts,
    prompts: Prompts,
    order: np.ndarray,
    reward: Reward,
    method: Method,
    *,
    sampling: Sampling,
    passes: Passes,
    optimiser: Optimiser,
    coefficient: float,
    decoder: Decoder,
    key: Array,
    eos: int,
    pad: int,
    stage: Stage,
) -> Parts:
    """One iteration per row of `order` (int ``[steps, batch]`` of prompt indices); returns the parts.

    Where the last row of `order` is filled up with -1, prompts of the same row take those places, so that a prompt
    is shown a little more often than asked; the hooks hear of every showing. The schedule of the rate counts updates.
    """
    batch = order.shape[1]
    if batch % passes.minibatch:
        raise ValueError(
            f"expected the rollout batch to be a multiple of `minibatch`, got {batch} and {passes.minibatch}"
        )
    steps, updates = len(order), passes.epochs * (batch // passes.minibatch)
    learner, frozen = prepare(parts, optimiser, stage.lora, jax.random.fold_in(key, steps))
    start = Carried(learner, jnp.float32(coefficient), jax.random.key_data(key))
    first, carried = stage.begin(steps, start)
    learner, reference, frozen = stage.layout.place((carried.learner, parts["policy"], frozen))
    coefficient, key = float(carried.coefficient), jax.random.wrap_key_data(jnp.asarray(carried.key))
    listening = [hook for hook in stage.hooks if hook.traced is not None]
    for step in range(first, steps):
        real = order[step][order[step] >= 0]
        index = np.resize(real, batch)
        ids = tuple(prompts.ids[i] for i in index)
        asked = Prompts(tokens=prompts.tokens[index], lengths=prompts.lengths[index], ids=ids)
        step_key = jax.random.fold_in(key, step)
        now = whole(learner.parts, frozen, stage.lora)
        rollout = roll_out(
            now,
            reference,
            asked,
            reward,
            jax.random.fold_in(step_key, 0),
            sampling,
            decoder=decoder,
            eos=eos,
            pad=pad,
            stage=stage,
        )
        stage.announce(BatchConsumed(stage=stage.name, step=step, role="prompt", rows=ids))
        stage.announce(_rolled_out(stage, step, asked, rollout))
        lesson = method.lesson(rollout, jnp.float32(coefficient))
        learnt, taken = [], 0
        for epoch in range(passes.epochs):
            shuffled = np.asarray(jax.random.permutation(jax.random.fold_in(step_key, 1 + epoch), batch))
            for part in shuffled.reshape(-1, passes.minibatch):
                learner, of_part, traced = update(
                    learner,
                    frozen,
                    stage.layout.feed({name: value[part] for name, value in lesson.batch.items()}),
                    optimiser.rate(step * updates + taken, steps * updates),
                    loss=method.loss,
                    adam=optimiser.adam,
                    lora=stage.lora,
                    accumulate=optimiser.accumulate,
                    traces=tuple(hook.traced for hook in listening),  # pyright: ignore[reportArgumentType]
                )
                for hook, value in zip(listening, jax.device_get(traced), strict=True):
                    stage.announce(Traced(stage=stage.name, step=step, update=taken, value=value), to=[hook])
                learnt.append(of_part)
                taken += 1
        metrics = _told(lesson.metrics, learnt) | {"objective/kl_coef": coefficient}
        # Rounded as it is saved: a resumed stage has to go on with the very same number.
        coefficient = float(np.float32(method.adjust(coefficient, metrics["objective/kl"], batch)))

        def model(parts: Parts = learner.parts) -> dict[str, Any]:
            return whole(parts, frozen, stage.lora)["policy"]

        stage.announce(Updated(stage=stage.name, step=step, metrics=metrics, model=model))
        stage.keep(step + 1, steps, Carried(learner, jnp.float32(coefficient), jax.random.key_data(key)))
    stage.end(steps)
    return whole(learner.parts, frozen, stage.lora)


def objective(rollout: Rollout, eos: int) -> dict[str, Array]:
    """Metrics of a rollout that every method has, under the field's usual names. Traceable."""
    mask = response_mask(rollout.lengths, rollout.logprobs.shape[1])
    last = rollout.starts + rollout.lengths - 1
    ended = jnp.take_along_axis(rollout.tokens, last[:, None], axis=1)[:, 0] == eos
    kl = kl_estimate(rollout.logprobs, rollout.reference) * mask
    return {
        "objective/kl": jnp.mean(jnp.sum(kl, axis=1)),
        "objective/scores": jnp.mean(rollout.scores),
        "objective/length": jnp.mean(rollout.lengths.astype(jnp.float32)),
        "objective/eos_rate": jnp.mean(ended.astype(jnp.float32)),
        "objective/sampler_drift": jnp.max(jnp.abs(rollout.logprobs - rollout.sampled_logprobs) * mask),
    }


def _told(objective: dict[str, Array], learnt: Sequence[dict[str, Array]]) -> dict[str, float]:
    """What an iteration's update is announced with: the lesson's metrics, and the means over its minibatches."""
    lesson, parts = jax.device_get((objective, learnt))
    means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    first = {"policy/first_ratio": float(parts[0]["policy/ratio"])}
    return {name: float(value) for name, value in lesson.items()} | means | first


def _rolled_out(stage: Stage, step: int, asked: Prompts, rollout: Rollout) -> RolledOut:
    seen = stage.layout.fetch(rollout)
    width = seen.logprobs.shape[1]
    index = np.minimum(seen.starts[:, None] + np.arange(width), seen.tokens.shape[1] - 1)
    mask = np.arange(width) < seen.lengths[:, None]
    rows: tuple[RowIds, ...] = asked.ids
    return RolledOut(
        stage=stage.name,
        step=step,
        rows=rows,
        prompts=asked.tokens,
        prompt_lengths=asked.lengths,
        tokens=np.take_along_axis(seen.tokens, index, axis=1),
        lengths=seen.lengths,
        mask=mask,
        logprobs=seen.logprobs * mask,
        reference=seen.reference * mask,
        kl=(seen.logprobs - seen.reference) * mask,
        values=seen.values * mask,
        scores=seen.scores,
    )
