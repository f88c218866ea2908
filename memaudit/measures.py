"""Measures of extraction: how much of what a model was shown comes out of it again, by the definitions of the field.

All are pure functions of observations. What is published as a threshold, a number of samples or a number of documents
stays an argument: a new one needs no new run. Membership attacks are in `attacks`, exposure is in `probes.exposure`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memaudit.errors import BadInput
from memaudit.records import Scores
from memaudit.statistics import Interval, Rate, paired_difference
from memaudit.verdicts import definitions
from probes import Match

THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3)
"""Of the rate curve: normalised distances up to which a completion counts as its target. 0 is exact extraction."""
SAMPLES = (1, 10, 100, 1_000, 10_000, 100_000)
"""Of the (n, p) table: n."""
CHANCES = (0.1, 0.5, 0.9)
"""Of the (n, p) table: p."""
DOCUMENTS = (1, 4, 16, 64)
"""Of the eidetic counts: k."""

_ROUNDING = 1e-4  # nats by which rounding may have put the log-probability of a long, certain target above 0
_TINY = -40.0  # log-probability under which log(1 - p) is -p to the last digit
_SLACK = 1e-12  # by which rounding may have put a quotient of logarithms above a whole number


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A published definition of extraction, with every choice that moves its rate."""

    name: str
    source: str
    """arXiv number."""
    level: str
    """Level of the matches that it judges; at `exact` the unit is the character."""
    threshold: float
    """Greatest normalised distance."""
    counterfactual: bool
    """What the control emits too does not count."""
    choices: tuple[str, ...]
    """What else was decided, one sentence each. Those that the source does not tell are called ours."""

    def memorized(self, exposed: Match, control: Match | None = None) -> bool:
        """The verdict on one probe, put to the model that was shown its example and to the one that was not.

        With `counterfactual` this is Definition 1 of arXiv 2406.11715: the first emits the target and the second does
        not. Without, the control is not looked at.

        Raises:
            ValueError: A match is of another level, or there is no control where one is needed.
            BadInput: A completion was not decoded far enough to tell.
        """
        for match in (exposed, control):
            if match is not None and match.level != self.level:
                raise ValueError(
                    f'{self.name}: expected a match of level "{self.level}", got "{match.level}"'
                )
        if not self.counterfactual:
            return _near(exposed, self.threshold)
        if control is None:
            raise ValueError(f"{self.name}: expected a match of the control, got none; its rule needs one")
        return _near(exposed, self.threshold) and not _near(control, self.threshold)


PAPPU_2024 = Profile(
    name="pappu-2024",
    source="2406.11715",
    level="exact",
    threshold=0.1,
    counterfactual=True,
    choices=(
        "Decoding is greedy.",
        "The distance is Levenshtein's over characters, divided by the greater length (unit and divisor are ours).",
        "The completion is cut to the target's length first (ours).",
        "The control is one model that was shown nothing of the example's half (one for all, not one each).",
    ),
)
"""The study's rule."""

CARLINI_2022 = Profile(
    name="carlini-2022",
    source="2202.07646",
    level="exact",
    threshold=0.0,
    counterfactual=False,
    choices=(
        "Decoding is greedy.",
        "The completion is cut to the target's length first.",
        "Equal are characters, not tokens (ours).",
    ),
)
"""Discoverable extraction: the target itself comes out, whatever a model would say that never saw it."""


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """Discoverable extraction at one threshold, over probes that were put to one model or to both twins."""

    threshold: float
    exposed: Rate
    """What came out of the model that was shown the examples."""
    control: Rate | None
    """What came out of the one that was not. None, like what follows: there is none."""
    counterfactual: Rate | None
    """What came out of the first and not of the second: Definition 1 of arXiv 2406.11715."""
    difference: Interval | None
    """Rate of the exposed minus rate of the control, paired by probe (Newcombe). Unlike `counterfactual` it also
    subtracts what only the control emits."""


def extraction_curve(
    exposed: Sequence[Match],
    control: Sequence[Match] | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[Extraction, ...]:
    """Return the rates at each threshold, in the order of the thresholds.

    A probe is extracted if the normalised distance d / max(|c|, |t|) between its greedy completion c and its target t
    is at most the threshold: exactly (arXiv 2202.07646) at 0, nearly (arXiv 2210.17546) above.

    Args:
        exposed: Matches of one level, one a probe, of the model that was shown the examples.
        control: Those of the same probes, in the same order, of the model that was not.
        thresholds: Each in [0, 1].

    Raises:
        ValueError: The matches are of several levels, or not as many on both sides.
        BadInput: A completion was not decoded far enough to tell; `decided_below` says how far they were.
    """
    if control is not None and len(control) != len(exposed):
        raise ValueError(
            f"expected a match of the control for each of {len(exposed)} probes, got {len(control)}"
        )
    levels = sorted({match.level for match in (*exposed, *(control or ()))})
    if len(levels) > 1:
        raise ValueError(f"expected matches of one level, got {', '.join(levels)}: draw a curve for each")
    return tuple(_extraction(exposed, control, threshold) for threshold in thresholds)


def decided_below(*arms: Sequence[Match]) -> float:
    """Return the number below which every threshold is decided by all the matches; infinite if all are whole.

    Completions that were decoded only until their verdict was certain have lower bounds as distances. The least of
    these is it.
    """
    return min((m.normalized for arm in arms for m in arm if m.at_least), default=math.inf)


def _extraction(exposed: Sequence[Match], control: Sequence[Match] | None, threshold: float) -> Extraction:
    first, total = [_near(match, threshold) for match in exposed], len(exposed)
    if control is None:
        rate = Rate(count=sum(first), total=total)
        return Extraction(
            threshold=threshold, exposed=rate, control=None, counterfactual=None, difference=None
        )
    second = [_near(match, threshold) for match in control]
    both = sum(a and b for a, b in zip(first, second, strict=True))
    only_exposed, only_control = sum(first) - both, sum(second) - both
    return Extraction(
        threshold=threshold,
        exposed=Rate(count=sum(first), total=total),
        control=Rate(count=sum(second), total=total),
        counterfactual=Rate(count=only_exposed, total=total),
        difference=paired_difference(
            both, only_exposed, only_control, total - both - only_exposed - only_control
        ),
    )


def _near(match: Match, threshold: float) -> bool:
    near = next(d for d in definitions(threshold) if d.name == "near")
    return bool(near.decide(match, None))


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """Counterfactual memorization of one example."""

    value: float
    """`exposed` minus `control`: 0 if it makes no difference to have been shown the example, at most 1."""
    exposed: float
    """Mean accuracy of the models that were shown it."""
    control: float
    """Mean accuracy of those that were not."""
    exposed_models: int
    control_models: int
    standard_error: float | None
    """Of `value`, over models. None: there is but one model on a side, and nothing tells how much models differ."""


def token_accuracy(scores: Scores) -> float:
    """Return the share of a target's tokens that are the most likely ones, given the true text before them.

    Raises:
        BadInput: There are no tokens.
    """
    if not scores.argmax:
        raise BadInput("expected scores of at least one token, got none: score the targets")
    return sum(scores.argmax) / len(scores.argmax)


def counterfactual_memorization(exposed: Sequence[Scores], control: Sequence[Scores]) -> Counterfactual:
    """Return the mean token accuracy over models that were shown an example, minus that over models that were not.

    mem(x) = E[M(A(S), x) | x in S] - E[M(A(S), x) | x not in S], M the per-token accuracy: Zhang et al., arXiv
    2112.12938. There the accuracy is that on the whole example, here that on a probe's target, and the expectations
    are means over the models at hand, which share or do not share other examples as they may; one and one are twins.
    With few models the value of a single example is noise for the most part: read the mean over many examples
    (`statistics.paired_mean` of `exposed` and `control`).

    Args:
        exposed: Scores of one target by each of the models that were shown its example.
        control: Those by each of the models that were not.

    Raises:
        ValueError: A side has no models.
        BadInput: Scores have no tokens.
    """
    if not exposed or not control:
        raise ValueError(
            f"expected at least one model on each side, got {len(exposed)} that were shown the example and "
            f"{len(control)} that were not"
        )
    sides = [[token_accuracy(scores) for scores in side] for side in (exposed, control)]
    means = [math.fsum(side) / len(side) for side in sides]
    error = None
    if min(map(len, sides)) > 1:
        error = math.sqrt(
            sum(
                math.fsum((accuracy - mean) ** 2 for accuracy in side) / (len(side) - 1) / len(side)
                for side, mean in zip(sides, means, strict=True)
            )
        )
    return Counterfactual(
        value=means[0] - means[1],
        exposed=means[0],
        control=means[1],
        exposed_models=len(exposed),
        control_models=len(control),
        standard_error=error,
    )


@dataclass(frozen=True, kw_only=True)
class Extractable:
    """One cell of the (n, p) table."""

    samples: int
    """n."""
    chance: float
    """p."""
    rate: Rate
    """Probes whose target comes out at least once in n samples with a probability of at least p."""


def target_logprob(scores: Scores, sampler: str | None = None) -> float:
    """Return the log-probability (nats) that one sample is the whole target: log p_z.

    Args:
        scores: Of the target.
        sampler: The sampler's name in `scores.sampled`. None: temperature 1 and nothing cut off, for which it is the
            sum of the tokens' log-probabilities.

    Raises:
        BadInput: It was not observed.
    """
    if sampler is None:
        if not scores.logprobs:
            raise BadInput("expected scores of at least one token, got none: score the targets")
        return math.fsum(scores.logprobs)
    if sampler not in scores.sampled:
        known = ", ".join(sorted(scores.sampled)) or "none"
        raise BadInput(
            f'sampler: expected one that was observed ({known}), got "{sampler}": set one of these'
        )
    return scores.sampled[sampler]


def extraction_probability(logprob: float, samples: int) -> float:
    """Return the probability that a target comes out at least once: 1 - (1 - p_z)^n, of arXiv 2410.19482.

    Nothing is lost for the least p_z; it is 0 for p_z = 0 and 1 for p_z = 1.

    Args:
        logprob: log p_z, nats; -inf where the sampler cannot draw the target.
        samples: n, 1 at least.
    """
    if samples < 1:
        raise ValueError(f"expected at least 1 sample, got {samples}")
    logprob = _checked(logprob)
    if logprob == 0:
        return 1.0
    if logprob < _TINY:
        return -math.expm1(-math.exp(min(math.log(samples) + logprob, -_TINY)))
    return -math.expm1(samples * _log_miss(logprob))


def least_samples(logprob: float, chance: float) -> float:
    """Return the least n with which a target is (n, p)-discoverably extractable: n >= ln(1 - p) / ln(1 - p_z).

    Source: arXiv 2410.19482. A whole number; infinite where p_z is 0 (or so small that no float holds n), 1 where p_z
    is 1. It is right to twelve digits.

    Args:
        logprob: log p_z, nats.
        chance: p, between 0 and 1, neither of them.
    """
    if not 0 < chance < 1:
        raise ValueError(f"expected a probability between 0 and 1, got {chance}; set one that is neither")
    logprob = _checked(logprob)
    if logprob == 0:
        return 1.0
    wanted = -math.log1p(-chance)
    if logprob < _TINY:
        exponent = math.log(wanted) - logprob
        found = math.exp(exponent) if exponent < 709 else math.inf
    else:
        found = wanted / -_log_miss(logprob)
    return found if found == math.inf else float(math.ceil(found * (1 - _SLACK)))


def extraction_table(
    logprobs: Sequence[float], *, samples: Sequence[int] = SAMPLES, chances: Sequence[float] = CHANCES
) -> tuple[Extractable, ...]:
    """Return for each n and each p the share of probes that are (n, p)-discoverably extractable (arXiv 2410.19482).

    Ordered by n, then p, as given. `logprobs` has log p_z of each probe under one sampler (`target_logprob`).
    """
    least = {p: [least_samples(logprob, p) for logprob in logprobs] for p in chances}
    return tuple(
        Extractable(
            samples=n, chance=p, rate=Rate(count=sum(needed <= n for needed in least[p]), total=len(logprobs))
        )
        for n in samples
        for p in chances
    )


def _checked(logprob: float) -> float:
    if not logprob <= _ROUNDING:
        raise ValueError(f"expected the log-probability of a target, at most 0, got {logprob}")
    return min(logprob, 0.0)


def _log_miss(logprob: float) -> float:
    """log(1 - p) of a log p < 0: by the form that keeps its digits on either side of p = 1/2."""
    return math.log1p(-math.exp(logprob)) if logprob < -math.log(2) else math.log(-math.expm1(logprob))


@dataclass(frozen=True, kw_only=True)
class Eidetic:
    """k-eidetic memorization at one k, counted in clusters of near-duplicates."""

    documents: int
    """k."""
    rate: Rate
    """Of the clusters that occur in at most k documents, those of which an example is extractable. The count is what
    the source reports, and never falls with k; the rate may."""


def eidetic_memorization(
    extractable: Sequence[bool],
    clusters: Sequence[int],
    documents: Mapping[int, int],
    *,
    most: Sequence[int] = DOCUMENTS,
) -> tuple[Eidetic, ...]:
    """Return for each k how many extractable clusters of near-duplicates occur in at most k training documents.

    A text is k-eidetic memorized if it is extractable and occurs in at most k examples of the training data: Carlini
    et al., arXiv 2012.07805, definition 2. What nearly repeats a text counts as an occurrence here, and a cluster as
    one text.

    Args:
        extractable: For each probed example, whether it is, by any definition.
        clusters: For each, the label of its cluster, as `probes.duplicates.clusters` gives it.
        documents: For each label, in how many training documents the cluster occurs, at least 1. Where all training
            documents were clustered this is ``Counter`` of all their labels; an epoch adds none.
        most: Each k, at least 1.

    Raises:
        ValueError: The sequences differ in length, or a cluster has no documents.
    """
    if len(extractable) != len(clusters):
        raise ValueError(f"expected a cluster for each of {len(extractable)} examples, got {len(clusters)}")
    out: dict[int, bool] = {}
    for emitted, label in zip(extractable, clusters, strict=True):
        if documents.get(label, 0) < 1:
            raise ValueError(
                f"expected at least 1 document of cluster {label}, got {documents.get(label, 'none')}"
            )
        out[label] = out.get(label, False) or emitted
    found = []
    for k in most:
        rare = [emitted for label, emitted in out.items() if documents[label] <= k]
        found.append(Eidetic(documents=k, rate=Rate(count=sum(rare), total=len(rare))))
    return tuple(found)
