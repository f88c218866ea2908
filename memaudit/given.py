"""Reads code that was given as lines of JSON, and says exactly what is wrong with a line."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memaudit.errors import BadInput
from memaudit.sources import printable

_TEXT_KEYS = ("text", "language", "id", "secrets")
_SPAN_KEYS = ("start", "end", "kind")
_BRIEF = 60  # characters of a hostile name that a message repeats


@dataclass(frozen=True, kw_only=True)
class Span:
    """A sensitive span of a text.

    Attributes:
        start: Its first character, from 0.
        end: The character after its last.
        kind: What it is, in a word or two; "secret" where the line does not say.
    """

    start: int
    end: int
    kind: str


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
    for number, line in _lines(path):
        place = f"{printable(path)}:{number}"
        record = _object(line, place)
        given_id = _string(record, "id", place) if "id" in record else None
        name = f"{file_name}:{number}" if given_id is None else printable(given_id)
        if name in read:
            raise BadInput(
                f'{place}: expected an id of its own, got "{_brief(name)}", which line {read[name].line} has; '
                "set another id"
            )
        text = _string(record, "text", place)
        read[name] = GivenText(
            text=text,
            language=_string(record, "language", place),
            name=name,
            line=number,
            id=given_id,
            secrets=_secrets(record.get("secrets", []), len(text), place),
        )
    return list(read.values())


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Yields number and text of every line that is not blank."""
    offset = 0
    try:
        with open(path, "rb") as stream:
            for number, data in enumerate(stream, 1):
                try:
                    line = data.decode("utf-8").rstrip("\r\n").removeprefix("\ufeff" if number == 1 else "")
                except UnicodeDecodeError as error:
                    raise BadInput(
                        f"{printable(path)}:{number}: expected UTF-8, got byte 0x{data[error.start]:02x} at offset "
                        f"{offset + error.start} of the file; convert the file to UTF-8"
                    ) from None
                offset += len(data)
                if line.strip():
                    yield number, line
    except OSError as error:
        raise BadInput(
            f"{printable(path)}: expected to read it, got: {error.strerror}; make it readable"
        ) from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError):
            fault = f"{error.msg} (column {error.colno})"
        else:
            fault = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadInput(
            f"{place}: expected one JSON object on the line, got text that does not parse: {fault}; "
            "correct the line or remove it"
        ) from None
    if not isinstance(record, dict):
        raise BadInput(f'{place}: expected a JSON object with "text" and "language", got {_type(record)}')
    _check_keys(record, _TEXT_KEYS, place)
    return record


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f'the key "{_brief(printable(key))}" comes twice')
        record[key] = value
    return record


def _check_keys(record: dict[str, Any], known: tuple[str, ...], place: str) -> None:
    for key in record:
        if key not in known:
            raise BadInput(
                f'{place}: expected no keys but {", ".join(known)}, got "{_brief(printable(key))}"; rename or remove it'
            )


def _string(record: dict[str, Any], key: str, place: str) -> str:
    if key not in record:
        raise BadInput(f'{place}: expected the key "{key}", got none; set it to a string')
    value = record[key]
    if not isinstance(value, str):
        raise BadInput(f'{place}: expected "{key}" to be a string, got {_type(value)}')
    if not value.strip():
        raise BadInput(
            f'{place}: expected "{key}" to hold more than white space, got {len(value)} characters of it'
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadInput(
            f'{place}: expected "{key}" to be valid Unicode, got half a surrogate pair '
            f"(\\u{ord(value[error.start]):04x}) at character {error.start}; correct or remove it"
        ) from None
    return value


def _secrets(value: Any, length: int, place: str) -> tuple[Span, ...]:
    """Checks the spans against a text of `length` characters."""
    if not isinstance(value, list):
        raise BadInput(f'{place}: expected "secrets" to be a list of spans, got {_type(value)}')
    spans = [_span(entry, length, f"{place}: secrets[{index}]") for index, entry in enumerate(value)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.kind)))


def _span(value: Any, length: int, place: str) -> Span:
    kind = "secret"
    if isinstance(value, dict):
        _check_keys(value, _SPAN_KEYS, place)
        if "kind" in value:
            kind = _string(value, "kind", place)
        ends = [value[key] for key in ("start", "end") if key in value]
    else:
        ends = value
    if not isinstance(ends, list) or len(ends) != 2 or any(type(end) is not int for end in ends):
        raise BadInput(
            f'{place}: expected [start, end] or {{"start": ..., "end": ..., "kind": ...}} with two integers, '
            f"got {_type(value)} without them"
        )
    start, end = ends
    if not 0 <= start < end <= length:
        raise BadInput(
            f"{place}: expected 0 <= start < end <= {length}, the number of characters of the text, "
            f"got start {start} and end {end}"
        )
    return Span(start=start, end=end, kind=kind)


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return {str: "a string", int: "a number", float: "a number", list: "a list"}.get(type(value), "an object")


def _brief(name: str) -> str:
    return name if len(name) <= _BRIEF else name[:_BRIEF] + "..."
