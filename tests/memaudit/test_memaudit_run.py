"""One whole walk, small: what a run leaves behind, and that it leaves the same again."""

import json
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from tiny import Walked, walk

from memaudit.documents import conclusion, open_ledger
from memaudit.errors import BadInput
from memaudit.ledger import Ledger
from memaudit.recipe import dumps
from memaudit.stages import Result
from reports import Findings
from rlhf.model import Decoder
from rlhf.presets import preset


def without_times(path: Path) -> dict:
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data.pop("times")
    return data


def test_a_run_leaves_its_documents(walked: Walked) -> None:
    names = {p.name for p in walked.folder.iterdir()}
    assert names == {"recipe.toml", "ledger.sqlite", "stages", "findings.json", "report.html", "report.md"}
    assert (walked.folder / "recipe.toml").read_text() == dumps(walked.recipe)
    read = Findings.model_validate_json((walked.folder / "findings.json").read_text())
    assert read == walked.findings


def test_both_twins_went_through_every_stage_and_share_only_pretraining(walked: Walked) -> None:
    with Ledger(walked.folder / "ledger.sqlite") as ledger:
        walks = ledger.walks()
    assert set(walks) == {(twin, stage) for twin in "AB" for stage in walked.recipe.stages}
    for stage in walked.recipe.stages:
        shared = walks["A", stage].id == walks["B", stage].id
        assert shared == (stage == "pretrain")


def test_exposures_are_what_the_strata_ask(walked: Walked) -> None:
    """Each example is shown in its own half's twin, in its cohort's stages, as often as its stratum says."""
    direct = {"sft": {"sft"}, "reward": {"reward", "ipo"}, "ppo": {"ppo"}}
    role = {"sft": "target", "reward": "preferred", "ipo": "preferred", "ppo": "prompt"}
    for example in walked.findings.examples:
        assert {s.stage for s in example.shown} == direct[example.cohort]
        for shown in example.shown:
            assert shown.role == role[shown.stage]
            # PPO fills its last batch with prompts of the same batch, and counts them.
            if shown.stage == "ppo":
                assert shown.times >= example.repetition
            else:
                assert shown.times == example.repetition
            assert 0 <= shown.first_step <= shown.last_step
    with Ledger(walked.folder / "ledger.sqlite") as ledger:
        twins = {(row[0], row[1]) for row in ledger.shown()}
    halves = {e.id: e.half for e in walked.findings.examples}
    assert {(name, twin) for name, twin in twins if name in halves} == set(halves.items())


def test_ppo_exposures_are_its_rollouts(walked: Walked) -> None:
    stage = next(s for s in walked.findings.stages if s.name == "ppo")
    assert stage.exposures == 2 * stage.steps * 4


def test_public_examples_are_shown_to_both_twins_and_never_asked(walked: Walked) -> None:
    db = sqlite3.connect(walked.folder / "ledger.sqlite")
    public = {row[0] for row in db.execute("SELECT id FROM examples WHERE cohort IS NULL")}
    asked = {row[0] for row in db.execute("SELECT example_id FROM probes")}
    shown = {row[0] for row in db.execute("SELECT example_id FROM shown WHERE stage = 'pretrain'")}
    db.close()
    assert shown
    assert shown <= public
    assert not asked & public


def test_cohorts_are_balanced(walked: Walked) -> None:
    cells = Counter((e.cohort, e.half, e.repetition, e.kind) for e in walked.findings.examples)
    expected = {
        (cohort, half, repetition, kind): 1
        for cohort in ("sft", "reward", "ppo")
        for half in "AB"
        for repetition in (1, 3)
        for kind in ("harvested", "sensitive")
    }
    assert cells == expected


def test_a_probe_is_its_example_cut_on_a_token_boundary_with_the_secret_behind_it(walked: Walked) -> None:
    with Ledger(walked.folder / "ledger.sqlite") as ledger:
        examples = {e.id: e for e in ledger.examples()}
        probes = ledger.probes()
    assert len(probes) == len(examples) == 24
    for probe in probes:
        example = examples[probe.example_id]
        assert probe.prefix + probe.target == example.text
        tokens = len(probe.prefix_tokens) + len(probe.target_tokens)
        assert len(probe.prefix_tokens) <= tokens // 2
        for secret in example.secrets:
            assert secret.start >= len(probe.prefix)


def test_every_probe_is_asked_after_every_stage_of_both_twins(walked: Walked) -> None:
    db = sqlite3.connect(walked.folder / "ledger.sqlite")
    final = "checkpoints c JOIN stages s ON s.id = c.stage_id AND s.steps = c.step"
    checkpoints = db.execute(f"SELECT COUNT(*) FROM {final}").fetchone()[0]
    observations = db.execute(
        f"SELECT COUNT(*) FROM {final} JOIN observations o ON o.checkpoint_id = c.id WHERE o.asking = 0"
    ).fetchone()[0]
    levels = db.execute(
        f"SELECT DISTINCT COUNT(*) FROM {final} JOIN observations o ON o.checkpoint_id = c.id "
        "JOIN matches m ON m.observation_id = o.id GROUP BY o.id"
    ).fetchall()
    lengths = db.execute(
        "SELECT json_array_length(o.logprobs), length(o.argmax), json_array_length(p.target_tokens) "
        "FROM observations o JOIN probes p ON p.id = o.probe_id WHERE o.logprobs IS NOT NULL"
    ).fetchall()
    db.close()
    assert checkpoints == 9  # pretraining once, four stages twice
    assert observations == 9 * 24
    assert levels == [(4,)]
    assert len(lengths) == observations
    assert all(a == b == c for a, b, c in lengths)


def test_findings_add_up(walked: Walked) -> None:
    f = walked.findings
    sizes = Counter((e.cohort, e.repetition) for e in f.examples)
    for row in f.rates:
        if row.definition != "secret":
            assert row.exposed.total == row.control.total == sizes[row.cohort, row.repetition]
        assert row.difference.low <= row.difference.value <= row.difference.high
    for total in f.totals:
        parts = [
            r
            for r in f.rates
            if (r.stage, r.cohort, r.level, r.definition)
            == (total.stage, total.cohort, total.level, total.definition)
        ]
        assert total.exposed.count == sum(p.exposed.count for p in parts)
        assert total.control.total == sum(p.control.total for p in parts)
    for row in f.transitions:
        before, after = (
            next(
                getattr(r, row.arm)
                for r in [*f.rates, *f.totals]
                if (r.stage, r.cohort, r.repetition, r.level, r.definition)
                == (stage, row.cohort, row.repetition, row.level, row.definition)
            )
            for stage in (row.before, row.after)
        )
        assert row.persisted + row.forgotten == before.count
        assert row.persisted + row.acquired == after.count
        assert row.acquired + row.persisted + row.forgotten + row.never == before.total
    for row in f.distances:
        assert sum(row.counts) == sum(n for (c, _), n in sizes.items() if c == row.cohort)


def test_equality_is_monotone_over_levels_in_the_rates(walked: Walked) -> None:
    order = walked.findings.levels
    equal = {
        (r.stage, r.cohort, r.repetition, r.level): r.exposed.count
        for r in walked.findings.rates
        if r.definition == "equal"
    }
    for (stage, cohort, repetition, level), count in equal.items():
        later = order[order.index(level) :]
        assert all(count <= equal[stage, cohort, repetition, k] for k in later)


def test_exposure_says_how_a_cohort_reached_a_model(walked: Walked) -> None:
    exposure = {(r.stage, r.cohort): r.exposure for r in walked.findings.totals}
    assert exposure["pretrain", "sft"] == "none"
    assert exposure["sft", "sft"] == exposure["ppo", "sft"] == exposure["ipo", "sft"] == "direct"
    assert exposure["sft", "reward"] == "none"
    assert exposure["reward", "reward"] == exposure["ipo", "reward"] == "direct"
    assert exposure["ppo", "reward"] == "indirect"
    assert exposure["ppo", "ppo"] == "direct"
    assert exposure["ipo", "ppo"] == "none"


def test_pretraining_tells_the_twins_apart_in_nothing(walked: Walked) -> None:
    for row in walked.findings.likelihoods:
        if row.stage == "pretrain":
            assert row.exposed == row.control
            assert row.difference.value == 0


def test_no_secret_is_in_a_document(walked: Walked) -> None:
    with Ledger(walked.folder / "ledger.sqlite") as ledger:
        secrets = [e.text[s.start : s.end] for e in ledger.examples() for s in e.secrets]
    assert len(secrets) == 12
    for name in ("findings.json", "report.html", "report.md"):
        text = (walked.folder / name).read_text(encoding="utf-8")
        assert not [s for s in secrets if s in text or json.dumps(s)[1:-1] in text]


def test_progress_is_told_in_full(walked: Walked) -> None:
    assert walked.progress.done == sum(total for _, total in walked.progress.begun)
    assert len(walked.progress.begun) == 2 * 9


def test_the_same_recipe_gives_the_same_findings(walked: Walked, tmp_path: Path) -> None:
    again = walk(tmp_path / "again")
    assert without_times(again.folder / "findings.json") == without_times(walked.folder / "findings.json")


def test_a_run_that_is_done_trains_nothing_again(walked: Walked, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(walked.folder, folder)
    again = walk(folder)
    assert again.progress.begun == []
    assert again.findings == walked.findings.model_copy(update={"times": again.findings.times})


def test_a_run_that_lost_its_last_stages_makes_them_again_alike(walked: Walked, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(walked.folder, folder)
    db = sqlite3.connect(folder / "ledger.sqlite")
    for stage in ("ppo", "ipo"):
        for (stage_id,) in db.execute("SELECT id FROM stages WHERE name = ?", (stage,)).fetchall():
            checkpoint = "SELECT id FROM checkpoints WHERE stage_id = ?"
            observed = f"SELECT id FROM observations WHERE checkpoint_id IN ({checkpoint})"
            for table in ("matches", "recoveries"):
                db.execute(f"DELETE FROM {table} WHERE observation_id IN ({observed})", (stage_id,))
            db.execute(f"DELETE FROM readings WHERE checkpoint_id IN ({checkpoint})", (stage_id,))
            db.execute(f"DELETE FROM observations WHERE checkpoint_id IN ({checkpoint})", (stage_id,))
            for table in ("checkpoints", "exposures", "updates", "twins"):
                db.execute(f"DELETE FROM {table} WHERE stage_id = ?", (stage_id,))
            db.execute("DELETE FROM stages WHERE id = ?", (stage_id,))
    db.commit()
    db.close()
    again = walk(folder)
    assert [title.split(",")[0] for title, _ in again.progress.begun] == ["ppo"] * 4 + ["ipo"] * 4
    assert again.findings == walked.findings.model_copy(update={"times": again.findings.times})


def test_another_recipe_does_not_go_into_a_run(walked: Walked) -> None:
    before = sorted((p, p.stat().st_mtime_ns) for p in walked.folder.rglob("*"))
    with pytest.raises(BadInput, match=r"another recipe.*--out"):
        walk(walked.folder, "seed=5")
    assert sorted((p, p.stat().st_mtime_ns) for p in walked.folder.rglob("*")) == before


def test_a_run_does_not_go_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="other files"):
        walk(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_too_small_a_corpus_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected 3000 usable examples.*cohorts.strata"):
        walk(tmp_path / "run", "cohorts.strata={1=500}", "cohorts.sensitive=0")
    assert not (tmp_path / "run").exists()


def test_the_question_of_the_readme_is_answered_by_the_views(walked: Walked) -> None:
    example = next(e for e in walked.findings.examples if e.cohort == "reward")
    db = sqlite3.connect(walked.folder / "ledger.sqlite")
    shown = db.execute(
        "SELECT stage, role, times FROM shown WHERE example_id = ? ORDER BY position", (example.id,)
    ).fetchall()
    first = dict(db.execute("SELECT example_id, stage FROM first_out").fetchall())
    near = db.execute("SELECT example_id, twin, stage, near FROM asked WHERE level = 'exact'").fetchall()
    db.close()
    assert shown == [(s.stage, s.role, s.times) for s in example.shown]
    assert {e.id: e.first_out for e in walked.findings.examples} == first
    verdicts = {(n, t, s): bool(v) for n, t, s, v in near}
    for e in walked.findings.examples:
        for outcome in e.outcomes:
            assert verdicts[e.id, e.half, outcome.stage] == outcome.exposed


def test_a_run_opens_again_and_nothing_else_does(walked: Walked, tmp_path: Path) -> None:
    with open_ledger(walked.folder) as ledger:
        assert conclusion(ledger, walked.folder) == walked.findings
    with pytest.raises(BadInput, match=r"ledger\.sqlite"):
        open_ledger(tmp_path)
    (tmp_path / "ledger.sqlite").write_text("not a database, but long enough to look like one" * 40)
    with pytest.raises(BadInput, match="another file"):
        open_ledger(tmp_path)


def test_more_devices_than_there_are_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(BadInput, match=r"devices: expected .* at most 1, .* got 2: set them smaller"):
        walk(folder, "devices.tensor=2")
    assert not folder.exists()


def test_a_foreign_or_missing_checkpoint_is_one_line(walked: Walked, tmp_path: Path) -> None:
    with Ledger(walked.folder / "ledger.sqlite") as ledger:
        stage = ledger.walks()["A", "sft"].id
    decoder = Decoder(preset(walked.recipe.model.preset, walked.recipe.tokenizer.vocabulary))
    whole = Result(folder=walked.folder / "stages" / stage, scalar=False)
    assert whole.params(decoder)
    for wrong, named in (
        (Result(folder=whole.folder, scalar=True), "absent"),
        (Result(folder=tmp_path, scalar=False), "nothing"),
    ):
        with pytest.raises(BadInput, match=rf"params: expected .*{named}.*--out") as caught:
            wrong.params(decoder)
        assert "\n" not in str(caught.value)
