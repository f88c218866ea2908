"""The observations of a ledger, arranged for measuring: of each group of examples those with exposure, and without.

A group of a run is a cohort after a stage: its exposed arm is each example under the twin that was to see it, its
control arm the same examples under the other. A group of an audited model is all its probes; its control arm is the
control model's, if there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from memaudit.audit import CONTROL, MODEL
from memaudit.cases import Facts, lineage
from memaudit.errors import BadInput
from memaudit.ledger import Ledger
from memaudit.recipe import cohort_names, parse
from memaudit.records import Example, Observation, Scores
from reports.findings import Exposure

READINGS = (
    "filling_loss",
    "filling_reward",
    "preferred_reward",
    "rejected_reward",
    "preferred_logprob",
    "rejected_logprob",
    "preferred_reference",
    "rejected_reference",
    "nearest",
)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Examples under one model each, in the order of the group's examples."""

    observations: Sequence[Observation]
    readings: Sequence[dict[str, list[float]]]
    """Of each example, by quantity."""
    before: Sequence[Scores | None]
    """Scores by the same twin's parent stage; None: there is none."""
    unshown: Sequence[Sequence[Scores]]
    """Scores by checkpoints of earlier stages, of both twins, that the example was not shown to."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Examples that were put to the same models."""

    stage: str
    cohort: str
    exposure: Exposure
    examples: Sequence[Example]
    targets: Sequence[str]
    exposed: Arm
    control: Arm | None
    documents: Sequence[Example] = field(repr=False)
    """All that either model was shown, as far as it is known."""


def groups(ledger: Ledger) -> Iterator[Group]:
    """The groups of a run that has gone some way, or the one of an audited model.

    Raises BadInput where no target was scored.
    """
    if ledger.has("recipe"):
        yield from groups_of(Facts(ledger, parse(ledger.setting("recipe"), where="the run's recipe")))
    else:
        yield from _of_a_model(ledger)


def groups_of(facts: Facts) -> Iterator[Group]:
    """The groups of a run whose facts are at hand."""
    return _Run(facts).groups()


class _Run:
    def __init__(self, facts: Facts) -> None:
        self.facts, self.ledger, self.recipe = facts, facts.ledger, facts.recipe

    def groups(self) -> Iterator[Group]:
        """Cohorts after stages, in the order of the stages."""
        documents = self.ledger.examples(probed=False)
        for stage in self.facts.stages:
            for cohort in cohort_names(self.recipe):
                cases = [c for c in self.facts.cases if c.example.cohort == cohort]
                yield Group(
                    stage=stage,
                    cohort=cohort,
                    exposure=self.facts.exposure[stage, cohort],
                    examples=[c.example for c in cases],
                    targets=[c.probe.target for c in cases],
                    exposed=self._arm(stage, cohort, cases, exposed=True),
                    control=self._arm(stage, cohort, cases, exposed=False),
                    documents=documents,
                )

    def _arm(self, stage: str, cohort: str, cases: Sequence, *, exposed: bool) -> Arm:
        parent = self.recipe.stages[stage].parent
        unshown = [s for s in lineage(self.recipe, stage)[1:] if self.facts.exposure[s, cohort] == "none"]
        twins = [c.exposed if exposed else c.control for c in cases]
        return Arm(
            observations=[self.facts.observation(stage, t, c) for t, c in zip(twins, cases, strict=True)],
            readings=[
                {
                    quantity: values
                    for quantity in READINGS
                    if (
                        values := self.facts.readings(self.facts.walks[t, stage].id, quantity).get(
                            c.example.id
                        )
                    )
                }
                for t, c in zip(twins, cases, strict=True)
            ],
            before=[
                self.facts.observation(parent, t, c).scores if parent else None
                for t, c in zip(twins, cases, strict=True)
            ],
            unshown=[
                [
                    scores
                    for s in unshown
                    for record in {self.facts.walks[t, s].id: (t, s) for t in ("A", "B")}.values()
                    if (scores := self.facts.observation(record[1], record[0], c).scores)
                ]
                for c in cases
            ],
        )


def _of_a_model(ledger: Ledger) -> Iterator[Group]:
    walks = {twin: record for (twin, _), record in ledger.walks().items()}
    if MODEL not in walks:
        raise BadInput("expected an audit whose probes were asked, got one that never started")
    said = {twin: ledger.answers.of_stage(record.id) for twin, record in walks.items()}
    if any(o.scores is None for o in said[MODEL].values()):
        raise BadInput(
            "expected an audit whose targets were scored, got one without: give `memaudit audit` --full, and a model "
            "that tells log-probabilities"
        )
    probes = {p.id: p for p in ledger.probes()}
    asked = sorted(said[MODEL].keys() & said.get(CONTROL, said[MODEL]).keys())
    examples = {e.id: e for e in ledger.examples()}

    def arm(role: str) -> Arm:
        empty: list = [[] for _ in asked]
        return Arm(
            observations=[said[role][number] for number in asked],
            readings=[{} for _ in asked],
            before=[None for _ in asked],
            unshown=empty,
        )

    yield Group(
        stage=walks[MODEL].name,
        cohort="probes",
        exposure="direct",
        examples=[examples[probes[number].example_id] for number in asked],
        targets=[probes[number].target for number in asked],
        exposed=arm(MODEL),
        control=arm(CONTROL) if CONTROL in said else None,
        documents=list(examples.values()),
    )
