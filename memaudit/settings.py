"""Settings files: those that come with memaudit, those of a user, and the first fault of either in one line."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from memaudit.errors import BadInput
from memaudit.references import sections
from memaudit.sources import printable


@dataclass(frozen=True)
class Shelf:
    """The TOML files of one kind that come with memaudit, in a folder of the package."""

    folder: str
    kind: str
    """What one is called: a recipe, a policy."""

    def names(self) -> list[str]:
        """Of the files, without their suffix."""
        folder = resources.files("memaudit") / self.folder
        return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))

    def text(self, name: str) -> str:
        """The TOML of one of them. Raises BadInput where there is none of that name."""
        if name not in self.names():
            raise BadInput(
                f"expected the name of a built-in {self.kind} ({', '.join(self.names())}), got {printable(name)!r}"
            )
        return (resources.files("memaudit") / self.folder / f"{name}.toml").read_text(encoding="utf-8")

    def find(self, source: str, *, option: str = "") -> str:
        """The TOML of the one called `source`, or in the file `source`. Raises BadInput, which `option` begins."""
        if source in self.names():
            return self.text(source)
        if not Path(source).is_file():
            raise BadInput(
                f"{option}expected a {self.kind} file or the name of a built-in {self.kind} "
                f"({', '.join(self.names())}), got {printable(source)!r}, which is neither"
            )
        return read(Path(source))


def read(path: Path) -> str:
    """The text of a settings file. Raises BadInput where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadInput(
            f"{printable(str(path))}: expected UTF-8, got byte {byte:#04x} at {error.start}"
        ) from None
    except OSError as error:
        raise BadInput(
            f"{printable(str(path))}: expected a file that can be read, got: {error.strerror}"
        ) from None


def tables(text: str, *, where: str) -> dict[str, Any]:
    """What TOML says; `where` names it in the error that is raised where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{where}: expected TOML, got something else: {error}") from None


def one_line(error: ValidationError, path: Sequence[str], known: Callable[[], str]) -> str:
    """The first fault that pydantic found in a file: its key, what was expected and what came.

    `known` tells the keys that there may be, where one is not.
    """
    fault = error.errors(include_url=False)[0]
    key = ".".join(path) or "file"
    if fault["type"] == "extra_forbidden":
        return f"{key}: expected no such key, got {fault['input']!r}: known here are {known()}"
    if fault["type"] == "missing":
        return f"{key}: expected a value, got none: set {key}"
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    given = repr(fault["input"])
    return f"{key}: {fault['msg']}, got {given if len(given) < 80 else given[:77] + '...'}{more}"


def line_of(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault that pydantic found in a file that `model` describes, in one line.

    Where tables are told apart by one of their keys, pydantic puts the value that told them apart into the path of what
    is wrong within: stages.tune.<sft>.goldfish.<hashed>.every. People did not write it there.
    """
    fault = error.errors(include_url=False)[0]
    path: list[str] = []
    at: list[type[BaseModel]] = [model]  # what the table may be that the path has come to
    below_name = False  # the next part is the name or number that one of several tables is kept under
    for part in map(str, fault["loc"]):
        if below_name or len(at) == 1:
            path.append(part)
        if below_name:
            below_name = False
        elif len(at) > 1:
            at = [section for section in at if part in _tags(section)]
        elif field := {f.alias or n: f for n, f in at[0].model_fields.items()}.get(part):
            at = sections(field.annotation) or at
            below_name = get_origin(field.annotation) in (dict, list)
    if fault["type"] == "union_tag_not_found":
        key = ".".join((*path, fault.get("ctx", {})["discriminator"].strip("'")))
        tags = ", ".join(tag for section in at for tag in _tags(section))
        return f"{key}: expected one of {tags}, got none: set {key}"
    return one_line(
        error, path, lambda: ", ".join(f.alias or n for s in at for n, f in s.model_fields.items())
    )


def _tags(section: type[BaseModel]) -> tuple[str, ...]:
    """Values of the key that tells a section from others: the first that may have only certain ones."""
    for field in section.model_fields.values():
        if get_origin(field.annotation) is Literal and field.is_required():
            return get_args(field.annotation)
    return ()


def flat(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables with the keys of tables within tables joined by dots."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= (
            flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
        )
    return found
