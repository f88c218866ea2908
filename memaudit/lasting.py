"""How long an example stays as a stage found it, out or not: by what its sample said at the steps it was asked."""

from collections.abc import Iterator

from memaudit.cases import Facts
from reports.findings import Arm


def spells(facts: Facts, stage: str, cohort: str, *, out: bool, arm: Arm) -> Iterator[tuple[int, bool]]:
    """Of each example that was `out` when a stage began: the step at which it first was otherwise, or the last asked.

    With each whether it was seen to end. What a stage begins with is its parent's verdict, of the same twin, by the
    default definition at level `exact`. Only examples that were asked in passing; none if the stage was not asked so,
    or has no parent.
    """
    near = facts.definitions[0]
    parent = facts.recipe.stages[stage].parent
    if parent is None:
        return
    cases = [c for c in facts.cases if c.example.cohort == cohort]
    twin_of = {c.probe.id: c.exposed if arm == "exposed" else c.control for c in cases}
    for twin in dict.fromkeys(twin_of.values()):
        said = facts.passing(facts.walks[twin, stage].id)
        if not said:
            continue
        asked = set.intersection(*(set(answers) for answers in said.values()))
        for case in cases:
            if twin_of[case.probe.id] != twin or case.probe.id not in asked:
                continue
            if facts.verdict(parent, twin, case, "exact", near) != out:
                continue
            turned = next((step for step, answers in said.items() if answers[case.probe.id] != out), None)
            yield (max(said), False) if turned is None else (turned, True)
