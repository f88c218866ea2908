"""The claims of the README, on the recipe itself. Minutes, so not in the default run: pytest -m slow."""

import json
from pathlib import Path

import pytest
from tiny import Quiet

from memaudit.recipe import load
from memaudit.run import run
from reports import Findings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings]:
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    return folder, run(load("quickstart"), folder, Quiet())


def rate(findings: Findings, stage: str, cohort: str, repetition: int):
    return next(
        r
        for r in findings.rates
        if (r.stage, r.cohort, r.repetition, r.level, r.definition)
        == (stage, cohort, repetition, "exact", "near")
    )


def test_often_repeated_targets_come_out_of_the_twin_that_saw_them_alone(quickstart) -> None:
    row = rate(quickstart[1], "sft", "sft", 64)
    assert row.exposed.rate >= 0.8
    assert row.control.rate <= 0.1
    assert row.difference.low > 0.5


def test_memorization_rises_with_repetition(quickstart) -> None:
    rates = [rate(quickstart[1], "sft", "sft", repetition).exposed.rate for repetition in (1, 4, 16, 64)]
    assert rates == sorted(rates)
    assert rates[0] <= 0.1


def test_what_was_not_shown_yet_does_not_tell_the_twins_apart(quickstart) -> None:
    for row in quickstart[1].totals:
        if row.exposure == "none":
            assert row.difference.low <= 0 <= row.difference.high


def test_a_second_run_gives_the_same_findings(quickstart, tmp_path: Path) -> None:
    folder, _ = quickstart
    run(load("quickstart"), tmp_path / "again", Quiet())
    first, second = (
        json.loads((place / "findings.json").read_text()) for place in (folder, tmp_path / "again")
    )
    assert first.pop("times") != second.pop("times")
    assert first == second
