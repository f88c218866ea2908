"""A table of a settings file, and the kinds of values that tables hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from memaudit.references import Uses

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
ModelOf = Annotated[Name, Uses("model")]
RewardOf = Annotated[Name, Uses("reward")]
DiffusionOf = Annotated[Name, Uses("diffusion")]
Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A table of a recipe: frozen, and without keys that are not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
