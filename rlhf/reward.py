"""The reward model: which of two continuations of a prompt is the better one.

Own trunk, started from the stage's parent, and a scalar head read at the last token (Bradley and Terry 1952;
arXiv 1909.08593). A score is gain * raw + bias: pairs say nothing of where zero lies, so gain and bias are measured
on texts of the parent's own, and are parameters beside the others. A scorer is one tree,
``{"model", "head", "scale": {"gain", "bias"}}``, and nothing else has to be kept for it to score alike again.

`sample_pairs` makes pairs without people: the preferred continuation is the true one, the rejected one is *weaker*,
sampled from the parent itself at temperature 1 with exactly as many tokens, so that length tells nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Pairs, Prompts, Rows, chunks, rows, take
from rlhf.events import RowIds
from rlhf.fit import Batch, fit
from rlhf.generate import generate, row_keys
from rlhf.mesh import Layout
from rlhf.model import Decoder, Head, Params, hidden_states, random_head, scalar
from rlhf.optimiser import Optimiser, Parts
from rlhf.stage import Stage

Scale = dict[str, Array]
"""`gain` and `bias`, both float32 ``[]``."""

_ROWS_AT_ONCE = 64  # in passes over a whole data set
_FLAT = 1e-6  # of a score's own size: texts that differ by less do not differ


def last_index(weights: Array) -> Array:
    """Index of the last weighted token of each row, int ``[batch]``: where a sequence is scored."""
    time = weights.shape[1]
    return jnp.max(jnp.where(weights > 0, jnp.arange(time), 0), axis=1)


def score_rows(decoder: Decoder, params: Params, head: Head, tokens: Array, last: Array) -> Array:
    """The raw scalar at index `last` of each row, float32 ``[batch]``."""
    hidden = hidden_states(decoder, params, tokens)
    at_last = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return scalar(head, at_last)


def unit_scale() -> Scale:
    """The scale that leaves raw scores as they are."""
    return {"gain": jnp.ones((), jnp.float32), "bias": jnp.zeros((), jnp.float32)}


@partial(jax.jit, static_argnames=("decoder",))
def score_batch(scorer: Mapping[str, Params], tokens: Array, weights: Array, *, decoder: Decoder) -> Array:
    """Scores of right-padded rows whose responses have weight, float32 ``[batch]``."""
    raw = score_rows(decoder, scorer["model"], scorer["head"], tokens, last_index(weights))
    return scorer["scale"]["gain"] * raw + scorer["scale"]["bias"]


@dataclass(frozen=True)
class BradleyTerry:
    """-log sigmoid(r_c - r_r - m) + c (r_c + r_r)^2, summed over pairs: r_c the raw score of the preferred text, r_r
    that of the rejected one, m the pair's margin if it has one (arXiv 2307.09288), c `centering`.

    Shifting all scores alike changes nothing of the first term; the second (arXiv 2312.09244) holds them about zero.
    """

    decoder: Decoder
    centering: float = 0.0

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `preferred`, `rejected` (int32 ``[batch, time]``), their `_weights`, `real` float32 ``[batch]``,
        and perhaps `margin` float32 ``[batch]``."""
        tokens = jnp.concatenate([batch["preferred"], batch["rejected"]])
        weights = jnp.concatenate([batch["preferred_weights"], batch["rejected_weights"]])
        scores = score_rows(self.decoder, parts["model"], parts["head"], tokens, last_index(weights))
        chosen, rejected = jnp.split(scores, 2)
        lead = chosen - rejected
        losses = -jax.nn.log_sigmoid(lead - batch["margin"] if "margin" in batch else lead)
        losses += self.centering * jnp.square(chosen + rejected)
        real = batch["real"]
        count = jnp.sum(real)
        metrics = {
            "accuracy": (jnp.sum((lead > 0) * real), count),
            "margin": (jnp.sum(lead * real), count),
            "mean_reward": (jnp.sum((chosen + rejected) * real), 2 * count),
        }
        return jnp.sum(losses * real), count, metrics


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """How to learn to score."""

    optimiser: Optimiser
    centering: float = 0.0
    """Weight of (r_c + r_r)^2 in the loss (arXiv 2312.09244; 0.01 is usual)."""
    normalise: Literal["none", "after", "both"] = "after"
    """When the scale is measured. After training: the scores that PPO sees have `target_mean` and `target_deviation`
    on the parent's own texts. Both: the fresh head is stretched to that as well, before the first step (arXiv
    1909.08593). None: scores are the log-odds of the pairs, up to a shift."""
    target_mean: float = 0.0
    """Mean score of the parent's own texts."""
    target_deviation: float = 1.0
    """Their standard deviation."""

    def __post_init__(self) -> None:
        if not self.centering >= 0:
            raise ValueError(f"expected `centering` to be 0 or more, got {self.centering}")
        if not self.target_deviation > 0:
            raise ValueError(f"expected `target_deviation` to be positive, got {self.target_deviation}")
        if self.normalise not in ("none", "after", "both"):
            raise ValueError(f"expected `normalise` to be none, after or both, got {self.normalise!r}")


@dataclass(frozen=True)
class RewardModel:
    """A trained scorer, ready to be the reward of a policy."""

    decoder: Decoder
    scorer: Mapping[str, Params]
    """`model`, `head` and `scale`: see the top of this file. Where there are several processes, each holds it whole."""

    def __post_init__(self) -> None:
        if set(self.scorer) != {"model", "head", "scale"}:
            raise ValueError(
                f"expected a scorer of model, head and scale, got {', '.join(sorted(self.scorer))}"
            )
        # Once, not at every call: a tree that was read from disk is not on the device yet.
        object.__setattr__(self, "scorer", jax.tree.map(jnp.asarray, dict(self.scorer)))

    def __call__(self, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scores float32 ``[batch]`` of right-padded rows whose responses have weight."""
        scores = score_batch(self.scorer, jnp.asarray(tokens), jnp.asarray(weights), decoder=self.decoder)
        return jax.device_get(scores)

    def folded(self) -> Parts:
        """`model` and `head` alone, of the same scores: the head has the scale in it. A critic may start from them."""
        head, gain, bias = self.scorer["head"], self.scorer["scale"]["gain"], self.scorer["scale"]["bias"]
        folded = {"kernel": gain * head["kernel"], "bias": gain * head["bias"] + bias}
        return {"model": self.scorer["model"], "head": folded}


def scale_to(raw: np.ndarray, mean: float, deviation: float) -> Scale:
    """The scale that gives raw scores ``[rows]`` this mean and standard deviation.

    Scores that are all alike are shifted only: there is nothing to stretch.
    """
    wide = np.asarray(raw, np.float64)
    found, spread = wide.mean(), wide.std()
    gain = deviation / spread if spread > _FLAT * max(1.0, abs(found)) else 1.0
    return {"gain": jnp.float32(gain), "bias": jnp.float32(mean - gain * found)}


def _raw_scores(parts: Parts, shown: Rows, decoder: Decoder, layout: Layout) -> np.ndarray:
    scorer = {**parts, "scale": layout.place(unit_scale())}
    found = []
    for index in chunks(len(shown.tokens), _ROWS_AT_ONCE):
        batch = layout.feed({"tokens": shown.tokens[index], "weights": shown.weights[index]})
        found.append(layout.fetch(score_batch(scorer, batch["tokens"], batch["weights"], decoder=decoder)))
    return np.concatenate(found)[: len(shown.tokens)]


def sample_pairs(
    params: Params,
    prompts: Prompts,
    continuations: Sequence[Sequence[int]],
    *,
    decoder: Decoder,
    key: Array,
    time: int,
    pad: int,
) -> Pairs:
    """True continuations beside sampled ones of the same prompts, each sample as long as the truth.

    A sample that equals the truth is no lesson: it is kept, and the pair then has a margin of 0 by construction.
    """
    count, budget = len(continuations), max(len(c) for c in continuations)
    sampled = [
        generate(
            params,
            jnp.asarray(prompts.tokens[index]),
            jnp.asarray(prompts.lengths[index]),
            row_keys(key, jnp.asarray(index)),
            decoder=decoder,
            budget=budget,
            temperature=1.0,
            eos=None,
            pad=pad,
        ).tokens
        for index in chunks(count, _ROWS_AT_ONCE)
    ]
    weaker = [
        [int(token) for token in tokens[: len(truth)]]
        for tokens, truth in zip(np.concatenate(sampled)[:count], continuations, strict=True)
    ]
    starts = [list(map(int, t[:n])) for t, n in zip(prompts.tokens, prompts.lengths, strict=True)]
    return Pairs(
        preferred=rows(starts, continuations, prompts.ids, time=time, fill=pad),
        rejected=rows(starts, weaker, prompts.ids, time=time, fill=pad),
    )


def pair_batch(pairs: Pairs, index: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[tuple[str, ...], ...]]:
    """The arrays of the pairs at `index` (-1: no pair), and the ids of the real ones."""
    good, ids = take(pairs.preferred, index)
    bad, _ = take(pairs.rejected, index)
    batch = {
        "preferred": good["tokens"],
        "preferred_weights": good["weights"],
        "rejected": bad["tokens"],
        "rejected_weights": bad["weights"],
        "real": good["real"],
    }
    return batch, ids


def train(
    params: Params,
    pairs: Pairs,
    order: np.ndarray,
    config: RewardConfig,
    *,
    decoder: Decoder,
    stage: Stage,
    key: Array,
    margins: np.ndarray | None = None,
    samples: Rows | None = None,
) -> RewardModel:
    """Fit a scorer that starts from `params` (a language model of `decoder`'s shape), along `order` (int ``[steps,
    batch]`` of pairs, -1: none).

    `key` draws the head, and the adapters where the stage has any. `margins` (float ``[pairs]``): by how much the
    preferred text of each pair has to win. `samples`: texts of the parent's own, which the scale is measured on;
    without them the rejected ones are taken for it, as `sample_pairs` makes them.
    """
    own = pairs.rejected if samples is None else samples
    if margins is not None and margins.shape != (len(pairs.preferred.tokens),):
        raise ValueError(f"expected one margin a pair, ({len(pairs.preferred.tokens)},), got {margins.shape}")
    head_key, adapter_key = jax.random.split(key)
    head = random_head(decoder.config.width, head_key)

    def measured(parts: Parts) -> Scale:
        raw = _raw_scores(parts, own, decoder, stage.layout)
        return scale_to(raw, config.target_mean, config.target_deviation)

    if config.normalise == "both":
        first = measured({"model": stage.layout.place(params), "head": head})
        # Into the head itself, so that the scale that is kept is the one measured at the end.
        head = {
            "kernel": first["gain"] * head["kernel"],
            "bias": first["gain"] * head["bias"] + first["bias"],
        }

    def shown(step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        batch, ids = pair_batch(pairs, order[step])
        return batch if margins is None else batch | {"margin": margins[order[step]].astype(np.float32)}, ids

    fitted = fit(
        {"model": params, "head": head},
        shown,
        loss=BradleyTerry(decoder, config.centering),
        optimiser=config.optimiser,
        role="preferred",
        steps=len(order),
        stage=stage,
        key=adapter_key,
    )
    scale = unit_scale() if config.normalise == "none" else measured(fitted)
    return RewardModel(decoder, {**fitted, "scale": scale})
