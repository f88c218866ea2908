import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import faults
from benchmarks.faulty_server import KINDS, STREAK, FaultyServer, seeded

QUICK = ["--probes", "60", "--seed", "1"]


@pytest.fixture(autouse=True)
def without_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {kind: weight for kind, weight in KINDS.items() if not kind.startswith("stall")}
    monkeypatch.setattr(faults, "seeded", partial(seeded, kinds=kinds))
    monkeypatch.setattr(faults, "ask", partial(faults.ask, timeout=30.0))


def test_nothing_is_lost_among_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main([*QUICK, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["good"]
    assert (printed["probes"], printed["answered"]) == (60, 60)
    assert printed["lost"] == printed["wrong"] == printed["twice"] == 0
    assert sum(printed["injected"].values()) > 20
    assert printed["requests"] >= 120 + sum(printed["injected"].values())


def test_each_kind_of_fault_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main([*QUICK, "--share", "0"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{kind} " in printed for kind in KINDS)
    assert "answered 60, wrong 0, lost 0, answered twice 0" in printed


def test_probes_that_are_lost_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "Completions", partial(faults.Completions, attempts=2))
    monkeypatch.setattr(
        faults, "seeded", lambda share, seed: lambda prompt, before: "500" if "_7(" in prompt else None
    )
    assert faults.main([*QUICK, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["lost"], printed["answered"], printed["wrong"]) == (1, 59, 0)


def test_probes_that_are_answered_wrongly_fail(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyServer, "continued", lambda server, prompt: [" 0"] * 40)
    assert faults.main([*QUICK, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["lost"], printed["wrong"]) == (0, 30)


@pytest.mark.parametrize("arguments", [["--probes", "0"], ["--share", "1.5"], ["--share", "nan"]])
def test_arguments_are_checked(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        faults.main(arguments)
    assert caught.value.code == 2
    assert "expected a probe at least and a share from 0 to 1" in capsys.readouterr().err


@given(st.text(max_size=5), st.integers(0, 99), st.floats(0, 1))
def test_faults_follow_from_the_seed_and_never_go_on_for_ever(prompt: str, seed: int, share: float) -> None:
    met = [seeded(share, seed)(prompt, before) for before in range(20)]
    assert met == [seeded(share, seed)(prompt, before) for before in range(20)]
    assert set(met) <= {None, *KINDS}
    assert all(None in met[at : at + STREAK + 1] for at in range(20 - STREAK))
