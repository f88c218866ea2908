"""How well members can be told from non-members without the model that is audited: the baseline of every attack."""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

_LEAST_VARIANCE = 1e-2
"""Of the logarithm of a length: lengths a tenth apart are never told apart for certain."""


def blind_scores(
    texts: Sequence[Sequence[Hashable]],
    members: Sequence[bool],
    *,
    folds: int = 5,
    seed: int = 0,
    groups: Sequence[Hashable] | None = None,
) -> tuple[float, ...]:
    """Return for every text how much it looks like a member, to a classifier that has never met the model.

    If these scores tell members from non-members, the two were not drawn alike, and no attack's success on them says
    anything of the model (Das et al., arXiv 2406.16201): put `roc.area` of them beside every attack's.

    Multinomial naive Bayes over tokens, each class's counts with one added, and a Gaussian for the logarithm of the
    length. Each text is scored (log-odds, nats, with even prior odds) by a classifier that was fitted without its
    fold. Tokens that none of the other folds has are passed over.

    Args:
        texts: Tokens of each text: words, a tokenizer's ids, ...
        members: Which of them are.
        folds: Number of parts, at least 2.
        seed: Of the division into parts.
        groups: What must not be divided, such as near-duplicates or the texts of one file: a label for each text.
            Without, a text that has its like among the others is recognised by it.

    Raises:
        ValueError: There are fewer groups than folds, or without some fold a class would have no texts left.
    """
    labels = list(range(len(texts))) if groups is None else list(groups)
    if not len(texts) == len(members) == len(labels):
        raise ValueError(
            f"expected membership and group of each of {len(texts)} texts, got {len(members)} and {len(labels)}"
        )
    if any(isinstance(text, str) for text in texts):
        raise ValueError("expected texts as sequences of tokens, got a string; split it")
    alphabet: dict[Hashable, int] = {}
    tokens = np.array(
        [alphabet.setdefault(token, len(alphabet)) for text in texts for token in text], np.intp
    )
    sizes = np.array([len(text) for text in texts], np.intp)
    holders = np.repeat(np.arange(len(texts)), sizes)
    lengths, inside = np.log1p(sizes), np.array(members, bool)
    fold = _folds(labels, inside, folds, seed)
    scores = np.zeros(len(texts))
    for number in range(folds):
        held = fold == number
        weights, gaussians = np.zeros(len(alphabet)), np.zeros(len(texts))
        for sign, mine in ((1, inside & ~held), (-1, ~inside & ~held)):
            if not mine.any():
                raise ValueError(
                    f"expected members and non-members outside every fold, got none of one kind without fold {number}; "
                    "set other folds or finer groups"
                )
            counts = np.bincount(tokens[mine[holders]], minlength=len(alphabet))
            known = np.bincount(tokens[~held[holders]], minlength=len(alphabet)) > 0
            chances = (counts + 1) / (counts.sum() + max(1, known.sum()))
            weights += sign * np.where(known, np.log(chances), 0.0)
            variance = max(float(np.var(lengths[mine])), _LEAST_VARIANCE)
            gaussians -= sign * ((lengths - lengths[mine].mean()) ** 2 / variance + math.log(variance)) / 2
        found = np.bincount(holders, weights[tokens], minlength=len(texts)) + gaussians
        scores[held] = found[held]
    return tuple(scores.tolist())


def _folds(labels: Sequence[Hashable], inside: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each text: groups at random, the largest first, members and non-members dealt out evenly."""
    where: dict[Hashable, list[int]] = {}
    for place, label in enumerate(labels):
        where.setdefault(label, []).append(place)
    groups = list(where.values())
    if not 2 <= folds <= len(groups):
        raise ValueError(f"expected between 2 and {len(groups)} folds, the number of groups, got {folds}")
    np.random.default_rng(seed).shuffle(groups)
    groups.sort(key=lambda places: (-len(places), 2 * inside[places].sum() > len(places)))
    filled, fold = [0] * folds, np.zeros(len(labels), np.intp)
    for places in groups:
        least = filled.index(min(filled))
        filled[least] += len(places)
        fold[places] = least
    return fold
