import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import bandit

TINY = ["--iterations", "2", "--answers", "240", "--points", "2", "--betas", "0.5"]
DONE = bandit.Result(
    method="rloo",
    beta=0.5,
    share=[0.0, 0.5, 1.0],
    curve=[0.6, 0.1, 0.001],
    kl=0.79,
    kl_wanted=0.794,
    score=0.78,
    score_wanted=0.785,
    from_reverse=0.001,
)


@pytest.fixture
def given(monkeypatch):
    """Results that are there already, and how they were asked for."""
    asked = []

    def results(*arguments):
        asked.append(arguments)
        return iter([DONE, replace(DONE, beta=1.5, curve=[0.3, 0.2, 0.1])])

    monkeypatch.setattr(bandit, "results", results)
    return asked


def test_json_has_the_distances_by_name_and_the_curves(given, capsys):
    bandit.main(["--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["distances"] == {"rloo/0.5": 0.001, "rloo/1.5": 0.1}
    assert printed["missed"] == ["rloo/1.5"]
    assert printed["bar"] == bandit.BAR
    assert printed["rows"][0]["curve"] == [0.6, 0.1, 0.001]
    assert given == [(list(bandit.METHODS), bandit.COEFFICIENTS, bandit.Sizes(), 0)]
    assert len(set(bandit.COEFFICIENTS)) == 3


def test_the_table_has_a_line_for_every_run_and_names_what_was_missed(given, capsys):
    bandit.main(["--quick", "--only", "rloo", "--answers", "48", "--seed", "3"])
    _, heading, *lines, last = capsys.readouterr().out.splitlines()
    assert heading.split()[:4] == ["method/beta", "0%", "50%", "100%"]
    assert lines[0].split() == ["rloo/0.5", "0.600", "0.100", "0.001", "0.790/0.794", "0.780/0.785", "0.001"]
    assert last == f"farther off than {bandit.BAR}: rloo/1.5"
    assert given == [(["rloo"], bandit.COEFFICIENTS, replace(bandit.QUICK, answers=48), 3)]


@pytest.mark.slow
def test_a_run_starts_at_the_reference_and_is_watched_to_its_end(capsys):
    bandit.main(["--json", "--only", "rloo", *TINY])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["share"] == [0.0, 0.5, 1.0]
    task = bandit.bandit()
    wanted = bandit.reverse_optimum(task.reference, task.scores, 0.5)
    assert row["curve"][0] == pytest.approx(0.5 * np.abs(task.reference - wanted).sum(axis=1).max())
    assert len(set(row["curve"])) == 3
    assert row["from_reverse"] == pytest.approx(row["curve"][-1])
