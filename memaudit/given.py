"""Reads code that was given as lines of JSON."""

import os
from dataclasses import dataclass

from memaudit.errors import BadInput
from memaudit.lines import Span, brief, lines, record_of, spans_of, string_of
from memaudit.sources import printable

_KEYS = ("text", "language", "id", "secrets")


@dataclass(frozen=True, kw_only=True)
class GivenText:
    """One line of a .jsonl file.

    Attributes:
        text: The text as it came, with whatever line ends it has.
        language: What the line says.
        name: The line's `id` made printable, or ``NAME.jsonl:LINE``. No two lines of a file share it.
        line: The number of the line, from 1.
        id: The line's own id.
        secrets: Sensitive spans, ordered by start and end.
    """

    text: str
    language: str
    name: str
    line: int
    id: str | None
    secrets: tuple[Span, ...]


def read_given(path: str) -> list[GivenText]:
    """Reads a .jsonl file, in the order of its lines. Blank lines are passed over.

    Raises:
        BadInput: The file cannot be read, or a line is at fault. The message names the line and never repeats
            what a text holds.
    """
    file_name = printable(os.path.basename(path))
    read: dict[str, GivenText] = {}
    for number, line in lines(path):
        place = f"{printable(path)}:{number}"
        record = record_of(line, place, _KEYS)
        given_id = string_of(record, "id", place) if "id" in record else None
        name = f"{file_name}:{number}" if given_id is None else printable(given_id)
        if name in read:
            raise BadInput(
                f'{place}: expected an id of its own, got "{brief(name)}", which line {read[name].line} has; '
                "set another id"
            )
        text = string_of(record, "text", place)
        read[name] = GivenText(
            text=text,
            language=string_of(record, "language", place),
            name=name,
            line=number,
            id=given_id,
            secrets=spans_of(record.get("secrets", []), len(text), place),
        )
    return list(read.values())
