"""The recipe and the study of GLM-4's shape: the order of stages that its report has, each of them audited."""

import asyncio
from pathlib import Path

import pytest
from tiny import Quiet

from memaudit.ledger import Ledger
from memaudit.recipe import load, ordered
from memaudit.run import run
from memaudit.study.design import load as load_study

FOLDER = Path(__file__).parents[2] / "studies" / "companions" / "glm4"


def test_ppo_and_dpo_stand_beside_each_other_on_one_sft_model_that_wrote_the_negatives() -> None:
    recipe = load(str(FOLDER / "recipe.toml"))
    stages = recipe.stages
    assert ordered(recipe) == ["pretrain", "augmented", "sft", "reward", "ppo", "dpo"]
    assert recipe.model.preset == "0.9m-glm"
    assert getattr(stages["augmented"], "instruct", None) is not None
    assert getattr(stages["pretrain"], "instruct", None) is None
    assert {name: stages[name].parent for name in ("augmented", "sft", "reward", "ppo", "dpo")} == {
        "augmented": "pretrain",
        "sft": "augmented",
        "reward": "sft",
        "ppo": "sft",
        "dpo": "sft",
    }
    assert getattr(stages["ppo"], "reward", None) == getattr(stages["dpo"], "pairs", None) == "reward"


def test_the_shapes_differ_in_nothing_but_their_preset_and_the_bases_in_nothing_but_instructions() -> None:
    study, text = load_study(FOLDER / "study.toml")
    assert text == (FOLDER / "raw.toml").read_text()
    assert study.all_arms()["plain"].changes == {"model": {"preset": "0.9m"}}
    other, text = load_study(FOLDER / "augmented.toml")
    assert text == (FOLDER / "recipe.toml").read_text()
    raw = other.all_arms()["raw"].changes
    assert raw == {"stages": {"pretrain": {"steps": 400}, "sft": {"from": "pretrain"}}}
    assert len(study.seeds) == len(other.seeds) == 5
    base = load(str(FOLDER / "recipe.toml")).stages

    def tokens(name: str, steps: int) -> int:
        return steps * base[name].batch * getattr(base[name], "window", 0)

    assert tokens("pretrain", 400) == sum(
        tokens(n, getattr(base[n], "steps", 0)) for n in ("pretrain", "augmented")
    )
    assert len(study.seeds) == 5


@pytest.mark.slow
def test_the_recipe_runs_end_to_end_and_is_audited_after_each_stage(tmp_path: Path) -> None:
    """Cut short: another shape, on fewer files, with a few steps a stage."""
    changes = [
        "model.preset=tiny-glm",
        "tokenizer.vocabulary=400",
        "corpus.source=directory",
        f"corpus.path={Path(asyncio.__file__).parent}",
        "cohorts.shortest=40",
        "cohorts.longest=160",
        "cohorts.overlap=0.6",
        "cohorts.strata={ 1 = 2, 3 = 2 }",
        "stages.pretrain.steps=20",
        "stages.augmented.steps=10",
        "stages.ppo.response=8",
        "stages.sft.batch=4",
        "stages.dpo.batch=4",
    ]
    recipe = load(str(FOLDER / "recipe.toml"), changes)
    findings = run(recipe, tmp_path / "run", Quiet())
    assert [stage.name for stage in findings.stages] == ordered(recipe)
    direct = {"sft": {"sft"}, "reward": {"reward", "dpo"}, "ppo": {"ppo"}}
    for example in findings.examples:
        assert {shown.stage for shown in example.shown} == direct[example.cohort or ""]
    with Ledger(tmp_path / "run" / "ledger.sqlite") as ledger:
        walks, probes = ledger.walks(), ledger.count("probes")
        assert set(walks) == {(twin, stage) for twin in "AB" for stage in recipe.stages}
        for record in walks.values():
            assert len(ledger.answers.of_stage(record.id)) == probes == 24
