"""Where a rule of a policy looks: the stages and cohorts of a run or an audit, and what came of their examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memaudit.cases import lineage
from memaudit.compared import Answer, Key, RunSide, Side
from memaudit.policy import Judged, Located, Noise, Policy
from memaudit.sources import printable
from memaudit.verdicts import definitions

Place: TypeAlias = tuple[str, str | None]
"""Stage and cohort."""


@dataclass(frozen=True)
class Gap:
    """Why a rule cannot be judged somewhere."""

    text: str


class View:
    """What of a run or an audit the rules look at."""

    def __init__(self, one: Side, policy: Policy, baseline: Side | None) -> None:
        self.side, self.policy, self.baseline = one, policy, baseline
        self.threshold = one.threshold if policy.threshold is None else policy.threshold
        self._definitions = {d.name: d for d in definitions(self.threshold)}
        self._answers: dict[tuple[int, str, str, str], dict[Key, Answer]] = {}

    def answers(self, one: Side, stage: str, level: str, definition: str) -> dict[Key, Answer]:
        """What came of each example, of this or of the baseline."""
        asked = (id(one), stage, level, definition)
        if asked not in self._answers:
            self._answers[asked] = one.answers(stage, level, self._definitions[definition])
        return self._answers[asked]

    def chosen(
        self, rule: Located, place: Place, *, stage: str | None = None, definition: str = ""
    ) -> dict[Key, Answer]:
        """The answers that a rule looks at in a place; after another stage of it with `stage`."""
        level = rule.level if isinstance(rule, Judged) else "exact"
        asked = definition or (rule.definition if isinstance(rule, Judged) else "secret")
        members = self.side.members
        return {
            key: answer
            for key, answer in self.answers(self.side, stage or place[0], level, asked).items()
            if key[0] == place[1]
            and (not rule.strata or members[key].repetition in rule.strata)
            and rule.kind in (None, members[key].kind)
        }

    def flips(self, rule: Noise, stage: str) -> list[bool]:
        """Of what was asked twice: whether the two verdicts differ."""
        return self.side.flips(stage, rule.level, self._definitions[rule.definition])

    def before(self, stage: str) -> str | None:
        """The stage that one starts from; of an audit the one before it."""
        if isinstance(self.side, RunSide):
            return self.side.recipe.stages[stage].parent
        place = self.side.stages.index(stage)
        return self.side.stages[place - 1] if place else None

    def later(self, stage: str) -> list[str]:
        """The stages that come from one, done or not; of an audit those after it."""
        one = self.side
        if isinstance(one, RunSide):
            named = [*one.stages, *one.missing]
            return [name for name in named if name != stage and stage in lineage(one.recipe, name)]
        return one.stages[one.stages.index(stage) + 1 :]

    def after(self, stages: Sequence[str]) -> tuple[list[str], list[Gap]]:
        """The stages that are looked at, and what is missing of them."""
        done, missing = self.side.stages, list(self.side.missing)
        gaps = [
            Gap(f"there is no stage {printable(stage)} (there are {listed(done)})")
            for stage in stages
            if stage not in done and stage not in missing
        ]
        gaps += [
            Gap(f"stage {stage} is not done, and the run is not finished")
            for stage in missing
            if not stages or stage in stages
        ]
        found = [stage for stage in done if not stages or stage in stages]
        for stage in found:
            if unanswered := self.side.unanswered(stage):
                gaps.append(Gap(f"{unanswered} probes have no answer after {printable(stage)}"))
        return found, gaps

    def places(self, rule: Located, stages: Sequence[str] | None = None) -> tuple[list[Place], list[Gap]]:
        """The stages and cohorts that a rule looks at, and what is missing of them."""
        after, gaps = self.after(rule.stages if stages is None else stages)
        known = self.side.cohorts
        if self.side.kind == "audit":
            # What the rule cannot tell apart it must not take for what was asked about.
            for key in ("cohorts", "exposure", "strata"):
                if getattr(rule, key):
                    gaps.append(Gap(f"`{key}` is not known of an audit of a model"))
            return (
                ([], gaps)
                if rule.cohorts or rule.exposure or rule.strata
                else ([(s, None) for s in after], gaps)
            )
        gaps += [
            Gap(f"there is no cohort {printable(cohort)} (there are {listed([c or '' for c in known])})")
            for cohort in rule.cohorts
            if cohort not in known
        ]
        wanted = rule.exposure or ["direct", "indirect"]
        found: list[Place] = [
            (stage, cohort)
            for stage in after
            for cohort in known
            if (not rule.cohorts or cohort in rule.cohorts) and self.side.exposure(stage, cohort) in wanted
        ]
        ways = " or ".join(wanted)
        met = {name for place in found for name in place}
        gaps += [
            Gap(f"no stage that is looked at has the exposure {ways} to cohort {cohort}")
            for cohort in rule.cohorts
            if cohort in known and cohort not in met
        ]
        gaps += [
            Gap(f"stage {stage} has the exposure {ways} to no cohort that is looked at")
            for stage in rule.stages
            if stage in after and stage not in met
        ]
        return found, gaps or ([] if found else [Gap(f"nothing has the exposure {ways}")])


def listed(names: Sequence[str]) -> str:
    """Names for people, by commas."""
    return ", ".join(map(printable, names)) or "none"
