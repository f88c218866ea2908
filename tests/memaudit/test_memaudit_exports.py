"""What `memaudit report` writes for other programs, of a run that was trained: complete, and without its secrets."""

import base64
import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from command import refused
from huggingface_hub import ModelCard
from invented import Said, invent
from tiny import TINY, Walked

from memaudit.cases import Facts
from memaudit.documents import DOCUMENTS, EXPORTS, open_ledger
from memaudit.findings import conclude
from memaudit.leaks import find_leaks
from memaudit.ledger import Ledger
from memaudit.recipe import Recipe, parse
from memaudit.records import Example
from memaudit.study.arms import Cell
from reports import render_card, render_sarif


def forms_of(secret: str) -> set[str]:
    """A secret as it may stand in a file: plain, escaped, and in base64 whatever stands before it."""
    plain = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    coded = {
        base64.b64encode(b"\x00" * before + secret.encode())[4 if before else 0 : -4].decode().lstrip("=")
        for before in range(3)
    }
    return {form for form in plain | coded if len(form) >= 6}


def readable(path: Path) -> str:
    """The text of a file; of a Parquet file, whose bytes are compressed, all of its values."""
    return json.dumps(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()


def secrets_of(ledger: Ledger) -> set[str]:
    return {e.text[s.start : s.end] for e in ledger.examples(probed=False) for s in e.secrets}


def test_a_secret_is_found_in_every_form_it_may_have() -> None:
    forms = forms_of('s3cr3t/\u00e9 "key"')
    for before in ("", "x", "xy", "xyz"):
        coded = base64.b64encode((before + 's3cr3t/\u00e9 "key" and more').encode()).decode()
        assert any(form in coded for form in forms)
    for text in (json.dumps('a s3cr3t/\u00e9 "key"'), quote('a s3cr3t/\u00e9 "key"')):
        assert any(form in text for form in forms)


def test_no_secret_of_a_run_is_in_any_export(say, walked: Walked, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(walked.folder, folder, ignore=shutil.ignore_patterns("stages"))
    with open_ledger(folder) as ledger:
        secrets, observations = secrets_of(ledger), ledger.count("observations")
    assert len(secrets) >= 10
    for form, name in EXPORTS.items():
        said = say("report", folder, "--format", form)
        assert (said.code, said.out.strip()) == (0, str(folder / name))
        text = readable(folder / name)
        assert [s for s in secrets for written in forms_of(s) if written in text] == []
    assert len(pq.read_table(folder / EXPORTS["parquet"])) == observations
    assert len(json.loads(readable(folder / EXPORTS["sarif"]))["runs"][0]["results"]) == (
        walked.findings.evidence_total
    )
    for form in ("sarif", "card"):
        whole = (folder / EXPORTS[form]).read_text()
        assert say("report", folder, "--format", form, "--output", "-").out == whole


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
