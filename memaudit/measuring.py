"""All measures of a ledger: every definition of `measures` and every attack of `attacks`, by stage and cohort.

Members and non-members of an attack are the same examples, each under the twin that was shown it and under the one
that was not: nothing but having been shown tells them apart.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from memaudit.arms import Arm, Group, groups
from memaudit.attacks import ATTACKS, lira, loss
from memaudit.blind import blind_scores
from memaudit.ledger import Ledger
from memaudit.measures import (
    PAPPU_2024,
    Eidetic,
    Extractable,
    Extraction,
    counterfactual_memorization,
    eidetic_memorization,
    extraction_curve,
    extraction_table,
    target_logprob,
)
from memaudit.records import Scores
from memaudit.roc import LIMITS, Area, Operating, area, curve, operating
from memaudit.statistics import Interval, paired_mean
from memaudit.verdicts import definitions
from probes.duplicates import clusters
from probes.exposure import exposure

_WORD = re.compile(r"\w+|[^\w\s]")
_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The study's own rule (arXiv 2406.11715) at several thresholds."""

    stage: str
    cohort: str
    exposure: str
    points: tuple[Extraction, ...]


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """(n, p)-discoverable extraction (arXiv 2410.19482) under one sampler."""

    stage: str
    cohort: str
    exposure: str
    sampler: str
    exposed: tuple[Extractable, ...]
    control: tuple[Extractable, ...] | None


@dataclass(frozen=True, kw_only=True)
class Known:
    """Counterfactual memorization (arXiv 2112.12938): share of a target's tokens that are the most likely ones."""

    stage: str
    cohort: str
    exposure: str
    exposed: float
    control: float
    difference: Interval


@dataclass(frozen=True, kw_only=True)
class Rare:
    """k-eidetic memorization (arXiv 2012.07805) by the study's threshold."""

    stage: str
    cohort: str
    exposure: str
    counts: tuple[Eidetic, ...]


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """Exposure of synthetic secrets (arXiv 1802.08232), in bits."""

    stage: str
    cohort: str
    exposure: str
    secrets: int
    references: int
    """Fillings that each was held against: log2(references + 1) bits are the most that can show."""
    exposed: float
    """Mean under the twin that was to see it."""
    control: float
    difference: Interval


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """How well one attack tells members from non-members."""

    stage: str
    cohort: str
    exposure: str
    attack: str
    source: str
    area: Area
    points: tuple[Operating, ...]
    curve: tuple[tuple[float, float], ...]
    """(False positive rate, true positive rate), thinned."""


@dataclass(frozen=True, kw_only=True)
class Blind:
    """How well the halves of a cohort can be told apart without any model: what an attack has to beat."""

    cohort: str
    area: Area
    points: tuple[Operating, ...]
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Membership:
    """What can be told of having been shown, without any text that came out."""

    secrets: tuple[Exposed, ...]
    attacks: tuple[Attacked, ...]
    blind: tuple[Blind, ...]


@dataclass(frozen=True, kw_only=True)
class Measures(Membership):
    """All of them."""

    profile: tuple[Curve, ...]
    sampled: tuple[Sampled, ...]
    known: tuple[Known, ...]
    rare: tuple[Rare, ...]


def measure(ledger: Ledger) -> Measures:
    """Measure a run that has gone some way, or a model that was audited with --full."""
    measured = [_Measured(group) for group in groups(ledger)]
    # The same documents for all groups: clustered once.
    documents = measured[0].group.documents if measured else ()
    labels = dict(
        zip(
            (d.id for d in documents),
            clusters([d.text.encode() for d in documents], language=[d.language for d in documents]),
            strict=True,
        )
    )
    told = membership([m.group for m in measured])
    return Measures(
        secrets=told.secrets,
        attacks=told.attacks,
        blind=told.blind,
        profile=tuple(m.curve() for m in measured),
        sampled=tuple(row for m in measured for row in m.sampled()),
        known=tuple(row for m in measured for row in m.known()),
        rare=tuple(m.rare(labels) for m in measured),
    )


def membership(found: Iterable[Group]) -> Membership:
    """Measure exposure and attacks of some groups, and attacks of those whose targets were scored."""
    measured = [_Measured(group) for group in found]
    cohorts = {m.group.cohort: m for m in measured if m.group.control is not None}
    return Membership(
        secrets=tuple(row for m in measured for row in m.secrets()),
        attacks=tuple(row for m in measured for row in m.attacks()),
        blind=tuple(row for m in cohorts.values() for row in m.blind()),
    )


def _scores(arm: Arm) -> list[Scores]:
    found = [o.scores for o in arm.observations if o.scores is not None]
    assert len(found) == len(arm.observations), "who measures has seen to it that targets were scored"
    return found


@dataclass(frozen=True)
class _Measured:
    group: Group

    @cached_property
    def _named(self) -> dict[str, str]:
        return {
            "stage": self.group.stage,
            "cohort": self.group.cohort,
            "exposure": self.group.exposure,
        }

    @cached_property
    def _arms(self) -> list[Arm]:
        return [self.group.exposed, *([self.group.control] if self.group.control else [])]

    @cached_property
    def _scored(self) -> bool:
        """All targets are, or none is: a diffusion model tells no likelihoods."""
        return all(o.scores is not None for arm in self._arms for o in arm.observations)

    def curve(self) -> Curve:
        matches = [[o.matches["exact"] for o in arm.observations] for arm in self._arms]
        return Curve(**self._named, points=extraction_curve(*matches))

    def sampled(self) -> Iterator[Sampled]:
        if not self._scored:
            return
        for name in _scores(self.group.exposed)[0].sampled:
            tables = [extraction_table([target_logprob(s, name) for s in _scores(arm)]) for arm in self._arms]
            yield Sampled(
                **self._named, sampler=name, exposed=tables[0], control=tables[1] if len(tables) > 1 else None
            )

    def known(self) -> Iterator[Known]:
        if self.group.control is None or not self._scored:
            return
        found = [
            counterfactual_memorization([one], [other])
            for one, other in zip(_scores(self.group.exposed), _scores(self.group.control), strict=True)
        ]
        exposed, control = [f.exposed for f in found], [f.control for f in found]
        yield Known(
            **self._named,
            exposed=_mean(exposed),
            control=_mean(control),
            difference=paired_mean(exposed, control),
        )

    def rare(self, labels: Mapping[str, int]) -> Rare:
        near = definitions(PAPPU_2024.threshold)[0]
        out = [bool(near.decide(o.matches["exact"], None)) for o in self.group.exposed.observations]
        mine = [labels[e.id] for e in self.group.examples]
        return Rare(**self._named, counts=eidetic_memorization(out, mine, Counter(labels.values())))

    def secrets(self) -> Iterator[Exposed]:
        if self.group.control is None:
            return
        bits = []
        references = 0
        for arm in self._arms:
            losses = {
                example.id: found["filling_loss"]
                for example, found in zip(self.group.examples, arm.readings, strict=True)
                if len(found.get("filling_loss", ())) > 1
            }
            references = min((len(v) - 1 for v in losses.values()), default=0)
            found = exposure(
                {name: values[0] for name, values in losses.items()},
                {name: values[1:] for name, values in losses.items()},
                reading="sum",
            )
            bits.append([e.bits for e in found.values()])
        if bits[0]:
            yield Exposed(
                **self._named,
                secrets=len(bits[0]),
                references=references,
                exposed=_mean(bits[0]),
                control=_mean(bits[1]),
                difference=paired_mean(*bits),
            )

    def attacks(self) -> Iterator[Attacked]:
        control = self.group.control
        if control is None or self.group.exposure == "none" or not self._scored:
            return
        arms = [(self.group.exposed, control), (control, self.group.exposed)]
        sides = [list(self._material(*pair)) for pair in arms]
        scored: dict[str, tuple[str, list[list[tuple[str, float]]]]] = {}
        for name, attack in ATTACKS.items():
            found = [[(e, attack.of(m)) for e, m in side if attack.applies(m)] for side in sides]
            scored[name] = (attack.source, found)
        reference = ATTACKS["reference"]
        scored["reference-parent"] = (
            reference.source,
            [
                [(e, reference.of({**m, "reference": m["before"]})) for e, m in side if m["before"]]
                for side in sides
            ],
        )
        scored["lira-parents"] = ("2112.03570", [list(self._lira(arm)) for arm, _ in arms])
        for name, (source, found) in scored.items():
            if all(found):
                yield Attacked(**self._named, attack=name, source=source, **_told(*found))

    def _material(self, arm: Arm, other: Arm) -> Iterator[tuple[str, dict[str, Any]]]:
        for place, (scores, reference) in enumerate(zip(_scores(arm), _scores(other), strict=True)):
            read = arm.readings[place]
            single = {name: values[0] for name, values in read.items() if name != "nearest"}
            rewards = read.get("filling_reward", [])
            yield (
                self.group.examples[place].id,
                {
                    "scores": scores,
                    "text": self.group.targets[place],
                    "reference": reference,
                    "before": arm.before[place],
                    **single,
                    "reward": rewards[0] if len(rewards) > 1 else None,
                    "other_rewards": rewards[1:] or None,
                    "nearest": read.get("nearest"),
                },
            )

    def _lira(self, arm: Arm) -> Iterator[tuple[str, float]]:
        places = [place for place, outside in enumerate(arm.unshown) if outside]
        if not places:
            return
        own = _scores(arm)
        found = lira(
            [loss(own[place]) for place in places],
            [[loss(scores) for scores in arm.unshown[place]] for place in places],
        )
        for place, score in zip(places, found, strict=True):
            yield self.group.examples[place].id, score

    def blind(self) -> Iterator[Blind]:
        examples = self.group.examples
        members = [e.half == "A" for e in examples]
        sources = [e.source for e in examples]
        if (
            min(
                len({s for s, m in zip(sources, members, strict=True) if m is side}) for side in (True, False)
            )
            < 2
        ):
            return
        scores = blind_scores(
            [_WORD.findall(text) for text in self.group.targets],
            members,
            folds=min(_FOLDS, len(set(sources))),
            groups=sources,
        )
        sides = [
            [(e.id, s) for e, s, m in zip(examples, scores, members, strict=True) if m is side]
            for side in (True, False)
        ]
        yield Blind(cohort=self.group.cohort, **_told(*sides))


def _told(members: Sequence[tuple[str, float]], others: Sequence[tuple[str, float]]) -> dict[str, Any]:
    inside, outside = [s for _, s in members], [s for _, s in others]
    labels = ([e for e, _ in members], [e for e, _ in others])
    return {
        "area": area(inside, outside, clusters=labels),
        "points": tuple(operating(inside, outside, limit) for limit in LIMITS),
        "curve": curve(inside, outside),
    }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def plain(found: Any) -> Any:
    """Measures as data that JSON can hold: what is infinite is null."""
    if is_dataclass(found):
        return {f.name: plain(getattr(found, f.name)) for f in fields(found)}
    if isinstance(found, Mapping):
        return {key: plain(value) for key, value in found.items()}
    if isinstance(found, tuple | list):
        return [plain(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found
