"""Which pairs a reward stage has labelled, where not all are: the recipe's rule, put to the cohort's pairs."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from memaudit.treatments import Acquisition, Bald, BalPm, Informed, PowerBald
from rlhf import acquisition
from rlhf.batches import Pairs, Prompts, rows_at
from rlhf.ensemble import Ensemble, features
from rlhf.mesh import Layout
from rlhf.model import Decoder, Params
from rlhf.reward import last_index

ACQUIRED = "acquired.npz"
"""How a reward stage chose its pairs, beside its parameters."""


def acquired(
    asked: Acquisition,
    prompts: Prompts,
    pairs: Pairs,
    *,
    decoder: Decoder,
    params: Params,
    layout: Layout,
    seed: int,
    folder: Path,
) -> Pairs:
    """The pairs that are labelled, in the order in which they were chosen.

    `prompts` has that of each pair, `params` the language model whose features are looked at. How they were chosen is
    kept in `folder`: `ids` of the pool's pairs, the features of their `prompts` (float32 ``[pool, width]``, those that
    distances are taken between), and the numbers in the pool of the `pairs` that were chosen, with their `rounds` (int
    ``[labels]``).
    """

    def of(tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return features(decoder, params, tokens, lengths, layout)

    # Each prompt once, so that those of one example have the same features to the bit.
    names = [row[0] for row in prompts.ids]
    _, first, again = np.unique(names, return_index=True, return_inverse=True)
    pool = acquisition.Pool.of(
        of(prompts.tokens[first], prompts.lengths[first])[again],
        *(
            of(side.tokens, np.asarray(last_index(jnp.asarray(side.weights))) + 1)
            for side in (pairs.preferred, pairs.rejected)
        ),
    )
    found = acquisition.acquire(
        _rule(asked),
        pool,
        labels=asked.labels,
        per_round=asked.round,
        ensemble=_ensemble(asked),
        seed=seed,
    )
    np.savez(
        folder / ACQUIRED,
        ids=np.array(names),
        prompts=pool.prompts,
        pairs=found.pairs,
        rounds=found.rounds,
    )
    return Pairs(
        preferred=rows_at(pairs.preferred, found.pairs), rejected=rows_at(pairs.rejected, found.pairs)
    )


def _rule(asked: Acquisition) -> acquisition.Rule:
    if isinstance(asked, BalPm):
        return acquisition.BalPm(weight=asked.weight, neighbour=asked.neighbour, dimension=asked.dimension)
    if isinstance(asked, PowerBald):
        return acquisition.PowerBald(power=asked.power)
    return acquisition.Bald() if isinstance(asked, Bald) else acquisition.Random()


def _ensemble(asked: Acquisition) -> Ensemble:
    if not isinstance(asked, Informed):
        return Ensemble()  # nothing is asked of it
    return Ensemble(
        heads=asked.heads,
        hidden=asked.hidden,
        steps=asked.updates,
        learning_rate=asked.rate,
        anchor=asked.anchor,
    )
