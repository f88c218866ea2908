"""Observations as Parquet: every one of a ledger, as the ledger has it, and no text."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from command import refused
from invented import STEPS, Said, invent
from tiny import TINY

import memaudit.parquet
from memaudit.audit import MODEL
from memaudit.documents import open_ledger
from memaudit.ledger import LEDGER, Ledger
from memaudit.parquet import SCHEMA_VERSION, write_observations
from memaudit.recipe import parse
from memaudit.records import Example, Observation, Probe, StageRecord
from memaudit.study.arms import Cell
from probes import VERDICT_LEVELS, Match, Secret

NOT_TEXTS = {"prefix", "target", "completion", "text", "prompt"}


def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    hit = exposed and stage != "pretrain"
    return Said(distance=0.05 if hit else 0.9, logprob=-0.5 if hit else -3.0, whole=hit, at={"code": 0.25})


def passing(seed: int, stage: str, example: Example, exposed: bool) -> Said:
    return Said(distance=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    recipe = parse(TINY, where="tiny")
    invent(Cell(name="run", seed=1, recipe=recipe, stages={}), folder, outcome, passing=passing)
    return folder / "run"


def written(run: Path, path: Path) -> list[dict[str, Any]]:
    with open_ledger(run) as ledger:
        count = write_observations(ledger, run, path)
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == count
    return rows


def change(run: Path, *statements: str) -> None:
    with closing(sqlite3.connect(run / LEDGER)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def test_every_observation_is_a_row_as_the_ledger_has_it(run: Path, tmp_path: Path) -> None:
    rows = written(run, tmp_path / "o.parquet")
    keys = ("example", "stage", "step", "asking")
    found = {(*(row[key] for key in keys), *row["twins"]): row for row in rows}
    with open_ledger(run) as ledger:
        examples, probes = {e.id: e for e in ledger.examples()}, {p.id: p for p in ledger.probes()}
        assert len(found) == len(rows) == ledger.count("observations")
        for (twin, stage), record in ledger.walks().items():
            for step, number, _ in ledger.answers.steps(record.id):
                for asking in (0, 1):
                    for o in ledger.answers.of(number, asking=asking):
                        row = found.pop((probes[o.probe_id].example_id, stage, step, asking, twin))
                        assert row == told(row, o, examples[row["example"]], probes[o.probe_id], twin, step)
    assert found == {}


def told(row: dict, o: Observation, example: Example, probe: Probe, twin: str, step: int) -> dict[str, Any]:
    """What a row has to hold, by way of the ledger's own reader."""
    assert o.scores is not None
    (recovered,) = o.recovered.values() or [(None, None)]
    levels = {
        f"{name}_{level}": value
        for level, match in o.matches.items()
        for name, value in (
            ("distance", match.distance),
            ("normalized", pytest.approx(match.normalized)),
            ("at_least", match.at_least),
        )
    }
    return {
        "example": example.id,
        "probe": probe.kind,
        "kind": example.kind,
        "language": "python",
        "source": example.source,
        "first_line": 1,
        "last_line": 2,
        "cohort": example.cohort,
        "half": example.half,
        "repetition": example.repetition,
        "stage": row["stage"],
        "twins": [twin],
        "exposed": twin == example.half,
        "step": step,
        "final": step == STEPS,
        "asking": row["asking"],
        "ended": o.ended,
        **levels,
        "mean_logprob": pytest.approx(sum(o.scores.logprobs) / len(o.scores.logprobs)),
        "secret_recovered": recovered[0],
        "secret_total": recovered[1],
    }


def test_the_schema_is_documented_and_has_a_version_and_no_texts(run: Path, tmp_path: Path) -> None:
    written(run, tmp_path / "o.parquet")
    schema = pq.read_schema(tmp_path / "o.parquet")
    about = json.loads(schema.metadata[b"memaudit"])
    assert about == {"table": "observations", "schema_version": SCHEMA_VERSION, "versions": {"memaudit": "0"}}
    assert not NOT_TEXTS & set(schema.names)
    lines = (memaudit.parquet.__doc__ or "").split("|---|---|---|\n")[1].splitlines()
    cells = [[cell.strip().split(", ") for cell in line.split("|")[1:3]] for line in lines]
    documented = {
        name.replace("LEVEL", level): types[min(place, len(types) - 1)]
        for names, types in cells
        for place, name in enumerate(names)
        for level in VERDICT_LEVELS
    }
    kinds = {name: str(schema.field(name).type) for name in schema.names}
    assert documented == kinds | {"twins": "list of string"}


def test_batches_make_the_same_rows(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(run, tmp_path / "whole.parquet")
    monkeypatch.setattr(memaudit.parquet, "ROWS", 7)
    assert written(run, tmp_path / "batches.parquet") == whole
    file = pq.ParquetFile(tmp_path / "batches.parquet")
    assert file.num_row_groups == -(-len(whole) // 7)


def test_a_stage_that_both_twins_share_has_both_and_exposes_neither(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LEDGER).write_bytes((run / LEDGER).read_bytes())
    change(folder, "UPDATE twins SET stage_id = 'pretrain-A' WHERE stage_id = 'pretrain-B'")
    rows = [row for row in written(folder, tmp_path / "o.parquet") if row["stage"] == "pretrain"]
    shared = [row for row in rows if row["twins"] == ["A", "B"]]
    assert shared
    assert {row["exposed"] for row in shared} == {None}


def audited(folder: Path) -> Path:
    """An audit of a model: no twins, no scores, one level, and of two secrets one that came out further."""
    folder.mkdir()
    text = "key = 'abcdef'; other = 'ghijkl'\n"
    secrets = (Secret(start=7, end=13, kind="key"), Secret(start=25, end=31, kind="key"))
    example = Example(
        id="p-1", kind="given", language="python", text=text, source="a.py", first_line=4, last_line=4, secrets=secrets
    )  # fmt: skip
    prefix, target = text[:7], text[7:]
    probe = Probe(
        id=1, example_id="p-1", kind="secret", prefix=prefix, target=target, prefix_tokens=(), target_tokens=()
    )  # fmt: skip
    match = Match(
        level="exact", distance=9, target_length=18, completion_length=10, lexer="python", at_least=True
    )
    said = Observation(
        probe_id=1, completion="x", ended=True, scores=None, matches={"exact": match}, recovered={7: (2, 6), 25: (5, 6)}
    )  # fmt: skip
    with Ledger(folder / LEDGER) as ledger:
        ledger.add_examples([example], [probe], {"terms": {}, "versions": {"memaudit": "0"}})
        stage = StageRecord(id=MODEL, name="given", method="given", steps=0, seconds=0.0, audit_seconds=0.0)
        ledger.enter(stage, MODEL, 0)
        ledger.answers.add(ledger.answers.checkpoint(MODEL, 0), [said])
    return folder


def test_an_audited_model_has_its_role_and_no_arm(tmp_path: Path) -> None:
    (row,) = written(audited(tmp_path / "audit"), tmp_path / "o.parquet")
    assert (row["twins"], row["exposed"], row["cohort"], row["half"], row["repetition"]) == (
        [MODEL], None, None, None, None,
    )  # fmt: skip
    assert (row["distance_exact"], row["normalized_exact"], row["at_least_exact"]) == (9, 0.5, True)
    assert (row["distance_code"], row["normalized_code"], row["at_least_code"]) == (None, None, None)
    assert row["mean_logprob"] is None
    assert (row["secret_recovered"], row["secret_total"]) == (5, 6)
    assert (row["ended"], row["final"]) == (True, True)


def test_an_empty_ledger_makes_an_empty_table(tmp_path: Path) -> None:
    folder = audited(tmp_path / "audit")
    change(folder, "DELETE FROM recoveries", "DELETE FROM matches", "DELETE FROM observations")
    assert written(folder, tmp_path / "o.parquet") == []


def test_hostile_names_are_data(run: Path, tmp_path: Path) -> None:
    folder = audited(tmp_path / "audit")
    odd = "=cmd()|\x00\u202e\n'); DROP TABLE observations; --"
    with closing(sqlite3.connect(folder / LEDGER)) as db:
        db.execute("UPDATE examples SET source = ?", (odd,))
        db.execute("UPDATE stages SET name = ?", (odd,))
        db.commit()
    (row,) = written(folder, tmp_path / "o.parquet")
    assert (row["source"], row["stage"]) == (odd, odd)


def test_the_command_writes_it_beside_the_ledger(say, tmp_path: Path) -> None:
    folder = audited(tmp_path / "audit")
    said = say("report", folder, "--format", "parquet")
    assert (said.code, said.out.strip()) == (0, str(folder / "observations.parquet"))
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.sqlite", "observations.parquet"]
    assert len(pq.read_table(folder / "observations.parquet")) == 1


def test_what_cannot_be_written_is_refused_and_leaves_nothing(
    say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = audited(tmp_path / "audit")
    assert "--output" in refused(say("report", folder, "--format", "parquet", "--output", "-"))
    with Ledger(tmp_path / LEDGER):
        pass
    assert "never started" in refused(say("report", tmp_path, "--format", "parquet"))
    assert "ledger.sqlite" in refused(say("report", tmp_path / "no", "--format", "parquet"))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        assert "pip install 'memaudit[parquet]'" in refused(say("report", folder, "--format", "parquet"))
    change(folder, "UPDATE matches SET distance = 3000000000")
    with pytest.raises(Exception, match="too large"):
        written(folder, tmp_path / "o.parquet")
    assert [path.name for path in folder.iterdir()] == [LEDGER]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit", LEDGER]
