"""How many labels each rule needs, on a made-up problem whose pool is redundant: `python labels.py [SEED ...]`, and
`--anchor` for heads that are held more or less firmly.

Prompts come in twelve crowds, most of them in the first few (the chance of the n-th is in proportion to 1 / n^2); each
crowd has a taste of its own beside one that all share, and texts are judged by them with the noise of Bradley and
Terry. Held-out pairs are of all crowds alike. Features are random Fourier features of the prompt, and of prompt and
text.
"""

import argparse
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import cdist

from rlhf.acquisition import (
    Bald,
    BalPm,
    Pool,
    PowerBald,
    Random,
    Rule,
    acquire,
    disagreement,
    nearest,
    prompt_entropy,
    standardised,
)
from rlhf.ensemble import Ensemble, fit, leads, log_likelihood

RULES: dict[str, Rule] = {"random": Random(), "bald": Bald(), "powerbald": PowerBald(), "balpm": BalPm()}
LABELS, ROUND = 280, 20
CROWDS, SIZE, WIDTH, POOL, HELD_OUT = 12, 4, 128, 800, 2000
"""Crowds, numbers that a prompt or a text is made of, features, and pairs."""
NEAR, SHARPNESS = 0.1, 3.0
"""Deviation of a crowd's prompts from its centre, and of log-odds from 0."""
BAR = 0.7
"""Most labels that BAL-PM may need, over those that random needs, in every seed."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A pool, held-out pairs (features ``[pairs, width]``) and the crowd of each pair in the pool."""

    pool: Pool
    preferred: np.ndarray
    rejected: np.ndarray
    crowds: np.ndarray


def problem(seed: int) -> Problem:
    """The problem of a seed."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(CROWDS, SIZE))
    tastes = rng.normal(size=(CROWDS + 1, SIZE))
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    of_prompt, of_both = (rng.normal(size=(n, WIDTH)) / np.sqrt(n) for n in (SIZE, 2 * SIZE))
    phases = rng.uniform(0, 2 * np.pi, (2, WIDTH))
    common = np.arange(1, CROWDS + 1) ** -2.0

    def drawn(count: int, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        crowds = rng.choice(CROWDS, count, p=chances / chances.sum())
        prompts = centres[crowds] + NEAR * rng.normal(size=(count, SIZE))
        texts = rng.normal(size=(2, count, SIZE))
        worth = SHARPNESS * np.einsum("tcs,cs->tc", texts, (tastes[crowds] + tastes[-1]) / np.sqrt(2))
        first = rng.random(count) < 1 / (1 + np.exp(worth[1] - worth[0]))
        both = [np.cos(np.concatenate([prompts, text], axis=1) @ of_both + phases[1]) for text in texts]
        sides = np.where(first[:, None], *both), np.where(first[:, None], *both[::-1])
        return np.cos(prompts @ of_prompt + phases[0]), *sides, crowds

    prompts, preferred, rejected, crowds = drawn(POOL, common)
    _, *held_out, _ = drawn(HELD_OUT, np.ones(CROWDS))
    # One statistic for all texts, whoever they are of.
    texts = np.split(
        standardised(np.concatenate([preferred, rejected, *held_out])), [POOL, 2 * POOL, 2 * POOL + HELD_OUT]
    )
    pool = Pool(prompts=standardised(prompts), preferred=texts[0], rejected=texts[1])
    return Problem(pool=pool, preferred=texts[2], rejected=texts[3], crowds=crowds)


@dataclass(frozen=True, kw_only=True)
class Course:
    """What came of one rule on one problem."""

    likelihood: np.ndarray
    """Held-out log-likelihood (nats a pair) after each round."""
    crowds: float
    """Exponential of the entropy of the crowds that were labelled: how many, if all alike."""
    outliers: float
    """Mean rank of the labelled prompts by the distance to the 13th neighbour in the whole pool: 0 to 1, drawn 0.5."""
    spread: tuple[float, float]
    """Share of the entropy term in the spread of BAL-PM's score, before the second round and before the last."""


def course(rule: Rule, posed: Problem, seed: int, ensemble: Ensemble) -> Course:
    """Acquire, and look after each round."""
    pool = posed.pool
    found = acquire(rule, pool, LABELS, ROUND, ensemble, seed).pairs
    likelihood, spread = [], {}
    for count in range(ROUND, LABELS + 1, ROUND):
        real = (np.arange(LABELS) < count).astype(np.float32)
        # Drawn apart from those that chose.
        heads = fit(ensemble, pool.preferred[found], pool.rejected[found], real, jax.random.key(seed))
        likelihood.append(log_likelihood(heads, jnp.asarray(posed.preferred), jnp.asarray(posed.rejected)))
        if count in (ROUND, LABELS - ROUND):
            doubt = disagreement(np.asarray(jax.nn.sigmoid(leads(heads, pool.preferred, pool.rejected))))
            spread[count] = share(doubt, pool.prompts, found[:count])
    counts = np.bincount(posed.crowds[found], minlength=CROWDS) / LABELS
    kinds = counts[counts > 0]
    ranks = np.argsort(np.argsort(nearest(cdist(pool.prompts, pool.prompts), BalPm().neighbour))) / (POOL - 1)
    return Course(
        likelihood=np.array(likelihood),
        crowds=float(np.exp(-(kinds * np.log(kinds)).sum())),
        outliers=float(ranks[found].mean()),
        spread=(spread[ROUND], spread[LABELS - ROUND]),
    )


def share(doubt: np.ndarray, prompts: np.ndarray, labelled: np.ndarray) -> float:
    """Share of the entropy term in the spread of the score, of what is not labelled."""
    rule = BalPm()
    left = np.setdiff1d(np.arange(len(prompts)), labelled)
    own = prompts[left].astype(np.float64)
    radius = nearest(cdist(own, own), rule.neighbour)
    within = (cdist(own, prompts[labelled].astype(np.float64)) < radius[:, None]).sum(axis=1)
    entropy = rule.weight * prompt_entropy(radius, within, rule.dimension)
    return float(entropy.std() / (entropy.std() + doubt[left].std()))


def needed(likelihood: np.ndarray, target: float) -> int | None:
    """The fewest labels with a held-out log-likelihood of at least `target`; None: it is never reached."""
    enough = np.flatnonzero(likelihood >= target)
    return ROUND * (int(enough[0]) + 1) if len(enough) else None


def labels(seed: int, ensemble: Ensemble) -> dict[str, tuple[int | None, Course]]:
    """Rule -> the labels it needs to be as good as random is with all of its own, and the rest."""
    posed = problem(seed)
    courses = {name: course(rule, posed, seed, ensemble) for name, rule in RULES.items()}
    target = courses["random"].likelihood[-1]
    return {name: (needed(found.likelihood, target), found) for name, found in courses.items()}


def main(seeds: list[int], ensemble: Ensemble) -> None:
    """Print a Markdown table, a row for each seed and rule, and the verdict on the bar."""
    print(
        "| seed | rule | labels needed | likelihood with 20, 60, 140, 280 | crowds | outlier rank | entropy's share |"
    )
    print("|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {name: [] for name in RULES}
    for seed in seeds:
        found = labels(seed, ensemble)
        for name, (count, c) in found.items():
            ratios[name].append((count or np.inf) / (found["random"][0] or LABELS))
            likely = ", ".join(f"{c.likelihood[n]:.3f}" for n in (0, 2, 6, 13))
            print(
                f"| {seed} | {name} | {count or 'more'} | {likely} | {c.crowds:.1f} | {c.outliers:.2f} "
                f"| {c.spread[0]:.2f} to {c.spread[1]:.2f} |",
                flush=True,
            )
    print()
    for name, found in ratios.items():
        told = ", ".join(f"{ratio:.2f}" for ratio in found)
        few = sum(ratio <= BAR for ratio in found)
        print(f"- labels of {name} over those of random: {told}; at most {BAR} in {few} of {len(found)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Labels that each rule needs.")
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--anchor", type=float, default=Ensemble().anchor)
    asked = parser.parse_args()
    main(asked.seeds, Ensemble(anchor=asked.anchor))
