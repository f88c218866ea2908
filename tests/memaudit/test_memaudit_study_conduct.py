"""A study carried out: the runs it leaves are those that `memaudit run` makes, and it goes on where it was stopped."""

import json
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Said as Printed
from command import refused
from invented import Said, finished
from tiny import TINY, Quiet, Walked

from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.records import Finished
from memaudit.study.arms import Cell
from memaudit.study.conduct import conduct, schedule
from memaudit.study.design import load
from memaudit.study.engines import Task, carry_out

STUDY = """
name = "leash"
text = "Does the leash matter?"
recipe = "recipe.toml"
seeds = [3]

[arms.kl-0]
set.stages.ppo.kl_coefficient = 0.0
"""


FACTS = {
    "observations": "SELECT stage_id, step, o.probe_id, asking, completion, ended, logprobs, argmax, entropies, "
    "deviations, sampled FROM observations o JOIN checkpoints c ON c.id = checkpoint_id",
    "matches": "SELECT stage_id, step, probe_id, asking, m.level, distance, target_length, completion_length, lexer "
    "FROM matches m JOIN observations o ON o.id = observation_id JOIN checkpoints c ON c.id = checkpoint_id",
    "readings": "SELECT stage_id, step, example_id, quantity, number, value FROM readings "
    "JOIN checkpoints c ON c.id = checkpoint_id",
    "exposures": "SELECT * FROM exposures",
    "updates": "SELECT * FROM updates",
    "probes": "SELECT * FROM probes",
}


def facts_of(path: Path) -> dict[str, set]:
    """What a ledger says, without its own numbers and without times."""
    db = sqlite3.connect(path)
    found = {name: set(db.execute(query)) for name, query in FACTS.items()}
    db.close()
    return found


class Here:
    """An engine that does one task at a time in this process, until it has done so many."""

    workers = 1

    def __init__(self, most: int = 1000) -> None:
        self.done: list[str] = []
        self._most, self._task = most, None

    def submit(self, task: Task) -> None:
        self._task: Task | None = task

    def finished(self, seconds: float) -> list[tuple[Task, Finished]]:
        task = self._task
        assert task is not None
        if len(self.done) == self._most:
            raise KeyboardInterrupt
        self.done.append(task.leg.title)
        return [(task, self.carry_out(task))]

    def carry_out(self, task: Task) -> Finished:
        return carry_out(task)


class MadeUp(Here):
    """The same, but nothing is trained: what stages leave is made up."""

    def carry_out(self, task: Task) -> Finished:
        recipe, population = pickle.loads(task.population)
        (task.folder / "stages" / task.leg.key / "params").mkdir(parents=True, exist_ok=True)
        cell = Cell(name=task.run, seed=recipe.seed, recipe=recipe, stages={})
        return finished(
            cell,
            task.leg,
            population.examples,
            population.probes,
            lambda seed, stage, example, exposed: Said(distance=0.0 if exposed else 0.9),
            None,
            lambda seed, stage: 0.0,
            [],
        )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "recipe.toml").write_text(TINY)
    path = folder / "study.toml"
    path.write_text(STUDY)
    return path


def stopped_twice(file: Path, folder: Path, engine: type[Here]) -> Path:
    """The study carried out, stopped twice on its way."""
    study, text = load(file)
    for most in (3, 4):
        planned = schedule(study, text, folder, Quiet())
        with pytest.raises(KeyboardInterrupt):
            conduct(planned, engine(most), Quiet(), study.name)
    planned = schedule(study, text, folder, Quiet())
    assert (len(planned.rows), len(planned.missing)) == (11, 4)
    progress = Quiet()
    conduct(planned, engine(), progress, study.name)
    assert progress.done == progress.begun[0][1]
    return folder


@pytest.fixture(scope="module")
def conducted(file: Path) -> Path:
    return stopped_twice(file, file.parent / "out", MadeUp)


@pytest.mark.slow
def test_the_legs_of_the_base_arm_are_those_of_a_run_bit_for_bit(
    walked: Walked, file: Path, tmp_path: Path
) -> None:
    folder = stopped_twice(file, tmp_path / "out", Here)
    with Ledger(walked.folder / LEDGER) as run:
        ids = {record.id for record in run.walks().values()}
    for table, rows in facts_of(walked.folder / LEDGER).items():
        assert rows, table
        assert rows <= facts_of(folder / "base-3" / LEDGER)[table], table
    with Ledger(folder / "base-3" / LEDGER) as ledger:
        walks = ledger.walks()
    assert ids == {record.id for (_, stage), record in walks.items() if stage != "ppo-kl-0"}


def test_a_ledger_has_the_stages_of_all_arms_in_their_order(conducted: Path) -> None:
    with Ledger(conducted / "base-3" / LEDGER) as ledger:
        walks = ledger.walks()
        assert ledger.setting("finished")
    assert list(dict.fromkeys(stage for _, stage in walks)) == [
        "pretrain", "sft", "reward", "ppo", "ipo", "ppo-kl-0",
    ]  # fmt: skip
    shared = {
        stage for (twin, stage), record in walks.items() if walks["A", stage].id == walks["B", stage].id
    }
    assert shared == {"pretrain"}


def test_what_is_done_is_not_done_again(conducted: Path, file: Path) -> None:
    study, text = load(file)
    planned = schedule(study, text, conducted, Quiet())
    assert planned.missing == []
    engine = MadeUp()
    conduct(planned, engine, Quiet(), study.name)
    assert engine.done == []


def test_stages_that_arms_share_are_counted_once(file: Path, tmp_path: Path) -> None:
    study, text = load(file)
    planned = schedule(study, text, tmp_path / "new", Quiet())
    # pretrain; twins of sft, reward, ppo, ipo and of the other ppo. All but the two ppo are both arms'.
    assert (len(planned.rows), planned.shared) == (11, 7)
    assert {row.leg.stage: row.arms for row in planned.rows if row.leg.stage.startswith("ppo")} == {
        "ppo": ("base",),
        "ppo-kl-0": ("kl-0",),
    }
    assert not (tmp_path / "new").exists()


def test_time_is_no_shorter_than_the_longest_chain(file: Path, tmp_path: Path) -> None:
    study, text = load(file)
    planned = schedule(study, text, tmp_path / "new", Quiet())
    alone, two, many = (planned.seconds(workers) for workers in (1, 2, 100))
    assert alone == pytest.approx(sum(row.seconds for row in planned.rows))
    assert two == pytest.approx(alone / 2)
    chain = [
        next(r.seconds for r in planned.rows if r.leg.stage == s)
        for s in ("pretrain", "sft", "reward", "ppo")
    ]
    assert many == pytest.approx(sum(chain), rel=0.01)


def test_a_directory_of_another_study_is_left_alone(conducted: Path, file: Path, tmp_path: Path) -> None:
    other = tmp_path / "study.toml"
    other.write_text(STUDY)
    (tmp_path / "recipe.toml").write_text(TINY.replace("steps = 20", "steps = 21"))
    study, text = load(other)
    with pytest.raises(BadInput, match=r"base-3: expected no run or one of this very recipe"):
        schedule(study, text, conducted, Quiet())


def test_a_finished_stage_whose_parameters_are_gone_is_named(file: Path, tmp_path: Path) -> None:
    folder = stopped_twice(file, tmp_path / "out", MadeUp)
    (lost,) = folder.glob("base-3/stages/pretrain-*/params")
    lost.rmdir()
    study, text = load(file)
    with pytest.raises(
        BadInput, match="expected the parameters of the finished stage 'pretrain', got nothing"
    ):
        schedule(study, text, folder, Quiet())


# the command


CLAIM = """
[[claims]]
name = "P1"
text = "It is likelier after SFT."
measure = "likelihood"
stage = "sft"
cohort = "sft"
expect = "above"
"""


def test_a_plan_says_what_is_to_be_trained_and_seen_and_writes_nothing(
    say, file: Path, tmp_path: Path
) -> None:
    two = tmp_path / "study.toml"
    two.write_text(STUDY.replace("seeds = [3]", "seeds = [3, 4]") + CLAIM)
    (tmp_path / "recipe.toml").write_text(TINY)
    said: Printed = say("study", two, "--plan", "--workers", "2", "--out", tmp_path / "out")
    assert said.code == 0
    assert "sft       base and 1 more      4     0" in said.out
    assert "P1     nats per token                8      2" in said.out
    assert "22 stages to train, 0 done, 14 spared because arms share them: about " in said.out
    assert " min with 2 workers." in said.out
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_the_claims_and_leaves_a_report(
    say,
    conducted: Path,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def nobody(workers: int) -> Iterator[None]:
        raise AssertionError("all is done")
        yield

    monkeypatch.setattr("memaudit.study.engines.local", nobody)
    said: Printed = say("study", file, "--out", conducted)
    assert said.code == 0, said.err
    assert "11 stages, all done." in said.out
    for name in ("results.json", "report.md", "report.html"):
        assert str(conducted / name) in said.out
    results = json.loads((conducted / "results.json").read_text())
    assert (results["name"], results["missing"]) == ("leash", [])
    assert {row["arm"] for row in results["cells"]} == {"base", "kl-0"}


def test_a_study_that_was_interrupted_says_how_it_goes_on(
    say,
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @contextmanager
    def tired(workers: int) -> Iterator[Here]:
        yield Here(0)

    monkeypatch.setattr("memaudit.study.engines.local", tired)
    said: Printed = say("study", file, "--out", tmp_path / "out")
    assert said.code == 130
    assert "interrupted: the same command goes on with the stages that are missing" in said.err


def test_a_faulty_study_is_refused_in_one_line(say, tmp_path: Path) -> None:
    assert "there is no such file" in refused(say("study", tmp_path / "none.toml"))
    (tmp_path / "study.toml").write_text(STUDY.replace("kl_coefficient", "kl"))
    (tmp_path / "recipe.toml").write_text(TINY)
    assert "arm kl-0: stages.ppo.kl: expected no such key" in refused(say("study", tmp_path / "study.toml"))
