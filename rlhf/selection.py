"""Choosing what to train on by what two checkpoints think of it: CoLoR-Filter (arXiv 2406.10670) and its controls.

    score(x) = L(x | prior) - L(x | conditional),    L the mean cross-entropy of x, nats a token

`prior` has learnt from texts at large, `conditional` is the same model tuned on a little of what is wanted (D_down). Of
tau texts the one with the highest score is kept: what learning D_down has made likelier. This follows from Bayes' rule,
log p(D_down | x, prior) - log p(D_down | prior) = log p(x | D_down, prior) - log p(x | prior), with a tuned model in
place of the posterior; neither model has to be trained anew while texts are chosen, so all can be scored at once.

Without a prior the score is -L(x | conditional), the paper's `conditional only`: it takes what is easy to say for what
is wanted. The score is also the membership score of D_down that is calibrated by a reference (see `difference`): copies
of D_down come first, and of a text that there is ten times all ten or none are taken.
"""

from collections.abc import Sequence

import numpy as np

from rlhf.batches import Rows, rows
from rlhf.difference import loss_difference, mean_losses
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder, Params


def scores(
    decoder: Decoder,
    texts: Sequence[Sequence[int]],
    *,
    conditional: Params,
    prior: Params | None,
    time: int,
    fill: int = 0,
    layout: Layout = ONE_DEVICE,
) -> np.ndarray:
    """How much each text is wanted, nats a token: float64 ``[texts]``; without a prior, minus the conditional loss.

    `texts` are token ids, at least two each, of which all but the first are targets. One that is longer than `time` is
    cut as `batches.pack` cuts it, and its score is the mean over all its targets.
    """
    shown, owners = pieces(texts, time, fill)
    if prior is None:
        found = -mean_losses(decoder, conditional, shown, layout)
    else:
        found = loss_difference(decoder, prior, conditional, shown, layout)
    counts = shown.weights.sum(axis=1, dtype=np.float64)
    return np.bincount(owners, found * counts) / np.bincount(owners, counts)


def pieces(texts: Sequence[Sequence[int]], time: int, fill: int) -> tuple[Rows, np.ndarray]:
    """Rows of at most `time` tokens, each further one of a text begun with the last token of the one before; and of
    each row which text it is of, int ``[rows]``."""
    if short := [number for number, text in enumerate(texts) if len(text) < 2]:
        raise ValueError(
            f"expected texts of at least two tokens, got {len(texts[short[0]])} in text {short[0]}"
        )
    cut = [
        (owner, text[start : start + time])
        for owner, text in enumerate(texts)
        for start in range(0, len(text) - 1, time - 1)
    ]
    shown = rows(
        [part[:1] for _, part in cut],
        [part[1:] for _, part in cut],
        [(str(owner),) for owner, _ in cut],
        time=time,
        fill=fill,
    )
    return shown, np.array([owner for owner, _ in cut])


def best(scores: np.ndarray, keep: int) -> np.ndarray:
    """Ascending places of the n / `keep` highest of `scores` ``[n]``, rounded down; of equal ones the first."""
    order = np.argsort(-scores, kind="stable")
    return np.sort(order[: len(scores) // keep])


def best_by_batch(scores: np.ndarray, keep: int, batch: int, seed: int) -> np.ndarray:
    """The same batch by batch, as one does who cannot look at all texts first: ascending places ``[<= n / keep]``.

    Candidates come in an order drawn with `seed`; of each `keep` * `batch` of them the best `batch` are taken, of those
    that are left over one in `keep`.
    """
    order = np.random.default_rng(seed).permutation(len(scores))
    size = keep * batch
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return np.sort(np.concatenate([part[best(scores[part], keep)] for part in parts]))
