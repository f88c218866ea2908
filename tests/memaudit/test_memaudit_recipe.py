import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memaudit import recipe as recipes
from memaudit.errors import BadInput
from memaudit.recipe import RECIPES, cohort_names, cohort_of, dumps, load, ordered, parse

QUICKSTART = RECIPES.text("quickstart")


def fault(text: str, changes: list[str] | None = None) -> str:
    """The line a bad recipe gets."""
    with pytest.raises(BadInput) as caught:
        parse(text, where="x.toml", changes=changes or ())
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(("x.toml: ", "--set: "))
    return line


@pytest.mark.parametrize("name", RECIPES.names())
def test_a_resolved_recipe_reads_back_as_itself(name: str) -> None:
    recipe = load(name)
    again = parse(dumps(recipe), where="again")
    assert again == recipe
    assert again.digest() == recipe.digest()
    assert dumps(again) == dumps(recipe)


def test_a_resolved_recipe_writes_every_default_out() -> None:
    written = tomllib.loads(dumps(load("quickstart")))
    assert written["stages"]["ppo"]["smoothing"] == 0.95
    assert written["corpus"]["exclude"] == []
    assert written["stages"]["sft"]["from"] == "pretrain"


def test_quickstart_walks_in_the_order_of_its_needs() -> None:
    recipe = load("quickstart")
    order = ordered(recipe)
    assert sorted(order) == sorted(recipe.stages)
    for name in order:
        before = order[: order.index(name)]
        parent = recipe.stages[name].parent
        assert parent is None or parent in before
        assert set(recipes.uses(recipe, name)) <= set(before)
    assert cohort_names(recipe) == ["sft", "reward", "ppo"]
    assert cohort_of(recipe, "ipo") == "reward"
    assert cohort_of(recipe, "pretrain") is None


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    line = fault(QUICKSTART, ["stages.ppo.kl=0.1"])
    assert "stages.ppo.kl" in line
    assert "kl_coefficient" in line
    assert "colour" in fault(QUICKSTART, ["colour=1"])
    line = fault(QUICKSTART, ["corpus.paths='x'"])
    assert "corpus.paths" in line
    assert "exclude" in line


def test_an_unknown_method_is_named_with_the_known_ones() -> None:
    line = fault(QUICKSTART, ["stages.ppo.method=grpoo"])
    assert "stages.ppo" in line
    assert "grpoo" in line
    assert "'reward'" in line


def test_a_cycle_is_named() -> None:
    line = fault(QUICKSTART, ["stages.pretrain.from=ipo"])
    assert "cycle" in line
    assert "pretrain" in line
    assert "ipo" in line


def test_a_missing_parent_is_named_with_the_stages_there_are() -> None:
    line = fault(QUICKSTART, ["stages.sft.from=pretraining"])
    assert "stages.sft.from" in line
    assert "'pretraining'" in line
    assert "reward" in line


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ("stages.ppo.reward=sft", ["stages.ppo.reward", 'method = "reward"', "'sft'"]),
        ("stages.ipo.from=reward", ["stages.ipo.from", "language model", "'reward'"]),
        ("stages.ppo.minibatch=7", ["stages.ppo.minibatch", "16", "7"]),
        ("stages.sft.batch=0", ["stages.sft.batch", "0"]),
        ("devices.data=32", ["stages.pretrain.batch", "a multiple of", "= 32", "got 8"]),
        ("devices.fsdp=3", ["devices", "data * fsdp", "64", "1 * 3"]),
        ("stages.sft.learning_rate=fast", ["stages.sft.learning_rate", "'fast'"]),
        ("model.preset=900b", ["model.preset", "1m", "'900b'"]),
        ("audit.levels=['layout']", ["audit.levels", "exact", "layout"]),
        ("audit.levels=['exact','l9']", ["audit.levels", "l9"]),
        ("audit.threshold=1.5", ["audit.threshold", "1.5"]),
        ("cohorts.strata={0=3}", ["cohorts.strata"]),
        ("cohorts.shortest=200", ["cohorts.shortest", "96", "200"]),
        ("corpus.source=directory", ["corpus.path", "a path"]),
        ("corpus.path=src", ["corpus.path", "stdlib", "'src'"]),
        ("corpus.source=floppy", ["corpus.source", "'floppy'", "stdlib"]),
        ("name=../etc", ["name", "'../etc'"]),
        ("seed=-1", ["seed", "-1"]),
    ],
)
def test_a_wrong_value_is_named(change: str, facts: list[str]) -> None:
    line = fault(QUICKSTART, [change])
    for fact in facts:
        assert fact in line, line


@pytest.mark.parametrize("warm", ["pretrain", "ipo", "other"])
def test_weights_are_of_what_a_stage_did_to_this_parent_with_these_examples(warm: str) -> None:
    more = '[stages.{}]\nmethod = "sft"\nfrom = "{}"\ncohort = "sft"\nbatch = 4\nlearning_rate = 1e-3\n'
    text = QUICKSTART + more.format("swft", "pretrain") + more.format("other", "sft")
    assert parse(text, where="x", changes=["stages.swft.weights.warm=sft"]).stages["swft"]
    line = fault(text, [f"stages.swft.weights.warm={warm}"])
    for fact in ("stages.swft.weights.warm", "'pretrain'", "'sft'", f"got {warm!r}"):
        assert fact in line, line


def test_a_missing_key_is_named() -> None:
    line = fault(QUICKSTART.replace("batch = 16\n", "", 1))
    assert "batch" in line
    assert "stages.reward" in line


def test_a_recipe_without_cohorts_has_nothing_to_audit() -> None:
    text = 'name = "x"\n[stages.p]\nmethod = "pretrain"\nsteps = 1\nbatch = 1\nlearning_rate = 0.1\n'
    assert "cohort" in fault(text)


def test_text_that_is_no_toml_is_named_with_its_line() -> None:
    assert "line 2" in fault('name = "x"\nseed = = 3\n')


@pytest.mark.parametrize("change", ["seed", "=3", "a..b=1", "seed.x=1"])
def test_a_change_that_is_none_is_named(change: str) -> None:
    assert "--set" in fault(QUICKSTART, [change])


def test_changes_are_applied() -> None:
    recipe = load("quickstart", ["stages.ppo.kl_coefficient=0.3", "corpus.source=git", "corpus.path=/a b"])
    assert recipe.stages["ppo"].kl_coefficient == 0.3  # pyright: ignore[reportAttributeAccessIssue]
    assert (recipe.corpus.source, recipe.corpus.path) == ("git", "/a b")
    assert recipe.digest() != load("quickstart").digest()


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match=r"quickstart.*'nowhere.toml'"):
        load("nowhere.toml")


def test_a_recipe_that_is_not_utf8_is_named(tmp_path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "caf\xe9"\n')
    with pytest.raises(BadInput, match=r"latin.toml.*0xe9 at 11"):
        load(str(path))


@given(st.text())
def test_any_text_is_a_recipe_or_one_line(text: str) -> None:
    fault(text)
