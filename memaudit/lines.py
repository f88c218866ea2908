"""Reads lines of JSON that came from outside, and says exactly what is wrong with one, without repeating its texts."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memaudit.errors import BadInput
from memaudit.sources import printable

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


def lines(path: str) -> Iterator[tuple[int, str]]:
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


def record_of(line: str, place: str, known: Sequence[str]) -> dict[str, Any]:
    """The object of a line, which has no keys but those that are known, and none twice."""
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
        raise BadInput(f"{place}: expected a JSON object with keys such as {known[0]}, got {type_of(record)}")
    _check_keys(record, known, place)
    return record


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f'the key "{brief(printable(key))}" comes twice')
        record[key] = value
    return record


def _check_keys(record: dict[str, Any], known: Sequence[str], place: str) -> None:
    for key in record:
        if key not in known:
            raise BadInput(
                f'{place}: expected no keys but {", ".join(known)}, got "{brief(printable(key))}"; rename or remove it'
            )


def string_of(record: dict[str, Any], key: str, place: str) -> str:
    """The string under a key: valid Unicode, and not only white space."""
    if key not in record:
        raise BadInput(f'{place}: expected the key "{key}", got none; set it to a string')
    value = record[key]
    if not isinstance(value, str):
        raise BadInput(f'{place}: expected "{key}" to be a string, got {type_of(value)}')
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


def spans_of(value: Any, length: int, place: str) -> tuple[Span, ...]:
    """Checks the spans against a text of `length` characters."""
    if not isinstance(value, list):
        raise BadInput(f'{place}: expected "secrets" to be a list of spans, got {type_of(value)}')
    spans = [_span(entry, length, f"{place}: secrets[{index}]") for index, entry in enumerate(value)]
    return tuple(sorted(spans, key=lambda span: (span.start, span.end, span.kind)))


def _span(value: Any, length: int, place: str) -> Span:
    kind = "secret"
    if isinstance(value, dict):
        _check_keys(value, _SPAN_KEYS, place)
        if "kind" in value:
            kind = string_of(value, "kind", place)
        ends = [value[key] for key in ("start", "end") if key in value]
    else:
        ends = value
    if not isinstance(ends, list) or len(ends) != 2 or any(type(end) is not int for end in ends):
        raise BadInput(
            f'{place}: expected [start, end] or {{"start": ..., "end": ..., "kind": ...}} with two integers, '
            f"got {type_of(value)} without them"
        )
    start, end = ends
    if not 0 <= start < end <= length:
        raise BadInput(
            f"{place}: expected 0 <= start < end <= {length}, the number of characters of the text, "
            f"got start {start} and end {end}"
        )
    return Span(start=start, end=end, kind=kind)


def type_of(value: Any) -> str:
    """What JSON calls a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return {str: "a string", int: "a number", float: "a number", list: "a list"}.get(type(value), "an object")


def brief(name: str) -> str:
    """A name cut to what a message can repeat."""
    return name if len(name) <= _BRIEF else name[:_BRIEF] + "..."
