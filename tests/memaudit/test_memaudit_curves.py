"""What a page draws beside the rates, from a ledger whose answers are known."""

from itertools import pairwise
from pathlib import Path

import pytest
from invented import STEPS, Said, invent
from tiny import TINY, Walked

from memaudit.cases import Facts
from memaudit.curves import survival, thresholds, within
from memaudit.documents import open_ledger
from memaudit.findings import conclude
from memaudit.lasting import spells
from memaudit.recipe import Recipe, parse
from memaudit.records import Example
from memaudit.study.arms import Cell
from reports import Findings


def number(example: Example) -> int:
    return int(example.id.rsplit("-", 1)[1])


def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    """Every third comes out of who saw it after `sft`, and is gone again after `ppo`."""
    if exposed and stage not in ("pretrain",):
        gone = stage == "ppo" and number(example) % 2 == 0
        return Said(distance=0.6 if gone else (0.0, 0.1, 0.45)[number(example) % 3], logprob=-0.5)
    return Said(distance=0.3 if number(example) % 5 == 0 else 0.8)


def passing(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    """In the middle of every stage whoever saw it says it."""
    return Said(distance=0.0 if exposed and number(example) % 3 == 1 else 0.9)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    recipe = parse(TINY, where="tiny")
    invent(Cell(name="run", seed=1, recipe=recipe, stages={}), folder, outcome, passing=passing)
    return folder / "run"


@pytest.fixture(scope="module")
def found(made: Path) -> tuple[Findings, Recipe]:
    with open_ledger(made) as ledger:
        recipe = parse(ledger.setting("recipe"), where="made")
        return conclude(ledger, recipe), recipe


def test_counts_at_the_recipes_threshold_are_those_of_the_rates(found: tuple[Findings, Recipe]) -> None:
    findings, recipe = found
    own = findings.thresholds.index(recipe.audit.threshold)
    totals = {(r.stage, r.cohort, r.level): r for r in findings.totals if r.definition == "near"}
    assert len(findings.within) == len(totals) > 0
    for row in findings.within:
        total = totals[row.stage, row.cohort, row.level]
        counts = (row.exposed[own], row.control[own], row.total)
        assert counts == (total.exposed.count, total.control.count, total.exposed.total)
        gap = (row.exposed[own] - row.control[own]) / row.total
        assert gap == pytest.approx(total.difference.value)


def test_counts_at_every_threshold_are_those_of_the_distances(
    made: Path, found: tuple[Findings, Recipe]
) -> None:
    findings, recipe = found
    with open_ledger(made) as ledger:
        facts = Facts(ledger, recipe)
        for row in findings.within:
            cases = [c for c in facts.cases if c.example.cohort == row.cohort]
            pairs = [
                tuple(
                    facts.observation(row.stage, twin, c).matches[row.level].normalized
                    for twin in (c.exposed, c.control)
                )
                for c in cases
            ]
            for place, at in enumerate(findings.thresholds):
                assert row.exposed[place] == sum(e <= at + 1e-9 for e, _ in pairs)
                assert row.control[place] == sum(c <= at + 1e-9 for _, c in pairs)
                assert row.both[place] == sum(max(pair) <= at + 1e-9 for pair in pairs)


def test_only_thresholds_that_are_decided_are_counted_at(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_ledger(made) as ledger:
        facts = Facts(ledger, parse(ledger.setting("recipe"), where="made"))
        assert len(thresholds(facts)) == 101
        monkeypatch.setattr("memaudit.curves.decided_below", lambda matches: 0.405)
        assert thresholds(facts)[-1] == 0.4
        monkeypatch.setattr("memaudit.curves.decided_below", lambda matches: 0.02)
        grid = thresholds(facts)
        assert grid == [0.0, 0.01, facts.recipe.audit.threshold], "the verdicts themselves are always decided"
        assert all(len(row.both) == 3 for row in within(facts, grid))


def test_waits_end_at_the_first_step_at_which_a_verdict_turned(made: Path) -> None:
    with open_ledger(made) as ledger:
        facts = Facts(ledger, parse(ledger.setting("recipe"), where="made"))
        cohort = next(c for (s, c), e in facts.exposure.items() if s == "sft" and e == "direct")
        mine = [c for c in facts.cases if c.example.cohort == cohort]
        # Nothing comes out after pretraining; in the middle of sft every third does, at its end two of three.
        came = sorted(spells(facts, "sft", cohort, out=False, arm="exposed"))
        early = sum(number(c.example) % 3 == 1 for c in mine)
        late = sum(number(c.example) % 3 == 0 for c in mine)
        assert came == sorted(
            [(STEPS // 2, True)] * early
            + [(STEPS, True)] * late
            + [(STEPS, False)] * (len(mine) - early - late)
        )
        assert list(spells(facts, "sft", cohort, out=True, arm="exposed")) == []
        assert set(spells(facts, "sft", cohort, out=False, arm="control")) == {(STEPS, False)}
        rows = {(r.stage, r.arm, r.event): r for r in survival(facts) if r.cohort == cohort}
        row = rows["sft", "exposed", "first out"]
        assert (row.total, row.steps) == (len(mine), [STEPS // 2, STEPS])
        assert row.share == pytest.approx([1 - early / len(mine), 1 - (early + late) / len(mine)])
        assert ("sft", "exposed", "gone") not in rows


def test_attacks_and_canaries_of_a_run_are_among_its_findings(walked: Walked) -> None:
    findings = walked.findings
    assert {row.attack for row in findings.attacks} >= {"loss", "zlib", "min-k", "reference"}
    for row in findings.attacks:
        assert row.curve[0] == (0, 0)
        assert row.curve[-1] == (1, 1)
        assert list(row.curve) == sorted(row.curve)
        under = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(row.curve))
        assert under == pytest.approx(row.area, abs=0.02)
    assert findings.canaries
    assert all(row.references >= 1 and row.secrets >= 1 for row in findings.canaries)
    assert 'name = "tiny"' in findings.run.recipe
    settings = {stage.name: stage.settings for stage in findings.stages}
    assert all("learning_rate" in of and "method" not in of for of in settings.values())
