"""The comparison of decoding with transformers': its rows, and what it says where it cannot run."""

import builtins
import importlib
import json
from typing import Any

import numpy as np
import pytest

from benchmarks import generation
from rlhf.model import Decoder, initialise
from rlhf.presets import preset

TINY = ["--rounds", "1", "--batch", "2", "--prompt", "4", "--new", "3"]


def test_without_the_other_side_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return builtins if name == "torch" else real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert generation.main(TINY) == 2
    told = capsys.readouterr()
    assert told.err.splitlines() == [generation.MISSING]
    assert "pip install torch transformers" in told.err
    assert not told.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "expected --rounds of at least 1, got 0"),
        (["--new", "-3"], "expected --new of at least 1, got -3"),
        (["--only", "7b"], "invalid choice: '7b'"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        generation.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_our_side_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its tokens, and waits for them."""
    found = []
    real = generation.generate
    monkeypatch.setattr(generation, "generate", lambda *a, **k: found.append(real(*a, **k)) or found[-1])
    decoder = Decoder(preset("tiny", 64))
    prompts = np.random.default_rng(0).integers(3, 64, (2, 4), np.int32)
    params = initialise(decoder, generation.jax.random.key(0))
    last = generation.ours(decoder, params, prompts, 3, 0.0)()
    assert found[0].tokens.shape == (2, 3)
    assert (found[0].lengths == 3).all()
    assert last == found[0].tokens[-1, -1]


def test_a_row_compares_speeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With both sides' seconds given: the ratio is theirs over ours, under the name of model and kind."""
    costs = iter([[2.0, 5.0], [2.0, 3.0]])
    monkeypatch.setattr(generation, "fastest", lambda sides, rounds: next(costs))
    monkeypatch.setattr(generation, "theirs", lambda *_: lambda: 0.0)
    monkeypatch.setattr(generation, "machine", lambda: "2 cores")
    monkeypatch.setattr(generation.importlib, "import_module", lambda name: None)
    assert generation.main([*TINY, "--only", "1m", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["ratios"] == {"generation_1m": 2.5, "generation_1m_sampled": 1.5}
    assert printed["missed"] == ["generation_1m_sampled"]
    assert printed["rows"][0]["ours"] == "3 tokens/s"


@pytest.mark.peers
def test_both_sides_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    generation.main([*TINY, "--only", "1m"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["generation_1m", "generation_1m_sampled"]
    assert lines[-1].startswith("bars missed: ")
