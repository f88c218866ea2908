"""Two ledgers side by side: what became memorized from A to B, and what no longer is.

An example that is in both is its own partner; differences are B minus A. What is tested holds for these two trainings:
what another seed would have given is not in it.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from memaudit.compared import Answer, Key, Side, side
from memaudit.errors import BadInput
from memaudit.ledger import Ledger
from memaudit.rates import difference, paired, proportion
from memaudit.settings import flat
from memaudit.sources import printable
from memaudit.statistics import CONFIDENCE, Rate, holm, independent_difference, mcnemar
from memaudit.verdicts import Definition, definitions
from reports import Definition as Named
from reports import comparison as contract

LISTED = 200
"""Examples that each of the two lists has at most."""
LEAST = 6
"""Pairs that an exact test needs: of five, all changed in one way, its p-value is still above 5 %."""


def compare(
    ledgers: tuple[Ledger, Ledger],
    folders: tuple[Path, Path],
    *,
    stages: Sequence[str] = (),
    level: str = "exact",
    definition: str = "near",
    command: str = "",
) -> contract.Comparison:
    """Compare two runs, or two audits of models.

    Args:
        ledgers: A's and B's.
        folders: Where they lie, as the reader is told it.
        stages: Each `NAME`, or `NAME=NAME` where they are called differently; none: all whose name both have.
        level: At which completions are compared.
        definition: Of memorization, by name.
        command: That repeats it, as the reader is told it.

    Raises:
        BadInput: One is a run and the other an audit, one has nothing done, or there is no such stage, level or
            definition.
    """
    a, b = (side(ledger, folder) for ledger, folder in zip(ledgers, folders, strict=True))
    if a.kind != b.kind:
        raise BadInput(
            f"expected two runs or two audits of models, got {_article(a)} in {printable(str(folders[0]))} and "
            f"{_article(b)} in {printable(str(folders[1]))}: a model of a run is audited by `memaudit audit`"
        )
    # What was decoded until verdicts at a threshold were closed can be judged at any smaller one.
    threshold = min(a.threshold, b.threshold)
    chosen = _definition(definition, level, threshold, a, b)
    view = _View(a, b, _stage_pairs(a, b, stages), level, chosen)
    default = definitions(threshold)[0].name
    became, gone = _changes(view, gone=False), _changes(view, gone=True)
    return contract.Comparison(
        kind=a.kind,
        command=command,
        a=_side(view, a, folders[0], [pair.a for pair in view.pairs]),
        b=_side(view, b, folders[1], [pair.b for pair in view.pairs]),
        pairing=_pairing(view),
        confidence=CONFIDENCE,
        level=level,
        definition=Named(name=chosen.name, text=chosen.text, default=chosen.name == default),
        threshold=threshold,
        counterfactual=view.counterfactual,
        stages=view.pairs,
        population=list(_population(view)),
        rows=_adjusted(list(_rows(view))),
        became=became[:LISTED],
        became_total=len(became),
        gone=gone[:LISTED],
        gone_total=len(gone),
        settings=_settings(view),
        versions=_differing(ledgers[0].setting("versions"), ledgers[1].setting("versions"), str),
    )


def _article(one: Side) -> str:
    return "a run" if one.kind == "run" else "an audit"


def _definition(name: str, level: str, threshold: float, a: Side, b: Side) -> Definition:
    levels = [known for known in a.levels if known in b.levels]
    if level not in levels:
        raise BadInput(
            f"--level: expected one at which both were compared ({', '.join(levels)}), got {printable(level)}"
        )
    known = {d.name: d for d in definitions(threshold)}
    if name not in known:
        raise BadInput(f"--definition: expected one of {', '.join(known)}, got {printable(name)}")
    if name == "secret" and level != "exact":
        raise BadInput(f"--level: expected exact with --definition secret, got {level}: leave one out")
    return known[name]


def _stage_pairs(a: Side, b: Side, wanted: Sequence[str]) -> list[contract.StagePair]:
    shared = [stage for stage in a.stages if stage in b.stages]
    if not wanted:
        if not shared:
            raise BadInput(
                f"--stage: expected stages to compare, as the two have none of one name: set --stage A=B, with A one "
                f"of {_listed(a.stages)} and B one of {_listed(b.stages)}"
            )
        return [contract.StagePair(a=stage, b=stage) for stage in shared]
    found = []
    for name in wanted:
        first, equals, second = (name, "", "") if name in shared else name.partition("=")
        second = second if equals else first
        for stage, one, which in ((first, a, "A"), (second, b, "B")):
            if stage not in one.stages:
                raise BadInput(
                    f"--stage {printable(name)}: expected a stage that is done in {which} ({_listed(one.stages)}), got "
                    f"{printable(stage)!r}: set NAME, or NAME=NAME with the one in A first"
                )
        found.append(contract.StagePair(a=first, b=second))
    # One that was named twice is compared once.
    return list({(pair.a, pair.b): pair for pair in found}.values())


def _listed(stages: Sequence[str]) -> str:
    return ", ".join(map(printable, stages))


class _View:
    """What is looked at, and which examples are in both."""

    def __init__(
        self, a: Side, b: Side, pairs: list[contract.StagePair], level: str, definition: Definition
    ) -> None:
        self.a, self.b, self.pairs = a, b, pairs
        self.level, self.definition = level, definition
        self.counterfactual = "none" not in (a.control, b.control)
        mine, theirs = a.members, b.members
        there = [key for key in mine if key in theirs]
        self.shared = [key for key in there if mine[key].half == theirs[key].half]
        self.crossed = [key for key in there if mine[key].half != theirs[key].half]
        self.cohorts = list(dict.fromkeys([*a.cohorts, *b.cohorts]))
        self._answers: dict[tuple[int, str], dict[Key, Answer]] = {}

    def answers(self, one: Side, stage: str) -> dict[Key, Answer]:
        """What came of each example of one of the two after one of its stages."""
        asked = (id(one), stage)
        if asked not in self._answers:
            self._answers[asked] = one.answers(stage, self.level, self.definition)
        return self._answers[asked]

    def memorized(self, answer: Answer) -> bool:
        """It came out, and not of the control where both have one."""
        return answer.out and not (self.counterfactual and answer.guessed)

    def both(self, pair: contract.StagePair) -> Iterator[tuple[Key, Answer, Answer]]:
        """The answers to the examples that are paired."""
        a, b = self.answers(self.a, pair.a), self.answers(self.b, pair.b)
        for key in self.shared:
            if key in a and key in b:
                yield key, a[key], b[key]


def _side(view: _View, one: Side, folder: Path, compared: Iterable[str]) -> contract.Side:
    stages = list(dict.fromkeys(compared))
    flips = [flip for stage in stages for flip in one.flips(stage, view.level, view.definition)]
    return contract.Side(
        place=str(folder),
        name=one.name,
        seed=one.seed,
        corpus=one.corpus,
        examples=len(one.members),
        stages=list(one.stages),
        missing=list(one.missing),
        unanswered=sum(map(one.unanswered, stages)),
        control=one.control,
        flips=proportion(flips) if flips else None,
    )


def _pairing(view: _View) -> Literal["strict", "partial", "none"]:
    if not view.shared:
        return "none"
    all_paired = len(view.shared) == len(view.a.members) == len(view.b.members)
    return "strict" if all_paired and view.a.seed == view.b.seed else "partial"


def _population(view: _View) -> Iterator[contract.PopulationRow]:
    mine, theirs = view.a.members, view.b.members
    for cohort in view.cohorts:
        shared = [key for key in view.shared if key[0] == cohort]
        crossed = sum(key[0] == cohort for key in view.crossed)
        pairs = [(mine[key], theirs[key]) for key in shared]
        yield contract.PopulationRow(
            cohort=cohort,
            both=len(shared),
            crossed=crossed,
            only_a=sum(key[0] == cohort for key in mine) - len(shared) - crossed,
            only_b=sum(key[0] == cohort for key in theirs) - len(shared) - crossed,
            otherwise_often=sum(x.repetition != y.repetition for x, y in pairs),
            recut=sum(x.cut != y.cut for x, y in pairs),
        )


def _rows(view: _View) -> Iterator[contract.Row]:
    for pair in view.pairs:
        for cohort in view.cohorts:
            a, b = (
                [view.memorized(said) for key, said in view.answers(one, stage).items() if key[0] == cohort]
                for one, stage in ((view.a, pair.a), (view.b, pair.b))
            )
            if not (a and b):
                continue
            pairs = [
                (view.memorized(x), view.memorized(y)) for key, x, y in view.both(pair) if key[0] == cohort
            ]
            rates = [Rate(count=sum(verdicts), total=len(verdicts)) for verdicts in (b, a)]
            yield contract.Row(
                stage=pair,
                cohort=cohort,
                exposure_a=view.a.exposure(pair.a, cohort),
                exposure_b=view.b.exposure(pair.b, cohort),
                a=proportion(a),
                b=proportion(b),
                paired=_paired(view, pair, pairs) if pairs else None,
                unpaired=None
                if len(pairs) == len(a) == len(b)
                else difference(independent_difference(*rates)),
            )


def _paired(view: _View, pair: contract.StagePair, pairs: Sequence[tuple[bool, bool]]) -> contract.Pairs:
    only_a, only_b = pairs.count((True, False)), pairs.count((False, True))
    checkpoint = view.a.checkpoint(pair.a)
    same = checkpoint is not None and checkpoint == view.b.checkpoint(pair.b) and not (only_a or only_b)
    untested = "same checkpoint" if same else "too few" if len(pairs) < LEAST else None
    return contract.Pairs(
        both=pairs.count((True, True)),
        only_a=only_a,
        only_b=only_b,
        neither=pairs.count((False, False)),
        difference=paired([(b, a) for a, b in pairs]),
        p_value=mcnemar(only_b, only_a) if untested is None else None,
        p_adjusted=None,
        untested=untested,
    )


def _adjusted(rows: list[contract.Row]) -> list[contract.Row]:
    """The rows with their p-values adjusted for how many of them were tested."""
    alone = {
        place: row.paired.p_value
        for place, row in enumerate(rows)
        if row.paired is not None and row.paired.p_value is not None
    }
    found = dict(zip(alone, holm(list(alone.values())), strict=True))
    return [
        row.model_copy(update={"paired": row.paired.model_copy(update={"p_adjusted": found.get(place)})})
        if row.paired
        else row
        for place, row in enumerate(rows)
    ]


def _changes(view: _View, *, gone: bool) -> list[contract.Change]:
    """What is memorized in B and not in A, or with `gone` the other way round; each once, worst first."""
    found: dict[Key, list[tuple[tuple, contract.StagePair, Answer, Answer]]] = {}
    for pair in view.pairs:
        for key, a, b in view.both(pair):
            if view.a.exposure(pair.a, key[0]) == view.b.exposure(pair.b, key[0]) == "none":
                continue
            with_it, without = (a, b) if gone else (b, a)
            if view.memorized(with_it) and not view.memorized(without):
                badness = (not with_it.secret, with_it.distance, -without.distance)
                found.setdefault(key, []).append((badness, pair, a, b))
    changes = []
    for key, times in found.items():
        badness, pair, a, b = min(times, key=lambda time: time[0])
        changes.append(
            ((*badness, str(key[0]), key[1:]), _change(view, key, [t[1] for t in times], pair, a, b))
        )
    return [change for _, change in sorted(changes, key=lambda one: one[0])]


def _change(
    view: _View, key: Key, stages: list[contract.StagePair], stage: contract.StagePair, a: Answer, b: Answer
) -> contract.Change:
    mine, theirs = view.a.members[key], view.b.members[key]
    return contract.Change(
        example=key[1],
        kind=mine.kind,
        cohort=key[0],
        source=mine.source,
        first_line=mine.first_line,
        last_line=mine.last_line,
        stages=stages,
        stage=stage,
        distance_a=round(a.distance, 6),
        at_least_a=a.at_least,
        distance_b=round(b.distance, 6),
        at_least_b=b.at_least,
        guessed_a=a.guessed,
        guessed_b=b.guessed,
        secret_a=a.secret,
        secret_b=b.secret,
        times_a=mine.repetition,
        times_b=theirs.repetition,
    )


def _settings(view: _View) -> list[contract.Setting]:
    """What was set otherwise; of a stage that only one of the two has, that it is there."""
    both = [dict(one.settings) for one in (view.a, view.b)]
    if view.a.kind == "run":
        mine, theirs = (tables.pop("stages") for tables in both)
        other = [pair for pair in view.pairs if pair.a != pair.b]
        met = ({pair.a for pair in other}, {pair.b for pair in other})
        for tables, own, others, of in ((both[0], mine, theirs, 0), (both[1], theirs, mine, 1)):
            alone = {
                n: {"method": t["method"]} for n, t in own.items() if n not in others and n not in met[of]
            }
            beside = {f"{p.a}/{p.b}": own[(p.a, p.b)[of]] for p in other}
            tables["stages"] = {n: t for n, t in own.items() if n in others} | alone | beside
    return _differing(flat(both[0]), flat(both[1]), lambda value: json.dumps(value, sort_keys=True))


def _differing(
    a: Mapping[str, Any], b: Mapping[str, Any], write: Callable[[Any], str]
) -> list[contract.Setting]:
    return [
        contract.Setting(
            key=key, **{n: write(of[key]) if key in of else None for n, of in (("a", a), ("b", b))}
        )
        for key in sorted({*a, *b})
        if (key in a, a.get(key)) != (key in b, b.get(key))
    ]
