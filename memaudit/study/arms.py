"""From arms and seeds to runs: what arms have in common is trained once.

Arms that differ in their stages alone are put into one recipe, whose stage graph has a branch for each: a stage that
is the same in two arms, and stands on the same stages, is one stage. So they share a run, a population and a ledger.
Arms that change anything else, such as the model's size or the corpus, share nothing and have a run of their own.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from memaudit.errors import BadInput
from memaudit.methods import BY_METHOD, StageSection
from memaudit.recipe import Recipe, checked, needed, ordered
from memaudit.references import references, replaced, value_at
from memaudit.settings import tables
from memaudit.study.design import Study

_LONGEST = 40  # characters of a stage's or a run's name


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A run of a study: some arms with one seed."""

    name: str
    """Of its directory."""
    seed: int
    recipe: Recipe
    stages: Mapping[str, Mapping[str, str]]
    """Arm -> the name of each of its stages in the arm's own recipe -> its name in this one."""


def cells(study: Study, text: str) -> list[Cell]:
    """The runs that a study consists of, in the order of its seeds. `text` is the TOML of its recipe.

    Raises BadInput where an arm does not make a recipe.
    """
    base = tables(text, where=study.recipe)
    found = []
    for seed in dict.fromkeys(seed for arm in study.all_arms() for seed in study.seeds_of(arm)):
        grounds: dict[str, dict[str, Recipe]] = {}
        for name, arm in study.all_arms().items():
            if seed not in study.seeds_of(name):
                continue
            data = _merged(base, {**arm.changes, "seed": seed})
            recipe = checked(_pruned(data, arm.only, name), where=f"arm {name}")
            ground = recipe.model_dump(mode="json", exclude={"stages", "name"})
            grounds.setdefault(json.dumps(ground, sort_keys=True), {})[name] = recipe
        found += [_joined(study, seed, members) for members in grounds.values()]
    return found


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put over it, table by table."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(value, dict) and isinstance(below, dict) else value
    return merged


def _pruned(data: dict[str, Any], only: Iterable[str], arm: str) -> dict[str, Any]:
    """The recipe with the stages of interest and those they need."""
    stages: Mapping[str, Mapping[str, Any]] = data.get("stages", {})
    wanted = list(only)
    for name in wanted:
        if name not in stages:
            raise BadInput(
                f"arms.{arm}.only: expected names of the recipe's stages ({', '.join(stages)}), got {name!r}"
            )
        section = BY_METHOD.get(str(stages[name].get("method")), StageSection)
        needs = (value_at(stages[name], reference.path) for reference in references(section))
        wanted += [need for need in needs if need in stages and need not in wanted]
    if not wanted:
        return data
    return {**data, "stages": {name: section for name, section in stages.items() if name in wanted}}


def _joined(study: Study, seed: int, members: Mapping[str, Recipe]) -> Cell:
    """One recipe for arms that differ in their stages alone."""
    taken: dict[str, str] = {}
    stages: dict[str, dict[str, Any]] = {}
    names: dict[str, dict[str, str]] = {arm: {} for arm in members}
    for arm, recipe in members.items():
        for stage in ordered(recipe):
            section = recipe.stages[stage].model_dump(by_alias=True, exclude_none=True)
            section = replaced(
                section, {at.path: names[arm][other] for at, other in needed(recipe.stages[stage]).items()}
            )
            same = json.dumps([stage, section], sort_keys=True)
            if same not in taken:
                name = stage if stage not in stages else f"{stage}-{arm}"
                if len(name) > _LONGEST:
                    raise BadInput(
                        f"arms.{arm}: expected a name that makes {name!r} at most {_LONGEST} characters long, got "
                        f"{len(name)}: set a shorter one"
                    )
                taken[same] = name
                # The branches differ in what they are set to and not in luck.
                luck = {} if name == stage else {"randomness": section.get("randomness", stage)}
                stages[name] = {**section, **luck}
            names[arm][stage] = taken[same]
    first = next(iter(members))
    recipe = members[first]
    data = recipe.model_dump(by_alias=True, exclude_none=True)
    name = f"{first}-{seed}"
    joined = checked({**data, "name": name[:_LONGEST], "stages": stages}, where=f"study {study.name}")
    return Cell(name=name, seed=seed, recipe=joined, stages=names)
