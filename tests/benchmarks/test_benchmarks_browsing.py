"""The wait for a page of `memaudit view`, measured on a small run; the large one takes the command."""

import json
from pathlib import Path

import pytest

from benchmarks import browsing


def test_every_question_is_asked_and_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert browsing.main([str(tmp_path), "--each", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == list(browsing.QUESTIONS)
    assert all(waited["again"] > 0 and waited["first"] > 0 for waited in found.values())
    assert found["everything"]["following"] > 0
    assert found["everything"]["example"] > 0


def test_a_page_that_is_waited_for_too_long_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "MOST_SECONDS", 0.0)
    monkeypatch.setattr(browsing, "QUESTIONS", {"everything": {}})
    assert browsing.main([str(tmp_path), "--each", "3"]) == 1
    assert "everything" in capsys.readouterr().out


def test_arguments_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        browsing.main([str(tmp_path), "--each", "2"])
    assert caught.value.code == 2
    assert "expected --each of 3 at least, got 2" in capsys.readouterr().err
