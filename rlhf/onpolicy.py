"""The loop shared by the methods whose policy learns from its own answers: PPO, GRPO, RLOO.

One iteration: answer a batch of prompts, score the answers, make of them what the method learns from, and then
several epochs of updates on that. The parent is the reference, frozen. Everything random in an iteration follows from
the key and the iteration's number, so that a stage can go on anywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Prompts
from rlhf.events import BatchConsumed, RolledOut, Traced, Updated
from rlhf.model import Decoder
from rlhf.optimiser import Loss, Optimiser, Parts, State, prepare, update, whole
from rlhf.rollout import Reward, Rollout, Sampling, ended, roll_out
from rlhf.shaping import kl_estimate
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
        """On minibatches of the lesson.

        Among its metrics are `val/ratio`, the ratio of new to old probabilities summed over tokens, and
        `policy/approxkl_avg`, half the square of its logarithm: before the first update they have to be 1 and 0. Of a
        metric whose name ends in `_max` an iteration's largest is told, of any other the mean over updates.
        """
        ...

    def lesson(self, rollout: Rollout, coefficient: Array) -> Lesson:
        """Made of the whole rollout batch, jitted; `coefficient` (float32 ``[]``) weighs the KL.

        Its metrics hold those of `objective`.
        """
        ...

    def adjust(self, coefficient: float, kl: float, answers: int) -> float:
        """The KL coefficient after an iteration of `answers` answers whose summed KLs had the mean `kl`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Passes:
    """How often each rollout batch is learnt from."""

    epochs: int = 4
    """Passes over it, each in a new order. 4 as in arXiv 1909.08593 and TRL; many trainers of today take 1."""
    minibatch: int | None = None
    """Rows per update; divides the rollout batch. None: the whole of it."""

    def __post_init__(self) -> None:
        for name in ("epochs", "minibatch"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected `{name}` to be positive, got {value}")


class Carried(NamedTuple):
    """All of a stage's state, a pytree."""

    learner: State
    coefficient: Array
    """float32 ``[]``: weight of the KL, which an adaptive one moves."""
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
    `eos` is the token that ends an answer.
    """
    batch = order.shape[1]
    size = batch if passes.minibatch is None else passes.minibatch
    if batch % size:
        raise ValueError(
            f"expected the rollout batch to be a multiple of `minibatch`, got {batch} and {size}"
        )
    steps, updates = len(order), passes.epochs * (batch // size)
    learner, frozen = prepare(parts, optimiser, stage.lora, jax.random.fold_in(key, steps))
    start = Carried(learner, jnp.float32(coefficient), jax.random.key_data(key))
    first, carried = stage.begin(steps, start)
    learner, frozen = stage.layout.place((carried.learner, frozen))
    # Adapters leave the parent as it is: it is the reference then, and needs no copy.
    reference = frozen["policy"] if "policy" in frozen else stage.layout.place(parts["policy"])
    coefficient, key = float(carried.coefficient), jax.random.wrap_key_data(jnp.asarray(carried.key))
    listening = [hook for hook in stage.hooks if hook.traced is not None]
    for step in range(first, steps):
        real = order[step][order[step] >= 0]
        index = np.resize(real, batch)
        ids = tuple(prompts.ids[i] for i in index)
        asked = Prompts(tokens=prompts.tokens[index], lengths=prompts.lengths[index], ids=ids)
        step_key = jax.random.fold_in(key, step)
        rollout = roll_out(
            whole(learner.parts, frozen, stage.lora),
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
        # All that is small comes to the host at once: the hooks are told of it, and minibatches are cut there.
        lesson = method.lesson(rollout, np.float32(coefficient))  # pyright: ignore[reportArgumentType]
        said, lesson = stage.layout.fetch((rollout, lesson))
        stage.announce(BatchConsumed(stage=stage.name, step=step, role="prompt", rows=ids))
        stage.announce(_rolled_out(stage, step, asked, said))
        learnt, rate = [], 0.0
        for part in _minibatches(step_key, passes.epochs, batch, size):
            rate = optimiser.rate(step * updates + len(learnt), steps * updates)
            learner, of_part, traced = update(
                learner,
                frozen,
                stage.layout.feed({name: value[part] for name, value in lesson.batch.items()}),
                rate,
                loss=method.loss,
                adam=optimiser.adam,
                lora=stage.lora,
                accumulate=optimiser.accumulate,
                traces=tuple(hook.traced for hook in listening),  # pyright: ignore[reportArgumentType]
                layout=stage.layout,
            )
            for hook, value in zip(listening, stage.layout.fetch(traced), strict=True):
                told = Traced(stage=stage.name, step=step, update=len(learnt), value=value)
                stage.announce(told, to=[hook])
            learnt.append(of_part)
        learnt = jax.device_get(learnt)
        _check_first(learnt[0], decoder, stage.name, step)
        metrics = _told(lesson.metrics, learnt)
        metrics |= {"objective/kl_coef": coefficient, "learning_rate": rate}
        # Rounded as it is saved: a resumed stage has to go on with the very same number.
        coefficient = float(np.float32(method.adjust(coefficient, metrics["objective/kl"], batch)))

        def model(parts: Parts = learner.parts) -> dict[str, Any]:
            return whole(parts, frozen, stage.lora)["policy"]

        stage.announce(Updated(stage=stage.name, step=step, metrics=metrics, model=model))
        stage.keep(step + 1, steps, Carried(learner, jnp.float32(coefficient), jax.random.key_data(key)))
    stage.end(steps)
    return whole(learner.parts, frozen, stage.lora)


def objective(rollout: Rollout, eos: int) -> dict[str, Array]:
    """Metrics of a rollout that every method has, under TRL's names. Traceable.

    `objective/kl` and its like are summed over an answer's tokens and averaged over answers. The mean of k1, which
    the reward is charged with, may be below 0 by chance; that of k3 may not.
    """

    def summed(x: Array) -> Array:
        return jnp.mean(jnp.sum(x, axis=1))

    own, frozen = rollout.logprobs, rollout.reference
    return {
        "objective/kl": summed(kl_estimate(own, frozen)),
        "objective/kl_k2": summed(kl_estimate(own, frozen, "k2")),
        "objective/kl_k3": summed(kl_estimate(own, frozen, "k3")),
        "objective/entropy": summed(-own),
        "objective/scores": jnp.mean(rollout.scores),
        "val/length": jnp.mean(rollout.lengths.astype(jnp.float32)),
        "val/eos_rate": jnp.mean(ended(rollout, eos).astype(jnp.float32)),
        "val/sampler_drift": jnp.max(jnp.abs(own - rollout.sampled_logprobs)),
    }


def _minibatches(key: Array, epochs: int, batch: int, size: int) -> Iterator[np.ndarray]:
    """Row numbers of each update of an iteration: every row once an epoch, in an order of the epoch's own."""
    for epoch in range(epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 1 + epoch), batch))
        yield from order.reshape(-1, size)


def _check_first(metrics: Mapping[str, np.ndarray], decoder: Decoder, stage: str, step: int) -> None:
    """Before the first update the policy is the one that answered, so that every ratio is 1.

    Where it is not, rollout and update disagree on temperature, positions or masks, and what is learnt is wrong
    without looking so. Raises FloatingPointError where the root mean square of the log-ratio is above 0.01 (0.1 in
    bfloat16): far above rounding, on a GPU too, and far below any such disagreement.
    """
    most = 0.01 if decoder.dtype == "float32" else 0.1
    gap = float(np.sqrt(2 * metrics["policy/approxkl_avg"]))
    if not gap <= most:
        raise FloatingPointError(
            f"{stage}, step {step}: expected the log-ratio of the first minibatch to be 0 within {most}, got {gap:.3g} "
            f"(root mean square; the mean ratio is {float(metrics['val/ratio']):.6g})"
        )


def _told(lesson: Mapping[str, np.ndarray], learnt: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """What an iteration's update is announced with: the lesson's metrics, and the loss's over its updates."""
    told = {name: float(value) for name, value in lesson.items()}
    for name in learnt[0]:
        values = [part[name] for part in learnt]
        told[name] = float(np.max(values) if name.endswith("_max") else np.mean(values))
    ratios = [part["val/ratio"] for part in learnt]
    return told | {
        "val/ratio_var": float(np.var(ratios, ddof=1))
        if len(ratios) > 1
        else 0.0,  # of the updates' means, as in TRL
        "val/ratio_first": float(ratios[0]),
        "policy/approxkl_first": float(learnt[0]["policy/approxkl_avg"]),
    }


def _rolled_out(stage: Stage, step: int, asked: Prompts, said: Rollout) -> RolledOut:
    """The event, of a rollout of NumPy arrays."""
    width = said.logprobs.shape[1]
    mask = np.arange(width) < said.lengths[:, None]
    index = np.minimum(said.starts[:, None] + np.arange(width), said.tokens.shape[1] - 1)
    return RolledOut(
        stage=stage.name,
        step=step,
        rows=asked.ids,
        prompts=asked.tokens,
        prompt_lengths=asked.lengths,
        tokens=np.take_along_axis(said.tokens, index, axis=1),  # pyright: ignore[reportArgumentType]
        lengths=said.lengths,  # pyright: ignore[reportArgumentType]
        mask=mask,
        logprobs=said.logprobs,  # pyright: ignore[reportArgumentType]
        reference=said.reference,  # pyright: ignore[reportArgumentType]
        kl=said.logprobs - said.reference,  # pyright: ignore[reportArgumentType]
        values=said.values,  # pyright: ignore[reportArgumentType]
        scores=said.scores,  # pyright: ignore[reportArgumentType]
    )
