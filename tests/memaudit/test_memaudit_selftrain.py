"""A recipe names self-training by tree search; the stage shows, learns and keeps what it says."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from test_memaudit_citygpt import ROOT, loaded
from tiny import TINY, Quiet

from memaudit import selftrain
from memaudit.auditor import Auditor
from memaudit.errors import BadInput
from memaudit.methods import Rest
from memaudit.population import Population
from memaudit.programs import generate, read
from memaudit.recipe import checked, cohort_of, dumps, parse
from memaudit.recipe import load as load_recipe
from memaudit.records import Example
from memaudit.run import run
from memaudit.sandbox import Sandbox
from memaudit.selftrain import Round, load, round_path, train, value_path
from memaudit.solving import Partial, Solver
from memaudit.stages import code_digest, steps_of
from memaudit.training import optimiser
from rlhf.checkpoint import Saver
from rlhf.events import BatchConsumed, Hook, Updated
from rlhf.model import Decoder, initialise
from rlhf.presets import ModelConfig
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

STAGE = {"method": "rest", "from": "sft", "cohort": "sft", "batch": 2, "learning_rate": 1e-3, "warmup": 0}
STAGE |= {"steps": 2, "value_steps": 2, "budget": 6, "branch": 2}
CONFIG = Rest.model_validate(STAGE)
PROGRAMS = generate(3, 0)
EXAMPLES = [
    Example(
        id=p.name,
        kind="given",
        language="python",
        text=p.text,
        source=p.name,
        first_line=1,
        last_line=1,
        cohort="sft",
        half="A",
        repetition=1,
    )
    for p in PROGRAMS
]
PROBLEMS = [read(p.text) for p in PROGRAMS]
TOKENIZER = Tokenizer.train([p.text for p in PROGRAMS], 280)
DECODER = Decoder(
    ModelConfig(vocabulary=TOKENIZER.vocabulary, width=8, layers=1, heads=1, kv_heads=1, hidden=8)
)


class Heard(Hook):
    def __init__(self, stop: int | None = None) -> None:
        self.batches: list[tuple[int, str, list[str]]] = []
        self.losses: list[float] = []
        self.stop = stop

    def on_batch(self, event: BatchConsumed) -> None:
        self.batches.append((event.step, event.role, [name for row in event.rows for name in row]))

    def on_update(self, event: Updated) -> None:
        self.losses.append(event.metrics["loss"])
        if event.step == self.stop:
            raise KeyboardInterrupt


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A policy that knows: it says the first example's own lines, another way for the second, nothing for the third.

    The models that are trained are real; only what they say is not.
    """
    other = PROBLEMS[1]
    # Its value at once, for want of a model that finds a way by steps.
    short = (f"\n    x = {other.wanted[0]}", "\n    return x")
    known = {0: PROBLEMS[0].steps, 1: short}
    calls: list[int] = []

    def proposer(self: Solver, params: Any, key: Any) -> Callable[..., list[list[Partial]]]:
        def propose(states: Sequence[Partial], count: int) -> list[list[Partial]]:
            calls.append(len(states) * count)
            found = []
            for state in states:
                path = known.get(state.problem, ())
                on_it = state.steps == path[: len(state.steps)] and len(state.steps) < len(path)
                right = path[len(state.steps)] if on_it else ""
                found.append([Partial(state.problem, (*state.steps, s)) for s in (right, "")[:count]])
            return found

        return propose

    monkeypatch.setattr(Solver, "proposer", proposer)
    return calls


def trained(folder: Path, *hooks: Hook, saver: Saver | None = None, **changes: Any) -> Any:
    config = CONFIG.model_copy(update={"budget": 24, **changes})
    folder.mkdir(exist_ok=True)
    return train(
        config,
        parent=initialise(DECODER, jax.random.key(0)),
        examples=EXAMPLES,
        decoder=DECODER,
        tokenizer=TOKENIZER,
        optimiser=optimiser(config),
        stage=Stage(name="rest", hooks=hooks, saver=saver),
        folder=folder,
        seed=3,
    )


def test_the_ledger_tells_what_was_searched_what_was_learnt_and_what_was_learnt_to_the_letter(
    tmp_path: Path, scripted: list[int]
) -> None:
    heard, auditor = Heard(), Auditor(tmp_path / "exposures.jsonl")
    trained(tmp_path / "stage", heard, auditor)
    names = [e.id for e in EXAMPLES]
    shown = auditor.exposures()
    prompts = {(step, name): n for (step, role, name), n in shown.items() if role == "prompt"}
    # Before the first step twice, as solutions are drawn at random as well.
    assert prompts == {(step, name): 2 if step == 0 else 1 for step in (0, 2) for name in names}
    by_role = {(role, name) for _, role, name in shown if role != "prompt"}
    assert by_role == {("target", names[0]), ("trace", names[1])}
    learnt = [n for (step, role, name), n in shown.items() if role != "prompt"]
    assert sum(learnt) == CONFIG.rounds * CONFIG.steps * CONFIG.batch, "every row is somebody's, and once"
    assert len(heard.losses) == 4


def test_what_rounds_found_is_kept_and_says_what_tests_said(tmp_path: Path, scripted: list[int]) -> None:
    trained(tmp_path / "stage")
    for number in (0, 1, 2):
        found = load(round_path(tmp_path / "stage", number))
        assert set(found.solved) == {0, 1}
        assert found.solved[0] == PROBLEMS[0].steps
        assert len(found.calls) == 3
        assert found.calls[2] <= 24
        assert {state.problem for state, _ in found.lessons} == {0, 1}, (
            "nothing is known where nothing was right"
        )
        ends = [worth for state, worth in found.lessons if found.solved.get(state.problem) == state.steps]
        assert ends == pytest.approx([1, 1])
        assert value_path(tmp_path / "stage", number).is_dir()
    assert not list((tmp_path / "stage").glob("*.partial"))


def test_a_stage_that_was_killed_goes_on_bit_for_bit_and_does_not_search_again(
    tmp_path: Path, scripted: list[int]
) -> None:
    whole, through = Heard(), Heard()
    one = trained(tmp_path / "whole", whole)
    asked = len(scripted)
    saver = Saver(folder=tmp_path / "state", every=1, identity="rest")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", Heard(stop=1), saver=saver)
    before = len(scripted)
    other = trained(tmp_path / "killed", through, saver=saver)
    assert len(scripted) - asked == asked
    assert 0 < len(scripted) - before < asked, "round 0 and 1 were on disk, round 2 was not"
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert through.batches == [batch for batch in whole.batches if batch[0] > 0]


def test_a_search_that_finds_nothing_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Solver, "judge", lambda self, states: [False] * len(states))
    monkeypatch.setattr(
        Solver, "proposer", lambda *_: lambda states, n: [[Partial(s.problem, ("",))] * n for s in states]
    )
    with pytest.raises(
        BadInput, match=r"^stages.rest.budget: expected draws that solve a problem, got none of 3"
    ):
        trained(tmp_path / "stage")


# --- a model that proposes


@pytest.fixture(scope="module")
def solver() -> Any:
    with Sandbox() as sandbox:
        yield Solver(
            problems=PROBLEMS,
            decoder=DECODER,
            tokenizer=TOKENIZER,
            sandbox=sandbox,
            line=6,
            lines=4,
            temperature=1.0,
            time=160,
        )


def test_a_step_begins_where_a_token_of_the_whole_text_begins() -> None:
    """Otherwise a model would be asked to go on from tokens that it has never seen side by side."""
    for problem, program in zip(PROBLEMS, PROGRAMS, strict=True):
        pieces = [problem.head, *problem.steps, "\n"]
        assert [i for piece in pieces for i in TOKENIZER.encode(piece)] == TOKENIZER.encode(program.text)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("\n    x = 1\n    y", "\n    x = 1"),
        ("\n    x = 1", ""),
        ("  # 7\n    x = 1\n", ""),
        ("\n\n    x = 1\n", "\n"),
        ("", ""),
    ],
)
def test_a_proposal_is_a_whole_line_or_none(solver: Solver, said: str, line: str) -> None:
    assert solver._line(TOKENIZER.encode(said)) == line


def test_the_end_of_text_ends_a_line(solver: Solver) -> None:
    ids = [*TOKENIZER.encode("\n    return x"), TOKENIZER.eos, *TOKENIZER.encode("junk")]
    assert solver._line(ids) == "\n    return x"
    assert solver._line([TOKENIZER.eos]) == ""


def test_tests_judge_and_only_what_is_over(solver: Solver) -> None:
    right = PROBLEMS[0].steps
    states = [
        Partial(0, right[:1]),
        Partial(0, (right[0], right[-1])),
        Partial(0, (f"\n    return {PROBLEMS[0].wanted[0]}",)),
        Partial(0, ("\n    while True: pass", "\n    return 1")),
        Partial(0, ("",)),
        Partial(0, ("\n    x = 1",) * 4),
    ]
    assert solver.judge(states) == [None, False, True, False, False, False]
    assert solver.judge([Partial(0, right[:3])]) == [None]


def test_a_policy_draws_each_proposal_with_a_key_of_its_own(solver: Solver) -> None:
    params = initialise(DECODER, jax.random.key(0))
    drawn: list[Any] = []
    watched = replace(solver)
    object.__setattr__(watched, "_line", lambda ids: drawn.append(tuple(ids)) or "\n    x = 1")
    propose = watched.proposer(params, jax.random.key(1))
    found = propose(solver.roots, 2)
    assert [[s.problem for s in row] for row in found] == [[0, 0], [1, 1], [2, 2]]
    assert len(set(drawn)) == 6
    first = list(drawn)
    propose(solver.roots, 2)
    assert drawn[6:] != first
    drawn.clear()
    watched.proposer(params, jax.random.key(1))(solver.roots, 2)
    assert drawn == first, "the same key, the same draws"


# --- in a recipe


def recipe_of(**changes: Any) -> Any:
    recipe = parse(TINY, where="tiny").model_dump(by_alias=True, exclude_none=True)
    recipe["stages"] = {k: recipe["stages"][k] for k in ("pretrain", "sft")} | {"rest": {**STAGE, **changes}}
    return checked(recipe, where="tiny")


def test_a_recipe_names_it() -> None:
    recipe = recipe_of()
    assert parse(dumps(recipe), where="again") == recipe
    assert cohort_of(recipe, "rest") == "sft"
    assert isinstance(recipe.stages["rest"], Rest)
    setting: Any = SimpleNamespace(recipe=recipe)
    assert steps_of(setting, "A", "rest") == 4


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"budget": 0}, "budget: .* greater than 0, got 0"),
        ({"alpha": 2}, "alpha: .* equal to 1, got 2"),
        ({"goldfish": {"strategy": "static"}}, "goldfish: expected no such key"),
        ({"line": 1}, "line: .* equal to 2, got 1"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_a_line(setting: dict, said: str) -> None:
    with pytest.raises(BadInput, match=rf"^tiny: stages.rest.{said}"):
        recipe_of(**setting)


def test_examples_that_are_no_problems_are_refused_before_anything_is_written() -> None:
    other = replace(EXAMPLES[0], text="def f(x):\n    return x\n", source="a.py")
    population = Population(tokenizer=TOKENIZER, public=(), examples=(*EXAMPLES, other), probes=())
    with pytest.raises(
        BadInput, match=r"^stages.rest.cohort: a.py: expected a function with a docstring"
    ) as caught:
        selftrain.check_problems(recipe_of(), population)
    assert "\n" not in str(caught.value)
    selftrain.check_problems(recipe_of(), replace(population, examples=tuple(EXAMPLES)))


def test_a_round_comes_back_from_its_file(tmp_path: Path) -> None:
    found = Round(calls=(3, 4), solved={1: ("\n    return 1",)}, lessons=[(Partial(1, ("\n    x",)), 0.5)])
    selftrain._keep(tmp_path / "round-1.json", found)
    assert load(tmp_path / "round-1.json") == found
    assert json.loads((tmp_path / "round-1.json").read_text())


def test_what_judges_and_searches_is_part_of_a_stage_s_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    from memaudit import stages

    for name in ("selftrain.py", "solving.py", "programs.py", "sandbox.py", "cell.py"):
        assert name in stages._ASKING
    assert code_digest()


@pytest.mark.slow
def test_what_sft_memorized_is_found_first_and_kept(tmp_path: Path) -> None:
    """H7, one seed and one round: an accepted solution is the example itself where that was shown often."""
    study = ROOT / "studies" / "companions" / "rest"
    corpus = tmp_path / "programs.jsonl"
    loaded(study / "corpus.py").main(corpus)
    recipe = load_recipe(
        str(study / "recipe.toml"), [f"corpus.path={corpus}", "stages.rest.rounds=1", "audit.every=0"]
    )
    findings = run(recipe, tmp_path / "run", Quiet())

    def memorized(stage: str, times: int) -> set[str]:
        return {
            row.id
            for row in findings.examples
            for outcome in row.outcomes
            if (row.repetition, outcome.stage) == (times, stage) and outcome.exposed and not outcome.control
        }

    often = memorized("sft", 32)
    assert len(often) > 16, "of 32"
    assert len(often & memorized("rest", 32)) > 0.5 * len(often)
    assert len(memorized("rest", 1)) < 0.1 * 96
    bars = loaded(study / "bars.py")
    accepted = bars.verbatim(bars.opened(tmp_path / "run"), 1)
    assert accepted["often"] > 0.75
    assert accepted["once"] < 0.25
