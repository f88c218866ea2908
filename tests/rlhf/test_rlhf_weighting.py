"""Self-weighted fine-tuning: the formula, and that weights reach the gradient and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rlhf_texts import learnt, written
from scipy.stats import spearmanr

from rlhf import sft
from rlhf.batches import Rows, rows, schedule
from rlhf.difference import mean_losses
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.sft import CrossEntropy
from rlhf.stage import Stage
from rlhf.weighting import importance, scaled, self_weights


def test_the_formula_against_loops() -> None:
    base, warm = [3.0, 2.0, 1.0, 4.0], [1.0, 2.5, 1.0, 3.0]
    norm = sum(x * x for x in base) ** 0.5
    wanted = [abs(w - b) / norm for b, w in zip(base, warm, strict=True)]
    assert self_weights(np.array(base), np.array(warm)) == pytest.approx(wanted)


def test_what_did_not_change_counts_nothing_and_what_changed_either_way_counts() -> None:
    found = self_weights(np.array([2.0, 2.0, 2.0]), np.array([2.0, 1.0, 3.0]))
    assert found[0] == 0
    assert found[1] == found[2] > 0
    with pytest.raises(ValueError, match="got 0 on all"):
        self_weights(np.zeros(2), np.ones(2))


def test_scaled_weights_have_a_mean_of_one() -> None:
    assert scaled(np.array([0.1, 0.3])) == pytest.approx([0.5, 1.5])
    with pytest.raises(ValueError, match="both models are the same"):
        scaled(np.zeros(3))


def test_weights_multiply_each_rows_loss_and_leave_the_count(
    decoder: Decoder, fresh: Params, sharp: Params
) -> None:
    shown = rows([[1, 5], [1, 6]], [[7, 8, 9], [4, 4]], [("a",), ("b",)], time=8, fill=0)
    batch = {"tokens": jnp.asarray(shown.tokens), "weights": jnp.asarray(shown.weights)}
    loss = CrossEntropy(decoder)

    def alone(row: int) -> jax.Array:
        return loss({"model": sharp}, {name: value[row : row + 1] for name, value in batch.items()})[0]

    weighted = {**batch, "importance": jnp.array([0.25, 2.0], jnp.float32)}
    total, count, metrics = loss({"model": sharp}, weighted)
    assert float(total) == pytest.approx(0.25 * float(alone(0)) + 2 * float(alone(1)), rel=1e-5)
    assert float(count) == 5 == float(metrics["num_tokens"])
    same = {**batch, "importance": jnp.ones(2, jnp.float32)}
    assert float(loss({"model": sharp}, same)[0]) == float(loss({"model": sharp}, batch)[0])
    found = importance(decoder, fresh, sharp, shown)
    assert found.shape == (2,)
    assert (found > 0).all()


LENGTH, TIMES = 24, np.repeat([1, 16, 64], [64, 48, 6])
"""Tokens of a text, and how often each text of a half is shown."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_what_is_weighed_most_is_learnt_most_and_other_texts_are_forgotten(
    decoder: Decoder, seed: int
) -> None:
    """What our study found of arXiv 2406.13948: a weight is a membership score, and self-weighting forgets more.

    Two twins, each of which is shown a half; the other is the control. That less is forgotten, as the paper has it, did
    not hold.
    """
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 96, (96, 4))

    def tuned(
        params: Params, shown: Rows, order: np.ndarray, rate: float, weights: np.ndarray | None = None
    ) -> Params:
        optimiser, stage = Optimiser(learning_rate=rate, warmup=10, final=0.1), Stage(name="sft")
        return sft.train(params, shown, order, optimiser, decoder=decoder, stage=stage, importance=weights)

    public, unseen = (learnt(written(rng, n, LENGTH, table)) for n in (3200, 256))
    halves = [learnt(written(rng, len(TIMES), LENGTH, table)) for _ in range(2)]
    begun = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed))
    base = tuned(begun, public, np.arange(3200).reshape(200, 16), 1e-2)
    order = schedule(TIMES.tolist(), 16, seed)
    warm = [tuned(base, half, order, 3e-3) for half in halves]
    weights = [importance(decoder, base, twin, half) for twin, half in zip(warm, halves, strict=True)]
    weighed = [tuned(base, half, order, 3e-3, scaled(own)) for half, own in zip(halves, weights, strict=True)]

    def correlation(twins: list[Params]) -> float:
        """Of weight and gain in likelihood, over texts that are shown as often."""
        found = []
        for own, other, half, weight in zip(twins, twins[::-1], halves, weights, strict=True):
            gain = mean_losses(decoder, other, half) - mean_losses(decoder, own, half)
            ranked = spearmanr(weight[TIMES == 16], gain[TIMES == 16])
            found.append(float(ranked.statistic))  # pyright: ignore[reportAttributeAccessIssue]
        return float(np.mean(found))

    def held_out(twins: list[Params]) -> float:
        return float(np.mean([mean_losses(decoder, twin, unseen) for twin in twins]))

    assert correlation(warm) > 0.2
    assert correlation(weighed) > 0.2
    assert held_out(weighed) > held_out(warm) + 0.1 > held_out([base]) + 0.1
