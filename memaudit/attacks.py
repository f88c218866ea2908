"""Membership attacks: scores that tell what a model was shown from what it was not.

Of every score here, higher means more likely a member. Where a source has it the other way round it is turned, and its
docstring says so. How well scores tell the two apart is for `roc` to say; how well that goes without any model, which
must be known beside it, for `blind`.
"""

import inspect
import math
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from memaudit.errors import BadInput
from memaudit.records import Scores
from probes import levenshtein, normalized

SHARE = 0.2
"""Of a target's tokens: those that min-k% looks at."""
FEW = 64
"""References below which `lira` takes the pooled variance instead of the example's own."""
LEAST_DEVIATION = 1e-3
"""Nats. Min-k%++ takes a smaller standard deviation for this one."""

_SHARE_ROUNDING = 1e-9  # 0.29 * 100 is a little less than 29
_LEAST_VARIANCE = 1e-12  # scores are kept to six digits: references that differ by less do not differ

_Score = TypeVar("_Score", bound=Callable[..., float])


@dataclass(frozen=True, kw_only=True)
class Attack:
    """A score of one example."""

    name: str
    text: str
    """One sentence for people."""
    source: str
    """Where it is from: an arXiv number, or author and year."""
    reads: tuple[str, ...]
    """Names of what `score` takes, all by keyword; the attack's own settings, which have defaults, not among them."""
    score: Callable[..., float]
    """Higher: more likely a member."""
    distributions: bool
    """It reads the entropies and deviations of `scores` too."""

    def applies(self, material: Mapping[str, object]) -> bool:
        """Whether the material has all that the attack reads, its scores as far as a backend tells them."""
        for name in self.reads:
            found = material.get(name)
            told = not isinstance(found, Scores) or (
                found.entropies if self.distributions else found.logprobs
            )
            if found is None or not told:
                return False
        return True

    def of(self, material: Mapping[str, object]) -> float:
        """Return the score of an example, given what there is of it. What the attack does not read may be there too.

        Keys of `material`, as far as they are known: `scores` of its target, its `text` (what was scored),
        `reference` (the same target's scores by the model to compare with); of a preference pair `preferred_logprob`,
        `preferred_reference`, `rejected_logprob` and `rejected_reference` (nats, summed), `preferred_reward` and
        `rejected_reward`; of a canary its `reward` and `other_rewards`; of a prompt `nearest`, the distances between
        completions drawn for it.
        """
        return self.score(**{name: material[name] for name in self.reads})


ATTACKS: dict[str, Attack] = {}
"""By name. Those that read nothing but `scores` and `text` need one model only."""


def attack(name: str, *, text: str, source: str, distributions: bool = False) -> Callable[[_Score], _Score]:
    """Make a function known in `ATTACKS`. What it reads are its parameters without default, by their names."""

    def register(score: _Score) -> _Score:
        reads = [p.name for p in inspect.signature(score).parameters.values() if p.default is p.empty]
        if name in ATTACKS:
            raise ValueError(f'expected an attack\'s own name, got "{name}", which is taken')
        ATTACKS[name] = Attack(
            name=name, text=text, source=source, reads=tuple(reads), score=score, distributions=distributions
        )
        return score

    return register


@attack("loss", text="Mean log-likelihood of the target's tokens.", source="Yeom et al. 2018, 1709.01604")
def loss(scores: Scores) -> float:
    """Return the mean log-likelihood of a token (nats). The source thresholds the loss, its negative."""
    logprobs = _logprobs(scores)
    return math.fsum(logprobs) / len(logprobs)


@attack(
    "zlib", text="Mean log-likelihood of a token over the compressed size of the text.", source="2012.07805"
)
def zlib_ratio(scores: Scores, text: str) -> float:
    """Return `loss` over the bytes of the text that was scored under zlib: negative, and nearer 0 for members.

    The source has the ratio of the two the other way round and without the sign, which ranks alike.
    """
    return loss(scores) / len(zlib.compress(text.encode("utf-8", errors="surrogatepass")))


@attack("min-k", text="Mean log-likelihood of the least likely fifth of the tokens.", source="2310.16789")
def min_k(scores: Scores, *, share: float = SHARE) -> float:
    """Return the mean of the least log-probabilities (nats): `share` of all, rounded down, at least one.

    With a share of 1 it is `loss`.
    """
    return _mean_of_least(_logprobs(scores), share)


@attack(
    "min-k++",
    text="Mean of the least fifth of the tokens' log-likelihoods, each in standard deviations from its expectation.",
    source="2404.02936",
    distributions=True,
)
def min_k_plus(scores: Scores, *, share: float = SHARE) -> float:
    """Return the mean of the least z-scores, of as many tokens as `min_k` takes.

    z = (log q(x_i) - mu_i) / sigma_i, with mu_i and sigma_i the mean and the standard deviation of log q(v) for a
    token v drawn from the model's own distribution q at that place, so that mu_i is minus its entropy. Where the model
    has no doubt, or none that it weighs, sigma_i is 0: then every token that it could draw has log q(v) = mu_i. It is
    taken for `LEAST_DEVIATION`, so that the expected token has z = 0 and rounding does not decide.

    Raises:
        BadInput: The scores have no entropies or deviations.
    """
    logprobs = _logprobs(scores)
    if not len(logprobs) == len(scores.entropies) == len(scores.deviations):
        raise BadInput(
            f"min-k++: expected an entropy and a deviation for each of {len(logprobs)} tokens, got "
            f"{len(scores.entropies)} and {len(scores.deviations)}: set a backend that tells whole distributions"
        )
    _check_finite("an entropy", scores.entropies)
    _check_finite("a deviation", scores.deviations)
    return _mean_of_least(
        [
            (logprob + entropy) / max(deviation, LEAST_DEVIATION)
            for logprob, entropy, deviation in zip(logprobs, scores.entropies, scores.deviations, strict=True)
        ],
        share,
    )


@attack(
    "reference",
    text="Mean log-likelihood of a token minus that by a reference model.",
    source="2111.08440",
)
def reference_difference(scores: Scores, reference: Scores) -> float:
    """Return `loss` minus the reference model's: what the target knows of the text beyond how easy it is.

    The reference is the checkpoint before the stage, or better the twin that was not shown the example.

    Raises:
        BadInput: The two do not have as many tokens. Means over the tokens of two tokenizers do not compare.
    """
    if len(scores.logprobs) != len(reference.logprobs):
        raise BadInput(
            f"reference: expected as many tokens as the target's {len(scores.logprobs)}, got "
            f"{len(reference.logprobs)}: set a reference model with the same tokenizer"
        )
    return loss(scores) - loss(reference)


@attack(
    "premia-single",
    text="Log-ratio of policy and reference for the preferred completion.",
    source="2407.06443",
)
def premia_single(preferred_logprob: float, preferred_reference: float) -> float:
    """Return log pi(y | x) - log ref(y | x) (nats), of one completion of a preference pair.

    Both are sums over the completion's tokens, as in the source; `reference_difference` is the same per token. The
    reference is the model that alignment started from. For the rejected completion of a member it is *low*, where
    alignment pushes it down: that is what the pair is for.
    """
    _check_finite("a log-probability", (preferred_logprob, preferred_reference))
    return preferred_logprob - preferred_reference


@attack(
    "premia-pair",
    text="Log-ratio of policy and reference for the preferred completion minus that for the rejected one.",
    source="2407.06443",
)
def premia_pair(
    preferred_logprob: float, preferred_reference: float, rejected_logprob: float, rejected_reference: float
) -> float:
    """Return `premia_single` of the preferred minus that of the rejected completion: the margin DPO trains on."""
    preferred = premia_single(preferred_logprob, preferred_reference)
    return preferred - premia_single(rejected_logprob, rejected_reference)


@attack(
    "reward-margin",
    text="Reward of the preferred completion minus reward of the rejected one.",
    source="memaudit: the Bradley-Terry log-odds that a reward model is trained on",
)
def reward_margin(preferred_reward: float, rejected_reward: float) -> float:
    """Return the log-odds (nats) that a reward model gives to a preference as it was labelled."""
    _check_finite("a reward", (preferred_reward, rejected_reward))
    return preferred_reward - rejected_reward


@attack(
    "canary-lift",
    text="Reward of a text with its true secret minus the mean reward with other fillings.",
    source="memaudit: the comparison of 1802.08232, of rewards instead of losses",
)
def canary_lift(reward: float, other_rewards: Sequence[float], *, standardised: bool = False) -> float:
    """Return by how much a reward model favours the filling of a slot that it was shown.

    Args:
        reward: Of the text with its own secret.
        other_rewards: Of the same text with other fillings (`probes.references`): at least one; two if standardised.
        standardised: Give it in standard deviations (n - 1) of the others' rewards, so that canaries compare. Where
            these do not differ it is 0 if the own reward is theirs too, and infinite with its sign if not.
    """
    fewest = 2 if standardised else 1
    if len(other_rewards) < fewest:
        raise ValueError(f"expected rewards of at least {fewest} other fillings, got {len(other_rewards)}")
    _check_finite("a reward", (reward, *other_rewards))
    mean = math.fsum(other_rewards) / len(other_rewards)
    lift = reward - mean
    if not standardised:
        return lift
    if min(other_rewards) == max(other_rewards):
        # Not by way of the mean, which may be off by a rounding.
        lift = reward - other_rewards[0]
        return math.copysign(math.inf, lift) if lift else 0.0
    squares = math.fsum((other - mean) ** 2 for other in other_rewards)
    return lift / math.sqrt(squares / (len(other_rewards) - 1))


@attack(
    "rigidity",
    text="One minus the mean of the smallest nearest-neighbour edit distances among samples for one prompt.",
    source="2602.11792",
)
def rigidity(nearest: Sequence[float], *, smallest: int | None = None) -> float:
    """Return 1 - `min_nn`, in [0, 1]: prompts that were seen in RL give completions near each other."""
    return 1 - min_nn(nearest, smallest=smallest)


def min_nn(nearest: Sequence[float], *, smallest: int | None = None) -> float:
    """Return the Min-kNN distance of completions drawn for one prompt, in [0, 1]; 0 if enough of them are equal.

    It is the mean of the smallest of the distances from each to the one nearest to it: arXiv 2602.11792. It is *small*
    for members. It falls with the number of samples: compare prompts with as many.

    Args:
        nearest: `nearest_distances` of the samples.
        smallest: How many distances are averaged, 1 to as many as there are samples. None: half, rounded up (ours).
    """
    if len(nearest) < 2:
        raise ValueError(f"expected at least 2 samples of a prompt, got {len(nearest)}")
    _check_finite("a distance", nearest)
    taken = (len(nearest) + 1) // 2 if smallest is None else smallest
    if not 1 <= taken <= len(nearest):
        raise ValueError(f"expected smallest between 1 and the {len(nearest)} samples, got {taken}")
    return math.fsum(sorted(nearest)[:taken]) / taken


def nearest_distances(samples: Sequence[Sequence[Hashable]]) -> tuple[float, ...]:
    """Return for each of at least two samples its normalised edit distance to the nearest of the others.

    Strings are compared by character, other sequences by element, such as tokens.
    """
    if len(samples) < 2:
        raise ValueError(f"expected at least 2 samples of a prompt, got {len(samples)}")
    nearest = [math.inf] * len(samples)
    for (a, one), (b, other) in combinations(enumerate(samples), 2):
        distance = levenshtein(one, other)
        assert distance is not None  # there is no cutoff
        relative = normalized(distance, len(one), len(other))
        nearest[a], nearest[b] = min(nearest[a], relative), min(nearest[b], relative)
    return tuple(nearest)


def lira(
    targets: Sequence[float],
    outside: Sequence[Sequence[float]],
    inside: Sequence[Sequence[float]] | None = None,
    *,
    few: int = FEW,
) -> tuple[float, ...]:
    """Return the likelihood-ratio score of every example: arXiv 2112.03570.

    With references of both kinds log N(s; mu_in, var_in) - log N(s; mu_out, var_out); without `inside`, its offline
    form, (s - mu_out) / sd_out, which ranks as the probability does that a model without the example scores less.
    A mean is over the example's own references. A variance is the example's own (n - 1) with `few` references or
    more on that side, and else pooled over the examples of that side: within examples, about their own means. What
    cannot be told (one reference each, or none that differ) is the other side's, or 1 if that cannot be told either.
    So with one outside reference each, as a twin is, the score is s - s_ref: it ranks as the reference attack does,
    and is no more than it.

    Args:
        targets: The statistic of each example by the audited model, such as `loss`; higher for members.
        outside: The same by models that were not shown the example: one or more each.
        inside: The same by models that were.
        few: At least 2.
    """
    sides = [outside] if inside is None else [outside, inside]
    for side in sides:
        if len(side) != len(targets) or not all(len(row) for row in side):
            raise ValueError(
                f"expected references, one at least, of each of {len(targets)} examples, got {len(side)} with "
                f"{min(map(len, side), default=0)} at least"
            )
        for row in side:
            _check_finite("a reference", row)
    if few < 2:
        raise ValueError(f"expected few of at least 2, got {few}; one reference has no variance")
    _check_finite("a statistic", targets)
    pooled = [_pooled_variance(side) for side in sides]
    fallback = next((variance for variance in pooled if variance), 1.0)
    parts = []
    for side, shared in zip(sides, pooled, strict=True):
        means = np.array([np.mean(row) for row in side])
        own = np.array([np.var(row, ddof=1) if len(row) >= few else 0.0 for row in side])
        variances = np.where(own > _LEAST_VARIANCE, own, shared or fallback)
        parts.append((np.asarray(targets, np.float64) - means, variances))
    (away, variance), *of_inside = parts
    if not of_inside:
        return tuple((away / np.sqrt(variance)).tolist())
    ((away_inside, variance_inside),) = of_inside
    ratio = (away**2 / variance - away_inside**2 / variance_inside + np.log(variance / variance_inside)) / 2
    return tuple(ratio.tolist())


def _pooled_variance(side: Sequence[Sequence[float]]) -> float:
    """Zero if no example has two references, or none has two that differ."""
    freedom = sum(len(row) - 1 for row in side)
    variance = math.fsum(float(np.var(row)) * len(row) for row in side) / max(freedom, 1)
    return variance if variance > _LEAST_VARIANCE else 0.0


def _logprobs(scores: Scores) -> tuple[float, ...]:
    if not scores.logprobs:
        raise BadInput("expected scores of at least one token, got none: score the targets")
    _check_finite("a log-probability", scores.logprobs)
    return scores.logprobs


def _check_finite(what: str, values: Sequence[float]) -> None:
    for value in values:
        if not math.isfinite(value):
            raise BadInput(f"expected {what} that is finite, got {value}: find out what made the model fail")


def _mean_of_least(values: Sequence[float], share: float) -> float:
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and at most 1, got {share}")
    count = max(1, int(share * len(values) + _SHARE_ROUNDING))
    return math.fsum(sorted(values)[:count]) / count
