"""Direct preference learning: IPO (arXiv 2310.12036) and DPO (arXiv 2305.18290) on preferred and rejected pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Pairs, chunks
from rlhf.events import RowIds
from rlhf.fit import Batch, fit
from rlhf.generate import score
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser
from rlhf.reward import pair_batch
from rlhf.stage import Stage

_ROWS_AT_ONCE = 64  # in the pass over the whole data set


def sequence_logprobs(
    decoder: Decoder, params: Params, tokens: Array, weights: Array, average: bool
) -> Array:
    """Log-probability of each row's weighted tokens, summed (or averaged) over them: float32 ``[batch]``."""
    hidden = hidden_states(decoder, params, tokens[:, :-1])
    weight = weights[:, 1:]
    total = jnp.sum(likelihood.of_targets(decoder, params, hidden, tokens[:, 1:]).logprobs * weight, axis=1)
    return total / jnp.maximum(jnp.sum(weight, axis=1), 1.0) if average else total


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss on h = (log pi(w) - log ref(w)) - (log pi(l) - log ref(l)), w preferred, l rejected.

    - `ipo`: (h - 1 / (2 beta))^2. The margin is a target, not a floor: a pair that is told apart too well is
      pulled back.
    - `dpo`: -log sigmoid(beta h).

    With `average` the log-probabilities are means over tokens, as some trainers have it; IPO's margin is then per
    token and pushes long texts much harder. The paper's formula, and the default here, is the sum.
    """

    decoder: Decoder
    method: Literal["ipo", "dpo"]
    beta: float
    average: bool

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` is that of the reward model plus `preferred_reference` and `rejected_reference` ``[batch]``."""
        tokens = jnp.concatenate([batch["preferred"], batch["rejected"]])
        weights = jnp.concatenate([batch["preferred_weights"], batch["rejected_weights"]])
        logprobs = sequence_logprobs(self.decoder, parts["model"], tokens, weights, self.average)
        half = batch["preferred"].shape[0]
        preferred = logprobs[:half] - batch["preferred_reference"]
        rejected = logprobs[half:] - batch["rejected_reference"]
        margin = preferred - rejected
        if self.method == "ipo":
            losses = jnp.square(margin - 1 / (2 * self.beta))
        else:
            losses = -jax.nn.log_sigmoid(self.beta * margin)
        real = batch["real"]
        count = jnp.sum(real)
        metrics = {
            "margin": (jnp.sum(margin * real), count),
            "accuracy": (jnp.sum((margin > 0) * real), count),
            "preferred": (jnp.sum(preferred * real), count),
            "rejected": (jnp.sum(rejected * real), count),
        }
        return jnp.sum(losses * real), count, metrics


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """How to learn from pairs without a reward model."""

    optimiser: Optimiser
    beta: float
    method: Literal["ipo", "dpo"] = "ipo"
    average: bool = False
    """Mean instead of sum over a sequence's tokens."""


def reference_logprobs(
    decoder: Decoder, params: Params, tokens: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Summed log-probabilities under the frozen reference, float32 ``[rows]``."""
    logprobs = [
        score(params, jnp.asarray(tokens[index]), decoder=decoder).logprobs
        for index in chunks(len(tokens), _ROWS_AT_ONCE)
    ]
    return (np.concatenate(logprobs)[: len(tokens)] * weights[:, 1:]).sum(axis=1)


def train(
    params: Params,
    pairs: Pairs,
    order: np.ndarray,
    config: PreferenceConfig,
    *,
    decoder: Decoder,
    stage: Stage,
    key: Array | None = None,
) -> Params:
    """Learn from `pairs` along `order` (int ``[steps, batch]``); the parent `params` are the reference.

    The reference is frozen, so each row is put to it once, before the first step.
    """
    references = {}
    for name, side in (("preferred", pairs.preferred), ("rejected", pairs.rejected)):
        total = reference_logprobs(decoder, params, side.tokens, side.weights)
        tokens = np.maximum(side.weights[:, 1:].sum(axis=1), 1.0)
        references[f"{name}_reference"] = total / tokens if config.average else total

    def shown(step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        batch, ids = pair_batch(pairs, order[step])
        return batch | {name: value[order[step]] for name, value in references.items()}, ids

    parts = fit(
        {"model": params},
        shown,
        loss=PreferenceLoss(decoder, config.method, config.beta, config.average),
        optimiser=config.optimiser,
        role="preferred",
        steps=len(order),
        stage=stage,
        key=key,
    )
    return parts["model"]
