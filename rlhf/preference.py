"""Direct preference learning from preferred and rejected pairs: DPO (arXiv 2305.18290), its conservative form with
label smoothing (cDPO, Mitchell 2023, ericmitchell.ai/cdpo.pdf), and IPO (arXiv 2310.12036)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Pairs, Rows, chunks
from rlhf.events import RowIds
from rlhf.fit import Batch, fit
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser
from rlhf.reward import pair_batch
from rlhf.stage import Stage

_ROWS_AT_ONCE = 64  # in the pass over the whole data set


def sequence_logprobs(decoder: Decoder, params: Params, tokens: Array, weights: Array) -> Array:
    """Log-probability (nats) of each row's weighted tokens, summed over them: float32 ``[batch]``."""
    hidden = hidden_states(decoder, params, tokens[:, :-1])
    found = likelihood.of_targets(decoder, params, hidden, tokens[:, 1:])
    return jnp.sum(found.logprobs * weights[:, 1:], axis=1)


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss on h = (log pi(c) - log ref(c)) - (log pi(r) - log ref(r)), c preferred (chosen), r rejected.

    - `dpo`: -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h), s `label_smoothing`: the share of pairs whose
      labels are taken to be the wrong way round. With s = 0 a pair is never told apart enough; with s > 0 (cDPO) the
      loss is least at h = log((1 - s) / s) / beta.
    - `ipo`: (h - 1 / (2 beta))^2. The margin is a target, not a floor: a pair that is told apart too well is
      pulled back.

    The log-probabilities are sums over a text's tokens, or means with `average`. The sum is the papers' formula, and
    the default: h is then the log-odds of whole texts, whose optimum under the KL leash is known. TRL has IPO with the
    mean (its authors are said to have had it so as well): beta then counts nats per token, and the same beta drives a
    text of n tokens n times as far.
    """

    decoder: Decoder
    method: Literal["ipo", "dpo"]
    beta: float
    average: bool = False
    label_smoothing: float = 0.0

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` is that of the reward model plus `preferred_reference` and `rejected_reference`, the summed
        log-probabilities under the reference, float32 ``[batch]``.

        The metrics are of the sums in any case: `logps` in nats, `rewards` beta times the policy's log-ratio.
        """
        tokens = jnp.concatenate([batch["preferred"], batch["rejected"]])
        weights = jnp.concatenate([batch["preferred_weights"], batch["rejected_weights"]])
        reference = jnp.concatenate([batch["preferred_reference"], batch["rejected_reference"]])
        logprobs = sequence_logprobs(self.decoder, parts["model"], tokens, weights)
        moved = logprobs - reference
        each = moved / jnp.maximum(jnp.sum(weights[:, 1:], axis=1), 1.0) if self.average else moved
        losses = self._of_margin(jnp.subtract(*jnp.split(each, 2)))
        real = batch["real"]
        count = jnp.sum(real)
        chosen, rejected = jnp.split(self.beta * moved, 2)
        chosen_logps, rejected_logps = jnp.split(logprobs, 2)
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": chosen > rejected,
            "rewards/margins": chosen - rejected,
            "logps/chosen": chosen_logps,
            "logps/rejected": rejected_logps,
        }
        return (
            jnp.sum(losses * real),
            count,
            {name: (jnp.sum(value * real), count) for name, value in metrics.items()},
        )

    def _of_margin(self, margin: Array) -> Array:
        if self.method == "ipo":
            return jnp.square(margin - 1 / (2 * self.beta))
        right, wrong = -jax.nn.log_sigmoid(self.beta * margin), -jax.nn.log_sigmoid(-self.beta * margin)
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """How to learn from pairs without a reward model."""

    optimiser: Optimiser
    beta: float
    """Strength of the leash to the parent. Usual: 0.1."""
    method: Literal["ipo", "dpo"] = "ipo"
    average: bool = False
    """Mean instead of sum over a text's tokens. See `PreferenceLoss` for what that does."""
    label_smoothing: float = 0.0
    """Share of pairs whose labels are taken to be the wrong way round, for `dpo`: cDPO."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"expected `beta` to be positive, got {self.beta}")
        if self.method not in ("ipo", "dpo"):
            raise ValueError(f"expected `method` to be ipo or dpo, got {self.method!r}")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(
                f"expected `label_smoothing` to be at least 0 and below 0.5, got {self.label_smoothing}"
            )
        if self.label_smoothing and self.method != "dpo":
            raise ValueError(
                f"expected no `label_smoothing` with ipo, whose margin is a target already, got "
                f"{self.label_smoothing}: set `method` to dpo, or it to 0"
            )


_sums = partial(jax.jit, static_argnums=0)(sequence_logprobs)


def reference_logprobs(
    decoder: Decoder, params: Params, shown: Rows, layout: Layout = ONE_DEVICE
) -> np.ndarray:
    """Summed log-probabilities of the weighted tokens under the frozen reference, float32 ``[rows]``."""
    params, found = layout.place(params), []
    for index in chunks(len(shown.tokens), _ROWS_AT_ONCE):
        batch = layout.feed({"tokens": shown.tokens[index], "weights": shown.weights[index]})
        found.append(layout.fetch(_sums(decoder, params, batch["tokens"], batch["weights"])))
    return np.concatenate(found)[: len(shown.tokens)]


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
    """Learn from `pairs` along `order` (int ``[steps, batch]``, -1: no pair); the parent `params` are the reference.

    The reference is frozen, so each row is put to it once, before the first step. `key` seeds the adapters, where
    the stage has any.
    """
    references = {
        "preferred_reference": reference_logprobs(decoder, params, pairs.preferred, stage.layout),
        "rejected_reference": reference_logprobs(decoder, params, pairs.rejected, stage.layout),
    }

    def shown(step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        batch, ids = pair_batch(pairs, order[step])
        return batch | {name: value[order[step]] for name, value in references.items()}, ids

    parts = fit(
        {"model": params},
        shown,
        loss=PreferenceLoss(decoder, config.method, config.beta, config.average, config.label_smoothing),
        optimiser=config.optimiser,
        role="preferred",
        steps=len(order),
        stage=stage,
        key=key,
    )
    return parts["model"]
