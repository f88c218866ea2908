"""Which settings of a recipe's stage name another stage: its parent, and those whose results it uses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel

Result = Literal["model", "reward", "diffusion"]
"""What is needed of another stage: the language model that it yields, or what a stage of this method yields in its
place: a reward stage's scorer and pairs, a diffusion model."""


@dataclass(frozen=True)
class Uses:
    """Marks a setting as the name of another stage: `Annotated[Name, Uses("reward")]`."""

    result: Result


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A setting that names another stage."""

    path: tuple[str, ...]
    """Of its keys, as the recipe's file spells them; more than one where it is in a table of the stage."""
    result: Result


@cache
def references(section: type[BaseModel]) -> tuple[Reference, ...]:
    """The settings of a section, and of the tables in it, that name other stages; in the order of its fields."""
    return tuple(_within(section, ()))


def _within(section: type[BaseModel], above: tuple[str, ...]) -> Iterator[Reference]:
    seen: set[tuple[str, ...]] = set()
    for name, field in section.model_fields.items():
        path = (*above, field.alias or name)
        found = [
            Reference(path=path, result=mark.result) for mark in _marks(field.annotation, field.metadata)
        ]
        for member in sections(field.annotation):
            found += _within(member, path)
        for reference in found:
            if reference.path not in seen:
                seen.add(reference.path)
                yield reference


def _marks(annotation: Any, metadata: Any = ()) -> Iterator[Uses]:
    yield from (mark for mark in metadata if isinstance(mark, Uses))
    for part in get_args(annotation):
        yield from _marks(part, getattr(part, "__metadata__", ()))


def sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field of this type may hold, below whatever else the type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [member for part in get_args(annotation) for member in sections(part)]


def value_at(table: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """What a table has at a path of keys; None where it has nothing there."""
    found: Any = table
    for key in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(key)
    return found


def replaced(table: Mapping[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """A copy of a table with other values at the paths that are given and lie in it; None takes the key out."""
    copy = {key: dict(value) if isinstance(value, Mapping) else value for key, value in table.items()}
    for (first, *rest), value in values.items():
        if first not in copy:
            continue
        if rest:
            if isinstance(copy[first], dict):
                copy[first] = replaced(copy[first], {tuple(rest): value})
        elif value is None:
            del copy[first]
        else:
            copy[first] = value
    return copy
