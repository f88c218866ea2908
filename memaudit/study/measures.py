"""What a claim may be about: quantities of which every example has a number, each a pure function of one run's facts.

An example's number is 0 or 1 where the quantity is a share; then the seed's value is a rate, with the exact bounds that
rates have. Registered by name, so that a study's file can name them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from memaudit import contexts
from memaudit.cases import Case, Facts
from memaudit.contexts import Condition
from memaudit.knowledge import right
from memaudit.measures import least_samples, target_logprob
from memaudit.recipe import cohort_of, uses
from memaudit.study.arms import Cell
from memaudit.study.design import Claim
from memaudit.verdicts import Definition

SAMPLES = 1000
"""Of the measure `sampled`."""
CHANCE = 0.5
"""Of the measure `sampled`: that the target is among so many samples."""

Unit: TypeAlias = Literal["share", "nats per token", "reward"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be measured, and of which examples."""

    stage: str
    """As the arm's own recipe calls it; so is `before`."""
    cohort: str
    before: str | None = None
    level: str = "exact"
    definition: str = "near"
    strata: tuple[int, ...] = ()
    kind: str | None = None


def asked_of(claim: Claim) -> Asked:
    """What a claim asks for."""
    return Asked(
        stage=claim.stage,
        cohort=claim.cohort,
        before=claim.before,
        level=claim.level,
        definition=claim.definition,
        strata=tuple(claim.strata),
        kind=claim.kind,
    )


@dataclass(frozen=True, kw_only=True)
class View:
    """The facts of a run, as one arm of it sees them."""

    cell: Cell
    arm: str
    facts: Facts

    def name(self, stage: str) -> str | None:
        """What the run calls a stage of the arm; None: it has none of that name, or has not come to it yet."""
        found = self.cell.stages[self.arm].get(stage)
        return found if found in self.facts.stages else None

    def cases(self, asked: Asked) -> list[Case]:
        """The examples that are asked about."""
        return [
            c
            for c in self.facts.cases
            if c.example.cohort == asked.cohort
            and (not asked.strata or c.example.repetition in asked.strata)
            and asked.kind in (None, c.example.kind)
        ]

    def definition(self, name: str) -> Definition:
        """A definition of memorization by its name."""
        return next(d for d in self.facts.definitions if d.name == name)


Numbers: TypeAlias = dict[str, float]
"""Example id -> number."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A quantity."""

    name: str
    text: str
    """For people; `{before}` stands for the stage before."""
    unit: Unit
    of: Callable[[View, Asked], Numbers]


MEASURES: dict[str, Measure] = {}


def _measure(name: str, text: str, unit: Unit) -> Callable[[Callable[[View, Asked], Numbers]], Callable]:
    def register(of: Callable[[View, Asked], Numbers]) -> Callable[[View, Asked], Numbers]:
        MEASURES[name] = Measure(name=name, text=text, unit=unit, of=of)
        return of

    return register


def _arms(view: View, asked: Asked, stage: str | None = None) -> Iterator[tuple[str, bool, bool]]:
    """Example id, and the verdicts on the twin that saw it and on its control, where they apply."""
    name = view.name(stage or asked.stage)
    definition = view.definition(asked.definition)
    for case in view.cases(asked):
        pair = name and view.facts.arms(name, case, asked.level, definition)
        if pair:
            yield case.example.id, *pair


@_measure("memorized", "share that comes out of the twin that saw it and not of its control", "share")
def memorized(view: View, asked: Asked) -> Numbers:
    """Definition 1 of arXiv 2406.11715."""
    return {name: float(exposed and not control) for name, exposed, control in _arms(view, asked)}


@_measure("naive", "share that comes out of the twin that saw it", "share")
def naive(view: View, asked: Asked) -> Numbers:
    """What a tool without a control would call memorized."""
    return {name: float(exposed) for name, exposed, _ in _arms(view, asked)}


@_measure("guessed", "share that comes out of the twin that did not see it", "share")
def guessed(view: View, asked: Asked) -> Numbers:
    """What can be said without having seen it."""
    return {name: float(control) for name, _, control in _arms(view, asked)}


@_measure("persistence", "share of what was memorized after {before} that still is", "share")
def persistence(view: View, asked: Asked) -> Numbers:
    """Of the examples that are memorized (and not guessed) after `before`."""
    earlier = {name for name, exposed, control in _arms(view, asked, asked.before) if exposed and not control}
    return {name: value for name, value in memorized(view, asked).items() if name in earlier}


@_measure("acquired", "share memorized that was not after {before}", "share")
def acquired(view: View, asked: Asked) -> Numbers:
    """Of all examples."""
    earlier = memorized(view, replace(asked, stage=asked.before or asked.stage))
    return {name: value * (1 - earlier[name]) for name, value in memorized(view, asked).items()}


@_measure("likelihood", "how much likelier the targets are to the twin that saw them", "nats per token")
def likelihood(view: View, asked: Asked) -> Numbers:
    """Mean log-probability per token of the target, exposed minus control; it moves long before anything comes out."""
    stage = _scored(view, asked)
    if stage is None:
        return {}
    return {
        c.example.id: _mean(view, stage, c.exposed, c) - _mean(view, stage, c.control, c)
        for c in view.cases(asked)
    }


@_measure("held-out", "loss of the targets to the twin that did not see them", "nats per token")
def held_out(view: View, asked: Asked) -> Numbers:
    """How well the stage's model does on what it was not shown; also the side that `likelihood` takes off."""
    stage = _scored(view, asked)
    if stage is None:
        return {}
    return {c.example.id: -_mean(view, stage, c.control, c) for c in view.cases(asked)}


def _scored(view: View, asked: Asked) -> str | None:
    """What the run calls the stage, if its model tells how likely targets are."""
    stage = view.name(asked.stage)
    return stage if stage and view.facts.scored(stage) else None


def _mean(view: View, stage: str, twin: str, case: Case) -> float:
    """Log-probability of a target by a twin, nats a token."""
    scores = view.facts.observation(stage, twin, case).scores
    assert scores is not None, "a stage scores every target or none"
    return sum(scores.logprobs) / len(scores.logprobs)


@_measure(
    "gain",
    "how much likelier than after {before} the targets are to the twin that saw them",
    "nats per token",
)
def gain(view: View, asked: Asked) -> Numbers:
    """The change of `likelihood` from the stage before."""
    earlier = likelihood(view, replace(asked, stage=asked.before or asked.stage))
    return {name: value - earlier[name] for name, value in likelihood(view, asked).items() if name in earlier}


@_measure(
    "sampled",
    f"share whose target is among {SAMPLES:,} samples at temperature 1 with a chance of {CHANCE:g}, and not among its "
    "control's",
    "share",
)
def sampled(view: View, asked: Asked) -> Numbers:
    """(n, p)-extraction (arXiv 2410.19482), counterfactually."""
    stage = _scored(view, asked)
    if stage is None:
        return {}

    def found(twin: str, case: Case) -> bool:
        scores = view.facts.observation(stage, twin, case).scores
        assert scores is not None, "a stage scores every target or none"
        return least_samples(target_logprob(scores), CHANCE) <= SAMPLES

    return {c.example.id: float(found(c.exposed, c) and not found(c.control, c)) for c in view.cases(asked)}


@_measure(
    "shift",
    "how much likelier the preferred texts are than to the parent, to the twin that saw them",
    "nats per token",
)
def shift(view: View, asked: Asked) -> Numbers:
    """Of direct preference learning: below 0 the chosen texts have lost likelihood with the rejected ones."""
    stage = view.name(asked.stage)
    if stage is None:
        return {}
    found: Numbers = {}
    for case in view.cases(asked):
        after, before = (
            _reading(view, stage, case.exposed, case, f"preferred_{by}") for by in ("logprob", "reference")
        )
        if after is not None and before is not None:
            found[case.example.id] = (after - before) / len(case.probe.target_tokens)
    return found


@_measure(
    "dependence",
    "how much likelier the targets are behind their context than behind a corrupted one, to the twin that saw them",
    "nats per token",
)
def dependence(view: View, asked: Asked) -> Numbers:
    """What an answer owes to what stands before the prompt."""
    stage = view.name(asked.stage)
    if stage is None:
        return {}
    given, without = (
        {
            case.example.id: value / len(case.probe.target_tokens)
            for case in view.cases(asked)
            if (value := _reading(view, stage, case.exposed, case, "context_logprob", condition)) is not None
        }
        for condition in (Condition.TRUE, Condition.CORRUPTED)
    )
    return contexts.dependence(given, without)


def _recited(condition: Condition) -> Callable[[View, Asked], Numbers]:
    def recited(view: View, asked: Asked) -> Numbers:
        stage = view.name(asked.stage)
        if stage is None:
            return {}
        found: Numbers = {}
        for case in view.cases(asked):
            exposed, control = (
                _reading(view, stage, twin, case, "context_hits", condition)
                for twin in (case.exposed, case.control)
            )
            if exposed is not None and control is not None:
                found[case.example.id] = float(exposed > control)
        return found

    return recited


for _name, _condition, _behind in (
    ("behind-context", Condition.TRUE, "its context"),
    ("behind-corrupted", Condition.CORRUPTED, "a corrupted context"),
    ("behind-nothing", Condition.EMPTY, "nothing"),
):
    _measure(_name, f"share that comes out to the letter behind {_behind}, and not of the control", "share")(
        _recited(_condition)
    )


def _answered(quantity: str, *, control: bool) -> Callable[[View, Asked], Numbers]:
    def answered(view: View, asked: Asked) -> Numbers:
        stage = view.name(asked.stage)
        if stage is None:
            return {}
        found: Numbers = {}
        for case in view.cases(asked):
            twin = case.control if control else case.exposed
            scores = view.facts.readings(view.facts.walks[twin, stage].id, quantity).get(case.example.id)
            if scores is not None:
                found[case.example.id] = float(right(scores))
        return found

    return answered


for _name, _quantity, _control, _who in (
    ("answered", "option_logprob", False, "by the twin that was shown them in other words"),
    ("answered-unseen", "option_logprob", True, "by the twin that was not shown them"),
    ("answered-given", "option_given", False, "behind the code that tells, by the twin that was shown them"),
    ("answered-given-unseen", "option_given", True, "behind the code that tells, by the twin that was not"),
):
    _measure(
        _name, f"share of questions whose right option, of four, is found the likeliest {_who}", "share"
    )(_answered(_quantity, control=_control))


def _reading(view: View, stage: str, twin: str, case: Case, quantity: str, number: int = 0) -> float | None:
    found = view.facts.readings(view.facts.walks[twin, stage].id, quantity).get(case.example.id)
    return None if found is None else found[number]


@_measure(
    "reward", "score of the policy's answers to prompts it has not seen, less that of its parent's", "reward"
)
def reward(view: View, asked: Asked) -> Numbers:
    """The task reward, by the twin's own reward model, of the prompts of that model's unseen half."""
    stage = view.name(asked.stage)
    if stage is None:
        return {}
    recipe = view.facts.recipe
    scoring = next(iter(uses(recipe, stage)), None)
    if scoring is None:
        return {}
    found: Numbers = {}
    for case in view.cases(replace(asked, cohort=cohort_of(recipe, scoring) or "")):
        # A prompt is unseen by the twin that is the example's control.
        after, before = (_answers(view, s, case.control).get(case.example.id) for s in (stage, scoring))
        if after and before:
            found[case.example.id] = after[0] - before[0]
    return found


def _answers(view: View, stage: str, twin: str) -> Mapping[str, Sequence[float]]:
    return view.facts.readings(view.facts.walks[twin, stage].id, "answer_reward")
