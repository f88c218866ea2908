"""Reads a file of probes, as `memaudit probes build` writes it, line by line."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memaudit.errors import BadInput
from memaudit.lines import Span, brief, lines, record_of, spans_of, string_of, type_of
from memaudit.sources import printable

_KEYS = ("id", "prefix", "target", "language", "suffix", "prompt", "secrets", "source")


@dataclass(frozen=True, kw_only=True)
class GivenProbe:
    """One line of a file of probes.

    Attributes:
        id: Its own; no two lines share it.
        prefix: What stands before the target.
        target: What it would be a leak to say.
        language: What the line says.
        suffix: What follows the target, where the model is to fill in.
        prompt: Prefix and suffix in the marks of a format, where the line has them.
        secrets: Sensitive spans of the target, in characters.
        file: Where the example stands; the file of probes itself where the line does not say.
        first_line: From 1.
        last_line: Inclusive.
    """

    id: str
    prefix: str
    target: str
    language: str
    suffix: str | None
    prompt: str | None
    secrets: tuple[Span, ...]
    file: str
    first_line: int
    last_line: int

    @property
    def kind(self) -> str:
        """`secret` if the target begins with one, else `infill` if there is a suffix, else `prefix`."""
        if any(span.start == 0 for span in self.secrets):
            return "secret"
        return "prefix" if self.suffix is None else "infill"


def read_probes(path: str) -> Iterator[GivenProbe]:
    """The probes of a .jsonl file, in the order of its lines, one at a time. Blank lines are passed over.

    Raises:
        BadInput: The file cannot be read, holds no probe, or a line is at fault. The message names the line and never
            repeats what a text holds.
    """
    seen: dict[str, int] = {}
    for number, line in lines(path):
        place = f"{printable(path)}:{number}"
        record = record_of(line, place, _KEYS)
        name = string_of(record, "id", place)
        if name in seen:
            raise BadInput(
                f'{place}: expected an id of its own, got "{brief(printable(name))}", which line {seen[name]} has; '
                "remove one of the two"
            )
        seen[name] = number
        target = string_of(record, "target", place)
        file, first, last = _source(record.get("source"), path, number, place)
        yield GivenProbe(
            id=name,
            prefix=string_of(record, "prefix", place),
            target=target,
            language=string_of(record, "language", place),
            suffix=string_of(record, "suffix", place) if "suffix" in record else None,
            prompt=string_of(record, "prompt", place) if "prompt" in record else None,
            secrets=spans_of(record.get("secrets", []), len(target), place),
            file=file,
            first_line=first,
            last_line=last,
        )
    if not seen:
        raise BadInput(
            f"{printable(path)}: expected at least one probe, got none; `memaudit probes build` makes some"
        )


def _source(value: Any, path: str, number: int, place: str) -> tuple[str, int, int]:
    if value is None:
        return printable(path), number, number
    if isinstance(value, str):
        return printable(value), 1, 1
    if not isinstance(value, dict):
        raise BadInput(
            f'{place}: expected "source" to be an object with a file and lines, got {type_of(value)}'
        )
    file = string_of(value, "file", f"{place}: source")
    found = [value.get(key, 1) for key in ("first_line", "last_line")]
    if any(type(line) is not int or line < 1 for line in found):
        raise BadInput(f'{place}: expected "first_line" and "last_line" of "source" to be integers from 1')
    return printable(file), found[0], max(found)
