"""Self-weighted fine-tuning: the formula, and that weights reach the gradient and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rlhf.batches import rows
from rlhf.model import Decoder, Params
from rlhf.sft import CrossEntropy
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
