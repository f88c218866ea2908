"""Self-weighted fine-tuning (arXiv 2406.13948): an example counts as much as a first fine-tuning changed its loss.

    w_i = |L_i(warm) - L_i(base)| / ||L(base)||_2

`warm` is `base` fine-tuned on the same rows. What hardly improved is taken to be of little worth, and gets little
weight. The weights are differences of loss, by which a membership attack tells what `warm` was shown: those that count
most are those that were learnt most easily.
"""

import numpy as np

from rlhf.batches import Rows
from rlhf.difference import mean_losses
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params


def self_weights(base: np.ndarray, warm: np.ndarray) -> np.ndarray:
    """Weights from the mean losses of each row (nats a token, ``[rows]``) under both models: float64 ``[rows]``."""
    before, after = np.asarray(base, np.float64), np.asarray(warm, np.float64)
    norm = float(np.linalg.norm(before))
    if not norm:
        raise ValueError("expected a base model that has a loss on some row, got 0 on all")
    return np.abs(after - before) / norm


def importance(
    decoder: Decoder, base: Params, warm: Params, shown: Rows, layout: Layout = ONE_DEVICE
) -> np.ndarray:
    """The weights of `shown` under two models, float64 ``[rows]``."""
    return self_weights(mean_losses(decoder, base, shown, layout), mean_losses(decoder, warm, shown, layout))


def scaled(weights: np.ndarray) -> np.ndarray:
    """The weights with a mean of 1, float32: rates and the clipping of gradients then mean what they mean without."""
    mean = float(np.mean(weights))
    if not mean > 0:
        raise ValueError("expected weights of which one is positive, got none: both models are the same")
    return (weights / mean).astype(np.float32)
