"""The page of a large run: small enough, and soon usable."""

import json
from pathlib import Path

import pytest

from benchmarks.page import MOST_BYTES, MOST_SECONDS, main


def measured(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict]:
    code = main([str(folder), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.browser
def test_a_page_is_made_opened_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = measured(tmp_path, capsys, "--each", "3", "--rounds", "1")
    (one,) = found["opened"]
    assert 0 < one["loaded"] <= one["interactive"] <= one["drawn"]
    assert found["bytes"] == (tmp_path / "report.html").stat().st_size
    assert code == int(found["bytes"] > MOST_BYTES or one["interactive"] > MOST_SECONDS)


@pytest.mark.slow
@pytest.mark.browser
def test_a_million_observations_fit_a_page_that_opens_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = measured(tmp_path, capsys)
    assert (code, found["bytes"] < MOST_BYTES) == (0, True), found
