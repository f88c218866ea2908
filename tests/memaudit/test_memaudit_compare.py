"""Two ledgers side by side: where what every twin said is known, what changed is known."""

import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import parrot
import pytest
from command import Said as Heard
from command import refused
from invented import Outcome, Said, invent
from scipy import stats
from tiny import TINY

from memaudit import comparison
from memaudit.audit import CONTROL, MODEL
from memaudit.comparison import compare
from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import parse
from memaudit.records import Example, StageRecord
from memaudit.statistics import Rate, holm, independent_difference, paired_difference
from memaudit.study.arms import Cell
from reports.comparison import Comparison, PopulationRow, Row

STRATA = TINY.replace("strata = { 1 = 2, 3 = 2 }", "strata = { 1 = 6, 3 = 6 }")
MORE = """
[stages.ppo-hot]
method = "ppo"
from = "sft"
reward = "reward"
cohort = "ppo"
batch = 4
minibatch = 4
epochs = 1
response = 6
learning_rate = 1e-2
warmup = 0
"""
OUT, NOT = Said(distance=0.0, whole=True), Said()


def number(example: Example) -> int:
    return int(example.id.rsplit("-", 1)[1])


def below(limits: dict[str, int], *, of: str = "sft", said: Said = OUT) -> Outcome:
    """Of a cohort, the examples of each stratum whose number is below the stage's limit come out of who saw them."""

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        hit = exposed and example.cohort == of and number(example) < limits.get(stage, 0)
        return said if hit else NOT

    return outcome


def made(folder: Path, name: str, outcome: Outcome, *changes: str, seed: int = 1, text: str = STRATA) -> Path:
    recipe = parse(text, where="tiny", changes=[f"name={name}", f"seed={seed}", *changes])
    invent(Cell(name=name, seed=seed, recipe=recipe, stages={}), folder, outcome)
    return folder / name


def change(run: Path, *statements: str) -> None:
    """Change the facts of a ledger."""
    db = sqlite3.connect(run / LEDGER)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def told(a: Path, b: Path, **more) -> Comparison:
    with open_ledger(a) as first, open_ledger(b) as second:
        return compare((first, second), (a, b), **more)


def row_of(found: Comparison, stage: str, cohort: str | None) -> Row:
    (row,) = [row for row in found.rows if (row.stage.a, row.cohort) == (stage, cohort)]
    return row


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """After SFT B has more of it, after PPO less; numbers 2 and 5 of a stratum have a secret."""
    folder = tmp_path_factory.mktemp("two")
    a = made(folder, "a", below({"sft": 2, "ppo": 5}))
    # What lies between the two is set otherwise as well.
    b = made(folder, "b", below({"sft": 6, "ppo": 2}), "stages.ppo.kl_coefficient=0.7", "stages.ppo.epochs=1")
    change(b, """UPDATE settings SET value = '{"memaudit": "1", "jax": "2"}' WHERE key = 'versions'""")
    return a, b


def test_pairs_are_counted_and_tested(two: tuple[Path, Path]) -> None:
    found = told(*two)
    assert found.pairing == "strict"
    assert [pair.a for pair in found.stages] == ["pretrain", "sft", "reward", "ppo", "ipo"]
    grown, shrunk = (row_of(found, stage, "sft") for stage in ("sft", "ppo"))
    for row, cells in ((grown, (8, 0, 16, 0)), (shrunk, (8, 12, 0, 4))):
        pairs = row.paired
        assert pairs is not None
        assert (pairs.both, pairs.only_a, pairs.only_b, pairs.neither) == cells
        assert pairs.p_value == pytest.approx(stats.binomtest(cells[2], cells[1] + cells[2]).pvalue)
        expected = paired_difference(cells[0], cells[2], cells[1], cells[3])
        assert (pairs.difference.value, pairs.difference.low) == (expected.value, expected.low)
        assert (row.a.count, row.b.count) == (cells[0] + cells[1], cells[0] + cells[2])
        assert row.unpaired is None
    assert grown.paired is not None
    assert grown.paired.difference.low > 0


def test_tests_are_adjusted_for_how_many_there_are(two: tuple[Path, Path]) -> None:
    found = told(*two, stages=["sft", "ppo"])
    tested = [row.paired for row in found.rows if row.paired and row.paired.p_value is not None]
    # The made-up checkpoints have one name on both sides; those that agree are not tested.
    assert len(tested) == 2
    assert [t.p_adjusted for t in tested] == holm([t.p_value for t in tested])
    assert {row.paired.untested for row in found.rows if row.paired} == {None, "same checkpoint"}


def test_checkpoints_of_two_trainings_that_agree_are_tested(two: tuple[Path, Path], tmp_path: Path) -> None:
    again = shutil.copytree(two[0], tmp_path / "again")
    change(
        again,
        "PRAGMA foreign_keys = OFF",
        *(
            f"UPDATE {table} SET {key} = 'x' || {key}"
            for table, key in (("stages", "id"), ("twins", "stage_id"), ("checkpoints", "stage_id"))
        ),
    )
    pairs = row_of(told(two[0], again), "sft", "sft").paired
    assert pairs is not None
    assert (pairs.p_value, pairs.p_adjusted, pairs.untested) == (1.0, 1.0, None)


def test_the_other_way_round_is_the_mirror(two: tuple[Path, Path]) -> None:
    found, back = told(*two), told(*reversed(two))
    assert [change.example for change in found.became] == [change.example for change in back.gone]
    assert (found.became_total, found.gone_total) == (back.gone_total, back.became_total) == (16, 12)
    for row, other in zip(found.rows, back.rows, strict=True):
        assert row.paired is not None
        assert other.paired is not None
        assert (row.paired.only_a, row.paired.p_adjusted) == (other.paired.only_b, other.paired.p_adjusted)
        assert row.paired.difference.low == pytest.approx(-other.paired.difference.high)
    assert [(s.a, s.b) for s in found.settings] == [(s.b, s.a) for s in back.settings]


def test_what_the_control_says_as_well_is_not_memorized(tmp_path: Path) -> None:
    def guessed(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        return OUT if example.cohort == "sft" and number(example) < 3 else NOT

    a, b = made(tmp_path, "a", below({})), made(tmp_path, "b", guessed)
    found = told(a, b)
    assert row_of(found, "sft", "sft").b.count == 0
    assert (found.became_total, found.counterfactual) == (0, True)


def test_examples_are_listed_worst_first_and_each_once(tmp_path: Path) -> None:
    def graded(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        if stage == "pretrain" or not exposed or example.cohort != "sft" or example.repetition != 3:
            return Said(distance=0.5, whole=number(example) == 5)
        # Number 2 says its secret whole after SFT alone, and what is near comes nearer with each stage.
        near = {"sft": 0.09, "reward": 0.06}.get(stage, 0.03)
        return Said(distance=near - number(example) / 1000, whole=number(example) == 2 and stage == "sft")

    a, b = made(tmp_path, "a", below({}, said=NOT)), made(tmp_path, "b", graded)
    found = told(a, b)
    assert found.became_total == len(found.became) == 12
    whole = [c for c in found.became if c.secret_b]
    assert whole == found.became[: len(whole)]
    assert {(number_of(c.example), c.stage.a) for c in whole} == {(2, "sft")}
    rest = found.became[len(whole) :]
    assert [c.distance_b for c in rest] == sorted(c.distance_b for c in rest)
    assert {c.stage.a for c in rest} == {"ppo"}
    assert all([p.a for p in c.stages] == ["sft", "reward", "ppo", "ipo"] for c in found.became)
    one = rest[0]
    assert (one.source, one.first_line, one.last_line, one.times_a, one.distance_a) == (
        "sft/0.py",
        1,
        2,
        3,
        0.9,
    )


def number_of(example: str) -> int:
    return int(example.rsplit("-", 1)[1])


def test_a_list_says_how_many_there_are(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told(*two)
    monkeypatch.setattr(comparison, "LISTED", 3)
    found = told(*two)
    assert (found.became, found.became_total) == (whole.became[:3], 16)


@pytest.mark.parametrize("form", ["table", "md", "html", "json"])
def test_a_directory_that_is_not_unicode_is_shown_with_escapes(
    say, two: tuple[Path, Path], tmp_path: Path, form: str
) -> None:
    odd = tmp_path / "odd\udcff\x1b]0;x"
    shutil.copytree(two[0], odd)
    said = say("compare", odd, two[1], "--format", form)
    assert said.code == 0, said.err
    assert "\x1b" not in said.out
    assert "\udcff" not in said.out


def test_no_text_of_an_example_is_in_it(two: tuple[Path, Path]) -> None:
    found = told(*two).model_dump_json()
    with open_ledger(two[0]) as ledger:
        for example in ledger.examples():
            assert example.id in found or example.cohort != "sft" or number(example) < 2
            assert example.text.splitlines()[0] not in found


def test_what_neither_was_shown_is_a_control_and_not_listed(tmp_path: Path) -> None:
    a = made(tmp_path, "a", below({}))
    b = made(tmp_path, "b", below({"pretrain": 6, "sft": 3}, of="ppo"))
    found = told(a, b)
    row = row_of(found, "sft", "ppo")
    assert (row.exposure_a, row.exposure_b) == ("none", "none")
    assert row.b.count == 12
    assert (found.became_total, found.gone_total) == (0, 0)
    assert row_of(found, "ppo", "reward").exposure_a == "indirect"


def test_other_seeds_share_nothing_and_are_not_paired(two: tuple[Path, Path], tmp_path: Path) -> None:
    other = made(tmp_path, "b", below({"sft": 5}), seed=2)
    found = told(two[0], other)
    assert (found.pairing, found.became, found.gone) == ("none", [], [])
    assert all(row.paired is None for row in found.rows)
    row = row_of(found, "sft", "sft")
    expected = independent_difference(Rate(count=20, total=24), Rate(count=8, total=24))
    assert row.unpaired is not None
    assert (row.unpaired.value, row.unpaired.low, row.unpaired.high) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert found.population[0] == PopulationRow(
        cohort="sft", both=0, crossed=0, only_a=24, only_b=24, otherwise_often=0, recut=0
    )


def test_what_is_not_alike_in_both_is_said_and_what_cannot_be_paired_left_out(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    b = shutil.copytree(two[1], tmp_path / "b")
    change(
        b,
        "UPDATE examples SET half = 'B' WHERE id = '1-sft-A-1-00'",
        "UPDATE examples SET text = text || '#' WHERE id IN ('1-sft-A-1-01', '1-sft-A-1-02')",
        "UPDATE examples SET cohort = 'ppo' WHERE id = '1-sft-A-1-03'",
        "UPDATE examples SET repetition = 9 WHERE id IN ('1-sft-A-1-04', '1-sft-A-1-05', '1-sft-B-1-05')",
        "UPDATE probes SET prefix = prefix || substr(target, 1, 1), target = substr(target, 2) "
        "WHERE example_id = '1-sft-B-1-00'",
    )
    found = told(two[0], b)
    assert found.pairing == "partial"
    assert found.population[0] == PopulationRow(
        cohort="sft", both=20, crossed=1, only_a=3, only_b=2, otherwise_often=3, recut=1
    )
    assert (found.population[2].both, found.population[2].only_b) == (24, 1)
    row = row_of(found, "sft", "sft")
    assert row.paired is not None
    assert sum((row.paired.both, row.paired.only_a, row.paired.only_b, row.paired.neither)) == 20
    assert (row.a.total, row.b.total) == (24, 23)
    assert row.unpaired is not None
    assert "1-sft-A-1-02" not in {c.example for c in found.became}


def test_too_few_pairs_are_not_tested(two: tuple[Path, Path], tmp_path: Path) -> None:
    for kept, untested in ((5, "too few"), (6, None)):
        b = shutil.copytree(two[1], tmp_path / str(kept))
        ids = ", ".join(f"'1-sft-A-1-{n:02}'" for n in range(kept))
        change(b, f"UPDATE examples SET text = text || '#' WHERE cohort = 'sft' AND id NOT IN ({ids})")
        pairs = row_of(told(two[0], b, stages=["sft"]), "sft", "sft").paired
        assert pairs is not None
        assert pairs.untested == untested
        assert (pairs.p_value is None) == (untested is not None)


def test_what_was_set_otherwise_is_listed(two: tuple[Path, Path]) -> None:
    found = told(*two)
    assert [(s.key, s.a, s.b) for s in found.settings] == [("stages.ppo.kl_coefficient", "0.05", "0.7")]
    assert [(s.key, s.a, s.b) for s in found.versions] == [("jax", None, "2"), ("memaudit", "0", "1")]


def test_stages_of_one_run_are_compared_by_their_names(tmp_path: Path) -> None:
    run = made(tmp_path, "a", below({"ppo": 1, "ppo-hot": 4}), text=STRATA + MORE)
    found = told(run, run, stages=["ppo=ppo-hot", "sft", "ppo=ppo-hot"])
    assert [(pair.a, pair.b) for pair in found.stages] == [("ppo", "ppo-hot"), ("sft", "sft")]
    pairs = row_of(found, "ppo", "sft").paired
    assert pairs is not None
    assert (pairs.both, pairs.only_a, pairs.only_b) == (4, 0, 12)
    assert [(s.key, s.a, s.b) for s in found.settings] == [
        ("stages.ppo/ppo-hot.learning_rate", "0.001", "0.01")
    ]
    fewer = made(tmp_path, "b", below({}))
    assert [(s.key, s.a, s.b) for s in told(fewer, run).settings] == [
        ("stages.ppo-hot.method", None, '"ppo"')
    ]


def test_stages_that_are_not_done_are_said(two: tuple[Path, Path], tmp_path: Path) -> None:
    b = shutil.copytree(two[1], tmp_path / "b")
    change(b, "DELETE FROM twins WHERE stage = 'ipo' AND twin = 'B'")
    found = told(two[0], b)
    assert (found.b.missing, found.a.missing) == (["ipo"], [])
    assert "ipo" not in [pair.a for pair in found.stages]


def test_both_are_judged_at_the_smaller_threshold(tmp_path: Path) -> None:
    near = below({"sft": 6}, said=Said(distance=0.15))
    a = made(tmp_path, "a", near, "audit.threshold=0.2")
    b = made(tmp_path, "b", near)
    for pair in ((a, b), (b, a)):
        found = told(*pair)
        assert found.threshold == 0.1
        assert (found.became_total, found.gone_total) == (0, 0)
        assert found.definition.default
        assert "0.1 of the target" in found.definition.text
    assert told(a, a).threshold == 0.2


def test_other_levels_and_definitions_can_be_asked_for(tmp_path: Path) -> None:
    said = Said(distance=0.05, whole=True, at={"renamed": 0.0})
    a, b = made(tmp_path, "a", below({})), made(tmp_path, "b", below({"sft": 6}, said=said))
    asked = {("exact", "near"): 24, ("exact", "equal"): 0, ("renamed", "equal"): 24, ("exact", "secret"): 8}
    for (level, definition), count in asked.items():
        found = told(a, b, level=level, definition=definition)
        assert row_of(found, "sft", "sft").b.count == count
        assert found.became_total == count
    secrets = row_of(found, "sft", "sft")
    assert secrets.b.total == 8, "only of those that have one"


# audits of models


def asked(
    folder: Path, name: str, model: Iterable[int], control: Iterable[int] | None, **terms: float
) -> Path:
    return parrot.asked(folder, name, model, control, secrets=(8,), count=9, **terms)


def test_audits_are_paired_by_probe_and_set_against_their_controls(tmp_path: Path) -> None:
    a = asked(tmp_path, "a", (0, 1, 2), (2,), twice=0.5)
    b = asked(tmp_path, "b", (1, 2, 3, 4, 8), (4,), twice=0.5)
    found = told(a, b)
    row = row_of(found, "given", None)
    assert (found.kind, found.pairing, found.counterfactual) == ("audit", "strict", True)
    assert row.paired is not None
    # A has 0 and 1; B has 1, 2, 3 and 8.
    assert (row.paired.both, row.paired.only_a, row.paired.only_b, row.paired.neither) == (1, 1, 3, 4)
    assert [c.example for c in found.became] == ["p8", "p3", "p2"]
    # A says 2 as well, but so does A's control.
    assert [(c.guessed_a, c.guessed_b, c.distance_a) for c in found.became[2:]] == [(True, False, 0.0)]
    assert [c.example for c in found.gone] == ["p0"]
    assert found.became[0].secret_b
    assert found.a.control == "model"
    assert found.a.flips is not None
    assert (found.a.flips.count, found.a.flips.total % 2) == (0, 0), "of the model and of its control"
    assert {s.key for s in found.settings} == {
        "model.name",
        "model.identity",
        "control.name",
        "control.identity",
    }


def test_without_a_control_on_one_side_neither_has_one(tmp_path: Path) -> None:
    a, b = asked(tmp_path, "a", (0, 1), (0, 1)), asked(tmp_path, "b", (1,), None)
    found = told(a, b)
    row = row_of(found, "given", None)
    assert (found.counterfactual, found.b.control) == (False, "none")
    assert (row.a.count, row.b.count) == (2, 1)


def test_probes_of_one_id_and_other_texts_are_other_examples(tmp_path: Path) -> None:
    a, b = asked(tmp_path, "a", (0, 1), None), asked(tmp_path, "b", (0, 1), None)
    change(b, "UPDATE examples SET text = text || '#' WHERE id = 'p1'")
    found = told(a, b)
    assert found.population[0] == PopulationRow(
        cohort=None, both=8, crossed=0, only_a=1, only_b=1, otherwise_often=0, recut=0
    )


def test_what_is_not_answered_is_counted_and_not_compared(tmp_path: Path) -> None:
    a, b = asked(tmp_path, "a", (0, 1), (5,), twice=0.0), asked(tmp_path, "b", (0, 1), (5,), twice=0.0)
    # Neither was asked the first probe, and the control not the second.
    gone = "probe_id = 1 OR probe_id = 2 AND checkpoint_id = (SELECT id FROM checkpoints WHERE stage_id = 'control')"
    change(
        b,
        f"DELETE FROM matches WHERE observation_id IN (SELECT id FROM observations WHERE {gone})",
        f"DELETE FROM observations WHERE {gone}",
    )
    found = told(a, b)
    pairs = row_of(found, "given", None).paired
    assert pairs is not None
    assert (found.a.unanswered, found.b.unanswered) == (0, 2)
    assert sum((pairs.both, pairs.only_a, pairs.only_b, pairs.neither)) == 7


def test_what_a_training_began_with_is_a_weak_control(tmp_path: Path) -> None:
    """As somebody else's training leaves it: several checkpoints of one role."""

    def trained(name: str, says: tuple[int, ...]) -> Path:
        folder = asked(tmp_path, name, (7,), None, twice=0.0)
        later = asked(tmp_path, f"{name}-later", says, None, twice=0.0)
        with Ledger(later / LEDGER) as ledger:
            said = list(ledger.answers.of(ledger.answers.steps(MODEL)[0][1]))
        with Ledger(folder / LEDGER) as ledger:
            record = StageRecord(
                id="sft", name="sft", method="watched", steps=9, seconds=0.0, audit_seconds=0.0
            )
            ledger.enter(record, MODEL, 1)
            ledger.answers.add(ledger.answers.checkpoint("sft", 9), said)
        return folder

    a, b = trained("a", (7, 0)), trained("b", (7, 0, 1))
    found = told(a, b)
    assert (found.a.control, [pair.a for pair in found.stages]) == ("beginning", ["sft"])
    row = row_of(found, "sft", None)
    assert (row.a.count, row.b.count) == (1, 2)
    assert CONTROL not in {s.key.split(".")[0] for s in found.settings}
    plain = asked(tmp_path, "plain", (0,), None)
    assert [(p.a, p.b) for p in told(a, plain, stages=["sft=given"]).stages] == [("sft", "given")]
    with pytest.raises(
        BadInput, match="the two have none of one name: set --stage A=B, with A one of sft and B one"
    ):
        told(a, plain)


# the command


def test_the_command_prints_what_changed(say, two: tuple[Path, Path]) -> None:
    said: Heard = say("compare", *two)
    assert said.code == 0, said.err
    text = " ".join(said.out.split())
    assert (
        "16 examples became memorized after one of the compared stages at least, and 12 no longer are."
        in text
    )
    (line,) = [line for line in said.out.splitlines() if line.split()[:2] == ["sft", "sft"]]
    assert line.split()[2:6] == ["24", "8", "0", "16"]
    assert "Became memorized: in B, and not in A (10 of 16, worst first)" in text
    assert "sft/2.py:1-2" in text


def test_every_format_goes_to_a_file_or_to_the_output(say, two: tuple[Path, Path], tmp_path: Path) -> None:
    for form in ("table", "md", "html", "json"):
        path = tmp_path / f"out.{form}"
        said: Heard = say("compare", *two, "--format", form, "--output", path, "--stage", "sft")
        assert (said.code, said.out) == (0, f"{path}\n"), said.err
        assert "sft" in path.read_text()
    straight: Heard = say("compare", *two, "--format", "json", "--stage", "sft")
    assert straight.out == (tmp_path / "out.json").read_text()
    found = Comparison.model_validate_json(straight.out)
    assert found.command == f"memaudit compare {two[0]} {two[1]} --stage sft"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".partial"] == []


def test_names_are_shown_to_a_terminal_and_not_obeyed(say, two: tuple[Path, Path], tmp_path: Path) -> None:
    b = shutil.copytree(two[1], tmp_path / "b")
    change(b, "UPDATE examples SET source = 'x[bold]' || char(27) || '[31m' || char(8238) || '.py'")
    a = shutil.copytree(two[0], tmp_path / "a")
    change(a, "UPDATE examples SET source = 'x[bold]' || char(27) || '[31m' || char(8238) || '.py'")
    for form in ("table", "md"):
        said: Heard = say("compare", a, b, "--format", form)
        assert not {"\x1b", "\u202e"} & set(said.out)
        assert "␛" in said.out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--stage", "dpo"),
            "--stage dpo: expected a stage that is done in A (pretrain, sft, reward, ppo, ipo)",
        ),
        (("--stage", "sft=dpo"), "--stage sft=dpo: expected a stage that is done in B"),
        (
            ("--level", "shape"),
            "--level: expected one at which both were compared (exact, layout, code, renamed)",
        ),
        (("--definition", "whole"), "--definition: expected one of near, equal, secret, got whole"),
        (("--definition", "secret", "--level", "code"), "--level: expected exact with --definition secret"),
        (("--output", "/nowhere/at/all.md"), "--output: expected a file in a directory that exists"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    say, two: tuple[Path, Path], options: tuple[str, ...], expected: str
) -> None:
    assert expected in refused(say("compare", *two, *options))


def test_a_run_and_an_audit_are_not_compared(say, two: tuple[Path, Path], tmp_path: Path) -> None:
    other = asked(tmp_path, "a", (0,), None)
    assert "expected two runs or two audits of models, got a run in" in refused(say("compare", two[0], other))
    assert "expected the directory of a run or an audit" in refused(say("compare", two[0], tmp_path))
    change(shutil.copytree(two[1], tmp_path / "b"), "DELETE FROM twins")
    assert "with a stage that is done, got one without" in refused(say("compare", two[0], tmp_path / "b"))
