"""Which preferences to ask people for next: the pairs that a reward model would learn most from.

A pool of pairs without labels is asked in rounds. After each, an ensemble of heads on frozen features is trained from
scratch on all that is labelled (`rlhf.ensemble`), and the next round is chosen by it. The first one is drawn at random
under every rule. The rules:

- `Bald` (arXiv 1112.5745): where the heads disagree most, U = H(mean p) - mean H(p), p a head's probability of the
  preference and H the entropy of a coin (nats). The best of a round may all be copies of one another.
- `PowerBald` (arXiv 2106.12059): with a chance in proportion to U^power, without putting back.
- `BalPm` (arXiv 2406.10023): the largest U + weight * E, one after another, E the share of a prompt x in the entropy of
  the prompts that are labelled, after Kraskov, Stoegbauer and Grassberger (arXiv cond-mat/0305641):

      E(x) = log(2 D_k(x) + 1e-4) - psi(n(x) + 1) / d

  D_k is the distance from x to its k-th neighbour among the prompts of the pool, which stays as it is in a round; n
  counts the labelled prompts nearer than that, and is counted anew after every choice, so that a round spreads.
- `Random`: whatever comes.

Distances are between features that are brought to mean 0 and deviation 1 by one statistic, that of all pairs, labelled
or not. The published code takes `(x - mean / std)` of the pool alone and leaves the labelled prompts as they were, so
that the distances between the two are wrong. Where k others have the very features of x, D_k is 0 and E the same for
all such prompts, however many have been labelled: a prompt that comes in c pairs needs k of at least c, and less is
refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import digamma

from rlhf.ensemble import Ensemble, fit, leads

_FLOOR = 1e-4  # of the entropy's logarithm, as published
_LEAST = 1e-12  # U below it is rounding


@dataclass(frozen=True, kw_only=True)
class Random:
    """Pairs drawn at random."""


@dataclass(frozen=True, kw_only=True)
class Bald:
    """The pairs that the heads disagree most about."""


@dataclass(frozen=True, kw_only=True)
class PowerBald:
    """Pairs drawn with a chance in proportion to a power of the disagreement."""

    power: float = 1.0
    """0 is random, infinity is `Bald`."""

    def __post_init__(self) -> None:
        if not self.power > 0:
            raise ValueError(f"expected `power` to be positive, got {self.power}")


@dataclass(frozen=True, kw_only=True)
class BalPm:
    """Pairs that the heads disagree about, of prompts that are far from those labelled."""

    weight: float = 0.01
    """Of the entropy beside the disagreement. Published: 0.01. The disagreement is at most log 2, and nearly 0 before
    the heads have learnt to differ; the entropy of a prompt whose surroundings are not labelled yet is not."""
    neighbour: int = 13
    """k. Published: 13."""
    dimension: float = 1.0
    """d. Published: 1, whatever the number of features; the larger, the less it counts what is labelled near by."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError(f"expected `weight` to be 0 or more, got {self.weight}")
        if self.neighbour < 1:
            raise ValueError(f"expected `neighbour` to be positive, got {self.neighbour}")
        if not self.dimension > 0:
            raise ValueError(f"expected `dimension` to be positive, got {self.dimension}")


Rule: TypeAlias = Random | Bald | PowerBald | BalPm


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Pairs that can be labelled, as features float32 ``[pairs, width]``, all of them, labelled or not."""

    prompts: np.ndarray
    """Of each pair's prompt; copies have the very same ones."""
    preferred: np.ndarray
    """Of prompt and the text that its label prefers. No rule looks which of the two that is before it is labelled."""
    rejected: np.ndarray
    """Of prompt and the other text."""

    @classmethod
    def of(cls, prompts: np.ndarray, preferred: np.ndarray, rejected: np.ndarray) -> "Pool":
        """Raw features, each kind by one statistic over all pairs."""
        chosen, other = np.split(standardised(np.concatenate([preferred, rejected])), 2)
        return cls(prompts=standardised(prompts), preferred=chosen, rejected=other)


@dataclass(frozen=True, kw_only=True, eq=False)
class Acquired:
    """What was labelled, in the order in which it was chosen."""

    pairs: np.ndarray
    """int ``[labels]``: their numbers in the pool."""
    rounds: np.ndarray
    """int ``[labels]``: the round of each, from 0."""


def standardised(features: np.ndarray) -> np.ndarray:
    """Features ``[rows, width]`` less their mean, over their standard deviation, float32; 0 where all are alike."""
    wide = np.asarray(features, np.float64)
    mean, deviation = wide.mean(axis=0), wide.std(axis=0)
    alike = deviation <= 1e-6 * np.maximum(1.0, np.abs(mean))
    return np.where(alike, 0.0, (wide - mean) / np.where(alike, 1.0, deviation)).astype(np.float32)


def disagreement(chances: np.ndarray) -> np.ndarray:
    """U = H(mean p) - mean H(p) (nats) ``[pairs]`` of each head's probabilities ``[heads, pairs]``: 0 to log 2."""
    wide = np.asarray(chances, np.float64)
    return np.maximum(_coin(wide.mean(axis=0)) - _coin(wide).mean(axis=0), 0.0)


def _coin(chance: np.ndarray) -> np.ndarray:
    """Entropy (nats) of a coin."""
    return -_times_log(chance) - _times_log(1 - chance)


def _times_log(share: np.ndarray) -> np.ndarray:
    return share * np.log(np.where(share > 0, share, 1.0))


def nearest(distances: np.ndarray, neighbour: int) -> np.ndarray:
    """D_k ``[rows]``: from each row of ``[rows, rows]`` distances to the k-th nearest other one.

    Raises ValueError where there are too few, or copies leave nothing between.
    """
    if neighbour >= len(distances):
        raise ValueError(
            f"expected more than `neighbour` = {neighbour} pairs left in the pool, got {len(distances)}"
        )
    # Each is its own nearest, or a copy of it is, at a distance of 0 all the same.
    found = np.partition(distances, neighbour, axis=1)[:, neighbour]
    if not found.all():
        raise ValueError(
            f"expected `neighbour` to be at least the number of pairs with one prompt, got {neighbour}: "
            f"{np.count_nonzero(found == 0)} pairs have as many copies of their prompt beside them"
        )
    return found


def prompt_entropy(radius: np.ndarray, within: np.ndarray, dimension: float) -> np.ndarray:
    """E = log(2 D_k + 1e-4) - psi(n + 1) / d (nats) of radii D_k and counts n, of one shape."""
    return np.log(2 * radius + _FLOOR) - digamma(within + 1.0) / dimension


def greedily(
    rule: BalPm, doubt: np.ndarray, prompts: np.ndarray, left: np.ndarray, labelled: np.ndarray, count: int
) -> list[int]:
    """`count` pairs of those `left`, the one with the largest U + weight * E each time.

    `doubt` is U of all pairs, ``[pairs]``, `prompts` their features ``[pairs, width]``; `left` and `labelled` are
    numbers of pairs.
    """
    own = prompts[left].astype(np.float64)
    distances = cdist(own, own)
    radius = nearest(distances, rule.neighbour)
    within = (cdist(own, prompts[labelled].astype(np.float64)) < radius[:, None]).sum(axis=1)
    free = np.ones(len(left), bool)
    picked: list[int] = []
    for _ in range(count):
        value = doubt[left] + rule.weight * prompt_entropy(radius, within, rule.dimension)
        best = int(np.argmax(np.where(free, value, -np.inf)))
        free[best] = False
        within = within + (distances[best] < radius)
        picked.append(int(left[best]))
    return picked


def choose(
    rule: Rule,
    doubt: np.ndarray,
    prompts: np.ndarray,
    left: np.ndarray,
    labelled: np.ndarray,
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """The next `count` pairs of those `left`: see `greedily` for the arguments. A tie goes to the lower number."""
    if isinstance(rule, BalPm):
        return greedily(rule, doubt, prompts, left, labelled, count)
    if isinstance(rule, Random):
        value = rng.random(len(left))
    elif isinstance(rule, PowerBald):
        # Gumbel noise makes a draw without putting back out of the largest: see the paper, section 4.
        value = rule.power * np.log(np.maximum(doubt[left], _LEAST)) + rng.gumbel(size=len(left))
    else:
        value = doubt[left]
    return left[np.argsort(-value, kind="stable")[:count]].tolist()


def acquire(rule: Rule, pool: Pool, labels: int, per_round: int, ensemble: Ensemble, seed: int) -> Acquired:
    """`labels` pairs of the pool, `per_round` at a time; all that is random follows from `seed`.

    The last round takes what is missing. Raises ValueError where the pool has fewer pairs, or does not suffice
    for the rule.
    """
    pairs = len(pool.prompts)
    if not 0 < labels <= pairs:
        raise ValueError(f"expected `labels` to be 1 to {pairs}, the pairs of the pool, got {labels}")
    if not 0 < per_round <= labels:
        raise ValueError(f"expected `per_round` to be 1 to {labels}, all labels, got {per_round}")
    chosen: list[int] = []
    rounds: list[int] = []
    while len(chosen) < labels:
        number = len(chosen) // per_round
        count = min(per_round, labels - len(chosen))
        left = np.setdiff1d(np.arange(pairs), chosen)
        asked = rule if number else Random()
        if isinstance(asked, Random):
            doubt = np.zeros(pairs)
        else:
            doubt = disagreement(
                _chances(ensemble, pool, chosen, labels, jax.random.fold_in(jax.random.key(seed), number))
            )
        rng = np.random.default_rng([seed, number])
        chosen += choose(asked, doubt, pool.prompts, left, np.array(chosen, int), count, rng)
        rounds += [number] * count
    return Acquired(pairs=np.array(chosen), rounds=np.array(rounds))


def _chances(
    ensemble: Ensemble, pool: Pool, chosen: Sequence[int], labels: int, key: jax.Array
) -> np.ndarray:
    """The probability of each pair's label by each head that was trained on those `chosen`: ``[heads, pairs]``."""
    shown = np.zeros(labels, int)
    shown[: len(chosen)] = chosen
    real = (np.arange(labels) < len(chosen)).astype(np.float32)
    heads = fit(ensemble, pool.preferred[shown], pool.rejected[shown], real, key)  # pyright: ignore[reportArgumentType]
    return np.asarray(jax.nn.sigmoid(leads(heads, jnp.asarray(pool.preferred), jnp.asarray(pool.rejected))))
