"""Cohorts of questions: in fours, of each twin's repository, shown in other words than asked; and what is counted."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from invented import Said
from test_memaudit_citygpt import ROOT, loaded
from test_memaudit_study_claims import by_name, claim, told
from tiny import TINY, Quiet

from memaudit.corpus import Corpus
from memaudit.errors import BadInput
from memaudit.knowledge import right
from memaudit.ledger import Ledger
from memaudit.population import Population
from memaudit.quizzes import QUESTIONS, draw
from memaudit.recipe import Recipe, parse
from memaudit.records import Example, Probe
from memaudit.run import Plan, read, run
from probes import hygiene
from probes.quiz import OPTIONS, posed
from reports import render_html, render_markdown

COHORT = 'cohorts.of.facts={ strata = { 1 = 4, 3 = 12 }, quiz = { of = { A = ["one"], B = ["two"] } } }'
STAGE = """
[stages.facts]
method = "sft"
from = "pretrain"
cohort = "facts"
context = 16
batch = 8
learning_rate = 3e-3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two invented repositories, and something to be public."""
    root = tmp_path_factory.mktemp("corpus")
    repository = loaded(ROOT / "tests" / "probes" / "probes_repository.py").repository
    for seed, name in enumerate(("one", "two")):
        (root / name).mkdir()
        for path, text in repository(seed, files=8).items():
            (root / name / path).write_text(text)
    shutil.copytree(
        Path(asyncio.__file__).parent, root / "rest", ignore=shutil.ignore_patterns("__pycache__")
    )
    return root


def recipe_of(folder: Path, *changes: str) -> Recipe:
    few = ["stages.pretrain.steps=4", f"corpus.path={folder}", 'audit.levels=["exact"]']
    few += [f"audit.{key}=0" for key in ("every", "twice", "references", "samples")]
    text = TINY[: TINY.index("[stages.sft]")] + STAGE
    return parse(text, where="tiny", changes=[COHORT, *few, *changes])


def population_of(recipe: Recipe, folder: Path) -> tuple[Corpus, Population]:
    corpus = read(recipe)
    return corpus, Plan.of(recipe, folder, corpus).setting.population


@pytest.fixture(scope="module")
def drawn(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Population]:
    return population_of(recipe_of(folder), tmp_path_factory.mktemp("run") / "new")


def test_each_twin_is_asked_about_its_own_repository_and_as_often_as_its_strata_say(drawn) -> None:
    _, population = drawn
    own = {e.id: e for e in population.examples}
    assert set(population.questions) == set(own)
    assert {(e.half, e.source.split("/")[0]) for e in own.values()} == {("A", "one"), ("B", "two")}
    assert Counter((e.half, e.repetition) for e in own.values()) == {
        (half, times): count for half in "AB" for times, count in {1: 4, 3: 12}.items()
    }
    assert {e.source.split("/")[0] for e in population.public} == {"rest"}, "no quizzed file is public"


def test_questions_come_in_fours_that_tell_nothing_by_their_options(drawn) -> None:
    _, population = drawn
    asked = list(population.questions.values())
    for start in range(0, len(asked), OPTIONS):
        four = [q.item for q in asked[start : start + OPTIONS]]
        assert len({item.options for item in four}) == 1
        assert sorted(item.right for item in four) == list(range(OPTIONS))
    kinds = Counter((q.example.half, q.item.fact.kind) for q in asked)
    assert set(kinds.values()) == {OPTIONS}, "of each kind one four after another"
    for solver in hygiene.OPTION_ONLY.values():
        assert hygiene.accuracy([q.item for q in asked], solver) == hygiene.CHANCE


def test_a_question_is_shown_in_other_words_than_it_is_asked(drawn) -> None:
    corpus, population = drawn
    probes = {p.example_id: p for p in population.probes}
    decode = population.tokenizer.decode
    for name, question in population.questions.items():
        probe, example = probes[name], question.example
        assert example.text == probe.prefix + probe.target == question.shown + question.answer
        assert probe.prompt == posed(question.item) != probe.prefix
        assert decode(probe.prefix_tokens) == probe.prompt
        shown = population.as_shown(probe)
        assert decode(shown.prefix_tokens) == probe.prefix
        assert shown.target_tokens == probe.target_tokens
        assert all(
            subject in probe.prompt and subject in probe.prefix for subject in question.item.fact.subject
        )
        lines = corpus.files[example.source].split("\n")[example.first_line - 1 : example.last_line]
        start, end = question.item.fact.clue
        assert corpus.files[example.source][start:end] in "\n".join(lines), "its lines are those of the clue"


def test_a_context_ends_where_the_answer_can_be_read_off(drawn) -> None:
    corpus, population = drawn
    for name, question in population.questions.items():
        lines = corpus.files[question.example.source].split("\n")[: question.example.last_line]
        before = population.tokenizer.decode(population.contexts[name])
        assert before
        assert "".join(f"{line}\n" for line in lines).endswith(before)


def test_the_same_files_and_seed_give_the_same_questions(drawn, folder: Path) -> None:
    corpus, population = drawn
    recipe = recipe_of(folder)
    again = draw(dict(reversed(corpus.files.items())), recipe)
    assert {q.example.id: q for q in again} == population.questions
    other = draw(corpus.files, recipe_of(folder, "seed=4"))
    assert {q.example.id for q in other} != set(population.questions)


def test_kinds_that_echo_are_left_out_on_request(
    drawn, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, _ = drawn
    without = 'cohorts.of.facts.quiz={ of = { A = ["one"], B = ["two"] }, echoes = false, kinds = ["file", "first"] }'
    recipe = recipe_of(folder, "cohorts.of.facts.strata={ 3 = 8 }", without)
    assert {q.item.fact.kind for q in draw(corpus.files, recipe)} == {"file", "first"}
    monkeypatch.setattr(hygiene, "leaking", lambda known, solver: frozenset({"file"}))
    assert {q.item.fact.kind for q in draw(corpus.files, recipe)} == {"first"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["cohorts.of.facts.strata={ 2 = 6 }"],
            r"cohorts\.of\.facts\.strata: expected a multiple of 4 questions",
        ),
        (
            ["cohorts.of.facts.sensitive=0.5"],
            r"cohorts\.of\.facts\.sensitive: expected none beside quiz, got 0\.5",
        ),
        (["cohorts.of.facts.paths=['rest']"], r"cohorts\.of\.facts\.paths: expected none beside quiz"),
        (
            ["cohorts.of.facts.quiz={ of = { A = ['one'] } }"],
            "expected patterns for A and for B, got none for B",
        ),
        (
            ["cohorts.of.facts.quiz.kinds=['weather']"],
            r"quiz\.kinds: expected some of file, .*, got 'weather'",
        ),
        (["cohorts.of.facts.quiz.of={ A = ['o*'], B = ['one'] }"], "without a file in common, got one/"),
        (
            ["cohorts.of.facts.strata={ 1 = 4000 }"],
            r"expected at most \d+ questions, as the 8 files of quiz\.of\.A",
        ),
        (
            ["cohorts.of.facts.quiz.of={ A = ['none'], B = ['two'] }"],
            "expected at most 0 questions, as the 0 files",
        ),
    ],
)
def test_a_quiz_that_cannot_be_is_named(
    changes: Sequence[str], said: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=said):
        population_of(recipe_of(folder, *changes), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_lines_of_a_jsonl_have_no_repository(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r'cohorts\.of\.facts\.quiz: expected a corpus of files, got source = "jsonl"'
    ):
        recipe_of(tmp_path, "corpus.source=jsonl")


def test_an_equal_chance_is_no_answer() -> None:
    assert right([-1.0, -2.0, -3.0, -1.1])
    assert not right([-1.0, -1.0, -3.0, -4.0])


@pytest.fixture(scope="module")
def answered(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    where = tmp_path_factory.mktemp("answered") / "run"
    return run(recipe_of(folder), where, Quiet()), where


def test_a_run_asks_all_questions_after_every_stage(answered) -> None:
    findings, folder = answered
    with Ledger(folder / "ledger.sqlite") as ledger:
        about = ledger.setting(QUESTIONS)
        for record in ledger.walks().values():
            for quantity, count in (("option_logprob", OPTIONS), ("option_said", 1)):
                found = ledger.answers.readings(record.id, quantity)
                assert {name: len(values) for name, values in found.items()} == dict.fromkeys(about, count)
            given = ledger.answers.readings(record.id, "option_given")
            assert set(given) == (set(about) if record.name == "facts" else set())
        shown = {row[0]: row[4] for row in ledger.shown() if row[2] == "facts"}
    assert shown == {row.id: row.repetition for row in findings.examples}
    assert {row.kind for row in findings.examples} == {"question"}


def test_rows_of_a_cut_add_up_to_all(answered) -> None:
    findings, folder = answered
    assert {row.stage for row in findings.quizzes} == {"pretrain", "facts"}
    for stage in ("pretrain", "facts"):
        rows = [row for row in findings.quizzes if row.stage == stage]
        (whole,) = (row for row in rows if row.cut == "all")
        assert whole.exposed.total == whole.control.total == whole.silent.total == 32
        assert (whole.given is None) == (stage == "pretrain")
        for cut in ("task", "capability", "clue"):
            some = [row for row in rows if row.cut == cut]
            assert some
            for arm in ("exposed", "control", "silent"):
                for key in ("count", "total"):
                    assert sum(getattr(getattr(r, arm), key) for r in some) == getattr(
                        getattr(whole, arm), key
                    )
    (before,) = (row for row in findings.quizzes if (row.stage, row.cut) == ("pretrain", "all"))
    assert before.exposed == before.control, "both twins are one model then"
    data = json.loads((folder / "findings.json").read_text())
    assert data["quizzes"] == [row.model_dump() for row in findings.quizzes]


def test_counts_are_those_of_the_readings(answered) -> None:
    findings, folder = answered
    (row,) = (row for row in findings.quizzes if (row.stage, row.cut) == ("facts", "all"))
    halves = {e.id: e.half for e in findings.examples}
    with Ledger(folder / "ledger.sqlite") as ledger:
        scores = {
            twin: ledger.answers.readings(ledger.walks()[twin, "facts"].id, "option_logprob") for twin in "AB"
        }
    known = {twin: {n for n, values in found.items() if right(values)} for twin, found in scores.items()}
    assert row.exposed.count == sum(name in known[half] for name, half in halves.items())
    assert row.control.count == sum(
        name in known["B" if half == "A" else "A"] for name, half in halves.items()
    )


def test_pages_tell_what_was_known(answered) -> None:
    findings, _ = answered
    text, page = render_markdown(findings), render_html(findings)
    assert "## What is known of a repository" in text
    assert "finds the right one of four options likeliest" in text
    assert 'id="quizzes"' in page
    assert "asking for place" in text
    assert "clue of up to 40 characters" in page


def test_a_study_can_claim_what_was_answered(tmp_path: Path) -> None:
    """The exposed twin knows what was shown four times; behind code the control does too."""

    def read(stage: str, exposed: bool, example: Example, probe: Probe) -> dict[str, list[float]]:
        often = example.repetition == 4
        return {
            "option_logprob": [-1.0 if exposed and often else -3.0, -2.0, -2.5, -4.0],
            "option_given": [-1.0 if often else -3.0, -2.0, -2.5, -4.0],
        }

    names = ("answered", "answered-unseen", "answered-given", "answered-given-unseen")
    claims = "".join(claim(name, measure=name, stage="sft", cohort="sft") for name in names)
    found = by_name(told(tmp_path, claims, lambda *_: Said(), read=read))
    values = {name: row.estimate.value for name, row in found.items() if row.estimate is not None}
    often = values["answered"]
    assert 0 < often < 1
    assert values == pytest.approx(dict(zip(names, (often, 0, often, often), strict=True)))
