"""What a study is: a recipe, arms that change it, seeds, and claims that are stated before anything runs.

    name = "kl"
    recipe = "quickstart"            # a built-in recipe, or a file beside this one
    seeds = [0, 1, 2, 3, 4]

    [arms.kl-0]
    set.stages.ppo.kl_coefficient = 0.0

    [[claims]]
    name = "P1"
    text = "What SFT memorized falls as the KL coefficient falls"
    measure = "persistence"
    cohort = "sft"
    before = "sft"
    stage = "ppo"
    arms = ["kl-0", "base"]
    expect = "rises"

The arm `base` is the recipe as it is. Every arm is run with every seed, and every run has both twins.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from memaudit.errors import BadInput
from memaudit.recipe import RECIPES
from memaudit.section import Name, Positive, Section
from memaudit.settings import one_line, read, tables
from memaudit.sources import printable

BASE = "base"
"""The arm that is the recipe as it is."""

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Arm(Section):
    """The recipe with some settings changed."""

    about: str = ""
    """One line for people."""
    changes: dict[str, Any] = Field(default={}, alias="set")
    """The settings, as in a recipe."""
    only: list[Name] = Field(default=[])
    """The stages that are of interest; they and what they need are run. Empty: all."""
    seeds: list[Seed] = Field(default=[])
    """The seeds it is run with; empty: the study's."""


class Place(Section):
    """Where a measure is taken."""

    arm: Name = BASE
    """Under this arm."""
    stage: Name
    """After this stage."""
    cohort: Name
    """Of this cohort's examples."""


class Claim(Section):
    """Something that is expected to hold, stated so that it can fail.

    Of one place (`arm`) a measure is set against `bound`; of two (`arm` and `than`) their difference is; of several
    (`arms`) the trend is, from the first to the last.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,23}$")]
    """Short and unique, such as P1."""
    text: str
    """What is claimed, in one sentence."""
    measure: str
    """One of memaudit.study.measures."""
    stage: Name
    """After which stage."""
    cohort: Name
    """Of which cohort's examples."""
    arm: Name = BASE
    """Under which arm."""
    than: Place | None = None
    """The other side of a difference."""
    matched: list[Name] = Field(default=[])
    """Arms among which the other side is taken at the same task reward as this side's, by straight lines between them;
    `than` says its stage and cohort."""
    arms: list[Name] = Field(default=[])
    """Arms of a trend, in order."""
    expect: Literal["above", "below", "rises", "falls"]
    """Which way it is expected to come out: the measure or difference above or below `bound`, or the trend."""
    bound: float = 0.0
    """What the measure or difference is set against."""
    headline: bool = True
    """One of the claims that the study stands or falls with: their p-values are adjusted together."""
    level: str = "exact"
    """Level at which completions are compared."""
    definition: Literal["near", "equal", "secret"] = "near"
    """Definition of memorization."""
    before: Name | None = None
    """Of persistence: after which stage the examples had to be memorized."""
    strata: list[Positive] = Field(default=[])
    """Only examples that were shown so often; empty: all."""
    kind: Literal["harvested", "sensitive", "given", "question"] | None = None
    """Only examples of this kind."""


class Assumptions(Section):
    """What power is reckoned with, for want of data."""

    rate: Annotated[float, Field(gt=0, lt=1)] = 0.4
    """Rate at which examples come out where they do."""
    between: Annotated[float, Field(ge=0)] = 0.05
    """Standard deviation of that rate from seed to seed, beyond chance."""
    nats: Annotated[float, Field(gt=0)] = 0.1
    """Standard deviation of a mean of log-probabilities per token from seed to seed, chance included."""
    reward: Annotated[float, Field(gt=0)] = 0.3
    """Standard deviation of a mean reward from seed to seed, chance included."""


class Study(Section):
    """A whole study."""

    name: Name
    """Name of its directory below `runs/`."""
    text: str = ""
    """What it asks, in a sentence or two."""
    recipe: str
    """Name of a built-in recipe, or a TOML file, seen from the study's own directory."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default=[0, 1, 2, 3, 4])
    """Each is a draw of cohorts and of all that is random in training."""
    arms: dict[Name, Arm] = Field(default={})
    """What is changed, by the arm's name; `base` need not be listed."""
    claims: list[Claim] = Field(default=[])
    """What is expected."""
    assume: Assumptions = Assumptions()
    """For the reckoning of power."""

    def all_arms(self) -> dict[str, Arm]:
        """The arms with `base`, which comes first."""
        return {
            BASE: self.arms.get(BASE, Arm()),
            **{name: arm for name, arm in self.arms.items() if name != BASE},
        }

    def seeds_of(self, arm: str) -> list[int]:
        """The seeds that an arm is run with."""
        return self.all_arms()[arm].seeds or self.seeds


def places(claim: Claim) -> list[tuple[str, str, str]]:
    """Arm, stage and cohort of all that a claim looks at."""
    places = [(arm, claim.stage, claim.cohort) for arm in (claim.arms or [claim.arm])]
    if claim.before:
        places += [(arm, claim.before, claim.cohort) for arm in (claim.arms or [claim.arm])]
    if claim.than:
        places += [(arm, claim.than.stage, claim.than.cohort) for arm in (claim.matched or [claim.than.arm])]
    return places


def load(path: Path) -> tuple[Study, str]:
    """A study's file, and the text of the recipe it names. Raises BadInput."""
    where = printable(str(path))
    if not path.is_file():
        raise BadInput(f"expected the TOML file of a study, got {where}: there is no such file")
    try:
        study = Study.model_validate(tables(read(path), where=where))
    except ValidationError as error:
        at = [str(part) for part in error.errors(include_url=False)[0]["loc"]]
        raise BadInput(f"{where}: {one_line(error, at, lambda: _known(at))}") from None
    if study.recipe in RECIPES.names():
        return study, RECIPES.text(study.recipe)
    beside = path.parent / study.recipe
    if not beside.is_file():
        raise BadInput(
            f"{where}: recipe: expected a file beside it or one of {', '.join(RECIPES.names())}, got {study.recipe!r}"
        )
    return study, read(beside)


def _known(path: list[str]) -> str:
    sections: dict[str, type[Section]] = {"arms": Arm, "claims": Claim, "assume": Assumptions}
    section = Place if "than" in path[:-1] else sections.get(path[0], Study) if len(path) > 1 else Study
    return ", ".join(field.alias or name for name, field in section.model_fields.items())
