"""The course of a run: which stages are to be trained, each once, and which twin's way goes through which.

A stage that shows both twins the same, such as pretraining, is one leg that both ways share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memaudit.cohorts import TWINS
from memaudit.recipe import ordered, uses
from memaudit.stages import Setting, key_of


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One stage as one twin takes it, or both."""

    stage: str
    twins: tuple[str, ...]
    """Whose way goes through it."""
    key: str
    """Hash of all that determines it; the name of its directory."""
    needs: Mapping[str, str]
    """Name of each stage whose result it needs (its parent, and what it uses) -> that leg's key."""
    position: int
    """Of the stage in the order of the recipe."""

    @property
    def title(self) -> str:
        """For people."""
        return self.stage if self.twins == TWINS else f"{self.stage}, twin {', '.join(self.twins)}"


def course(setting: Setting) -> Sequence[Leg]:
    """The legs of a run, each after all it needs."""
    recipe = setting.recipe
    keys: dict[str, dict[str, str]] = {twin: {} for twin in TWINS}
    legs: list[Leg] = []
    for position, stage in enumerate(ordered(recipe)):
        for twin in TWINS:
            keys[twin][stage] = key_of(setting, twin, stage, keys[twin])
        ways: dict[str, list[str]] = {}
        for twin in TWINS:
            ways.setdefault(keys[twin][stage], []).append(twin)
        legs += [
            Leg(
                stage=stage,
                twins=tuple(twins),
                key=key,
                needs={
                    name: keys[twins[0]][name]
                    for name in (recipe.stages[stage].parent, *uses(recipe, stage))
                    if name
                },
                position=position,
            )
            for key, twins in ways.items()
        ]
    return legs
