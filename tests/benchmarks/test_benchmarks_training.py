"""The comparison of training steps: what it prints, and that both sides do the same work."""

import importlib.util
import json

import numpy as np
import pytest

from benchmarks import training
from benchmarks.training import SHAPES, Batch, fastest, ours
from rlhf.presets import preset

SMALL = Batch(rows=2, time=8)


@pytest.mark.slow
def test_the_fastest_step_counts_and_the_first_turns_do_not() -> None:
    ticks = iter([0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 7, 0, 3, 0, 9])
    turns: list[str] = []

    def side(name: str) -> float:
        turns.append(name)
        return 0.0

    found = fastest([lambda: side("a"), lambda: side("b")], 2, clock=lambda: next(ticks))
    assert found == [5, 3]
    assert turns == ["a", "b", "b", "a"] * 2  # no side always comes after the same one
    with pytest.raises(ValueError, match="at least 1 round, got 0"):
        fastest([], 0)


@pytest.mark.slow
def test_our_side_trains() -> None:
    """From the loss of a fresh model down, also on packed rows, of which one token fewer is a target."""
    for packed in (False, True):
        step = ours(preset("tiny", 300), SMALL, packed=packed)
        losses = [step() for _ in range(10)]
        assert losses[0] == pytest.approx(np.log(300), abs=0.2)
        assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "expected --rounds of at least 1, got 0"),
        (["--time", "7"], "expected --time to be even, got 7"),
        (["--only", "speed"], "invalid choice: 'speed'"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        training.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_the_other_side_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.main([])
    assert "expected torch to be installed" in capsys.readouterr().err


@pytest.mark.peers
def test_json_names_the_ratio_of_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setattr(training, "SHAPES", dict.fromkeys(SHAPES, preset("tiny", 300)))
    training.main(["--json", "--rounds", "1", "--rows", "2", "--time", "8"])
    printed = json.loads(capsys.readouterr().out)
    assert {"training_1m", "training_5m"} < printed["ratios"].keys()
    assert all(ratio > 0 for ratio in printed["ratios"].values())
    assert {row["name"]: row["bar"] for row in printed["rows"] if row["bar"]} == dict.fromkeys(SHAPES, 1.2)


@pytest.mark.peers
def test_both_sides_have_the_same_parameters_and_the_same_first_loss() -> None:
    """As near as two random models of the same shape are."""
    pytest.importorskip("transformers")
    config = preset("1m", 2048)
    assert ours(config, SMALL)() == pytest.approx(training.theirs(config, SMALL)(), abs=0.2)
