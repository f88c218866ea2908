"""Cohorts of questions about repositories: which are drawn, and in whose words they are shown and asked."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import zip_longest
from typing import Any

from memaudit.errors import BadInput
from memaudit.makeup import Makeup, Quiz
from memaudit.recipe import Recipe, cohort_names
from memaudit.records import Example
from memaudit.sources import matches
from probes import hygiene
from probes.graph import build
from probes.quiz import KINDS, OPTIONS, Item, clue_length, items, posed

QUESTION = "question"
"""Kind of the examples of such cohorts."""
QUESTIONS = "questions"
"""The ledger's setting that has `about`."""
_ALL = 10**9  # items of a kind


@dataclass(frozen=True, kw_only=True)
class Question:
    """An item as a run has it."""

    example: Example
    """The question in the words in which it is shown, with its answer; its lines are those of the clue."""
    item: Item
    """In the words in which it is asked."""
    shown: str
    """What of the example stands before the answer."""
    answer: str
    """What of it is the answer."""


def said(option: str) -> str:
    """An option as it stands behind the question."""
    return f"{option}\n"


def quizzed(recipe: Recipe) -> list[str]:
    """Patterns of the paths that any quiz of a recipe is about."""
    quizzes = [quiz for _, _, quiz in _quizzes(recipe)]
    return [pattern for quiz in quizzes for patterns in quiz.of.values() for pattern in patterns]


def about(questions: Mapping[str, Question]) -> dict[str, dict[str, Any]]:
    """What the questions of a run ask, by id: plain data for its ledger. Lengths are in characters."""
    return {
        name: {
            "kind": question.item.fact.kind,
            "task": question.item.kind.task,
            "capability": str(question.item.kind.capability),
            "question": question.item.question,
            "options": list(question.item.options),
            "right": question.item.right,
            "clue": clue_length(question.item),
            "steps": list(question.item.fact.steps),
        }
        for name, question in questions.items()
    }


def draw(files: Mapping[str, str], recipe: Recipe) -> list[Question]:
    """The questions of all cohorts that ask any, path -> text. The same files and seed give the same questions.

    They come in fours that share their options (see `probes.quiz`), of each kind one four after another. No two are
    equal, whatever their cohorts and halves. Raises BadInput where the repositories do not tell enough.
    """
    found: list[Question] = []
    taken: set[str] = set()
    for cohort, own, quiz in _quizzes(recipe):
        repositories = {half: _files(files, patterns) for half, patterns in sorted(quiz.of.items())}
        if both := sorted(set.intersection(*map(set, repositories.values()))):
            raise BadInput(
                f"cohorts.of.{cohort}.quiz.of: expected two repositories without a file in common, got {both[0]} in "
                "both"
            )
        for half, own_files in repositories.items():
            rng = random.Random(f"{recipe.seed} quiz {cohort} {half}")
            strata = [times for times, count in sorted(own.shown.items()) for _ in range(count // OPTIONS)]
            rng.shuffle(strata)
            fours = _fours(own_files, quiz, recipe.seed)
            for place, times in enumerate(strata):
                four = next((f for f in fours if taken.isdisjoint(q.example.id for q in f)), None)
                if four is None:
                    raise BadInput(
                        f"cohorts.of.{cohort}.strata: expected at most {OPTIONS * place} questions, as the "
                        f"{len(own_files)} files of quiz.of.{half} tell no more, got {OPTIONS * len(strata)}: set "
                        "them smaller, name more kinds, or a larger repository"
                    )
                taken |= {q.example.id for q in four}
                place_in = {"cohort": cohort, "half": half, "repetition": times}
                found += [replace(q, example=replace(q.example, **place_in)) for q in four]
    return found


def _quizzes(recipe: Recipe) -> Iterator[tuple[str, Makeup, Quiz]]:
    for cohort in cohort_names(recipe):
        own = recipe.cohorts.makeup(cohort)
        if own.quiz is not None:
            yield cohort, own, own.quiz


def _files(files: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.endswith(".py") and matches(path, patterns)}


def _fours(files: Mapping[str, str], quiz: Quiz, seed: int) -> Iterator[list[Question]]:
    """All fours of a repository, of each kind one after another, in an order that follows from the seed."""
    known = [item for item in items(build(files), seed=seed, most=_ALL) if item.fact.kind in quiz.kinds]
    if not quiz.echoes:
        leaky = hygiene.leaking(known, hygiene.echo)
        known = [item for item in known if item.fact.kind not in leaky]
    by_kind: dict[str, list[list[Question]]] = {}
    for start in range(0, len(known), OPTIONS):
        four = [_question(item, files, seed) for item in known[start : start + OPTIONS]]
        by_kind.setdefault(four[0].item.fact.kind, []).append(four)
    kinds = sorted(by_kind)
    random.Random(f"{seed} kinds").shuffle(kinds)
    for row in zip_longest(*(by_kind[kind] for kind in kinds)):
        yield from (four for four in row if four is not None)


def _question(item: Item, files: Mapping[str, str], seed: int) -> Question:
    wordings = [wording.format(*item.fact.subject) for wording in KINDS[item.fact.kind].wordings]
    others = [wording for wording in wordings if wording != item.question]
    shown = posed(replace(item, question=random.Random(f"{seed} shown {item.id}").choice(others)))
    answer = said(item.fact.answer)
    text, (start, end) = files[item.fact.path], item.fact.clue
    return Question(
        example=Example(
            id=sha256(f"{shown}{answer}".encode()).hexdigest()[:16],
            kind=QUESTION,
            language="python",
            text=shown + answer,
            source=item.fact.path,
            first_line=text.count("\n", 0, start) + 1,
            last_line=text.count("\n", 0, end) + 1,
        ),
        item=item,
        shown=shown,
        answer=answer,
    )
