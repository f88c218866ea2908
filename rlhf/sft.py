"""Supervised fine-tuning, and pretraining: the same loss over other rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Rows, take
from rlhf.fit import fit
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage


@dataclass(frozen=True)
class CrossEntropy:
    """Next-token cross-entropy in nats, summed over the tokens that have weight."""

    decoder: Decoder

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `tokens` int32 and `weights` float32, both ``[batch, time]``; perhaps `segments` int32."""
        tokens, weight = batch["tokens"], batch["weights"][:, 1:]
        segments = batch.get("segments")
        if segments is not None:
            segments = segments[:, :-1]
        hidden = hidden_states(self.decoder, parts["model"], tokens[:, :-1], segments)
        found = likelihood.of_targets(self.decoder, parts["model"], hidden, tokens[:, 1:])
        count = jnp.sum(weight)
        metrics = {"mean_token_accuracy": (jnp.sum(found.hit * weight), count), "num_tokens": count}
        return -jnp.sum(found.logprobs * weight), count, metrics


def train(
    params: Params,
    rows: Rows,
    order: np.ndarray,
    optimiser: Optimiser,
    *,
    decoder: Decoder,
    stage: Stage,
    key: Array | None = None,
) -> Params:
    """Show `rows` along `order` (int ``[steps, batch]``, see `batches.schedule`), one update per batch.

    `key` seeds the adapters, where the stage has any.
    """
    parts = fit(
        {"model": params},
        lambda step: take(rows, order[step]),
        loss=CrossEntropy(decoder),
        optimiser=optimiser,
        role="target",
        steps=len(order),
        stage=stage,
        key=key,
    )
    return parts["model"]
