"""Supervised fine-tuning, and pretraining: the same loss over other rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf.batches import Rows, batches
from rlhf.events import Hook
from rlhf.fit import Adam, fit
from rlhf.model import Decoder, Params, hidden_states, logits_of


@dataclass(frozen=True)
class CrossEntropy:
    """Next-token cross-entropy in nats, summed over the tokens that have weight."""

    decoder: Decoder

    def __call__(self, params: Params, batch: Mapping[str, Array]) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` has `tokens` int32 and `weights` float32, both ``[batch, time]``."""
        tokens, weight = batch["tokens"], batch["weights"][:, 1:]
        logits = logits_of(self.decoder, params, hidden_states(self.decoder, params, tokens[:, :-1]))
        picked = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
        nll = jax.nn.logsumexp(logits, axis=-1) - picked
        hit = (jnp.argmax(logits, axis=-1) == tokens[:, 1:]) * weight
        count = jnp.sum(weight)
        return jnp.sum(nll * weight), count, {"accuracy": (jnp.sum(hit), count)}


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig:
    """How to learn from rows."""

    learning_rate: float
    warmup: int
    """Steps over which the learning rate rises."""
    weight_decay: float
    final: float
    """Share of the learning rate that is left at the end."""


def train(
    params: Params,
    rows: Rows,
    order: np.ndarray,
    config: SupervisedConfig,
    *,
    decoder: Decoder,
    stage: str,
    hooks: Sequence[Hook] = (),
) -> Params:
    """Show `rows` along `order` (int ``[steps, batch]``, see `batches.schedule`), one update per batch."""
    adam = Adam(
        learning_rate=config.learning_rate,
        steps=len(order),
        warmup=config.warmup,
        weight_decay=config.weight_decay,
        final=config.final,
    )
    return fit(
        params,
        batches(rows, order),
        loss=CrossEntropy(decoder),
        adam=adam,
        stage=stage,
        role="target",
        steps=len(order),
        hooks=hooks,
    )
