"""A study's file, its arms put together into runs, its plan and its power."""

from pathlib import Path

import pytest
from tiny import TINY

from memaudit.errors import BadInput
from memaudit.study.arms import cells
from memaudit.study.claims import check
from memaudit.study.design import Study, load
from memaudit.study.power import power

STUDY = """
name = "tried"
recipe = "recipe.toml"
seeds = [1, 2]

[arms.kl-0]
set.stages.ppo.kl_coefficient = 0.0

[arms.hot]
set.stages.sft.learning_rate = 0.02

[arms.small]
only = ["ppo"]
seeds = [1]
set.model.preset = "tiny-glm"

[[claims]]
name = "P1"
text = "Most of it persists."
measure = "persistence"
before = "sft"
stage = "ppo"
cohort = "sft"
expect = "above"
bound = 0.5
"""


def write(folder: Path, text: str = STUDY) -> Path:
    (folder / "recipe.toml").write_text(TINY)
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.fixture
def study(tmp_path: Path) -> tuple[Study, str]:
    return load(write(tmp_path))


def test_arms_that_differ_in_stages_alone_share_a_run_and_others_have_their_own(
    study: tuple[Study, str],
) -> None:
    assert [(cell.name, cell.seed, list(cell.stages)) for cell in cells(*study)] == [
        ("base-1", 1, ["base", "kl-0", "hot"]),
        ("small-1", 1, ["small"]),
        ("base-2", 2, ["base", "kl-0", "hot"]),
    ]


def test_a_stage_is_shared_by_the_arms_that_have_it_alike_and_stand_on_the_same(
    study: tuple[Study, str],
) -> None:
    first = cells(*study)[0]
    stages = first.recipe.stages
    assert list(stages) == [
        "pretrain", "sft", "reward", "ppo", "ipo", "ppo-kl-0", "sft-hot", "reward-hot", "ppo-hot", "ipo-hot",
    ]  # fmt: skip
    assert first.stages["base"] == {name: name for name in ("pretrain", "sft", "reward", "ppo", "ipo")}
    assert first.stages["kl-0"] == {**first.stages["base"], "ppo": "ppo-kl-0"}
    assert first.stages["hot"]["pretrain"] == "pretrain"
    assert stages["ppo-kl-0"].parent == "sft"
    assert stages["ppo-hot"].parent == "sft-hot"
    assert (stages["ppo-hot"].reward, stages["ipo-hot"].pairs) == ("reward-hot", "reward-hot")  # pyright: ignore
    assert (stages["ppo"].kl_coefficient, stages["ppo-kl-0"].kl_coefficient) == (0.05, 0.0)  # pyright: ignore


def test_the_branches_of_a_stage_share_its_randomness(study: tuple[Study, str]) -> None:
    stages = cells(*study)[0].recipe.stages
    assert {name: s.randomness for name, s in stages.items() if s.randomness} == {
        "ppo-kl-0": "ppo", "sft-hot": "sft", "reward-hot": "reward", "ppo-hot": "ppo", "ipo-hot": "ipo",
    }  # fmt: skip


def test_an_arm_can_be_cut_down_to_the_stages_of_interest(study: tuple[Study, str]) -> None:
    small = cells(*study)[1]
    assert list(small.recipe.stages) == ["pretrain", "sft", "reward", "ppo"]
    assert small.recipe.model.preset == "tiny-glm"


def test_each_seed_is_a_recipe_of_its_own(study: tuple[Study, str]) -> None:
    assert [cell.recipe.seed for cell in cells(*study)] == [1, 1, 2]
    one, _, two = (cell.recipe.model_dump(exclude={"seed", "name"}) for cell in cells(*study))
    assert one == two


WRONG = {
    "no TOML": ("name =", "expected TOML, got something else"),
    "unknown key": (
        STUDY.replace("seeds = [1, 2]", "seed = [1]"),
        "seed: expected no such key, got [1]: known here are",
    ),
    "no seeds": (STUDY.replace("seeds = [1, 2]", "seeds = []"), "seeds: "),
    "no recipe": (
        STUDY.replace("recipe.toml", "other.toml"),
        "recipe: expected a file beside it or one of quickstart",
    ),
    "no text": (
        STUDY.replace('text = "Most of it persists."', ""),
        "claims.0.text: expected a value, got none",
    ),
    "key of a claim": (
        STUDY.replace("bound = 0.5", "bounds = 0.5"),
        "claims.0.bounds: expected no such key, got 0.5: known here are name, text",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_faulty_study_is_refused_with_one_line(tmp_path: Path, fault: str) -> None:
    text, said = WRONG[fault]
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no such file"):
        load(tmp_path / "nothing.toml")


ARMS = {
    "setting": ("kl_coefficient = 0.0", "kl = 0.0", "arm kl-0: stages.ppo.kl: expected no such"),
    "value": ("= 0.0\n", "= -1.0\n", "arm kl-0: stages.ppo.kl_coefficient"),
    "stage": ('only = ["ppo"]', 'only = ["pp0"]', "arms.small.only: expected names of the recipe's stages"),
    "name": ("arms.kl-0", "arms.kl-0-with-a-name-of-more-than-so-many", "expected a name that makes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", ARMS)
def test_a_faulty_arm_is_refused_with_one_line(tmp_path: Path, fault: str) -> None:
    old, new, said = ARMS[fault]
    study, text = load(write(tmp_path, STUDY.replace(old, new)))
    with pytest.raises(BadInput) as caught:
        cells(study, text)
    assert said in str(caught.value)


CLAIMS = {
    "measure": ('"persistence"', '"persistance"', "claims.P1.measure: expected one of memorized, naive"),
    "before": (
        'before = "sft"\n',
        "",
        "claims.P1.before: expected a stage beside measure = 'persistence', got none",
    ),
    "arm": (
        "bound = 0.5",
        'arm = "kl-1"',
        "claims.P1: expected an arm out of base, kl-0, hot, small, got 'kl-1'",
    ),
    "stage": ('stage = "ppo"', 'stage = "dpo"', "claims.P1: expected a stage of the arm base"),
    "cohort": (
        'cohort = "sft"',
        'cohort = "all"',
        "claims.P1: expected a cohort out of sft, reward, ppo, got 'all'",
    ),
    "stage of a small arm": (
        "bound = 0.5",
        'than = { arm = "small", stage = "ipo", cohort = "sft" }',
        "arm small",
    ),
    "trend of one": ('expect = "above"', 'expect = "rises"\narms = ["base"]', "expected at least two arms"),
    "trend without arms": (
        'expect = "above"',
        'expect = "rises"',
        "claims.P1.expect: expected `rises` or `falls`",
    ),
    "bound with arms": (
        "bound = 0.5",
        'arms = ["base", "kl-0"]',
        "claims.P1.expect: expected `rises` or `falls`",
    ),
    "matched with nobody": ("bound = 0.5", 'matched = ["kl-0"]', "claims.P1.than: expected the other side"),
    "twice": (
        "[[claims]]",
        STUDY[STUDY.index("[[claims]]") :] + "[[claims]]",
        "expected names that differ, got 'P1'",
    ),
}


@pytest.mark.parametrize("fault", CLAIMS)
def test_a_claim_of_which_nothing_could_be_measured_is_refused(tmp_path: Path, fault: str) -> None:
    old, new, said = CLAIMS[fault]
    study, text = load(write(tmp_path, STUDY.replace(old, new, 1)))
    with pytest.raises(BadInput) as caught:
        check(study, cells(study, text))
    assert said in str(caught.value)


def test_power_grows_with_examples_and_seeds_and_is_reckoned_for_each_kind_of_claim(tmp_path: Path) -> None:
    more = """
[[claims]]
name = "D"
text = "More after IPO."
measure = "memorized"
stage = "ipo"
cohort = "reward"
than = { stage = "ppo", cohort = "reward" }
expect = "above"

[[claims]]
name = "T"
text = "It rises."
measure = "memorized"
stage = "ppo"
cohort = "ppo"
arms = ["kl-0", "base"]
expect = "rises"

[[claims]]
name = "L"
text = "It is likelier."
measure = "likelihood"
stage = "ipo"
cohort = "reward"
expect = "above"
kind = "sensitive"
"""
    study, text = load(write(tmp_path, STUDY + more))
    few = power(study, cells(study, text))
    assert [(row.claim, row.seeds, row.unit) for row in few] == [
        ("P1", 2, "share"), ("D", 2, "share"), ("T", 2, "share"), ("L", 2, "nats per token"),
    ]  # fmt: skip
    # Two strata of two examples in each half, of which 40 % are taken to have been memorized; half are sensitive.
    assert [row.examples for row in few] == [3, 8, 8, 4]
    study = study.model_copy(update={"seeds": [1, 2, 3, 4, 5, 6, 7, 8]})
    many = power(
        study, cells(study, text.replace("strata = { 1 = 2, 3 = 2 }", "strata = { 1 = 40, 3 = 40 }"))
    )
    for small, large in zip(few, many, strict=True):
        assert large.detectable is not None
        assert small.detectable is None or large.detectable < small.detectable


def test_one_seed_has_no_power(tmp_path: Path) -> None:
    study, text = load(write(tmp_path, STUDY.replace("seeds = [1, 2]", "seeds = [1]")))
    assert [row.detectable for row in power(study, cells(study, text))] == [None]
