"""The comparison with TRL's PPO: what it prints, and what it says where TRL is missing. No figure is checked."""

import importlib
import json
from typing import Any

import pytest

from benchmarks import ppo
from benchmarks.timing import Row


@pytest.fixture
def without_trl(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", refuse)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int]]:
    """Rows without a measurement, and what was asked for."""
    asked: list[tuple[list[str], int]] = []

    def measure(names: Any, rounds: int) -> list[Row]:
        asked.append((list(names), rounds))
        return [
            Row(name=name, ours="1 s", theirs="2 s", ratio=ratio, bar=ppo.BAR)
            for name, ratio in zip(names, (2.04321, 1.4), strict=False)
        ]

    monkeypatch.setattr(ppo, "measure", measure)
    monkeypatch.setattr(ppo, "missing", lambda: None)
    monkeypatch.setattr(ppo, "machine", lambda: "2 cores")
    return asked


def test_without_trl_it_says_what_is_missing(without_trl: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert ppo.main(["--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert "trl 1.12" in printed.err
    assert "No module named 'trl.experimental.ppo'" in printed.err


def test_json_names_the_ratios(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ppo.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ppo_1m": 2.0432, "ppo_5m": 1.4}
    assert measured == [(["ppo_1m", "ppo_5m"], 5)]


def test_the_table_names_what_was_missed(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert ppo.main(["--rounds", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 cores"
    assert lines[2].split() == ["ppo_1m", "1", "s", "2", "s", "2.04", ">=", "1.5", "reached"]
    assert lines[3].split()[-1] == "MISSED"
    assert lines[-1] == "bars missed: ppo_5m"


@pytest.mark.slow
def test_both_sides_take_turns_and_ours_has_either_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ppo, "ours", lambda *what: lambda number: turns.append((*what, number)))
    monkeypatch.setattr(ppo, "theirs", lambda *what: lambda number: turns.append((*what[:2], "trl", number)))
    monkeypatch.setattr(ppo, "version", lambda name: "1.12.0")
    found = list(ppo.measure(["ppo_1m"], 1))
    assert [(row.name, row.bar) for row in found] == [("ppo_1m", 1.5), ("ppo_1m_critic_model", None)]
    assert turns == [
        ("1m", 2048, side, number)
        for critic in ("head", "model")
        for number in (-1, 0)
        for side in (critic, "trl")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "expected --rounds of at least 1, got 0"),
        (["--only", "ppo_7b"], "invalid choice: 'ppo_7b'"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        ppo.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_an_iteration_of_ours_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("BATCH", 4), ("PROMPT", 4), ("RESPONSE", 4)):
        monkeypatch.setattr(ppo, name, size)
    for critic in ("head", "model"):
        policy = ppo.ours("tiny", 64, critic)(0)
        assert policy


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
def test_both_sides_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl.experimental.ppo")
    for name, size in (("BATCH", 4), ("PROMPT", 4), ("RESPONSE", 4)):
        monkeypatch.setattr(ppo, name, size)
    found = list(ppo.measure(["tiny"], 1, {"tiny": ("tiny", 64)}))
    assert [row.name for row in found] == ["tiny", "tiny_critic_model"]
    assert all(row.ratio > 0 for row in found)
