"""The ledger's facts, arranged for reading: by stage, by twin, and by case."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from memaudit.cohorts import TWINS
from memaudit.ledger import Ledger
from memaudit.recipe import Recipe, cohort_names, cohort_of, ordered, uses
from memaudit.records import Example, Observation, Probe
from memaudit.verdicts import Definition, definitions, furthest
from reports.findings import Exposure


@dataclass(frozen=True, kw_only=True)
class Case:
    """One example with its probe."""

    example: Example
    probe: Probe

    @property
    def exposed(self) -> str:
        """The twin that is to see it."""
        return self.example.half or ""

    @property
    def control(self) -> str:
        """The twin that is not."""
        return next(twin for twin in TWINS if twin != self.example.half)


class Facts:
    """The ledger's facts, arranged by stage, twin and case."""

    def __init__(self, ledger: Ledger, recipe: Recipe) -> None:
        self.ledger, self.recipe = ledger, recipe
        self.definitions = definitions(recipe.audit.threshold)
        examples = {e.id: e for e in ledger.examples()}
        self.cases = [Case(example=examples[p.example_id], probe=p) for p in ledger.probes()]
        self.walks = ledger.walks()
        self.stages = [s for s in ordered(recipe) if all((twin, s) in self.walks for twin in TWINS)]
        self._observed: dict[str, dict[int, Observation]] = {
            record.id: ledger.answers.of_stage(record.id) for record in self.walks.values()
        }
        # A page asks for the same verdict under many headings.
        self._verdicts: dict[tuple[str, int, str, str], bool | None] = {}
        self._passing: dict[str, dict[int, dict[int, bool]]] = {}
        self._read: dict[tuple[str, str], dict[str, list[float]]] = {}
        self._again = {
            record.id: ledger.answers.of_stage(record.id, asking=1) for record in self.walks.values()
        }

    def flips(self, stage: str, cases: Sequence[Case], level: str, definition: Definition) -> list[bool]:
        """Of what both twins were asked twice: whether the two verdicts differ. A stage of both counts once."""
        found = []
        for stage_id in dict.fromkeys(self.walks[twin, stage].id for twin in TWINS):
            for case in cases:
                again = self._again[stage_id].get(case.probe.id)
                if again is not None:
                    first = self._observed[stage_id][case.probe.id]
                    verdicts = [self._decide(o, level, definition) for o in (first, again)]
                    found += [verdicts[0] != verdicts[1]] if verdicts[0] is not None else []
        return found

    def readings(self, stage_id: str, quantity: str) -> dict[str, list[float]]:
        """Example id -> a quantity's numbers, of what a stage made."""
        if (stage_id, quantity) not in self._read:
            self._read[stage_id, quantity] = self.ledger.answers.readings(stage_id, quantity)
        return self._read[stage_id, quantity]

    def passing(self, stage_id: str) -> dict[int, dict[int, bool]]:
        """Step -> probe -> default verdict at level `exact`, of a stage that was asked in passing; else empty."""
        if stage_id not in self._passing:
            steps, near = self.ledger.answers.steps(stage_id), self.definitions[0]
            self._passing[stage_id] = {
                step: {
                    probe: bool(near.decide(m, None))
                    for probe, m in self.ledger.answers.matches(number, "exact")
                }
                for step, number, _ in steps
                if len(steps) > 1
            }
        return self._passing[stage_id]

    def everything(self) -> Iterator[Observation]:
        """All that the checkpoints that stages made have said, each once."""
        for said in self._observed.values():
            yield from said.values()

    def observation(self, stage: str, twin: str, case: Case) -> Observation:
        """What a twin's checkpoint of a stage said to the case's probe."""
        return self._observed[self.walks[twin, stage].id][case.probe.id]

    def scored(self, stage: str) -> bool:
        """Whether the model of a stage tells how likely targets are."""
        return self.observation(stage, TWINS[0], self.cases[0]).scores is not None

    def verdict(self, stage: str, twin: str, case: Case, level: str, definition: Definition) -> bool | None:
        """A definition's verdict on a twin after a stage; None: not applicable."""
        asked = (self.walks[twin, stage].id, case.probe.id, level, definition.name)
        if asked not in self._verdicts:
            self._verdicts[asked] = self._decide(self.observation(stage, twin, case), level, definition)
        return self._verdicts[asked]

    @staticmethod
    def _decide(observation: Observation, level: str, definition: Definition) -> bool | None:
        return definition.decide(observation.matches[level], furthest(observation.recovered))

    def arms(self, stage: str, case: Case, level: str, definition: Definition) -> tuple[bool, bool] | None:
        """Verdicts on the twin that was to see the example and on its control; None: not applicable."""
        exposed = self.verdict(stage, case.exposed, case, level, definition)
        control = self.verdict(stage, case.control, case, level, definition)
        return None if exposed is None or control is None else (exposed, control)

    def secret_out(self, stage: str, twin: str, case: Case) -> bool | None:
        """Whether the case's secret came out whole; None: it has none."""
        secret = next(d for d in self.definitions if d.name == "secret")
        return self.verdict(stage, twin, case, "exact", secret)

    @cached_property
    def exposure(self) -> dict[tuple[str, str], Exposure]:
        """(stage, cohort) -> how the cohort has reached the stage's model by then."""
        table: dict[tuple[str, str], Exposure] = {}
        for cohort in cohort_names(self.recipe):
            for stage in self.stages:
                line = lineage(self.recipe, stage)
                steered = {s for member in line for s in uses(self.recipe, member)}
                if any(cohort_of(self.recipe, s) == cohort for s in line):
                    table[stage, cohort] = "direct"
                elif any(cohort_of(self.recipe, s) == cohort for s in steered):
                    table[stage, cohort] = "indirect"
                else:
                    table[stage, cohort] = "none"
        return table

    def groups(self) -> Iterator[tuple[str, int | None, list[Case]]]:
        """Cohort, stratum (None: all strata) and the cases in it."""
        for cohort in cohort_names(self.recipe):
            members = [c for c in self.cases if c.example.cohort == cohort]
            for repetition in sorted({c.example.repetition or 0 for c in members}):
                yield cohort, repetition, [c for c in members if c.example.repetition == repetition]
            yield cohort, None, members


def lineage(recipe: Recipe, stage: str) -> list[str]:
    """The stage and all it descends from."""
    line = [stage]
    while (parent := recipe.stages[line[-1]].parent) is not None:
        line.append(parent)
    return line
