"""Cross-entropy against loops, with log-probabilities from a NumPy softmax of the model's own logits."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.model import Decoder, Params
from rlhf.sft import CrossEntropy

BATCH, TIME, VOCABULARY = 8, 16, 300
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=15)

_call = partial(jax.jit, static_argnums=0)(lambda loss, params, batch: loss(params, batch))


def supervised_batch(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights of 0, of 1 and between; a row without any."""
    weights = rng.choice([0.0, 0.25, 1.0], (BATCH, TIME)).astype(np.float32)
    weights[rng.integers(BATCH)] = 0
    tokens = rng.integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32)
    return {"tokens": tokens, "weights": weights, "real": np.ones(BATCH, np.float32)}


@few
@given(seeds)
def test_cross_entropy(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray], seed: int
) -> None:
    batch = supervised_batch(np.random.default_rng(seed))
    total, count, metrics = _call(CrossEntropy(decoder), {"model": sharp}, batch)
    wanted = oracle.cross_entropy(model_logits(sharp, batch["tokens"]), batch["tokens"], batch["weights"])
    assert float(total) == pytest.approx(wanted[0], rel=1e-4)
    assert float(count) == pytest.approx(wanted[1])
    assert [float(x) for x in metrics["mean_token_accuracy"]] == pytest.approx([wanted[2], wanted[1]])
    assert float(metrics["num_tokens"]) == pytest.approx(wanted[1])
