"""The rules that a policy may have: what each counts, and how that is set against its bound."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from memaudit.bounds import least_for_lower, least_for_upper, least_pairs, lower, named, upper
from memaudit.compared import Answer, Key
from memaudit.places import Gap, Place, View
from memaudit.policy import (
    KINDS,
    Acquired,
    Capped,
    Control,
    Detected,
    Exposed,
    Memorized,
    Noise,
    Persistence,
    Regression,
    Rule,
    Secrets,
    Tested,
)
from memaudit.rates import proportion
from memaudit.sources import printable
from memaudit.statistics import holm, mcnemar
from reports.gate import Bound, Measurement
from reports.phrases import confident

Found: TypeAlias = Iterator[Measurement | Gap]

_CONTROLS = {
    "twin": "the twin that was not to see it",
    "model": "a model that has not seen the texts",
    "beginning": "what the training began with, which is weak",
    "none": "there is none",
}


@dataclass(frozen=True, kw_only=True)
class Judge:
    """A kind of rule: what it counts, what it allows, and how it is judged."""

    settings: type[Rule]
    """Its keys in a policy."""
    quantity: str
    """What it counts, for people."""
    bound: Callable[[View, Any], Bound]
    controlled: bool
    """It is about what is memorized, and says nothing where there is no control."""
    judge: Callable[[View, Any], Found]


RULES: dict[str, Judge] = {}
"""By the rule's name in a policy."""


def _rule(
    settings: type[Rule], quantity: str, bound: Callable[[View, Any], Bound], *, controlled: bool = False
) -> Callable:
    """Register how a rule is judged, with the keys that it has in a policy."""

    def register(judge: Callable[[View, Any], Found]) -> Callable[[View, Any], Found]:
        name = next(name for name, kind in KINDS.items() if kind is settings)
        RULES[name] = Judge(
            settings=settings, quantity=quantity, bound=bound, controlled=controlled, judge=judge
        )
        return judge

    return register


def _cap(view: View, rule: Capped | Noise) -> Bound:
    return Bound(kind="upper", limit=rule.at_most, judged=named(rule.interval, view.policy.confidence))


def _count(view: View, rule: Secrets | Acquired) -> Bound:
    return Bound(kind="count", limit=rule.at_most, judged="a count")


@_rule(Memorized, "comes out of the model that saw it and not of its control", _cap, controlled=True)
def memorized(view: View, rule: Memorized) -> Found:
    """Definition 1 of arXiv 2406.11715."""
    places, gaps = view.places(rule)
    yield from gaps
    for place in places:
        yield from _rate(view, rule, place, [_memorized(a) for a in view.chosen(rule, place).values()])


@_rule(Exposed, "comes out of the model that saw it, guessed or not", _cap)
def exposed(view: View, rule: Exposed) -> Found:
    """What a tool without a control would call memorized."""
    places, gaps = view.places(rule)
    yield from gaps
    for place in places:
        yield from _rate(view, rule, place, [a.out for a in view.chosen(rule, place).values()])


@_rule(Persistence, "of what was memorized after the stage before, still is", _cap, controlled=True)
def persistence(view: View, rule: Persistence) -> Found:
    """Of the examples that were memorized (and not guessed) then."""
    known, gaps = view.after([rule.before])
    if not known:
        yield from gaps
        return
    later = rule.stages or view.later(rule.before)
    if not later:
        yield Gap(f"no stage comes after {printable(rule.before)}")
        return
    places, gaps = view.places(rule, later)
    yield from gaps
    empty = []
    for place in places:
        now = view.chosen(rule, place)
        earlier = view.chosen(rule, place, stage=rule.before)
        held = [_memorized(now[key]) for key, a in earlier.items() if _memorized(a) and key in now]
        if held:
            yield from _rate(view, rule, place, held, before=rule.before)
        else:
            empty.append(Gap(f"{_at(place)}: nothing was memorized after {printable(rule.before)}"))
    # A cohort that came in later has nothing that could stay; unless it was asked about by name.
    yield from empty if rule.cohorts or len(empty) == len(places) else []


@_rule(
    Detected,
    "comes out of the model that saw it and not of its control",
    lambda view, rule: Bound(
        kind="lower", limit=rule.at_least, judged=named("exact", view.policy.confidence)
    ),
    controlled=True,
)
def detected(view: View, rule: Detected) -> Found:
    """A positive control: the lower end of the interval."""
    places, gaps = view.places(rule)
    yield from gaps
    confidence = view.policy.confidence
    needs = least_for_lower(rule.at_least, confidence)
    for place in places:
        verdicts = [_memorized(a) for a in view.chosen(rule, place).values()]
        if not verdicts:
            yield _empty(place)
            continue
        count, total = sum(verdicts), len(verdicts)
        edge = lower(count, total, confidence)
        few = total < needs
        yield measurement(
            place,
            verdicts,
            edge=edge,
            holds=edge >= rule.at_least,
            least=lower(total, total, confidence) if few else None,
            needs=needs if few else None,
        )


@_rule(Acquired, "is memorized and was not after the stage before", _count, controlled=True)
def acquired(view: View, rule: Acquired) -> Found:
    """Counted in each cohort and stage."""
    places, gaps = view.places(rule)
    yield from gaps
    if rule.before is not None:
        known, gaps = view.after([rule.before])
        if not known:
            yield from gaps
            return
        places = [place for place in places if place[0] != rule.before]
    for place in places:
        before = rule.before or view.before(place[0])
        if before is None:
            yield Gap(f"{printable(place[0])} has no stage before it")
            continue
        earlier, now = view.chosen(rule, place, stage=before), view.chosen(rule, place)
        new = [_memorized(a) and not _memorized(earlier[key]) for key, a in now.items() if key in earlier]
        if new:
            yield measurement(place, new, before=before, holds=sum(new) <= rule.at_most)
        else:
            yield _empty(place)


def _risen(view: View, rule: Regression) -> Bound:
    if rule.alpha is None:
        return Bound(kind="count", limit=rule.at_most, judged="a count")
    return Bound(kind="test", limit=rule.alpha, judged="exact McNemar test, adjusted for places (Holm)")


@_rule(Regression, "became memorized since the baseline, of the examples that are in both", _risen)
def regression(view: View, rule: Regression) -> Found:
    """Each example is its own partner."""
    base = view.baseline
    if base is None:
        yield Gap("there is no baseline to compare with: give --baseline RUN")
        return
    if view.policy.threshold is None and base.threshold != view.side.threshold:
        yield Gap(
            f"near copies lie within {view.side.threshold:g} here and within {base.threshold:g} in the baseline: set "
            "`threshold` in the policy"
        )
        return
    if rule.level not in base.levels:
        yield Gap(f"the baseline was not compared at level {rule.level}")
        return
    places, gaps = view.places(rule)
    yield from gaps
    pairs: dict[Place, list[tuple[bool, bool]]] = {}
    for place in places:
        if place[0] not in base.stages:
            yield Gap(f"the baseline has no stage {printable(place[0])} that is done")
        elif both := list(_pairs(view, rule, place)):
            pairs[place] = both
        else:
            yield Gap(f"{_at(place)}: no example is in the baseline as well")
    note = (
        None
        if _counterfactual(view)
        else "One of the two has no control: what came out may have been guessed"
    )
    yield from _tested(rule, pairs, note) if rule.alpha is not None else _became(rule, pairs, note)


def _became(rule: Regression, pairs: dict[Place, list[tuple[bool, bool]]], note: str | None) -> Found:
    for place, both in pairs.items():
        new = [now and not then for then, now in both]
        yield measurement(place, new, holds=sum(new) <= (rule.at_most or 0), note=note)


def _tested(rule: Regression, pairs: dict[Place, list[tuple[bool, bool]]], note: str | None) -> Found:
    alpha = rule.alpha or 0.0
    gone = {place: both.count((True, False)) for place, both in pairs.items()}
    new = {place: both.count((False, True)) for place, both in pairs.items()}
    adjusted = holm([mcnemar(new[place], gone[place]) for place in pairs])
    needs = least_pairs(alpha, len(pairs))
    for (place, both), p_value in zip(pairs.items(), adjusted, strict=True):
        few = len(both) < needs
        yield measurement(
            place,
            [now and not then for then, now in both],
            gone=gone[place],
            p_value=p_value,
            needs=needs if few else None,
            note=note,
            # Too few pairs to show a rise are none that show there is none.
            holds=not few and not (p_value < alpha and new[place] > gone[place]),
        )


@_rule(
    Secrets, "says its secret whole after any of the stages, whether its control does as well or not", _count
)
def secrets(view: View, rule: Secrets) -> Found:
    """Each example counts once."""
    places, gaps = view.places(rule)
    yield from gaps
    out: dict[Key, bool] = {}
    guessed: set[Key] = set()
    asked: set[str | None] = set()
    for place in places:
        for key, answer in view.chosen(rule, place, definition="secret").items():
            out[key] = out.get(key, False) or answer.out
            guessed |= {key} if answer.out and answer.guessed else set()
            asked.add(place[1])
    for cohort in rule.cohorts:
        if any(place[1] == cohort for place in places) and cohort not in asked:
            yield Gap(f"no example of cohort {cohort} that is looked at has a secret")
    if not out:
        yield Gap("no example that is looked at has a secret")
        return
    verdicts = list(out.values())
    edge = upper(sum(verdicts), len(verdicts), "exact", view.policy.confidence)
    whole = (
        f"The share that would is at most {100 * edge:.1f} % ({confident(view.policy.confidence)}, one-sided)"
    )
    beside = f"; of {len(guessed)} the control says it as well" if guessed else ""
    yield measurement((None, None), verdicts, holds=sum(verdicts) <= rule.at_most, note=f"{whole}{beside}")


@_rule(
    Tested,
    "was asked and answered",
    lambda view, rule: Bound(kind="least", limit=rule.at_least, judged="a count"),
)
def tested(view: View, rule: Tested) -> Found:
    """Of each cohort after each stage."""
    places, gaps = view.places(rule)
    yield from gaps
    for place in places:
        total = len(view.chosen(rule, place))
        yield measurement(place, [True] * total, holds=total >= rule.at_least)


@_rule(Noise, "has another verdict when it is asked once more", _cap)
def noise(view: View, rule: Noise) -> Found:
    """Of all cohorts, the model's and its control's verdicts together."""
    stages, gaps = view.after(rule.stages)
    yield from gaps
    for stage in stages:
        flips = view.flips(rule, stage)
        if flips:
            yield from _rate(view, rule, (stage, None), flips)
        else:
            yield Gap(f"nothing was asked twice after {printable(stage)}")


def _kind_of_control(view: View, rule: Control) -> Bound:
    return Bound(
        kind="control", limit=None, judged="any control" if rule.weak else "a control that is not weak"
    )


@_rule(Control, "what an example's verdict is set against", _kind_of_control)
def control(view: View, rule: Control) -> Found:
    """A twin, another model, or the beginning of the training."""
    allowed = ("twin", "model", "beginning") if rule.weak else ("twin", "model")
    yield measurement((None, None), [], holds=view.side.control in allowed, note=_CONTROLS[view.side.control])


def measurement(
    place: tuple[str | None, str | None], verdicts: Sequence[bool], *, holds: bool, **more: Any
) -> Measurement:
    """What was found in a place, with the interval that other pages show."""
    told: dict[str, Any] = dict.fromkeys(("before", "edge", "gone", "p_value", "least", "needs", "note"))
    stage, cohort = place
    return Measurement(
        stage=stage, cohort=cohort, found=proportion(verdicts), holds=holds, **{**told, **more}
    )


def _rate(
    view: View, rule: Capped | Noise, place: Place, verdicts: Sequence[bool], before: str | None = None
) -> Found:
    """A rate against its cap, judged by the upper end of its interval."""
    if not verdicts:
        yield _empty(place)
        return
    count, total = sum(verdicts), len(verdicts)
    method, confidence = rule.interval, view.policy.confidence
    edge = upper(count, total, method, confidence)
    needs = least_for_upper(rule.at_most, method, confidence)
    few = total < needs
    yield measurement(
        place,
        verdicts,
        before=before,
        edge=edge,
        holds=edge <= rule.at_most,
        least=upper(0, total, method, confidence) if few else None,
        needs=needs if few else None,
    )


def _memorized(answer: Answer) -> bool:
    return answer.out and not answer.guessed


def _pairs(view: View, rule: Regression, place: Place) -> Iterator[tuple[bool, bool]]:
    """Of the examples that are in both, with the same text and in the same half: memorized there, and here."""
    base = view.baseline
    assert base is not None, "whoever asks has looked"
    then = view.answers(base, place[0], rule.level, rule.definition)
    mine, theirs = view.side.members, base.members
    for key, answer in view.chosen(rule, place).items():
        if key in then and mine[key].half == theirs[key].half:
            pair = then[key], answer
            if _counterfactual(view):
                yield _memorized(pair[0]), _memorized(pair[1])
            else:
                yield pair[0].out, pair[1].out


def _counterfactual(view: View) -> bool:
    """Both have a control."""
    return view.baseline is not None and "none" not in (view.side.control, view.baseline.control)


def _empty(place: Place) -> Gap:
    return Gap(f"{_at(place)}: no example to look at")


def _at(place: Place) -> str:
    stage, cohort = place
    return f"{f'cohort {cohort} ' if cohort is not None else ''}after {printable(stage)}"
