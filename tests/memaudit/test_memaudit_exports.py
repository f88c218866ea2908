"""What `memaudit report` writes for other programs, of a run that was trained: complete, and without its secrets."""

import json
from pathlib import Path

import pytest
from command import refused
from huggingface_hub import ModelCard
from invented import Said, invent
from tiny import TINY

from memaudit.cases import Facts
from memaudit.documents import DOCUMENTS, EXPORTS, open_ledger
from memaudit.findings import conclude
from memaudit.leaks import find_leaks
from memaudit.recipe import Recipe, parse
from memaudit.records import Example
from memaudit.study.arms import Cell
from reports import render_card, render_sarif


def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    """Much comes out of who saw it, some of who did not, and some secrets alone, of one or of both."""
    number = int(example.id.rsplit("-", 1)[1])
    if exposed and stage != "pretrain":
        return Said(distance=(0.0, 0.05, 0.4)[number % 3], whole=number % 2 == 0)
    return Said(distance=0.02 if number % 5 == 0 else 0.8, whole=number % 4 == 0)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recipe]:
    """A run in which far more leaks than its report shows."""
    folder = tmp_path_factory.mktemp("leaky")
    text = TINY.replace("strata = { 1 = 2, 3 = 2 }", "strata = { 1 = 9, 3 = 9 }")
    recipe = parse(text, where="leaky", changes=[])
    invent(Cell(name="run", seed=1, recipe=recipe, stages={}), folder, outcome)
    return folder / "run", recipe


def test_the_leaks_are_all_of_the_ledgers_and_no_others(leaky: tuple[Path, Recipe]) -> None:
    folder, recipe = leaky
    with open_ledger(folder) as ledger:
        leaks = {leak.case.example.id: leak for leak in find_leaks(Facts(ledger, recipe))}
        findings = conclude(ledger, recipe)
    assert len(findings.evidence) < findings.evidence_total == len(leaks)
    found = {
        result["properties"]["example"]: result["properties"]
        for result in json.loads(render_sarif(findings))["runs"][0]["results"]
    }
    assert {name: about["stage"] for name, about in found.items()} == {
        name: leak.stage for name, leak in leaks.items()
    }
    for name, leak in leaks.items():
        assert found[name]["distance"] == pytest.approx(leak.distance, abs=1e-6)
        assert found[name]["controlDistance"] == pytest.approx(leak.control, abs=1e-6)


def test_a_card_of_a_run_has_its_secrets_rate(leaky: tuple[Path, Recipe]) -> None:
    folder, recipe = leaky
    with open_ledger(folder) as ledger:
        findings = conclude(ledger, recipe)
    results = ModelCard(render_card(findings)).data.eval_results or []
    secrets = [r for r in results if r.metric_type == "secret-share"]
    assert secrets
    for found in secrets:
        args = found.metric_args or {}
        (row,) = [
            row for row in findings.totals
            if (row.stage, row.definition) == (args["stage"], "secret") and row.cohort in found.dataset_name.split()[1]
        ]  # fmt: skip
        assert (args["count"], args["total"]) == (row.exposed.count, row.exposed.total)


def test_formats_have_names_of_their_own_and_unknown_ones_are_refused(
    say, leaky: tuple[Path, Recipe]
) -> None:
    folder, _ = leaky
    assert len({*DOCUMENTS.values(), *EXPORTS.values()}) == len(DOCUMENTS) + len(EXPORTS)
    assert say("report", folder, "--format", "docx").code == 2
    assert "directory that exists" in refused(
        say("report", folder, "--format", "sarif", "--output", folder / "no" / "x.sarif")
    )
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.sqlite"]
