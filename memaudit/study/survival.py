"""How long what a stage began with goes on to come out: by what its sample said at the steps at which it was asked."""

from collections.abc import Iterator

from memaudit.cases import Facts
from memaudit.verdicts import furthest


def lasting(facts: Facts, stage: str, parent: str, cohort: str) -> Iterator[tuple[int, bool]]:
    """Of each example that came out after `parent`: the step of `stage` at which it no longer did, or its last.

    With each whether it was seen to end. Only examples that were asked in passing; none if the stage was not asked so.
    """
    near = facts.definitions[0]
    cases = [c for c in facts.cases if c.example.cohort == cohort]
    for twin in dict.fromkeys(c.exposed for c in cases):
        steps = facts.ledger.answers.steps(facts.walks[twin, stage].id)
        if len(steps) < 2:
            continue
        said = {
            step: {
                o.probe_id: bool(near.decide(o.matches["exact"], furthest(o.recovered)))
                for o in facts.ledger.answers.of(number)
            }
            for step, number, _ in steps
        }
        asked = set.intersection(*(set(answers) for answers in said.values()))
        for case in cases:
            began = case.exposed == twin and facts.verdict(parent, twin, case, "exact", near)
            if case.probe.id in asked and began:
                gone = next((step for step, answers in said.items() if not answers[case.probe.id]), None)
                yield (max(said), False) if gone is None else (gone, True)
