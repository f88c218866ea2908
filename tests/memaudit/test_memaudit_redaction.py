"""No secret of a run, in any form, in any document that is written without asking for it; and all of them if asked."""

import base64
import html
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
from command import refused
from tiny import Walked

from memaudit.documents import DOCUMENTS, EXPORTS, REVEALABLE, open_ledger, revealed_name
from memaudit.ledger import LEDGER, Ledger

POLICY = 'name = "strict"\n[[rules]]\nname = "no secret"\nrule = "secrets"\nat_most = 0\nwhy = "It is one."\n'
SPILL = """
UPDATE observations SET completion = (
  SELECT p.target || char(10) || (SELECT group_concat(s.text, ' ') FROM secrets s) FROM probes p WHERE p.id = probe_id
) WHERE id IN (
  SELECT o.id FROM observations o JOIN checkpoints c ON c.id = o.checkpoint_id JOIN probes p ON p.id = o.probe_id
  JOIN examples e ON e.id = p.example_id JOIN twins t ON t.stage_id = c.stage_id AND t.twin = e.half
  WHERE t.stage <> 'pretrain'
);
UPDATE matches SET distance = 0 WHERE observation_id IN (SELECT id FROM observations WHERE instr(completion, char(10)));
UPDATE recoveries SET recovered = total
  WHERE observation_id IN (SELECT id FROM observations WHERE instr(completion, char(10)));
UPDATE settings SET value = replace(value, 'evidence = 5', 'evidence = 500') WHERE key = 'recipe';
"""


def forms_of(secret: str) -> set[str]:
    """A secret as it may stand in a file: plain, escaped, and in base64 whatever stands before it."""
    written = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        "".join(f"\\u{ord(letter):04x}" for letter in secret),
        "".join(f"&#{ord(letter)};" for letter in secret),
        "".join(f"%{byte:02X}" for byte in secret.encode()),
        secret.encode().hex(),
    }
    coded = {
        base64.b64encode(b"\x00" * before + secret.encode())[4 if before else 0 : -4].decode().lstrip("=")
        for before in range(3)
    }
    return {form for form in written | coded if len(form) >= 4}


def readable(path: Path) -> str:
    """The text of a file; of a Parquet file, whose bytes are compressed, all of its values."""
    return json.dumps(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()


def secrets_of(ledger: Ledger) -> set[str]:
    return {e.text[s.start : s.end] for e in ledger.examples(probed=False) for s in e.secrets}


def test_a_secret_is_found_in_every_form_it_may_have() -> None:
    secret = 's3cr3t/\u00e9 "key" & <b>'
    forms = forms_of(secret)
    for before in ("", "x", "xy", "xyz"):
        coded = base64.b64encode(f"{before}{secret} and more".encode()).decode()
        assert any(form in coded for form in forms)
    for write in (json.dumps, quote, repr, html.escape, str):
        assert any(form in write(f"a {secret}") for form in forms)


@pytest.fixture(scope="module")
def spilling(walked: Walked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every exposed twin says the whole target, and then all secrets there are."""
    folder = tmp_path_factory.mktemp("spilling") / "tiny"
    shutil.copytree(walked.folder, folder, ignore=shutil.ignore_patterns("stages", "findings*", "report*"))
    with closing(sqlite3.connect(folder / LEDGER)) as db:
        db.executescript(SPILL)
        db.commit()
    return folder


def test_no_secret_is_in_any_document_nor_on_the_screen(say, spilling: Path, tmp_path: Path) -> None:
    with open_ledger(spilling) as ledger:
        forms = {form for secret in secrets_of(ledger) for form in forms_of(secret)}
        assert len(secrets_of(ledger)) >= 10
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    texts: dict[str, str] = {}
    for form, name in (DOCUMENTS | EXPORTS).items():
        said = say("report", spilling, "--format", form)
        assert said.code == 0
        texts |= {name: readable(spilling / name), f"{name}, said": said.out + said.err}
        if form != "parquet":
            texts[f"{name}, printed"] = say("report", spilling, "--format", form, "--output", "-").out
    for form in ("md", "html", "json"):
        texts[f"compare, {form}"] = say(
            "compare", spilling, spilling, "--stage", "pretrain=sft", "--format", form
        ).out
    texts["compare"] = say("compare", spilling, spilling, "--stage", "pretrain=sft").out
    gates = {form: tmp_path / f"gate.{form}" for form in ("junit", "json", "md")}
    asked = [part for form, path in gates.items() for part in (f"--{form}", path)]
    texts["check"] = say("check", spilling, "--policy", policy, *asked).out
    texts |= {f"check, {form}": path.read_text() for form, path in gates.items()}
    texts["measures"] = say("measures", spilling).out
    texts["measures, json"] = say("measures", spilling, "--json").out
    assert all(texts[name] for name in texts if "said" not in name), [n for n in texts if not texts[n]]
    found = [(name, form) for name, text in texts.items() for form in forms if form in text]
    assert found == []
    assert len(forms) * len(texts) > 2000, "how many searches this was"


def test_one_secret_is_called_alike_in_every_document(say, spilling: Path) -> None:
    say("report", spilling, "--format", "json")
    findings = json.loads((spilling / DOCUMENTS["json"]).read_text())
    numbers = {row["id"]: row["secrets"] for row in findings["examples"]}
    assert any(numbers.values())
    leaks = [leak for leak in findings["evidence"] if leak["secrets"]]
    assert leaks
    for leak in leaks:
        assert leak["secrets"] == numbers[leak["example"]]
        text = "".join(segment["target"] for segment in leak["segments"]) + leak["prefix"]
        assert any(f"█{number}" in text for number in leak["secrets"]) or "█" in text
    say("report", spilling, "--format", "sarif")
    sarif = json.loads((spilling / EXPORTS["sarif"]).read_text())
    for result in sarif["runs"][0]["results"]:
        assert result["properties"]["secrets"] == numbers[result["properties"]["example"]]


@pytest.mark.parametrize("form", REVEALABLE)
def test_what_is_revealed_is_said_to_be_and_is_for_its_owner_alone(say, spilling: Path, form: str) -> None:
    path = spilling / revealed_name(DOCUMENTS[form])
    before = os.umask(0)
    try:
        path.with_name(f"{path.name}.partial").write_text("left by a broken attempt")
        said = say("report", spilling, "--format", form, "--reveal")
    finally:
        os.umask(before)
    assert (said.code, said.out.strip()) == (0, str(path))
    assert "warning" in said.err
    assert len(said.err.splitlines()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_name(f"{path.name}.partial").exists()
    text = path.read_text()
    with open_ledger(spilling) as ledger:
        secrets = secrets_of(ledger)
    shown = {secret for secret in secrets if any(form in text for form in forms_of(secret))}
    assert len(shown) > len(secrets) / 4, "else the search that finds none proves nothing"
    assert ("Nothing is masked" in text) or ('"revealed": true' in text)
    masked = say("report", spilling, "--format", form, "--output", "-").out
    assert "Nothing is masked" not in masked
    assert '"revealed": true' not in masked


def test_secrets_are_not_revealed_where_others_would_read_them(say, spilling: Path) -> None:
    assert "only you can read" in refused(say("report", spilling, "--reveal", "--output", "-"))
    for form in ("sarif", "card", "parquet"):
        assert "expected a --format with texts" in refused(
            say("report", spilling, "--format", form, "--reveal")
        )
