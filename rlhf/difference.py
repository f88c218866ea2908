"""How much better one checkpoint knows texts than another: one array, which several methods read in their own way.

    d(x) = L_before(x) - L_after(x),    L(x) = -1/n sum_t log p(x_t | x_<t) over the n targets of x

- Data selection (CoLoR-Filter, arXiv 2406.10670): before, a model of everything; after, the same one tuned on a little
  of what is wanted. The texts with the largest d are taken.
- Self-weighted fine-tuning (arXiv 2406.13948): before, the base; after, the base warmed up. |d| weighs an example.
- Membership inference with a reference model (arXiv 2111.08440): before, the reference; after, the audited model.
- Counterfactual memorization (arXiv 2112.12938): before, a model that was not shown the text; after, one that was.

So a rule that picks or weighs by d picks or weighs as a membership attack does: it finds first what `after` has been
shown.
"""

import numpy as np

from rlhf.batches import Rows
from rlhf.likelihood import of_rows
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params


def mean_losses(decoder: Decoder, params: Params, shown: Rows, layout: Layout = ONE_DEVICE) -> np.ndarray:
    """Mean cross-entropy of each row's targets, nats a token: float32 ``[rows]``; 0 of a row that has none."""
    counts = np.maximum(shown.weights[:, 1:].sum(axis=1), 1)
    return -of_rows(decoder, params, shown, layout).logprobs / counts


def loss_difference(
    decoder: Decoder, before: Params, after: Params, shown: Rows, layout: Layout = ONE_DEVICE
) -> np.ndarray:
    """Loss of each row under `before` less that under `after`, nats a token: float32 ``[rows]``.

    Positive where `after` knows the row better.
    """
    return mean_losses(decoder, before, shown, layout) - mean_losses(decoder, after, shown, layout)
