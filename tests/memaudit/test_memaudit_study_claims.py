"""What comes of claims, and what the tables say, where what every twin said is known."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from invented import Outcome, Said, invent, noise
from test_memaudit_study_design import STUDY
from tiny import TINY

from memaudit.records import Example
from memaudit.statistics import rate_over_seeds
from memaudit.study.arms import cells
from memaudit.study.claims import check
from memaudit.study.design import load
from memaudit.study.report import report
from reports.study import ClaimRow, StudyReport

HEAD = (
    STUDY[: STUDY.index("[arms.hot]")].replace("seeds = [1, 2]", "seeds = [1, 2, 3]")
    + """
[arms.kl-1]
set.stages.ppo.kl_coefficient = 1.0
"""
)
MANY = TINY.replace("strata = { 1 = 2, 3 = 2 }", "strata = { 1 = 6, 4 = 6, 16 = 6 }")
OUT, NOT = Said(distance=0.0, logprob=-0.01, whole=True), Said()


def told(
    folder: Path, claims: str, outcome: Outcome, *, seeds: Sequence[int] = (1, 2, 3), **more: object
) -> StudyReport:
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text(MANY)
    path = folder / "study.toml"
    path.write_text(HEAD.replace("seeds = [1, 2, 3]", f"seeds = {list(seeds)}") + claims)
    study, text = load(path)
    runs = cells(study, text)
    check(study, runs)
    for cell in runs:
        invent(cell, folder, outcome, **more)  # pyright: ignore[reportArgumentType]
    return report(study, runs, folder, "memaudit study study.toml")


def claim(name: str, **settings: object) -> str:
    lines = {
        "text": "x",
        "stage": "ppo",
        "cohort": "sft",
        "measure": "memorized",
        "expect": "above",
        **settings,
    }
    return f"[[claims]]\nname = {name!r}\n" + "".join(
        f"{key} = {value if isinstance(value, float | int) or str(value)[0] in '[{' else repr(value)}\n"
        for key, value in lines.items()
    )


def by_name(found: StudyReport) -> dict[str, ClaimRow]:
    return {row.name: row for row in found.claims}


def kept(share: float) -> Outcome:
    """SFT's examples of 16 showings come out; PPO keeps a share of them, and others begin to be guessed."""

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        if example.cohort != "sft" or not exposed or stage == "pretrain" or example.repetition != 16:
            return NOT
        part = {"ppo-kl-0": share / 2, "ppo-kl-1": min(1.0, share * 1.2)}.get(stage, share)
        return OUT if not stage.startswith("ppo") or noise(example.id) < part else NOT

    return outcome


def test_persistence_is_the_share_of_what_was_memorized_and_not_guessed(tmp_path: Path) -> None:
    claims = claim("P", measure="persistence", before="sft", bound=0.1) + claim(
        "Q", measure="persistence", before="sft", expect="below", bound=0.1, headline=0
    ).replace("headline = 0", "headline = false")
    found = told(tmp_path, claims, kept(0.8))
    row = by_name(found)["P"]
    assert row.estimate is not None
    (kept_row,) = [k for k in found.kept if (k.arm, k.stage, k.cohort) == ("base", "ppo", "sft")]
    counts = [round(12 * value) for value in row.estimate.seeds]
    assert kept_row.total == row.examples == 3 * 12
    assert kept_row.kept == sum(counts)
    expected = rate_over_seeds(counts, [12] * 3, null=0.1)
    assert (row.estimate.value, row.estimate.low, row.estimate.high) == (
        expected.value,
        expected.low,
        expected.high,
    )
    assert 0.6 < row.estimate.value < 1
    assert (row.verdict, by_name(found)["Q"].verdict) == ("holds", "contradicted")


def test_a_trend_is_the_change_from_the_first_arm_to_the_last(tmp_path: Path) -> None:
    arms = '["kl-0", "base", "kl-1"]'
    more = {"measure": "persistence", "before": "sft", "arms": arms}
    claims = claim("T", expect="rises", **more) + claim("U", expect="falls", **more, headline="false")
    found = told(tmp_path, claims.replace("'false'", "false"), kept(0.7))
    rows = by_name(found)
    assert rows["T"].estimate is not None
    (sweep, _) = found.sweeps
    assert sweep.setting == "kl_coefficient"
    first, _, last = (point.estimate.value for point in sweep.points)
    assert [point.label for point in sweep.points] == ["0", "0.05", "1"]
    # Of three evenly spaced arms the least-squares slope goes through the difference of the outer two.
    assert rows["T"].estimate.value == pytest.approx(last - first)
    assert (rows["T"].verdict, rows["U"].verdict) == ("holds", "contradicted")
    assert rows["U"].p_adjusted is None


def test_what_both_twins_say_is_guessed_and_not_memorized(tmp_path: Path) -> None:
    claims = "".join(claim(name, measure=name) for name in ("memorized", "naive", "guessed"))
    found = told(
        tmp_path, claims, lambda seed, stage, example, exposed: OUT if noise(example.id) < 0.6 else NOT
    )
    rows = by_name(found)
    assert [rows[name].estimate.value > 0.4 for name in ("naive", "guessed")] == [True, True]  # pyright: ignore
    memorized = rows["memorized"]
    assert memorized.estimate is not None
    assert (memorized.estimate.value, memorized.estimate.low, memorized.verdict) == (0.0, 0.0, "not resolved")
    # Nothing in 3 * 36: the upper end is Clopper and Pearson's, 1 - 0.025 ** (1 / n).
    assert memorized.estimate.high == pytest.approx(1 - 0.025 ** (1 / 108))
    assert memorized.estimate.by.startswith("exact")
    (cell,) = [
        c
        for c in found.cells
        if (c.arm, c.stage, c.cohort, c.kind, c.level, c.definition)
        == ("base", "ppo", "sft", "all", "exact", "near")
    ]
    assert cell.exposed == cell.control == cell.both


def test_arms_are_compared_on_the_same_examples(tmp_path: Path) -> None:
    than = '{ stage = "ppo", cohort = "sft", arm = "kl-0" }'
    found = told(tmp_path, claim("D", than=than) + claim("E", than=than, bound=0.9), kept(0.9))
    row = by_name(found)["D"]
    memorized = {
        arm: next(k.kept for k in found.kept if (k.arm, k.stage, k.cohort) == (arm, "ppo", "sft"))
        for arm in ("base", "kl-0")
    }
    assert row.estimate is not None
    assert row.estimate.value == pytest.approx((memorized["base"] - memorized["kl-0"]) / 108)
    assert (row.verdict, row.note) == ("holds", None)
    assert by_name(found)["E"].verdict == "contradicted"


def test_at_matched_reward_the_other_side_lies_on_the_line_between_its_arms(tmp_path: Path) -> None:
    """PPO: reward 0, 1, 2 under three KL coefficients and log-probabilities -1, -2, -3; IPO: reward 1.5."""
    place = {"ppo-kl-1": 0, "ppo": 1, "ppo-kl-0": 2}

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        shift = -1.0 - place[stage] if stage in place else -1.2
        return Said(logprob=shift + 0.001 * seed * noise(example.id) if exposed else 0.0)

    than = '{ stage = "ppo", cohort = "reward" }'
    settings = {"measure": "likelihood", "cohort": "reward", "stage": "ipo", "than": than}
    claims = claim("M", matched='["kl-0", "base", "kl-1"]', **settings) + claim(
        "N", matched='["kl-0"]', **settings
    )
    found = told(
        tmp_path, claims, outcome, rewards=lambda seed, stage: {**place, "ipo": 1.5}.get(stage, 0.0) + seed
    )
    rows = by_name(found)
    assert rows["M"].estimate is not None
    assert rows["M"].estimate.value == pytest.approx(-1.2 + 2.5, abs=1e-3)
    assert rows["M"].note is None
    assert rows["N"].estimate is not None
    assert rows["N"].estimate.value == pytest.approx(-1.2 + 3, abs=1e-3)
    assert rows["N"].note == "in 3 of 3 seeds no arm had this task reward, and the nearest was taken"


def test_a_study_that_is_not_done_says_what_it_has(tmp_path: Path) -> None:
    claims = claim("P") + claim("I", stage="ipo")
    found = told(tmp_path, claims, kept(0.8), stages={"pretrain", "sft", "reward", "ppo"})
    rows = by_name(found)
    assert rows["P"].verdict == "holds"
    assert (rows["I"].verdict, rows["I"].estimate) == ("not tested", None)
    assert found.missing == ["base-1", "base-2", "base-3"]


def test_holm_is_over_the_headline_claims_alone(tmp_path: Path) -> None:
    claims = claim("A", bound=0.25) + claim("B", bound=0.26) + claim("C", bound=0.12, headline=0)
    found = told(tmp_path, claims.replace("headline = 0", "headline = false"), kept(0.8))
    rows = by_name(found)
    p = {name: rows[name].estimate.p_value for name in "ABC"}  # pyright: ignore
    assert rows["C"].p_adjusted is None
    small, large = sorted("AB", key=lambda name: p[name])
    assert rows[small].p_adjusted == min(1.0, 2 * p[small])
    assert rows[large].p_adjusted == min(1.0, max(p[large], 2 * p[small]))


def test_a_headline_claim_whose_adjusted_p_value_is_too_large_is_not_resolved(tmp_path: Path) -> None:
    alone = told(tmp_path / "one", claim("A", bound=0.08), kept(0.8))
    many = "".join(claim(f"N{k}", bound=0.26) for k in range(9))
    among = told(tmp_path / "many", claim("A", bound=0.08) + many, kept(0.8))
    first, second = by_name(alone)["A"], by_name(among)["A"]
    assert first.estimate == second.estimate
    assert first.estimate is not None
    assert 0.005 < first.estimate.p_value < 0.05  # pyright: ignore
    assert (first.verdict, second.verdict) == ("holds", "not resolved")


def test_what_a_level_finds_and_what_it_alone_finds(tmp_path: Path) -> None:
    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        if not exposed or stage == "pretrain" or example.cohort != "sft":
            return Said(distance=0.9, at={"shape": 0.0})
        return {
            1: Said(distance=0.9, at={"renamed": 0.05}),
            4: Said(distance=0.05),
            16: Said(distance=0.9),
        }[example.repetition or 0]

    found = told(tmp_path, claim("P"), outcome)
    rows = {r.level: r for r in found.ladder if (r.arm, r.stage, r.cohort) == ("base", "sft", "sft")}
    assert {level: (r.memorized, r.only, r.guessed, r.total) for level, r in rows.items()} == {
        "exact": (36, 0, 0, 108),
        "layout": (36, 0, 0, 108),
        "code": (36, 0, 0, 108),
        "renamed": (72, 36, 0, 108),
    }


def test_guessing_is_counted_by_the_length_of_targets_no_twin_had_met(tmp_path: Path) -> None:
    """Targets have 4 to 9 tokens; the short ones are guessed by whoever did not see them."""

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        return OUT if stage == "pretrain" and example.cohort == "ppo" else NOT

    found = told(tmp_path, claim("P"), outcome)
    exact = [row for row in found.lengths if row.level == "exact"]
    assert [(row.shortest, row.longest) for row in exact] == [(4, 5), (6, 7), (8, 9)]
    unmet = 3 * 2 * 36  # seeds, twins, examples of a cohort
    # pretrain: three cohorts; sft: two; reward: one; ipo: one.
    assert sum(row.total for row in exact) == unmet * 7
    assert sum(row.guessed for row in exact) == unmet


def test_examples_are_listed_that_are_likelier_than_chance_makes_those_that_nobody_saw(
    tmp_path: Path,
) -> None:
    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        drift = 0.1 * (noise(stage, example.id, exposed) - 0.5)
        learnt = (
            1.0
            if exposed and stage == "sft" and example.cohort == "sft" and example.repetition == 16
            else 0.0
        )
        return Said(logprob=-3.0 + drift + learnt)

    found = told(tmp_path, claim("P"), outcome)
    rows = {(r.stage, r.cohort): r for r in found.shifts if r.arm == "base"}
    # All of the 36 that were learnt, and about as many others as the rate allows: 5 % of the list.
    assert 36 <= rows["sft", "sft"].listed <= 42
    assert rows["sft", "sft"].total == 108
    assert rows["sft", "reward"].listed == 0
    assert rows["sft", "sft"].difference.value == pytest.approx(1 / 3, abs=0.02)
    # After PPO every cohort has been met: the differences of the wrong sign stand in.
    assert rows["ppo", "ppo"].exposure == "direct"
    assert rows["ppo", "ppo"].listed <= 2


def test_survival_is_of_what_came_out_when_the_stage_began(tmp_path: Path) -> None:
    end = kept(0.5)

    def passing(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        return kept(0.75)(seed, stage, example, exposed)

    found = told(tmp_path, claim("P"), end, passing=passing)
    (row,) = [r for r in found.survival if (r.arm, r.stage, r.cohort) == ("base", "ppo", "sft")]
    assert (row.steps, row.at_risk[0]) == ([4, 8], 36)
    (kept_row,) = [k for k in found.kept if (k.arm, k.stage, k.cohort) == ("base", "ppo", "sft")]
    assert row.survival[1] == pytest.approx(kept_row.kept / 36)
    assert 1 > row.survival[0] > row.survival[1]


def test_doses_are_fitted_where_something_came_out_and_not_all(tmp_path: Path) -> None:
    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        chance = {1: 0.05, 4: 0.5, 16: 0.95}[example.repetition or 0]
        out = exposed and example.cohort == "sft" and stage != "pretrain" and noise(example.id) < chance
        return OUT if out else NOT

    found = told(tmp_path, claim("P"), outcome)
    rows = {(r.arm, r.stage, r.cohort): r for r in found.doses}
    fitted = rows["base", "sft", "sft"]
    assert (fitted.times, fitted.totals) == ([1, 4, 16], [36, 36, 36])
    assert fitted.memorized == sorted(fitted.memorized)
    assert fitted.half is not None
    assert fitted.half.low < 4 < fitted.half.high
    assert rows["base", "ppo", "ppo"].slope is None


def test_secrets_are_told_apart_from_code(tmp_path: Path) -> None:
    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        return Said(whole=exposed and stage != "pretrain" and example.cohort == "sft")

    found = told(tmp_path, claim("S", definition="secret", kind="sensitive"), outcome)
    (cell,) = [
        c
        for c in found.cells
        if (c.arm, c.stage, c.cohort, c.kind, c.definition) == ("base", "sft", "sft", "sensitive", "secret")
    ]
    assert (cell.exposed, cell.control, cell.total) == (36, 0, 36)
    assert by_name(found)["S"].examples == 36
    assert not [c for c in found.cells if c.kind == "harvested" and c.definition == "secret"]


def test_verdicts_that_were_given_twice_are_counted(tmp_path: Path) -> None:
    found = told(tmp_path, claim("P"), kept(0.8))
    # Every second of 108 probes, at four levels, in seven stages of two twins and three seeds.
    assert found.flips == (0, 54 * 4 * 7 * 2 * 3)


def test_of_one_seed_examples_are_resampled_by_source_file(tmp_path: Path) -> None:
    """All of a file is kept or forgotten, so that there are as many facts as files."""

    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        if example.cohort != "sft" or not exposed or stage == "pretrain":
            return NOT
        return OUT if stage in ("sft", "reward") or noise(stage, example.source) < 0.6 else NOT

    claims = (
        claim("P", measure="persistence", before="sft")
        + claim("D", than='{ stage = "ppo", cohort = "sft", arm = "kl-0" }')
        + claim("X", stage="sft", than='{ stage = "sft", cohort = "reward" }')
        + claim("T", arms='["kl-0", "base"]', expect="rises")
    )
    found = told(tmp_path, claims, outcome, seeds=[1])
    rows = by_name(found)
    for name in "PDX":
        estimate = rows[name].estimate
        assert estimate is not None
        assert estimate.by == "bootstrap over source files, of one seed: its luck is not in the interval"
        assert len(estimate.seeds) == 1
    kept_share = rows["P"].estimate
    assert kept_share is not None
    naive_width = 2 * 1.96 * (kept_share.value * (1 - kept_share.value) / 36) ** 0.5
    assert kept_share.high - kept_share.low > 2 * naive_width
    assert rows["X"].verdict == "holds"
    assert rows["T"].verdict == "not tested"


def test_the_held_out_loss_is_that_of_the_twin_that_did_not_see_it(tmp_path: Path) -> None:
    def outcome(seed: int, stage: str, example: Example, exposed: bool) -> Said:
        return Said(logprob=-0.5 if exposed else -2 - noise(example.id) / 100)

    row = by_name(told(tmp_path, claim("H", measure="held-out", stage="sft", bound=1.9), outcome))["H"]
    assert row.estimate is not None
    assert row.estimate.value == pytest.approx(2.005, abs=0.003)
    assert row.verdict == "holds"
