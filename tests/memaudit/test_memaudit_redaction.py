"""No secret, in any form, in any document that is written without asking for it; and all of them if asked."""

import base64
import html
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import markupsafe
import pyarrow.parquet as pq
import pytest
from command import refused
from jinja2.utils import htmlsafe_json_dumps
from parrot import Parrot
from test_memaudit_study_conduct import STUDY, MadeUp
from tiny import TINY, Quiet, Walked

from memaudit.audit import Terms, audit
from memaudit.documents import DOCUMENTS, EXPORTS, RESULTS, REVEALABLE, open_ledger, revealed_name
from memaudit.ledger import LEDGER
from memaudit.run import RECIPE
from memaudit.study.conduct import conduct, schedule
from memaudit.study.design import load
from reports import MASK
from reports.escape import markdown_name, markdown_text, visible

POLICY = 'name = "strict"\n[[rules]]\nname = "no secret"\nrule = "secrets"\nat_most = 0\nwhy = "It is one."\n'
FEW, MANY = "evidence = 5\n", "evidence = 500\n"
SPILL = f"""
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
UPDATE settings SET value = replace(value, '{FEW}', '{MANY}') WHERE key = 'recipe';
"""
LONG = 12  # characters of a fragment that is masked wherever it stands
ODD = ['p@ss "word" & <b>\\0', "s\u00e9same-ouvre-toi/\u2603+=", "AKIA9Q8W7E6R5T4Y3U2I", "0451-9983"]
"""Secrets that each format writes in another way."""


def forms_of(secret: str) -> set[str]:
    """A secret as it may stand in a file: plain, escaped, and in base64 whatever stands before it."""
    written = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        str(markupsafe.escape(secret)),
        str(htmlsafe_json_dumps(secret))[1:-1],
        markdown_text(secret),
        visible(secret),
        "".join(f"\\u{ord(letter):04x}" for letter in secret),
        "".join(f"&#{ord(letter)};" for letter in secret),
        "".join(f"&#x{ord(letter):x};" for letter in secret),
        "".join(f"%{byte:02X}" for byte in secret.encode()),
        "".join(f"\\x{byte:02x}" for byte in secret.encode()),
        secret.encode().hex(),
    }
    coded = {
        encode(b"\x00" * before + secret.encode())[4 if before else 0 : -4].decode()
        for before in range(3)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    }
    return {form for form in written | coded if len(form) >= 4}


def found_in(texts: Mapping[str, str], secrets: Iterable[str]) -> list[tuple[str, str]]:
    """Which document holds which form of a secret, of its beginning or of its end."""
    pieces = {piece for secret in secrets for piece in (secret, secret[:LONG], secret[-LONG:])}
    forms = {form for piece in pieces for form in forms_of(piece)}
    assert all(texts.values()), [name for name, text in texts.items() if not text]
    assert len(forms) * len(texts) > 500, "how many searches these are"
    return [(name, form) for name, text in texts.items() for form in forms if form in text]


def readable(path: Path) -> str:
    """The text of a file; of a Parquet file, whose bytes are compressed, all of its values."""
    return json.dumps(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else path.read_text()


def secrets_of(folder: Path) -> set[str]:
    with open_ledger(folder) as ledger:
        return {e.text[s.start : s.end] for e in ledger.examples(probed=False) for s in e.secrets}


def documents(say, folder: Path, *stages: str) -> dict[str, str]:
    """All that can be had of a run or an audit without `--reveal`, and what the commands say meanwhile."""
    texts = {}
    for form, name in (DOCUMENTS | EXPORTS).items():
        said = say("report", folder, "--format", form)
        assert said.code == 0, said.err
        texts |= {name: readable(folder / name), f"{name}, said": said.out + said.err}
        if form != "parquet":
            texts[f"{name}, printed"] = say("report", folder, "--format", form, "--output", "-").out
    compared = ("compare", folder, folder, *stages)
    texts["compare"] = say(*compared).out
    for form in ("md", "html", "json"):
        texts[f"compare, {form}"] = say(*compared, "--format", form).out
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    gates = {form: folder / f"gate.{form}" for form in ("junit", "json", "md")}
    asked = [part for form, path in gates.items() for part in (f"--{form}", path)]
    said = say("check", folder, "--policy", policy, *asked)
    texts |= {"check": said.out + said.err}
    texts |= {f"check, {form}": path.read_text() for form, path in gates.items()}
    return texts


@pytest.mark.parametrize("secret", ODD)
def test_a_secret_is_found_in_every_form_it_may_have(secret: str) -> None:
    forms = forms_of(secret)
    for before in ("", "x", "xy", "xyz"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            coded = encode(f"{before}{secret} and more".encode()).decode()
            assert any(form in coded for form in forms)
    for write in (
        *(json.dumps, quote, repr, ascii, html.escape, str, markupsafe.escape, htmlsafe_json_dumps),
        *(markdown_text, markdown_name, visible),
    ):
        assert any(form in str(write(f"a {secret}")) for form in forms), write


# a run


@pytest.fixture(scope="module")
def spilling(walked: Walked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose every exposed twin says the whole target, and then all secrets there are."""
    folder = tmp_path_factory.mktemp("spilling") / "tiny"
    shutil.copytree(walked.folder, folder, ignore=shutil.ignore_patterns("findings*", "report*"))
    with closing(sqlite3.connect(folder / LEDGER)) as db:
        db.executescript(SPILL)
        db.commit()
    recipe = folder / RECIPE
    recipe.write_text(recipe.read_text().replace(FEW, MANY))
    return folder


def test_no_secret_is_in_any_document_of_a_run_nor_on_the_screen(say, spilling: Path, tmp_path: Path) -> None:
    secrets = secrets_of(spilling)
    assert len(secrets) >= 10
    texts = documents(say, spilling, "--stage", "pretrain=sft")
    texts |= {
        "measures": say("measures", spilling).out,
        "measures, json": say("measures", spilling, "--json").out,
    }
    assert found_in(texts, secrets) == []
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY.replace(FEW, MANY))
    # The run is done: this reads the ledger as it is, writes its documents and prints its table.
    said = say("run", recipe, "--out", spilling)
    assert (said.code, said.err.count("already done")) == (0, 9)
    texts = {name: (spilling / name).read_text() for name in DOCUMENTS.values()}
    assert found_in({**texts, "table": said.out, "progress": said.err}, secrets) == []


def test_no_fragment_of_a_secret_is_in_a_leaks_texts(say, spilling: Path) -> None:
    leaks = json.loads(say("report", spilling, "--format", "json", "--output", "-").out)["evidence"]
    with open_ledger(spilling) as ledger:
        own = {e.id: [e.text[s.start : s.end] for s in e.secrets] for e in ledger.examples(probed=False)}
    everyone = [secret for secrets in own.values() for secret in secrets]
    assert sum(bool(leak["secrets"]) for leak in leaks) >= 5
    for leak in leaks:
        pieces = {*fragments(own[leak["example"]], 6), *fragments(everyone, LONG)}
        for side in ("target", "completion"):
            text = leak["prefix"] + "".join(segment[side] for segment in leak["segments"])
            assert [piece for piece in pieces if piece in text] == []


def fragments(secrets: Iterable[str], smallest: int) -> list[str]:
    """All of a secret's pieces of that length; the secret, where it is shorter; none that are white space."""
    return [
        piece
        for secret in secrets
        for start in range(max(1, len(secret) - smallest + 1))
        if (piece := secret[start : start + smallest]).strip()
    ]


def test_one_secret_is_called_alike_in_every_document(say, spilling: Path) -> None:
    findings = json.loads(say("report", spilling, "--format", "json", "--output", "-").out)
    page = say("report", spilling, "--output", "-").out
    numbers = {row["id"]: row["secrets"] for row in findings["examples"]}
    with open_ledger(spilling) as ledger:
        texts = {e.id: [e.text[s.start : s.end] for s in e.secrets] for e in ledger.examples(probed=False)}
    called = {
        text: number for key, own in numbers.items() for text, number in zip(texts[key], own, strict=True)
    }
    assert len(set(called.values())) == len(called) >= 10
    leaks = [leak for leak in findings["evidence"] if leak["secrets"]]
    assert leaks
    for leak in leaks:
        assert leak["secrets"] == numbers[leak["example"]]
        text = leak["prefix"] + "".join(segment["target"] for segment in leak["segments"])
        for number in leak["secrets"]:
            assert f"{MASK}{number}{MASK}" in text
            assert f'title="masked, secret {number}"' in page
    sarif = json.loads(say("report", spilling, "--format", "sarif", "--output", "-").out)
    for result in sarif["runs"][0]["results"]:
        assert result["properties"]["secrets"] == numbers[result["properties"]["example"]]


@pytest.mark.parametrize("form", REVEALABLE)
def test_what_is_revealed_is_said_to_be_and_is_for_its_owner_alone(say, spilling: Path, form: str) -> None:
    path = spilling / revealed_name(DOCUMENTS[form])
    before = os.umask(0)
    try:
        path.write_text("as it was, for all to read")
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
    secrets = secrets_of(spilling)
    shown = {secret for secret in secrets if found_in_one(text, secret)}
    assert len(shown) > len(secrets) / 4, "else the search that finds none proves nothing"
    masked = say("report", spilling, "--format", form, "--output", "-").out
    if form == "json":
        assert (json.loads(text)["revealed"], json.loads(masked)["revealed"]) == (True, False)
    else:
        assert_told_on_top(text, masked)


def found_in_one(text: str, secret: str) -> bool:
    return any(form in text for form in forms_of(secret))


def assert_told_on_top(text: str, masked: str) -> None:
    head = "Memorization audit" if text.startswith("#") else "<h1"
    around = text.index(head)
    assert abs(text.index("Nothing is masked here.") - around) < 500
    assert "Nothing is masked here." not in masked


@pytest.mark.parametrize("private", [False, True])
def test_what_is_revealed_is_never_open_to_others_while_it_is_written(
    say, spilling: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    seen: list[int] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        seen.append(stat.S_IMODE(self.stat().st_mode))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    before = os.umask(0)
    try:
        say("report", spilling, "--format", "md", *(["--reveal"] if private else []))
    finally:
        os.umask(before)
    assert seen == [0o600 if private else 0o666]


def test_secrets_are_not_revealed_where_others_would_read_them(say, spilling: Path) -> None:
    assert "only you can read" in refused(say("report", spilling, "--reveal", "--output", "-"))
    for form in ("sarif", "card", "parquet"):
        assert "expected a --format with texts" in refused(
            say("report", spilling, "--format", form, "--reveal")
        )


# an audit of a model


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of a model that says every target, with a secret in it, where its control says none."""
    folder = tmp_path_factory.mktemp("audited")
    lines = [
        {
            "id": f"p{number}",
            "prefix": f"def f_{number}(a):\n",
            "target": f"    key = '{secret}'\n    other = '{ODD[number - 1]}'\n",
            "language": "python",
            "secrets": [[11, 11 + len(secret)]],
        }
        for number, secret in enumerate(ODD)
    ]
    path = folder / "probes.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    model, control = Parrot("model", *range(len(ODD))), Parrot("control")
    audit(str(path), model, control, folder / "out", Terms(levels=("exact", "code")), Quiet()).close()
    return folder / "out"


def test_no_secret_is_in_any_document_of_an_audit(say, audited: Path) -> None:
    assert secrets_of(audited) == set(ODD)
    texts = documents(say, audited)
    assert found_in(texts, ODD) == []
    leaks = json.loads(texts[DOCUMENTS["json"]])["leaks"]
    assert [leak["secret"] for leak in leaks] == ["whole"] * len(ODD)


@pytest.mark.parametrize("form", REVEALABLE)
def test_an_audit_that_is_revealed_says_so_and_holds_its_secrets(say, audited: Path, form: str) -> None:
    assert say("report", audited, "--format", form, "--reveal").code == 0
    path = audited / revealed_name(DOCUMENTS[form])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [secret for secret in ODD if not found_in_one(path.read_text(), secret)] == []
    masked = say("report", audited, "--format", form, "--output", "-").out
    if form != "json":
        assert_told_on_top(path.read_text(), masked)


# a study


def test_no_secret_is_in_any_document_of_a_study_nor_on_the_screen(say, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(TINY)
    file, folder = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(STUDY)
    study, text = load(file)
    planned = schedule(study, text, folder, Quiet())
    conduct(planned, MadeUp(), Quiet(), study.name)
    runs = sorted({path.parent for path in folder.rglob(LEDGER)})
    secrets: set[str] = set()
    for run in runs:
        secrets |= secrets_of(run)
        with closing(sqlite3.connect(run / LEDGER)) as db:
            db.executescript(SPILL)
            db.commit()
    assert len(secrets) >= 10
    said = say("study", file, "--out", folder)
    assert said.code == 0, said.err
    names = {**DOCUMENTS, "json": RESULTS}.values()
    texts = {name: (folder / name).read_text() for name in names}
    assert found_in({**texts, "table": said.out, "progress": said.err}, secrets) == []
