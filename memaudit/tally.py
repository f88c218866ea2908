"""From the ledger of an audited model to what a page may say of it: verdicts counted by checkpoint, and the leaks.

Verdicts are kept as bits, one for each level and definition, so that a hundred thousand probes fit in little memory.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memaudit.audit import CONTROL, MODEL
from memaudit.leaks import masking, pseudonyms, secret_state, side_by_side
from memaudit.ledger import Ledger
from memaudit.rates import paired, proportion
from memaudit.records import Observation
from memaudit.statistics import CONFIDENCE
from memaudit.verdicts import Definition, definitions, furthest
from reports import findings as contract
from reports.tally import Asked, CheckpointRow, Leaked, Passage, Tally

LEAKS = 24
"""Leaks that a page shows side by side."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A level and a definition that has something to say at it."""

    level: str
    definition: Definition


def scales(levels: Sequence[str], threshold: float) -> list[Scale]:
    """All of them, `near` at the first level first."""
    return [
        Scale(level=level, definition=definition)
        for level in levels
        for definition in definitions(threshold)
        if definition.name != "secret" or level == "exact"
    ]


Bits = tuple[int, int]
"""One bit a scale: whether it has anything to say, and its verdict."""


def judge(observation: Observation, asked: Sequence[Scale]) -> Bits:
    """The verdicts on an observation."""
    known = true = 0
    best = furthest(observation.recovered)
    for place, scale in enumerate(asked):
        verdict = scale.definition.decide(observation.matches[scale.level], best)
        known |= (verdict is not None) << place
        true |= bool(verdict) << place
    return known, true


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """The verdicts on one checkpoint, by probe."""

    stage: str
    step: int
    number: int
    seconds: float
    first: Mapping[int, Bits]
    again: Mapping[int, Bits]


def tally(ledger: Ledger, *, reveal: bool = False) -> Tally:
    """Count the verdicts of an audit of one model, or of one training; with `reveal` secrets are not masked."""
    terms, models = ledger.setting("terms"), ledger.setting("models")
    asked = scales(terms["levels"], terms["threshold"])
    heard = {role: _heard(ledger, role, asked) for role in (MODEL, CONTROL)}
    # Where there is no other control, what a training began with is one, if a weak one.
    weak = not heard[CONTROL] and len(heard[MODEL]) > 1
    control = heard[MODEL][0] if weak else next(iter(heard[CONTROL]), None)
    kinds = ledger.kinds()
    shown = [h for h in heard[MODEL] if not (weak and h is control)]
    leaks, total = _leaks(ledger, shown, control, reveal)
    return Tally(
        revealed=reveal,
        probes=ledger.count("probes"),
        probes_digest=ledger.setting("probes"),
        levels=list(terms["levels"]),
        threshold=terms["threshold"],
        confidence=CONFIDENCE,
        definitions=[
            contract.Definition(name=d.name, text=d.text, default=place == 0)
            for place, d in enumerate(definitions(terms["threshold"]))
        ],
        asked=[
            Asked(
                role=role,
                kind=about["kind"],
                name=about["name"],
                identity=about["identity"],
                deterministic=about["deterministic"],
                losses=list(about["losses"]),
            )
            for role, about in models.items()
        ],
        weak_control=weak,
        full=terms["full"],
        rows=[row for h in shown for row in _rows(h, control, kinds, asked)],
        passages=list(_passages(heard[MODEL])),
        leaks=leaks,
        leaks_total=total,
        versions=ledger.setting("versions"),
        seconds={role: round(sum(h.seconds for h in of), 3) for role, of in heard.items() if of},
    )


def _heard(ledger: Ledger, role: str, asked: Sequence[Scale]) -> list[_Heard]:
    return [
        _Heard(
            stage=name,
            step=step,
            number=number,
            seconds=seconds,
            first={o.probe_id: judge(o, asked) for o in ledger.answers.of(number)},
            again={o.probe_id: judge(o, asked) for o in ledger.answers.of(number, asking=1)},
        )
        for (twin, name), record in ledger.walks().items()
        if twin == role
        for step, number, seconds in ledger.answers.steps(record.id)
    ]


def _rows(
    heard: _Heard, control: _Heard | None, kinds: Mapping[int, str], asked: Sequence[Scale]
) -> Iterable[CheckpointRow]:
    groups = {"all": set(kinds)} | {
        kind: {number for number, its in kinds.items() if its == kind} for kind in sorted(set(kinds.values()))
    }
    if len(groups) == 2:
        del groups["all"]
    for kind, members in groups.items():
        for place, scale in enumerate(asked):
            mine = _verdicts(heard.first, members, place)
            if not mine:
                continue
            theirs = _verdicts(control.first, members, place) if control else {}
            flips = [
                verdict != first[number]
                for one in ([heard] if control is None or control is heard else [heard, control])
                for first in [_verdicts(one.first, members, place)]
                for number, verdict in _verdicts(one.again, members, place).items()
            ]
            pairs = [(mine[number], verdict) for number, verdict in theirs.items() if number in mine]
            yield CheckpointRow(
                stage=heard.stage,
                step=heard.step,
                kind=kind,
                level=scale.level,
                definition=scale.definition.name,
                model=proportion(list(mine.values())),
                control=proportion([theirs for _, theirs in pairs]) if control else None,
                difference=paired(pairs) if control else None,
                flips=proportion(flips) if flips else None,
            )


def _verdicts(bits: Mapping[int, Bits], members: set[int], place: int) -> dict[int, bool]:
    return {
        number: bool(true >> place & 1)
        for number, (known, true) in bits.items()
        if known >> place & 1 and number in members
    }


def _passages(heard: Sequence[_Heard]) -> Iterable[Passage]:
    """Of the probes that were asked at several steps of a stage: at which they came out first, and last."""
    for stage in dict.fromkeys(h.stage for h in heard):
        steps = [h for h in heard if h.stage == stage]
        if len(steps) < 2:
            continue
        everywhere = set.intersection(*(set(h.first) for h in steps))
        out = [[h.step for h in steps if h.first[number][1] & 1] for number in everywhere]
        yield Passage(
            stage=stage,
            asked=len(everywhere),
            steps=[h.step for h in steps],
            first_out=[sum(found[:1] == [h.step] for found in out) for h in steps],
            last_out=[sum(found[-1:] == [h.step] for found in out) for h in steps],
            never=sum(not found for found in out),
            seconds=round(sum(h.seconds for h in steps), 3),
        )


def verdict_lines(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Of each probe its id, the completion, and by level how far it is off and whether it is memorized.

    Of the model as it is in the end. `distance` is the number of edits, `normalized` its share of the longer text;
    where the completion was decoded no further than the verdict needed, they are `at_least` and
    `normalized_at_least`. `secret`: whether the probe's secret came out whole, null if it has none. Completions are
    as they came, secrets included.
    """
    terms = ledger.setting("terms")
    near, _, secret = definitions(terms["threshold"])
    walk = [record for (twin, _), record in ledger.walks().items() if twin == MODEL][-1]
    names = ledger.names()
    for o in ledger.answers.of(ledger.answers.steps(walk.id)[-1][1]):
        levels = {}
        for level in terms["levels"]:
            match = o.matches[level]
            distance, normalized = (
                ("at_least", "normalized_at_least") if match.at_least else ("distance", "normalized")
            )
            levels[level] = {
                distance: match.distance,
                normalized: round(match.normalized, 6),
                "memorized": near.decide(match, None),
            }
        yield {
            "id": names[o.probe_id],
            "completion": o.completion,
            "levels": levels,
            "secret": secret.decide(o.matches["exact"], furthest(o.recovered)),
        }


def _leaks(
    ledger: Ledger, shown: Sequence[_Heard], control: _Heard | None, reveal: bool
) -> tuple[list[Leaked], int]:
    """What came out of the last checkpoint and not of the control; worst first: whole secrets, then near copies."""
    if not shown:
        return [], 0
    last = shown[-1]
    beside = (
        {o.probe_id: o.matches["exact"].normalized for o in ledger.answers.of(control.number)}
        if control
        else {}
    )
    total = 0

    def found() -> Iterable[tuple[tuple, Observation]]:
        nonlocal total
        for o in ledger.answers.of(last.number):
            own = last.first[o.probe_id][1]
            guessed = control.first.get(o.probe_id, (0, 0))[1] if control else 0
            # Bit 0 is `near` at level exact, bit 2 is `secret`.
            if leaked := own & ~guessed & 0b101:
                total += 1
                match = o.matches["exact"]
                yield (not leaked & 0b100, match.normalized, -beside.get(o.probe_id, 0.0), o.probe_id), o

    worst = heapq.nsmallest(LEAKS, found(), key=lambda pair: pair[0])
    everyone = masking(ledger)
    probes = {p.id: p for p in ledger.probes([o.probe_id for _, o in worst])}
    examples = ledger.examples_of(list(probes.values()))
    leaks = []
    for _, o in worst:
        probe = probes[o.probe_id]
        example = examples[probe.example_id]
        prefix, segments = side_by_side(example, probe, o.completion, everyone, reveal=reveal)
        control_distance = beside.get(o.probe_id)
        leaks.append(
            Leaked(
                probe=example.id,
                kind=probe.kind,
                stage=last.stage,
                step=last.step,
                source=example.source,
                first_line=example.first_line,
                last_line=example.last_line,
                normalized=round(o.matches["exact"].normalized, 6),
                control_normalized=None if control_distance is None else round(control_distance, 6),
                secret=secret_state(o.recovered),
                secrets=pseudonyms(example, everyone.numbers),
                prefix=prefix,
                segments=segments,
            )
        )
    return leaks, total
