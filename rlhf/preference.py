"""Direct preference learning from preferred and rejected pairs: DPO (arXiv 2305.18290), its conservative form with
label smoothing (cDPO, Mitchell 2023, ericmitchell.ai/cdpo.pdf), IPO (arXiv 2310.12036), and DPO on what a prompt is
conditioned on (mDPO, arXiv 2406.11839)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from rlhf import likelihood
from rlhf.batches import Pairs, Rows, take
from rlhf.events import RowIds
from rlhf.fit import Batch, fit
from rlhf.model import Decoder, Params, hidden_states
from rlhf.optimiser import Optimiser
from rlhf.reward import pair_batch
from rlhf.stage import Stage


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

    Two terms may be added to `dpo`, each with the weight 1; both are mDPO. With r = beta (log pi - log ref):

    - `conditional`: -log sigmoid(r(c) - r(c')), c' the same chosen text behind a corrupted condition. DPO can do its
      work on the answers alone; this term pays for an answer that depends on what stands before the prompt.
    - `anchor`: -log sigmoid(r(c)). DPO is content where both texts lose likelihood and the rejected one loses more;
      this term keeps the chosen one's from falling.
    """

    decoder: Decoder
    method: Literal["ipo", "dpo"]
    beta: float
    average: bool = False
    label_smoothing: float = 0.0
    conditional: bool = False
    anchor: bool = False

    def __call__(
        self, parts: Mapping[str, Params], batch: Mapping[str, Array]
    ) -> tuple[Array, Array, dict[str, Any]]:
        """`batch` is that of the reward model plus `preferred_reference` and `rejected_reference`, the summed
        log-probabilities under the reference, float32 ``[batch]``. With `conditional` it has `corrupted`, the preferred
        rows behind their corrupted conditions, with its weights and reference as well.

        The metrics are of the sums in any case: `logps` in nats, `rewards` beta times the policy's log-ratio.
        """
        sides = ("preferred", "rejected", *(("corrupted",) if self.conditional else ()))
        tokens = jnp.concatenate([batch[side] for side in sides])
        weights = jnp.concatenate([batch[f"{side}_weights"] for side in sides])
        reference = jnp.concatenate([batch[f"{side}_reference"] for side in sides])
        logprobs = sequence_logprobs(self.decoder, parts["model"], tokens, weights)
        moved = logprobs - reference
        each = moved / jnp.maximum(jnp.sum(weights[:, 1:], axis=1), 1.0) if self.average else moved
        ratios = dict(zip(sides, jnp.split(each, len(sides)), strict=True))
        losses = self._of_margin(ratios["preferred"] - ratios["rejected"])
        if self.conditional:
            losses -= jax.nn.log_sigmoid(self.beta * (ratios["preferred"] - ratios["corrupted"]))
        if self.anchor:
            losses -= jax.nn.log_sigmoid(self.beta * ratios["preferred"])
        real = batch["real"]
        count = jnp.sum(real)
        rewards = dict(zip(sides, jnp.split(self.beta * moved, len(sides)), strict=True))
        chosen, rejected = rewards["preferred"], rewards["rejected"]
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/accuracies": chosen > rejected,
            "rewards/margins": chosen - rejected,
            "logps/chosen": jnp.split(logprobs, len(sides))[0],
            "logps/rejected": jnp.split(logprobs, len(sides))[1],
        }
        if self.conditional:
            metrics["rewards/corrupted"] = rewards["corrupted"]
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
    conditional: bool = False
    """For `dpo`: prefer the chosen text's true condition to a corrupted one."""
    anchor: bool = False
    """For `dpo`: keep the chosen text's likelihood from falling."""

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
        for name in ("conditional", "anchor"):
            if getattr(self, name) and self.method != "dpo":
                raise ValueError(
                    f"expected no `{name}` term with ipo, whose loss has another scale: set `method` to dpo"
                )


def train(
    params: Params,
    pairs: Pairs,
    order: np.ndarray,
    config: PreferenceConfig,
    *,
    decoder: Decoder,
    stage: Stage,
    key: Array | None = None,
    corrupted: Rows | None = None,
) -> Params:
    """Learn from `pairs` along `order` (int ``[steps, batch]``, -1: no pair); the parent `params` are the reference.

    The reference is frozen, so each row is put to it once, before the first step. `key` seeds the adapters, where
    the stage has any. With `conditional`, `corrupted` has the preferred rows behind corrupted conditions, in the same
    order and width: rows that are given, so that policy and reference see the same corruption at every step.
    """
    if (corrupted is None) == config.conditional:
        wanted = "rows" if config.conditional else "no rows"
        raise ValueError(f"expected {wanted} in `corrupted` with conditional = {config.conditional}")
    shown = {"preferred": pairs.preferred, "rejected": pairs.rejected}
    if corrupted is not None:
        shown["corrupted"] = corrupted
    references = {
        f"{side}_reference": likelihood.of_rows(decoder, params, rows, stage.layout).logprobs
        for side, rows in shown.items()
    }

    def at(step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        batch, ids = pair_batch(pairs, order[step])
        if corrupted is not None:
            other, _ = take(corrupted, order[step])
            batch |= {"corrupted": other["tokens"], "corrupted_weights": other["weights"]}
        return batch | {name: value[order[step]] for name, value in references.items()}, ids

    parts = fit(
        {"model": params},
        at,
        loss=PreferenceLoss(
            decoder,
            config.method,
            config.beta,
            config.average,
            config.label_smoothing,
            config.conditional,
            config.anchor,
        ),
        optimiser=config.optimiser,
        role="preferred",
        steps=len(order),
        stage=stage,
        key=key,
    )
    return parts["model"]
