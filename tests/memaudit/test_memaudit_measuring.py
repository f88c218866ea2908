"""Measures of a ledger: which there are, whose they are, and that they agree with the findings."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from taught import SHOWN, Taught
from tiny import Quiet, Walked

from memaudit.arms import groups
from memaudit.audit import Terms, audit
from memaudit.backends.opening import Manner, open_backend
from memaudit.cli import main
from memaudit.documents import open_ledger
from memaudit.errors import BadInput
from memaudit.measuring import Measures, measure, plain
from rlhf.sampling import Sampler


@pytest.fixture(scope="module")
def measured(walked: Walked) -> Measures:
    with open_ledger(walked.folder) as ledger:
        return measure(ledger)


def test_the_studys_rule_says_what_the_findings_say(walked: Walked, measured: Measures) -> None:
    near = {
        (r.stage, r.cohort): r for r in walked.findings.totals if (r.level, r.definition) == ("exact", "near")
    }
    assert {(c.stage, c.cohort) for c in measured.profile} == set(near)
    for curve in measured.profile:
        point = next(p for p in curve.points if p.threshold == walked.findings.threshold)
        row = near[curve.stage, curve.cohort]
        assert curve.exposure == row.exposure
        assert (point.exposed.count, point.exposed.total) == (row.exposed.count, row.exposed.total)
        assert point.control is not None
        assert point.control.count == row.control.count
        assert point.difference is not None
        assert point.difference.value == pytest.approx(row.difference.value)
        rates = [p.exposed.count for p in curve.points]
        assert rates == sorted(rates)


def test_every_sampler_of_the_recipe_is_measured(walked: Walked, measured: Measures) -> None:
    names = [Sampler(**s.model_dump()).name for s in walked.recipe.audit.samplers]
    assert list(dict.fromkeys(row.sampler for row in measured.sampled)) == names
    for row in measured.sampled:
        for arm in (row.exposed, row.control):
            assert arm is not None
            for chance in {cell.chance for cell in arm}:
                counts = [cell.rate.count for cell in arm if cell.chance == chance]
                assert counts == sorted(counts)


def test_each_attack_is_made_where_there_is_what_it_reads(measured: Measures) -> None:
    found: dict[tuple[str, str], set[str]] = {}
    for row in measured.attacks:
        found.setdefault((row.stage, row.cohort), set()).add(row.attack)
        assert row.exposure != "none"
        assert row.area.members == row.area.others
        assert 0 <= row.area.interval.low <= row.area.interval.value <= row.area.interval.high <= 1
    always = {"loss", "zlib", "min-k", "min-k++", "reference", "reference-parent", "lira-parents"}
    assert found["sft", "sft"] == always
    assert found["reward", "reward"] == always | {"reward-margin", "canary-lift"}
    assert found["ppo", "ppo"] == always | {"rigidity"}
    assert found["ipo", "reward"] == always | {"premia-single", "premia-pair"}
    assert {row.cohort for row in measured.blind} == {"sft", "reward", "ppo"}


def test_an_attack_is_on_the_same_examples_under_both_twins(walked: Walked, measured: Measures) -> None:
    with open_ledger(walked.folder) as ledger:
        walks = ledger.walks()
        (group,) = [g for g in groups(ledger) if (g.stage, g.cohort) == ("sft", "sft")]
        said = {twin: ledger.answers.of_stage(walks[twin, "sft"].id) for twin in "AB"}
        probes = {p.example_id: p.id for p in ledger.probes()}
    assert group.control is not None
    for place, example in enumerate(group.examples):
        own, other = example.half or "", "AB".replace(example.half or "", "")
        assert group.exposed.observations[place] == said[own][probes[example.id]]
        assert group.control.observations[place] == said[other][probes[example.id]]
        # Before SFT neither had seen it, and both had seen the same.
        assert group.exposed.before[place] == group.control.before[place]
        assert len(group.exposed.unshown[place]) == 1
    row = next(r for r in measured.attacks if (r.stage, r.cohort, r.attack) == ("sft", "sft", "loss"))
    means = [
        [sum(o.scores.logprobs) / len(o.scores.logprobs) for o in arm.observations]
        for arm in (group.exposed, group.control)
    ]
    wins = [(a > b) + (a == b) / 2 for a in means[0] for b in means[1]]
    assert row.area.interval.value == pytest.approx(sum(wins) / len(wins))


def test_exposure_of_secrets_is_bounded_by_its_references(measured: Measures) -> None:
    assert {row.secrets for row in measured.secrets} == {4}
    for row in measured.secrets:
        assert row.references == 3
        assert 0 <= row.exposed <= math.log2(4)
        if row.stage == "pretrain":
            assert row.exposed == row.control


def test_measures_of_a_model_that_was_audited_in_full(taught: Taught, tmp_path: Path) -> None:
    model, probes = taught.export(tmp_path / "model"), taught.write_probes(tmp_path / "probes.jsonl")
    backend = open_backend(str(model), Manner(batch=4, samplers=(Sampler(),)))
    terms = Terms(levels=("exact",), full=True, twice=0)
    with audit(str(probes), backend, None, tmp_path / "out", terms, Quiet()) as ledger:
        found = measure(ledger)
    assert found.profile[0].points[0].exposed.count == SHOWN
    assert found.profile[0].points[0].control is None
    at_ten = {cell.chance: cell.rate.count for cell in found.sampled[0].exposed if cell.samples == 10}
    assert at_ten[0.5] == SHOWN
    # The seven texts are one cluster of near-duplicates, in seven documents.
    assert [(c.documents, c.rate.count, c.rate.total) for c in found.rare[0].counts][1:3] == [
        (4, 0, 0),
        (16, 1, 1),
    ]
    assert (found.attacks, found.blind, found.known, found.secrets) == ((), (), (), ())
    short = audit(str(probes), backend, None, tmp_path / "short", replace(terms, full=False), Quiet())
    with short, pytest.raises(BadInput, match="--full"):
        measure(short)


def test_the_command_prints_tables_and_json(
    walked: Walked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, measured: Measures
) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    def say(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["memaudit", "measures", str(walked.folder), *options])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    code, printed, _ = say()
    assert code == 0
    for words in ("pappu-2024", "(n, p)-extraction", "premia-pair", "no model", "Exposure", "k-eidetic"):
        assert words in printed
    code, printed, _ = say("--json")
    assert json.loads(printed) == plain(measured)
    code, printed, _ = say("--json", "--stage", "ppo")
    data = json.loads(printed)
    assert {row["stage"] for row in data["attacks"]} == {"ppo"}
    assert len(data["blind"]) == 3
    code, printed, heard = say("--stage", "nowhere")
    assert (code, printed) == (2, "")
    assert "--stage: expected one of ipo, ppo, pretrain, reward, sft" in heard
