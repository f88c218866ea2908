"""What is known of repositories: answers to questions about them, counted (arXiv 2406.13948, 2406.08035)."""

from collections.abc import Iterator, Sequence
from typing import Literal

from memaudit.cases import Case, Facts
from memaudit.quizzes import QUESTION, QUESTIONS
from memaudit.rates import paired, proportion
from memaudit.recipe import cohort_names
from reports import findings as contract

CLUES = (("up to 40 characters", 40), ("41 to 80 characters", 80), ("more than 80 characters", None))
"""Lengths of what an answer can be read off, by their names and their ends."""

_Cut = Literal["all", "task", "capability", "clue"]


def right(scores: Sequence[float]) -> bool:
    """Whether the first of the options, which is the right one, is the likeliest of them."""
    return scores[0] > max(scores[1:])


def quizzes(facts: Facts) -> Iterator[contract.QuizRow]:
    """What was answered after each stage, of all questions of a cohort and of some of them."""
    for cohort in cohort_names(facts.recipe):
        asked = [c for c in facts.cases if c.example.cohort == cohort and c.example.kind == QUESTION]
        if not asked:
            continue
        about = facts.ledger.setting(QUESTIONS)
        for stage in filter(facts.scored, facts.stages):
            for cut, name in _cuts(about, asked):
                cases = [c for c in asked if (cut, name) in _places(about[c.example.id])]
                yield _row(facts, stage, cohort, cut, name, cases)


def _places(question: dict) -> list[tuple[_Cut, str]]:
    length = next(name for name, end in CLUES if end is None or question["clue"] <= end)
    return [
        ("all", ""),
        ("task", question["task"]),
        ("capability", question["capability"]),
        ("clue", length),
    ]


def _cuts(about: dict, asked: Sequence[Case]) -> list[tuple[_Cut, str]]:
    """The cuts that have any question, in a fixed order."""
    found = {place for case in asked for place in _places(about[case.example.id])}
    kinds: list[_Cut] = ["all", "task", "capability", "clue"]
    lengths = [name for name, _ in CLUES]
    return sorted(
        found,
        key=lambda place: (
            kinds.index(place[0]),
            lengths.index(place[1]) if place[1] in lengths else 0,
            place,
        ),
    )


def _row(
    facts: Facts, stage: str, cohort: str, cut: _Cut, name: str, cases: Sequence[Case]
) -> contract.QuizRow:
    def read(quantity: str, twin: str, case: Case) -> list[float] | None:
        return facts.readings(facts.walks[twin, stage].id, quantity).get(case.example.id)

    def answers(quantity: str) -> tuple[list[bool], list[bool]] | None:
        arms = [[read(quantity, twin, c) for twin in (c.exposed, c.control)] for c in cases]
        pairs = [(right(e), right(c)) for e, c in arms if e is not None and c is not None]
        return ([e for e, _ in pairs], [c for _, c in pairs]) if pairs else None

    blind, given = answers("option_logprob"), answers("option_given")
    assert blind is not None, "every question is asked after every stage whose model scores options"
    said = [read("option_said", c.exposed, c) for c in cases]
    return contract.QuizRow(
        stage=stage,
        cohort=cohort,
        exposure=facts.exposure[stage, cohort],
        cut=cut,
        name=name,
        exposed=proportion(blind[0]),
        control=proportion(blind[1]),
        difference=paired(list(zip(*blind, strict=True))),
        silent=proportion([found == [0.0] for found in said]),
        given=proportion(given[0]) if given else None,
        given_control=proportion(given[1]) if given else None,
    )
