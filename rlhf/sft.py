"""Supervised fine-tuning, and pretraining: the same loss over other rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Rows, beside, take
from rlhf.events import RowIds
from rlhf.fit import fit
from rlhf.goldfish import Goldfish, Random, keep
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage


@dataclass(frozen=True)
class CrossEntropy:
    """Next-token cross-entropy in nats, summed over the tokens that have weight and are kept."""

    decoder: Decoder
    goldfish: Goldfish | None = None
    """Which tokens are left out all the same, if any are."""

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `tokens` int32 and `weights` float32, both ``[batch, time]``; perhaps `segments` int32.

        Where a random goldfish is to forget it has `draws` as well, uint32 ``[batch]``; where rows count differently,
        `importance`, float32 ``[batch]``, times which each one's loss is taken.
        """
        tokens, weight = batch["tokens"], batch["weights"][:, 1:]
        segments = batch.get("segments")
        inputs = None if segments is None else segments[:, :-1]
        hidden = hidden_states(self.decoder, parts["model"], tokens[:, :-1], inputs)
        found = likelihood.of_targets(self.decoder, parts["model"], hidden, tokens[:, 1:])
        metrics: dict[str, Any] = {}
        if self.goldfish is not None:
            kept = keep(self.goldfish, tokens, segments, batch.get("draws"))[:, 1:]
            missing, weight = weight * ~kept, weight * kept
            dropped = jnp.sum(missing)
            metrics["dropped_loss"] = (-jnp.sum(found.logprobs * missing), dropped)
            metrics["drop_rate"] = (dropped, dropped + jnp.sum(weight))
        count = jnp.sum(weight)
        metrics |= {"mean_token_accuracy": (jnp.sum(found.hit * weight), count), "num_tokens": count}
        counted = weight * batch["importance"][:, None] if "importance" in batch else weight
        return -jnp.sum(found.logprobs * counted), count, metrics


def train(
    params: Params,
    rows: Rows,
    order: np.ndarray,
    optimiser: Optimiser,
    *,
    decoder: Decoder,
    stage: Stage,
    key: Array | None = None,
    goldfish: Goldfish | None = None,
    importance: np.ndarray | None = None,
) -> Params:
    """Show `rows` along `order` (int ``[steps, batch]``, see `batches.schedule`), one update per batch.

    `key` seeds the adapters, where the stage has any. With `goldfish` some targets are shown and not learnt.
    With `importance`, float32 ``[rows]``, the loss of each row counts so much; what it is divided by is unchanged.
    """

    def shown(step: int) -> tuple[dict[str, np.ndarray], tuple[RowIds, ...]]:
        batch, ids = take(rows, order[step])
        if isinstance(goldfish, Random):
            batch["draws"] = goldfish.draws(step, len(order[step]))
        if importance is not None:
            batch["importance"] = importance[order[step]]
        return batch, ids

    parts = fit(
        {"model": params},
        shown,
        loss=CrossEntropy(decoder, goldfish),
        optimiser=optimiser,
        role="target",
        steps=len(order),
        stage=stage,
        key=key,
        besides=lambda step: beside(rows, order[step]),
    )
    return parts["model"]
