"""A run, or an audit of a model, as it is compared with another: its examples, and what came of each after a stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

from memaudit.audit import CONTROL, MODEL
from memaudit.cases import Case, Facts
from memaudit.cohorts import TWINS
from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import Recipe, cohort_names, ordered, parse
from memaudit.records import Example, Observation, Probe
from memaudit.sources import printable
from memaudit.verdicts import Definition, furthest
from reports.comparison import Control
from reports.findings import Exposure

_AT_ONCE = 500  # examples whose texts are in memory together

Key: TypeAlias = tuple[str | None, str, str]
"""Cohort, id, and hash of the text: ids of given examples are their authors', and two texts may share one."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An example that is asked for, without its text."""

    key: Key
    kind: str
    source: str
    first_line: int
    last_line: int
    half: str | None
    repetition: int | None
    cut: tuple[int, int]
    """Characters of the prefix and of the target."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an example after a stage, at a level and by a definition."""

    out: bool
    """Of the twin that was to see it, or of the audited model."""
    guessed: bool
    """Of the control; False where there is none."""
    distance: float
    """Normalised, of the first of the two."""
    at_least: bool
    """It is a lower bound."""
    secret: bool | None
    """Its secret came out whole of the first of the two; None: it has none."""


class RunSide:
    """A run with its twins."""

    kind: Literal["run", "audit"] = "run"
    control: Control = "twin"
    corpus: str | None
    seed: int | None

    def __init__(self, ledger: Ledger, recipe: Recipe) -> None:
        self.ledger, self.recipe = ledger, recipe
        self.name, self.seed, self.corpus = recipe.name, recipe.seed, ledger.setting("corpus")
        self.threshold, self.levels = recipe.audit.threshold, list(recipe.audit.levels)
        self.facts = Facts(ledger, recipe)
        self.stages = self.facts.stages
        self.missing = [stage for stage in ordered(recipe) if stage not in self.stages]
        self.cohorts: list[str | None] = list(cohort_names(recipe))
        self._keys = {case.probe.id: _key(case.example) for case in self.facts.cases}

    @cached_property
    def members(self) -> dict[Key, Member]:
        """All examples that are asked for, by key."""
        return {self._keys[case.probe.id]: _member(case.example, case.probe) for case in self.facts.cases}

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe but for its name, as nested tables."""
        return self.recipe.model_dump(mode="json", by_alias=True, exclude={"name"})

    def checkpoint(self, stage: str) -> tuple[str, ...] | None:
        """What tells the checkpoints of a stage from all others; None: nothing does."""
        return tuple(self.facts.walks[twin, stage].id for twin in TWINS)

    def exposure(self, stage: str, cohort: str | None) -> Exposure | None:
        """How the cohort has reached the stage's model by then."""
        return self.facts.exposure[stage, cohort or ""]

    def answers(self, stage: str, level: str, definition: Definition) -> dict[Key, Answer]:
        """What came of each example after a stage; of those that the definition has something to say of."""
        found = {}
        for case in self.facts.cases:
            arms = self.facts.arms(stage, case, level, definition)
            if arms is not None:
                found[self._keys[case.probe.id]] = self._answer(stage, case, level, arms)
        return found

    def _answer(self, stage: str, case: Case, level: str, arms: tuple[bool, bool]) -> Answer:
        match = self.facts.observation(stage, case.exposed, case).matches[level]
        return Answer(
            out=arms[0],
            guessed=arms[1],
            distance=match.normalized,
            at_least=match.at_least,
            secret=self.facts.secret_out(stage, case.exposed, case),
        )

    def flips(self, stage: str, level: str, definition: Definition) -> list[bool]:
        """Of what was asked twice: whether the two verdicts differ."""
        return self.facts.flips(stage, self.facts.cases, level, definition)

    def unanswered(self, stage: str) -> int:
        """A run writes a stage whole, or not at all."""
        return 0


class AuditSide:
    """An audit of a finished model, or of somebody else's training: its stages as they are in the end."""

    kind: Literal["run", "audit"] = "audit"
    cohorts: tuple[str | None, ...] = (None,)
    corpus: str | None = None
    seed: int | None = None
    missing: tuple[str, ...] = ()

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._terms, self._models = ledger.setting("terms"), ledger.setting("models")
        self.name: str = self._models[MODEL]["name"]
        self.threshold: float = self._terms["threshold"]
        self.levels: list[str] = list(self._terms["levels"])
        made = {role: self._made(role) for role in (MODEL, CONTROL)}
        # As in the tally: what a training began with is a control where there is no other, if a weak one.
        weak = not made[CONTROL] and len(made[MODEL]) > 1
        self._control = made[MODEL][0][1] if weak else next((number for _, number in made[CONTROL]), None)
        self._last = {stage: number for stage, number in made[MODEL] if number != self._control}
        self.control: Control = "beginning" if weak else "none" if self._control is None else "model"
        self.stages = list(self._last)

    def _made(self, role: str) -> list[tuple[str, int]]:
        """Stage and number of each checkpoint, in their order."""
        return [
            (name, number)
            for (twin, name), record in self.ledger.walks().items()
            if twin == role
            for _, number, _ in self.ledger.answers.steps(record.id)
        ]

    @cached_property
    def _by_probe(self) -> dict[int, Member]:
        ids = list(self.ledger.names())
        found = {}
        for start in range(0, len(ids), _AT_ONCE):
            probes = self.ledger.probes(ids[start : start + _AT_ONCE])
            examples = self.ledger.examples_of(probes)
            found |= {p.id: _member(examples[p.example_id], p) for p in probes}
        return found

    @cached_property
    def members(self) -> dict[Key, Member]:
        """All probes, by key."""
        return {member.key: member for member in self._by_probe.values()}

    @property
    def settings(self) -> dict[str, Any]:
        """The terms of the audit and who was asked, as nested tables."""
        who = {
            role: {key: about[key] for key in ("kind", "name", "identity", "deterministic")}
            for role, about in self._models.items()
        }
        return {"probes": self.ledger.setting("probes"), "terms": self._terms, **who}

    def checkpoint(self, stage: str) -> tuple[str, ...] | None:
        """A model may be asked again, and by another server say something else."""
        return None

    def exposure(self, stage: str, cohort: str | None) -> Exposure | None:
        """What a model has been shown is not known of it."""
        return None

    def answers(self, stage: str, level: str, definition: Definition) -> dict[Key, Answer]:
        """What came of each probe after a stage; of those that the control, if there is one, answered as well."""
        guessed = dict(self._verdicts(self._control, level, definition))
        found = {}
        for o in self.ledger.answers.of(self._last[stage]):
            out = _verdict(o, level, definition)
            if out is None or (self._control is not None and o.probe_id not in guessed):
                continue
            match, best = o.matches[level], furthest(o.recovered)
            found[self._by_probe[o.probe_id].key] = Answer(
                out=out,
                guessed=guessed.get(o.probe_id, False),
                distance=match.normalized,
                at_least=match.at_least,
                secret=None if best is None else best.whole,
            )
        return found

    def _verdicts(
        self, number: int | None, level: str, definition: Definition, asking: int = 0
    ) -> Iterator[tuple[int, bool]]:
        if number is not None:
            for o in self.ledger.answers.of(number, asking=asking):
                verdict = _verdict(o, level, definition)
                if verdict is not None:
                    yield o.probe_id, verdict

    def flips(self, stage: str, level: str, definition: Definition) -> list[bool]:
        """Of what the model and its control were asked twice: whether the two verdicts differ."""
        found = []
        for number in (self._last[stage], self._control):
            again = dict(self._verdicts(number, level, definition, asking=1))
            if again:
                first = dict(self._verdicts(number, level, definition))
                found += [verdict != first[probe] for probe, verdict in again.items() if probe in first]
        return found

    def unanswered(self, stage: str) -> int:
        """Probes that the model or its control has not answered."""
        numbers = [n for n in (self._last[stage], self._control) if n is not None]
        answered = set.intersection(*(self.ledger.answers.asked(number) for number in numbers))
        return len(self.members) - len(answered)


Side: TypeAlias = RunSide | AuditSide
"""One of the two that are compared."""


def side(ledger: Ledger, folder: Path) -> Side:
    """What of a ledger is compared. Raises BadInput where nothing is done yet."""
    found: Side | None = None
    if ledger.has("recipe"):
        found = RunSide(ledger, parse(ledger.setting("recipe"), where=str(folder / LEDGER)))
    elif ledger.has("terms"):
        found = AuditSide(ledger)
    if found is None or not found.stages:
        raise BadInput(
            f"{printable(str(folder))}: expected a run or an audit with a stage that is done, got one without: "
            "give the command that began it again, and it goes on"
        )
    return found


def _key(example: Example) -> Key:
    return example.cohort, example.id, sha256(example.text.encode("utf-8", "surrogatepass")).hexdigest()


def _member(example: Example, probe: Probe) -> Member:
    return Member(
        key=_key(example),
        kind=example.kind,
        source=example.source,
        first_line=example.first_line,
        last_line=example.last_line,
        half=example.half,
        repetition=example.repetition,
        cut=(len(probe.prefix), len(probe.target)),
    )


def _verdict(observation: Observation, level: str, definition: Definition) -> bool | None:
    return definition.decide(observation.matches[level], furthest(observation.recovered))
