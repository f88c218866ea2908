"""The reward model: which of two continuations of a prompt is the true one.

Own trunk, started from the stage's parent, and a scalar head read at the last token. The preferred continuation
is the true one. The rejected one is *weaker*: sampled from the parent itself at temperature 1, with exactly as many
tokens, so that length tells nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Pairs, Prompts, chunks, rows, take
from rlhf.fit import fit
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Head, Params, hidden_states, scalar, zero_head
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage

_ROWS_AT_ONCE = 64  # in passes over a whole data set


def last_index(weights: Array) -> Array:
    """Index of the last weighted token of each row, int ``[batch]``: where a sequence is scored."""
    time = weights.shape[1]
    return jnp.max(jnp.where(weights > 0, jnp.arange(time), 0), axis=1)


def score_rows(decoder: Decoder, params: Params, head: Head, tokens: Array, last: Array) -> Array:
    """The raw scalar at index `last` of each row, float32 ``[batch]``."""
    hidden = hidden_states(decoder, params, tokens)
    at_last = jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]
    return scalar(head, at_last)


@partial(jax.jit, static_argnames=("decoder",))
def score_batch(scorer: Mapping[str, Params], tokens: Array, weights: Array, *, decoder: Decoder) -> Array:
    """Raw scores of right-padded rows, float32 ``[batch]``."""
    return score_rows(decoder, scorer["model"], scorer["head"], tokens, last_index(weights))


@dataclass(frozen=True)
class BradleyTerry:
    """-log sigmoid(r_preferred - r_rejected), summed over pairs (Bradley and Terry 1952; arXiv 1706.03741)."""

    decoder: Decoder

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `preferred`, `rejected` (int32 ``[batch, time]``), their `_weights`, and `real` ``[batch]``."""
        tokens = jnp.concatenate([batch["preferred"], batch["rejected"]])
        weights = jnp.concatenate([batch["preferred_weights"], batch["rejected_weights"]])
        scores = score_rows(self.decoder, parts["model"], parts["head"], tokens, last_index(weights))
        half = batch["preferred"].shape[0]
        margin = scores[:half] - scores[half:]
        real = batch["real"]
        count = jnp.sum(real)
        metrics = {
            "accuracy": (jnp.sum((margin > 0) * real), count),
            "margin": (jnp.sum(margin * real), count),
        }
        return jnp.sum(-jax.nn.log_sigmoid(margin) * real), count, metrics


@dataclass(frozen=True, kw_only=True)
class RewardConfig:
    """How to learn to score."""

    optimiser: Optimiser


@dataclass(frozen=True)
class RewardModel:
    """A trained scorer: ``(raw - mean) / deviation`` of the scalar head.

    `mean` and `deviation` are those of the raw scores of the parent's own samples, so that a policy that has not
    moved yet scores about 0 with deviation 1, whatever the scale of the head.
    """

    decoder: Decoder
    scorer: Mapping[str, Params]
    """`model`: the trunk, and `head`."""
    mean: float
    deviation: float

    def __call__(self, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Scores float32 ``[batch]`` of right-padded rows whose responses have weight."""
        raw = score_batch(self.scorer, tokens, weights, decoder=self.decoder)  # pyright: ignore
        return (np.asarray(raw) - self.mean) / self.deviation


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
    key: Array | None = None,
) -> RewardModel:
    """Fit a scorer that starts from `params` (a language model of `decoder`'s shape)."""
    fitted = fit(
        {"model": params, "head": zero_head(decoder.config.width)},
        lambda step: pair_batch(pairs, order[step]),
        loss=BradleyTerry(decoder),
        optimiser=config.optimiser,
        role="preferred",
        steps=len(order),
        stage=stage,
        key=key,
    )
    tokens, weights = pairs.rejected.tokens, pairs.rejected.weights
    raw = np.concatenate(
        [
            score_batch(fitted, jnp.asarray(tokens[index]), jnp.asarray(weights[index]), decoder=decoder)
            for index in chunks(len(tokens), _ROWS_AT_ONCE)
        ]
    )[: len(tokens)]
    return RewardModel(decoder, fitted, mean=float(raw.mean()), deviation=float(raw.std()) or 1.0)
