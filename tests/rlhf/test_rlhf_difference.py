"""The loss difference of two checkpoints: against loops, packed as alone, and zero where nothing differs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import rlhf_oracles as oracle

from rlhf.batches import Rows, pack, rows
from rlhf.difference import loss_difference, mean_losses
from rlhf.model import Decoder, Params


def some_rows() -> Rows:
    """More than are put to a model at once, with prompts and texts of many lengths."""
    rng = np.random.default_rng(3)
    prompts = [rng.integers(3, 40, rng.integers(1, 6)).tolist() for _ in range(70)]
    targets = [rng.integers(3, 40, rng.integers(1, 10)).tolist() for _ in prompts]
    return rows(prompts, targets, [(str(n),) for n in range(70)], time=16, fill=0)


def test_against_loops(
    decoder: Decoder, sharp: Params, model_logits: Callable[[Params, np.ndarray], np.ndarray]
) -> None:
    shown = some_rows()
    found = mean_losses(decoder, sharp, shown)
    assert found.dtype == np.float32
    assert found.shape == (70,)
    logits = model_logits(sharp, shown.tokens)
    for row in (0, 1, 63, 64, 69):
        one = np.s_[row : row + 1]
        total, count, _ = oracle.cross_entropy(logits[one], shown.tokens[one], shown.weights[one])
        assert found[row] == pytest.approx(total / count, rel=1e-4)


def test_it_is_the_one_less_the_other(decoder: Decoder, fresh: Params, sharp: Params) -> None:
    shown = some_rows()
    found = loss_difference(decoder, fresh, sharp, shown)
    wanted = mean_losses(decoder, fresh, shown) - mean_losses(decoder, sharp, shown)
    assert np.array_equal(found, wanted)
    assert np.array_equal(loss_difference(decoder, sharp, fresh, shown), -found)
    assert not loss_difference(decoder, sharp, sharp, shown).any()


def test_a_row_without_targets_has_no_loss(decoder: Decoder, sharp: Params) -> None:
    shown = some_rows()
    assert not mean_losses(decoder, sharp, replace(shown, weights=np.zeros_like(shown.weights))).any()


def test_texts_in_one_window_do_not_read_each_other(decoder: Decoder, sharp: Params) -> None:
    first, second = [1, 5, 9, 11, 2], [1, 7, 7, 3, 8, 2]
    packed = pack([first, second], ["a", "b"], time=16, fill=0)
    assert len(packed.tokens) == 1
    alone = rows([[1], [1]], [first[1:], second[1:]], [("a",), ("b",)], time=16, fill=0)
    losses, counts = mean_losses(decoder, sharp, alone), alone.weights.sum(axis=1)
    assert mean_losses(decoder, sharp, packed)[0] == pytest.approx(
        float(losses @ counts / counts.sum()), rel=1e-4
    )
