"""Settings that name other stages are found wherever they are, and what is wrong in a table is told with its keys."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError
from tiny import TINY

from memaudit.errors import BadInput
from memaudit.methods import BY_METHOD
from memaudit.recipe import parse
from memaudit.references import Reference, references, replaced, value_at
from memaudit.section import ModelOf, Name, RewardOf, Section
from memaudit.settings import line_of


class Plain(Section):
    kind: Literal["plain"]
    size: int = 1


class Compared(Section):
    kind: Literal["compared"]
    prior: ModelOf
    other: ModelOf | None = None


class Outer(Section):
    parent: ModelOf | None = Field(default=None, alias="from")
    called: Name
    pick: Annotated[Plain | Compared | None, Field(discriminator="kind")] = None
    scores: RewardOf


class File(Section):
    tables: dict[str, Outer]
    rows: list[Plain] = Field(default=[])
    one: Plain | None = None


def test_references_are_found_in_tables_too_and_a_name_is_not_one() -> None:
    assert references(Outer) == (
        Reference(path=("from",), result="model"),
        Reference(path=("pick", "prior"), result="model"),
        Reference(path=("pick", "other"), result="model"),
        Reference(path=("scores",), result="reward"),
    )


def test_every_method_names_its_parent_and_what_it_learns_from() -> None:
    found = {name: {".".join(at.path): at.result for at in references(of)} for name, of in BY_METHOD.items()}
    assert {name for name, keys in found.items() if keys["from"] != "model"} == {"diffusion"}
    assert found["diffusion"] == {"from": "diffusion"}
    assert {name for name, keys in found.items() if keys.get("reward") == "reward"} == {"ppo", "grpo", "rloo"}
    assert {name for name, keys in found.items() if keys.get("pairs") == "reward"} == {
        "ipo",
        "dpo",
        "cdpo",
        "mdpo",
    }


def test_values_are_read_and_replaced_at_their_paths() -> None:
    table = {"from": "a", "pick": {"prior": "b", "size": 3}, "lora": None}
    assert value_at(table, ("pick", "prior")) == "b"
    assert value_at(table, ("pick", "other")) is None
    assert value_at(table, ("from", "prior")) is None
    assert value_at(table, ("lora", "rank")) is None
    changed = replaced(table, {("pick", "prior"): "c", ("from",): None, ("lora", "rank"): "d", ("no",): "e"})
    assert changed == {"pick": {"prior": "c", "size": 3}, "lora": None}
    assert table == {"from": "a", "pick": {"prior": "b", "size": 3}, "lora": None}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"tables": {"plain": {"called": "x", "scores": "r", "pick": {"kind": "plain", "prior": "y"}}}},
            "tables.plain.pick.prior: expected no such key, got 'y': known here are kind, size",
        ),
        (
            {"tables": {"x": {"called": "x", "scores": "r", "pick": {"kind": "compared"}}}},
            "tables.x.pick.prior: expected a value, got none: set tables.x.pick.prior",
        ),
        (
            {"tables": {"x": {"called": "x", "scores": "r", "pick": {"size": 2}}}},
            "tables.x.pick.kind: expected one of plain, compared, got none: set tables.x.pick.kind",
        ),
        (
            {"tables": {"x": {"called": "x", "scores": "r", "colour": 1}}},
            "tables.x.colour: expected no such key, got 1: known here are from, called, pick, scores",
        ),
        (
            {"tables": {}, "rows": [{"kind": "plain"}, {"kind": "plain", "wide": 1}]},
            "rows.1.wide: expected no such key, got 1: known here are kind, size",
        ),
        (
            {"tables": {}, "one": {"kind": "plain", "wide": 1}},
            "one.wide: expected no such key, got 1: known here are kind, size",
        ),
        ({"tables": {}, "extra": 1}, "extra: expected no such key, got 1: known here are tables, rows, one"),
    ],
)
def test_a_fault_is_told_with_the_keys_that_its_own_table_may_have(table: dict, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        File.model_validate(table)
    assert line_of(caught.value, File) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stages.sft.lora={colour=1}", "stages.sft.lora.colour: .* known here are rank, alpha, targets$"),
        (
            "audit.samplers=[{colour=1}]",
            "audit.samplers.0.colour: .* known here are temperature, top_k, top_p$",
        ),
        ("stages.more={batch=1}", "stages.more.method: expected one of pretrain, sft, .*, got none: set"),
    ],
)
def test_a_recipe_names_the_keys_of_the_table_at_fault(change: str, said: str) -> None:
    with pytest.raises(BadInput, match=f"^tiny: {said}"):
        parse(TINY, where="tiny", changes=[change])
