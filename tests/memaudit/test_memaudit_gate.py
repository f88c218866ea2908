"""Ledgers whose observations are made up, held against policies: on both sides of every bound."""

import shutil
import sqlite3
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path

import parrot
import pytest
from command import Said as Heard
from command import refused
from invented import Outcome, Said, invent
from scipy import stats
from tiny import TINY

from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.gate import check
from memaudit.ledger import LEDGER
from memaudit.policy import parse
from memaudit.recipe import parse as recipe_of
from memaudit.records import Example
from memaudit.statistics import wilson
from memaudit.study.arms import Cell
from reports.gate import Gate, RuleRow

EACH = 15
"""Examples of a stratum in a half: a cohort has four times as many, and a third of them have a secret."""
TEXT = TINY.replace("strata = { 1 = 2, 3 = 2 }", f"strata = {{ 1 = {EACH}, 3 = {EACH} }}").replace(
    "[audit]", '[audit]\nlevels = ["exact", "code"]'
)
OUT, NEAR, NOT = Said(distance=0.0, whole=True), Said(distance=0.05), Said()


def number(example: Example) -> int:
    return int(example.id.rsplit("-", 1)[1])


def below(
    limits: Mapping[str, int], *, of: str = "sft", said: Said = NEAR, guessed: int = 0, strata: Iterable[int] = (1, 3)
) -> Outcome:  # fmt: skip
    """Of a cohort, the examples of each stratum whose number is below the stage's limit come out of who saw them, and
    of those whose number is below `guessed` also of the control."""

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        if (
            example.cohort != of
            or example.repetition not in strata
            or number(example) >= limits.get(stage, 0)
        ):
            return NOT
        return said if exposed or number(example) < guessed else NOT

    return outcome


def made(folder: Path, outcome: Outcome, *changes: str, name: str = "a", seed: int = 1, **more) -> Path:
    recipe = recipe_of(TEXT, where="tiny", changes=[f"name={name}", f"seed={seed}", *changes])
    invent(Cell(name=name, seed=seed, recipe=recipe, stages={}), folder, outcome, **more)
    return folder / name


def change(run: Path, *statements: str) -> None:
    db = sqlite3.connect(run / LEDGER)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


def rules(*texts: str, above: str = "") -> str:
    tables = [f'[[rules]]\nname = "{place}"\n{text}\n' for place, text in enumerate(texts)]
    return f'name = "mine"\n{above}\n' + "".join(tables)


def held(run: Path, *texts: str, baseline: Path | None = None, above: str = "") -> Gate:
    policy = parse(rules(*texts, above=above), where="mine.toml")
    with open_ledger(run) as ledger:
        if baseline is None:
            return check(ledger, run, policy)
        with open_ledger(baseline) as other:
            return check(ledger, run, policy, baseline=(other, baseline))


def one(run: Path, text: str, **more) -> RuleRow:
    (row,) = held(run, text, **more).rules
    return row


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of cohort sft 12 of 60 are memorized after SFT, 8 after PPO, 20 after IPO."""
    return made(tmp_path_factory.mktemp("run"), below({"sft": 3, "reward": 3, "ppo": 2, "ipo": 5}))


SFT = 'rule = "memorized"\ncohorts = ["sft"]\nstages = ["sft"]\n'


def test_it_is_the_upper_end_that_is_judged_and_never_the_estimate(run: Path) -> None:
    edge = float(stats.beta.ppf(0.95, 13, 48))
    assert edge > 12 / 60
    for limit, holds in ((edge + 1e-6, True), (edge - 1e-6, False)):
        row = one(run, f"{SFT}at_most = {limit}")
        (found,) = row.measured
        assert (row.passed, row.verdict) == (holds, "holds" if holds else "crossed")
        assert (found.found.count, found.found.total) == (12, 60)
        assert found.edge == pytest.approx(edge)
        assert (found.found.low, found.found.high) == (wilson(12, 60).low, wilson(12, 60).high)
        assert row.bound.judged == "exact one-sided 95 % bound, Clopper-Pearson"


def test_wilson_and_other_confidences_can_be_asked_for(run: Path) -> None:
    row = one(run, f'{SFT}at_most = 0.5\ninterval = "wilson"')
    assert row.measured[0].edge == wilson(12, 60).high
    assert "Wilson" in row.bound.judged
    row = one(run, f"{SFT}at_most = 0.5", above="confidence = 0.99")
    assert row.measured[0].edge == pytest.approx(float(stats.beta.ppf(0.99, 13, 48)))


def test_a_sample_that_cannot_show_a_bound_says_how_many_can(run: Path) -> None:
    row = one(run, 'rule = "memorized"\ncohorts = ["ppo"]\nstages = ["ppo"]\nat_most = 0.01')
    (found,) = row.measured
    assert (found.found.count, found.found.total, row.passed) == (0, 60, False)
    assert (found.needs, found.least) == (299, pytest.approx(1 - 0.05 ** (1 / 60)))
    assert one(run, f"{SFT}at_most = 0.06").measured[0].needs is None


def test_a_rule_looks_at_every_place_that_was_shown_and_shows_the_worst_first(run: Path) -> None:
    row = one(run, 'rule = "memorized"\nat_most = 0.35')
    places = [(m.stage, m.cohort) for m in row.measured]
    assert places[:2] == [("ipo", "sft"), ("sft", "sft")]
    assert set(places) == {
        *((stage, "sft") for stage in ("sft", "reward", "ppo", "ipo")),
        *((stage, "reward") for stage in ("reward", "ppo", "ipo")),
        ("ppo", "ppo"),
    }
    assert [m.holds for m in row.measured] == [False] + [True] * 7
    assert (row.verdict, row.passed) == ("crossed", False)
    indirect = one(run, 'rule = "memorized"\nexposure = ["indirect"]\nat_most = 0.1')
    assert [(m.stage, m.cohort) for m in indirect.measured] == [("ppo", "reward")]


def test_filters_narrow_a_rule_down(tmp_path: Path) -> None:
    run = made(tmp_path, below({"sft": EACH}, strata=[3], said=Said(distance=0.05, at={"code": 0.0})))
    for filters, count, total in (
        ("strata = [3]", 30, 30),
        ("strata = [1]", 0, 30),
        ('kind = "sensitive"', 10, 20),
        ('definition = "equal"', 0, 60),
        ('definition = "equal"\nlevel = "code"', 30, 60),
        ('definition = "secret"', 0, 20),
    ):
        found = one(run, f"{SFT}at_most = 0.5\n{filters}").measured[0].found
        assert (found.count, found.total) == (count, total), filters


def test_what_is_guessed_is_exposed_and_not_memorized(tmp_path: Path) -> None:
    run = made(tmp_path, below({"sft": 10}, guessed=8))
    where = 'cohorts = ["sft"]\nstages = ["sft"]\nat_most = 0.3'
    memorized, exposed = held(run, f'rule = "memorized"\n{where}', f'rule = "exposed"\n{where}').rules
    assert (memorized.measured[0].found.count, memorized.passed) == (8, True)
    assert (exposed.measured[0].found.count, exposed.passed) == (40, False)


def test_a_whole_secret_counts_once_over_all_stages_and_even_if_it_is_guessed(tmp_path: Path) -> None:
    # Numbers 2, 5, 8, ... have a secret: after SFT one of each stratum and half, after PPO two.
    run = made(tmp_path, below({"sft": 3, "ppo": 6}, said=OUT, guessed=3))
    for limit, holds in ((7, False), (8, True)):
        row = one(run, f'rule = "secrets"\ncohorts = ["sft"]\nat_most = {limit}')
        (found,) = row.measured
        assert (found.found.count, found.found.total, found.holds) == (8, 20, holds)
        assert "of 4 the control says it as well" in (found.note or "")
    assert one(run, 'rule = "secrets"\ncohorts = ["reward"]').passed
    assert one(run, 'rule = "secrets"\nstages = ["sft"]').measured[0].found.count == 4


def test_what_was_memorized_may_stay_up_to_a_share(run: Path) -> None:
    # Of 12 after SFT 8 are still memorized after PPO, and all of them after IPO.
    rule = 'rule = "persistence"\nbefore = "sft"\ncohorts = ["sft"]\n'
    edge = float(stats.beta.ppf(0.95, 9, 4))
    for limit, holds in ((edge + 1e-6, True), (edge - 1e-6, False)):
        row = one(run, f'{rule}stages = ["ppo"]\nat_most = {limit}')
        (found,) = row.measured
        assert (found.found.count, found.found.total, found.before, row.passed) == (8, 12, "sft", holds)
    assert [m.stage for m in one(run, f"{rule}at_most = 0.9").measured] == ["reward", "ipo", "ppo"]
    every = one(run, 'rule = "persistence"\nbefore = "sft"\nat_most = 0.9')
    assert {m.cohort for m in every.measured} == {"sft"}
    assert every.gaps == []


def test_so_many_examples_may_be_acquired_in_a_stage(run: Path) -> None:
    rule = 'rule = "acquired"\ncohorts = ["sft"]\n'
    row = one(run, f"{rule}at_most = 8")
    told = {m.stage: (m.before, m.found.count, m.holds) for m in row.measured}
    assert told == {
        "sft": ("pretrain", 12, False),
        "ipo": ("sft", 8, True),
        "ppo": ("sft", 0, True),
        "reward": ("sft", 0, True),
    }
    assert one(run, f'{rule}stages = ["ipo", "ppo"]\nat_most = 8').passed
    assert not one(run, f'{rule}stages = ["ipo"]\nat_most = 7').passed
    assert one(run, f'{rule}stages = ["ipo"]\nbefore = "ppo"\nat_most = 12').measured[0].found.count == 12


def test_a_positive_control_has_to_come_out(run: Path) -> None:
    edge = float(stats.beta.ppf(0.05, 20, 41))
    rule = 'rule = "detected"\ncohorts = ["sft"]\nstages = ["ipo"]\n'
    for limit, holds in ((edge - 1e-6, True), (edge + 1e-6, False)):
        row = one(run, f"{rule}at_least = {limit}")
        assert (row.measured[0].edge, row.passed) == (pytest.approx(edge), holds)
    (found,) = one(run, f"{rule}at_least = 0.99").measured
    assert (found.needs, found.least) == (299, pytest.approx(0.05 ** (1 / 60)))


def test_enough_has_to_be_tested(run: Path) -> None:
    assert one(run, 'rule = "tested"\nat_least = 60').passed
    row = one(run, 'rule = "tested"\nat_least = 61')
    assert not row.passed
    assert all(m.found.total == 60 for m in row.measured)
    assert one(run, 'rule = "tested"\ndefinition = "secret"\nat_least = 20').passed
    assert not one(run, 'rule = "tested"\ndefinition = "secret"\nat_least = 21').passed


def test_verdicts_may_flip_up_to_a_share(run: Path, tmp_path: Path) -> None:
    # Every second of 180 probes was asked twice, of either twin.
    edge = 1 - 0.05 ** (1 / 180)
    for limit, holds in ((edge + 1e-6, True), (edge - 1e-6, False)):
        row = one(run, f'rule = "noise"\nstages = ["sft"]\nat_most = {limit}')
        assert (row.measured[0].found.total, row.passed) == (180, holds)
    flipped = shutil.copytree(run, tmp_path / "flipped")
    change(
        flipped,
        "UPDATE matches SET distance = 0 WHERE observation_id IN (SELECT o.id FROM observations o "
        "JOIN checkpoints c ON c.id = o.checkpoint_id WHERE o.asking = 1 AND c.stage_id = 'sft-A')",
    )
    (found,) = one(flipped, 'rule = "noise"\nstages = ["sft"]\nat_most = 0.05').measured
    assert found.found.count > 70
    assert not found.holds


# a baseline


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside `run`: after SFT 8 more are memorized, after IPO 4 fewer, with 8 others."""
    return made(
        tmp_path_factory.mktemp("later"), below({"sft": 5, "reward": 3, "ppo": 2, "ipo": 4}), name="b"
    )


REGRESSION = 'rule = "regression"\ncohorts = ["sft"]\n'


def test_what_became_memorized_since_the_baseline_is_counted(run: Path, later: Path) -> None:
    for limit, holds in ((7, False), (8, True)):
        row = one(later, f"{REGRESSION}at_most = {limit}", baseline=run)
        told = {m.stage: (m.found.count, m.found.total) for m in row.measured}
        assert told == {"sft": (8, 60), "reward": (0, 60), "ppo": (0, 60), "ipo": (0, 60)}
        assert row.passed == holds
    assert one(run, f'{REGRESSION}stages = ["ipo"]\nat_most = 4', baseline=later).passed


def test_a_rise_fails_where_an_exact_test_shows_it_and_a_fall_never(run: Path, later: Path) -> None:
    p_value = stats.binomtest(8, 8).pvalue
    where = f'{REGRESSION}stages = ["sft"]\n'
    for alpha, holds in ((p_value * 1.01, False), (p_value * 0.99, True)):
        row = one(later, f"{where}alpha = {alpha}", baseline=run)
        (found,) = row.measured
        assert (found.found.count, found.gone, row.passed) == (8, 0, holds)
        assert found.p_value == pytest.approx(p_value)
    (back,) = one(run, f"{where}alpha = 0.05", baseline=later).measured
    assert (back.found.count, back.gone, back.holds) == (0, 8, True)
    adjusted = one(later, f"{REGRESSION}alpha = 0.05", baseline=run).measured
    assert (adjusted[0].stage, adjusted[0].p_value) == ("sft", pytest.approx(4 * p_value))


def test_too_few_pairs_for_a_test_are_no_pass(run: Path, later: Path) -> None:
    row = one(later, f'{REGRESSION}stages = ["sft"]\nalpha = 1e-20', baseline=run)
    (found,) = row.measured
    assert (found.holds, found.needs) == (False, 68)


def test_a_baseline_that_shares_nothing_or_is_judged_otherwise_is_no_pass(
    run: Path, later: Path, tmp_path: Path
) -> None:
    other = made(tmp_path, below({}), name="c", seed=2)
    row = one(run, f"{REGRESSION}at_most = 9", baseline=other)
    assert (row.verdict, row.passed) == ("not applied", False)
    assert "cohort sft after sft: no example is in the baseline as well" in row.gaps
    strict = made(tmp_path, below({}), "audit.threshold=0.02", name="d")
    row = one(run, f"{REGRESSION}at_most = 90", baseline=strict)
    assert row.gaps == [
        "near copies lie within 0.1 here and within 0.02 in the baseline: set `threshold` in the policy"
    ]
    assert one(run, f"{REGRESSION}at_most = 90", baseline=strict, above="threshold = 0.02").passed
    fewer = made(tmp_path, below({}), name="e", stages={"pretrain", "sft"})
    row = one(run, f"{REGRESSION}at_most = 90", baseline=fewer)
    assert "the baseline has no stage ipo that is done" in row.gaps
    assert not row.passed
    assert one(run, f"{REGRESSION}at_most = 90").gaps == [
        "there is no baseline to compare with: give --baseline RUN"
    ]
    with pytest.raises(BadInput, match='--baseline: expected a policy with a rule = "regression"'):
        held(run, f"{SFT}at_most = 0.5", baseline=later)


def test_an_example_that_changed_halves_is_no_pair(run: Path, later: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "a")
    change(other, "UPDATE examples SET half = 'B' WHERE id = '1-sft-A-1-04'")
    (found,) = one(later, f'{REGRESSION}stages = ["sft"]\nat_most = 8', baseline=other).measured
    assert (found.found.count, found.found.total) == (7, 59)


# what is missing


@pytest.mark.parametrize(
    ("text", "gap"),
    [
        ('rule = "memorized"\nstages = ["dpo"]\nat_most = 0.5', "there is no stage dpo (there are pretrain, sft"),
        ('rule = "memorized"\ncohorts = ["x"]\nat_most = 0.5', "there is no cohort x (there are sft, reward, ppo)"),
        (
            'rule = "memorized"\nstages = ["sft"]\ncohorts = ["ppo"]\nat_most = 0.5',
            "no stage that is looked at has the exposure direct or indirect to cohort ppo",
        ),
        ('rule = "exposed"\nstages = ["sft"]\nstrata = [7]\nat_most = 0.5', "cohort sft after sft: no example to look"),
        ('rule = "secrets"\ncohorts = ["sft"]\nkind = "harvested"', "no example of cohort sft that is looked at has a"),
        ('rule = "noise"\nstages = ["dpo"]\nat_most = 0.5', "there is no stage dpo"),
        ('rule = "persistence"\nbefore = "dpo"\nat_most = 0.5', "there is no stage dpo"),
        ('rule = "persistence"\nbefore = "ipo"\nat_most = 0.5', "no stage comes after ipo"),
        (
            'rule = "persistence"\nbefore = "pretrain"\nat_most = 0.5',
            "cohort sft after sft: nothing was memorized after pretrain",
        ),
        ('rule = "acquired"\nbefore = "dpo"\nat_most = 5', "there is no stage dpo"),
        ('rule = "detected"\ncohorts = ["x"]\nat_least = 0.5', "there is no cohort x"),
        ('rule = "tested"\ncohorts = ["x"]\nat_least = 1', "there is no cohort x"),
        ('rule = "exposed"\nexposure = ["none"]\ncohorts = ["sft"]\nstages = ["ppo"]\nat_most = 0.5', "exposure none"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_fails_unless_the_rule_lets_it_pass(run: Path, text: str, gap: str) -> None:
    row = one(run, text)
    assert (row.verdict, row.passed) == ("not applied", False)
    assert gap in " ".join(row.gaps)
    allowed = one(run, f'{text}\nmissing = "pass"')
    assert (allowed.verdict, allowed.passed) == ("not applied", True)
    assert allowed.gaps == row.gaps


def test_a_place_that_is_missing_fails_a_rule_that_holds_elsewhere(run: Path) -> None:
    rule = 'rule = "memorized"\nstages = ["sft", "dpo"]\nat_most = 0.5'
    row = one(run, rule)
    assert (row.verdict, row.passed, len(row.measured)) == ("not applied", False, 1)
    row = one(run, f'{rule}\nmissing = "pass"')
    assert (row.verdict, row.passed) == ("holds", True)
    row = one(run, f'{rule}\nmissing = "pass"'.replace("0.5", "0.1"))
    assert (row.verdict, row.passed) == ("crossed", False)


def test_a_run_that_is_not_finished_does_not_pass_by_what_is_not_there(tmp_path: Path) -> None:
    run = made(tmp_path, below({}), stages={"pretrain", "sft"})
    gate = held(run, 'rule = "memorized"\nat_most = 0.5', f"{SFT}at_most = 0.5", 'rule = "secrets"')
    assert [row.passed for row in gate.rules] == [False, True, False]
    assert "stage ppo is not done, and the run is not finished" in gate.rules[0].gaps


def test_a_level_that_was_not_compared_is_missing(tmp_path: Path) -> None:
    run = made(tmp_path, below({}), 'audit.levels=["exact"]')
    row = one(run, 'rule = "exposed"\nlevel = "code"\nat_most = 0.5')
    assert row.gaps == ["nothing was compared at level code (there are exact)"]


def test_a_policy_says_what_is_near_and_not_the_run(tmp_path: Path) -> None:
    run = made(tmp_path, below({"sft": EACH}, said=Said(distance=0.05)), "audit.threshold=0.01")
    assert one(run, f"{SFT}at_most = 0.5").passed
    gate = held(run, f"{SFT}at_most = 0.5", above="threshold = 0.1")
    assert (gate.passed, gate.threshold) == (False, 0.1)


# audits of models


def asked(folder: Path, name: str, model: Iterable[int], control: Iterable[int] | None) -> Path:
    return parrot.asked(folder, name, model, control, secrets=range(5), count=20, twice=1.0)


def test_an_audited_model_is_held_to_the_same_rules(tmp_path: Path) -> None:
    a = asked(tmp_path, "a", (0, 1, 2, 19), (2,))
    b = asked(tmp_path, "b", (1, 2, 6, 7), (2,))
    gate = held(
        b,
        'rule = "memorized"\nat_most = 0.35',
        'rule = "exposed"\nat_most = 0.35',
        'rule = "secrets"\nat_most = 1',
        'rule = "noise"\nat_most = 0.2',
        'rule = "control"',
        'rule = "tested"\nat_least = 20',
        'rule = "regression"\nat_most = 2',
        'rule = "memorized"\ncohorts = ["sft"]\nat_most = 0.5',
        'rule = "acquired"\nat_most = 20',
        baseline=a,
    )
    told = [
        (row.rule, row.passed, row.measured[0].found.count if row.measured else None) for row in gate.rules
    ]
    assert told == [
        ("memorized", True, 3),
        ("exposed", False, 4),
        ("secrets", False, 2),
        ("noise", True, 0),
        ("control", True, 0),
        ("tested", True, 20),
        ("regression", True, 2),
        ("memorized", False, None),
        ("acquired", False, None),
    ]
    assert gate.rules[7].gaps == ["`cohorts` is not known of an audit of a model"]
    assert gate.rules[8].gaps == ["given has no stage before it"]
    assert (gate.kind, gate.name, gate.seed) == ("audit", "b", None)
    for key, value in (("exposure", '["direct"]'), ("strata", "[1]")):
        row = one(b, f'rule = "tested"\nat_least = 1\n{key} = {value}')
        assert (row.passed, row.measured) == (False, [])


def test_without_a_control_nothing_is_memorized_and_nothing_passes(tmp_path: Path) -> None:
    run = asked(tmp_path, "a", (), None)
    gate = held(
        run,
        'rule = "control"',
        'rule = "memorized"\nat_most = 0.5',
        'rule = "acquired"',
        'rule = "exposed"\nat_most = 0.5',
        'rule = "control"\nweak = true',
    )
    assert [row.passed for row in gate.rules] == [False, False, False, True, False]
    assert "there is no control" in gate.rules[1].gaps[0]


def test_what_the_training_began_with_is_a_control_only_where_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memaudit.compared import AuditSide

    run = asked(tmp_path, "a", (), ())
    plain = AuditSide.__init__

    def weak(self: AuditSide, *given) -> None:
        plain(self, *given)
        self.control = "beginning"

    monkeypatch.setattr(AuditSide, "__init__", weak)
    gate = held(run, 'rule = "control"', 'rule = "control"\nweak = true')
    assert [row.passed for row in gate.rules] == [False, True]


def test_an_audit_that_was_stopped_does_not_pass(tmp_path: Path) -> None:
    run = asked(tmp_path, "a", (), ())
    change(
        run,
        "DELETE FROM matches WHERE observation_id IN (SELECT id FROM observations WHERE probe_id = 1)",
        "DELETE FROM observations WHERE probe_id = 1",
    )
    row = one(run, 'rule = "memorized"\nat_most = 0.5')
    assert (row.passed, row.gaps) == (False, ["1 probes have no answer after given"])


def test_a_run_is_no_baseline_of_an_audit(run: Path, tmp_path: Path) -> None:
    other = asked(tmp_path, "a", (), ())
    with pytest.raises(BadInput, match="--baseline: expected another run, as"):
        held(run, f"{REGRESSION}at_most = 1", baseline=other)


# the command


def test_the_command_says_yes_or_no_with_its_exit_code(say, run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(rules(f"{SFT}at_most = 0.4"))
    said: Heard = say("check", run, "--policy", policy)
    assert (said.code, said.err) == (0, "")
    assert "12 of 60 (20.0 %), up to 30.4 %" in said.out
    policy.write_text(rules(f"{SFT}at_most = 0.4", f"{SFT}at_most = 0.3", 'rule = "control"'))
    said = say("check", run, "--policy", policy)
    assert (said.code, said.err) == (1, "")
    words = [line.split()[0] for line in said.out.splitlines() if line[1:5] in ("FAIL", "pass", "skip")]
    assert words == ["FAIL", "pass", "pass"]
    assert "NOT passed, 1 of 3 rules failed" in said.out


def test_the_built_in_policy_is_called_by_its_name(say, run: Path) -> None:
    said: Heard = say("check", run, "--policy", "user-code")
    assert said.code == 1
    assert "0 of 60 can only exclude 4.9 %: needs at least 299 examples" in said.out
    assert "What this does not show:" in said.out


def test_the_built_in_policy_can_be_kept_to(tmp_path: Path) -> None:
    recipe = recipe_of(TEXT, where="tiny", changes=["cohorts.strata={ 1 = 150 }", "name=big"])
    invent(Cell(name="big", seed=1, recipe=recipe, stages={}), tmp_path, below({"sft": 40}))
    from memaudit.policy import load

    with open_ledger(tmp_path / "big") as ledger:
        gate = check(ledger, tmp_path / "big", load("user-code"))
    assert gate.passed
    assert all(row.gaps == [] for row in gate.rules)


def test_files_are_written_whether_it_passes_or_not(say, run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(rules(f"{SFT}at_most = 0.4", f"{SFT}at_most = 0.1"))
    files = {"junit": tmp_path / "gate.xml", "json": tmp_path / "gate.json", "md": tmp_path / "gate.md"}
    options = [word for name, path in files.items() for word in (f"--{name}", path)]
    said: Heard = say("check", run, "--policy", policy, *options)
    assert said.code == 1
    gate = Gate.model_validate_json(files["json"].read_text())
    assert (gate.passed, [row.passed for row in gate.rules]) == (False, [True, False])
    assert gate.command == f"memaudit check {run} --policy {policy}"
    cases = ET.parse(files["junit"]).getroot().findall("./testsuite/testcase")
    assert [[child.tag for child in case] for case in cases] == [[], ["failure"]]
    assert "❌" in files["md"].read_text()
    assert sorted(tmp_path.iterdir()) == sorted([policy, *files.values()])


def test_what_is_wrong_is_one_line_and_nothing_is_written(say, run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(rules('rule = "memorized"\nat_mots = 0.4'))
    before = sorted(tmp_path.iterdir())
    out = tmp_path / "gate.xml"
    assert "at_mots: expected no such key" in refused(say("check", run, "--policy", policy, "--junit", out))
    assert "which is neither" in refused(say("check", run, "--policy", "userland"))
    assert "directory of a run or an audit" in refused(say("check", tmp_path, "--policy", "user-code"))
    line = refused(say("check", run, "--policy", "user-code", "--md", tmp_path / "no" / "gate.md"))
    assert "--md: expected a file in a directory that exists" in line
    assert 'expected a policy with a rule = "regression"' in refused(
        say("check", run, "--policy", "user-code", "--baseline", run)
    )
    assert sorted(tmp_path.iterdir()) == before


def test_names_are_shown_to_a_terminal_and_not_obeyed(say, run: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(rules(f'{SFT}at_most = 0.1\nwhy = "\\u001b[31m[bold]x\\u202e"'))
    said: Heard = say("check", run, "--policy", policy)
    assert not {"\x1b", "\u202e"} & set(said.out)
    assert "␛[31m[bold]x" in said.out
