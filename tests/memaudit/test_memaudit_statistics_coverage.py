"""That intervals hold what they say, in the settings of `benchmarks.coverage`: a few of them, and all when asked."""

import json

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import (
    Sizes,
    of_clusters,
    of_doses,
    of_pairs,
    of_plans,
    of_seeds,
    of_survival,
    simulate,
)

QUICK = 200
CASES = {f"{case[0]}: {case[1]}": case for cases in (of_pairs, of_seeds, of_survival) for case in cases()}
SLOW = {f"{case[0]}: {case[1]}": case for cases in (of_clusters, of_doses) for case in cases()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_intervals_cover(case: coverage.Case) -> None:
    _, _, conservative, _, held = case
    rng = np.random.default_rng(17)
    share = sum(held(rng) for _ in range(QUICK)) / QUICK
    # 95 % of 200, by 3 standard errors.
    assert share >= 0.90
    assert conservative or share <= 0.995


@pytest.mark.parametrize("name", [name for name in SLOW if "50 clusters" in name or "sd 0.7" in name])
def test_intervals_of_models_cover(name: str) -> None:
    held = SLOW[name][-1]
    rng = np.random.default_rng(17)
    assert sum(held(rng) for _ in range(60)) >= 51


@pytest.mark.parametrize("plan", list(of_plans()), ids=lambda plan: plan[0])
def test_a_study_finds_as_often_as_was_promised(plan) -> None:
    _, _, promised, found = plan
    rng = np.random.default_rng(17)
    assert sum(found(rng) for _ in range(QUICK)) / QUICK == pytest.approx(promised, abs=0.1)


def test_the_command_prints_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    coverage.main(["--replicates", "4", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert {row["table"] for row in printed["rows"]} == {"coverage", "uniformity", "power"}
    assert printed["sizes"] == {"replicates": 4, "seed": 0}


@pytest.mark.slow
def test_every_bar_is_reached() -> None:
    assert [str(row) for row in simulate(Sizes(replicates=2000)) if not row.reached] == []
