"""The commands that measure audits: what they need, what they refuse, and that their sides judge alike."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import commandline, extraction, passing, scale
from benchmarks.extraction import Bench, Sizes, in_full, ours, prepare
from benchmarks.timing import Row
from memaudit.probefile import read_probes

SMALL = Sizes(probes=6, rounds=1, batch=4, prompt=12, passes=60)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return prepare("tiny", 10, SMALL)


@pytest.mark.slow
def test_both_of_our_sides_judge_alike(bench: Bench) -> None:
    probes = [*bench.shown, *bench.others]
    verdicts = ours(bench, probes, SMALL)()
    assert verdicts == in_full(bench, probes, SMALL)()
    # Some come out, and not all: else nothing was compared.
    assert 0 < sum(verdicts) < len(verdicts)


def test_probes_of_the_scale_are_files_that_an_audit_reads(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "probes.jsonl"
    scale.write_probes(bench, path, 40, scale.Sizes(prompt=12, target=10))
    found = list(read_probes(str(path)))
    assert len(found) == 40
    assert [p.prefix for p in found[:6]] == [p.prefix for p in bench.shown]
    assert len({(p.prefix, p.target) for p in found}) > 35


@pytest.mark.parametrize("module", [extraction, passing, scale])
def test_what_cannot_be_measured_is_refused(module, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        module.main(["--passes" if module is not passing else "--rounds", "0"])
    assert stop.value.code == 2
    assert "to be positive, got 0" in capsys.readouterr().err


def test_without_the_other_library_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert extraction.main([]) == 2
    assert "pip install torch transformers" in capsys.readouterr().err


def test_rows_are_printed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Row(name="fast", ours="2/s", theirs="1/s", ratio=2.0, bar=1.5),
        Row(name="slow", ours="1/s", theirs="2/s", ratio=0.5, bar=1.0),
        Row(name="told", ours="1/s", theirs="2/s", ratio=0.5),
    ]
    command = commandline.parser("extraction", "What it is.", Sizes)
    commandline.show(rows, command.parse_args([]))
    printed = capsys.readouterr().out
    assert "1.5 reached" in printed
    assert "bars missed: slow" in printed
    commandline.show(rows, command.parse_args(["--json"]))
    data = json.loads(capsys.readouterr().out)
    assert data["ratios"] == {"fast": 2.0, "slow": 0.5, "told": 0.5}
    assert data["missed"] == ["slow"]
