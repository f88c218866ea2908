"""Strings and comments, found from left to right.

A grammar sees an unfinished string as broken code: its content turns into names. The scanner decides by the
text before a position alone, so a cut never changes what stands before it, and an open literal stays a
literal. It is total, runs in linear time and keeps its own stack.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_WORD = rb"[0-9A-Za-z_\x80-\xff]"
_PREFIX = rb"(?<!" + _WORD + rb")(?:[rRuUbBfFtT]|[rR][bBfFtT]|[bBfFtT][rR])"

# Where a literal may begin in code, and inside a replacement field everything that can end the field.
_OUTSIDE = re.compile(rb"#[^\r\n]*+|(?:" + _PREFIX + rb")?(?:\"\"\"|'''|\"|')")
_FIELD = re.compile(_OUTSIDE.pattern + rb"|!=|[][(){}:!]")

_ESCAPE = rb"\\(?:\r\n|[\s\S]|\Z)"


def _plain_body(quote: bytes) -> re.Pattern[bytes]:
    """Pattern of all that a string without replacement fields holds after its opening `quote`."""
    mark = quote[:1]
    if len(quote) == 3:
        return re.compile(rb"(?:[^\\%b]++|%b|%b(?!%b%b))*+" % (mark, _ESCAPE, mark, mark, mark))
    return re.compile(rb"(?:[^\\\r\n%b]++|%b)*+" % (mark, _ESCAPE))


def _format_body(quote: bytes, *, raw: bool) -> re.Pattern[bytes]:
    """Pattern of a literal run of an f-string: up to the brace of a field or the closing quote."""
    mark = quote[:1]
    line = rb"" if len(quote) == 3 else rb"\r\n"
    parts = [rb"[^\\{%b%b]++" % (mark, line), rb"\{\{"]
    if not raw:  # \N{DASH} is an escape, not a field
        parts.append(rb"\\N\{[^}\"'\r\n]*+\}?")
    # A backslash does not hide a brace: f"\{x}" has a field.
    parts.append(rb"\\(?:\r\n|[^{]|(?=\{)|\Z)")
    if len(quote) == 3:
        parts.append(rb"%b(?!%b%b)" % (mark, mark, mark))
    return re.compile(rb"(?:" + rb"|".join(parts) + rb")*+")


_QUOTES = (b'"', b"'", b'"""', b"'''")
_PLAIN = {quote: _plain_body(quote) for quote in _QUOTES}
_FORMAT = {(quote, raw): _format_body(quote, raw=raw) for quote in _QUOTES for raw in (False, True)}


@dataclass(frozen=True, slots=True)
class Piece:
    """One literal, or the run of an f-string between two replacement fields. Offsets are bytes."""

    start: int
    end: int
    kind: Literal["string", "comment"]
    quote: bytes = b""
    """The quote that delimits the string; empty for a comment."""
    prefix: bytes = b""
    """The string's prefix, as spelled; empty for a comment."""
    continues: bool = False
    """It goes on after a replacement field, so it has no opening quote."""
    opens: bool = False
    """It ends with the brace that opens a replacement field, so it has no closing quote."""
    closed: bool = True
    """It is complete: false for a string that the end of the line or of the text leaves open."""


@dataclass(slots=True)
class _Field:
    """A replacement field whose code is being read, and the f-string around it."""

    quote: bytes
    prefix: bytes
    brackets: int = 0
    """Brackets open inside the field."""


def python_literals(text: bytes) -> Iterator[Piece]:
    """Yield the strings and comments of Python source, in order; total over any bytes.

    An f-string yields one piece for each literal run, with the braces of its fields and with the conversions
    and format specifications that end them; what stands inside the fields is code and not yielded. Quotes
    inside a field open a string of their own (PEP 701; in older Python such text is an error anyhow). A
    single-quoted string ends with its line at the latest. White space at the end of a comment is not part of
    it.
    """
    fields: list[_Field] = []
    at = 0
    while found := (_FIELD if fields else _OUTSIDE).search(text, at):
        start, at = found.span()
        mark = found.group()
        if mark[:1] == b"#":
            yield Piece(start, start + len(mark.rstrip(b" \t\f\v")), "comment")
            continue
        quote = mark.lstrip(b"rRuUbBfFtT")
        if quote in _PLAIN:
            prefix = mark[: len(mark) - len(quote)]
            if prefix.lower().strip(b"r") in (b"f", b"t"):
                piece, at = _format_run(text, start, at, _Field(quote, prefix), fields)
            else:
                at = _end(_PLAIN[quote], text, at)
                closed = text.startswith(quote, at)
                at += len(quote) if closed else 0
                piece = Piece(start, at, "string", quote, prefix, closed=closed)
            yield piece
        elif mark in b"([{":
            fields[-1].brackets += 1
        elif fields[-1].brackets:
            fields[-1].brackets -= mark in b")]}"
        elif mark in b"}:!":
            piece, at = _format_run(text, start, at, fields.pop(), fields, continues=True)
            yield piece


def _end(body: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where the body that begins at `at` ends; it may be empty."""
    found = body.match(text, at)
    return found.end() if found else at


def _format_run(
    text: bytes, start: int, at: int, string: _Field, fields: list[_Field], *, continues: bool = False
) -> tuple[Piece, int]:
    """Read a literal run of an f-string from `at`; a field that opens at its end is pushed on `fields`."""
    quote, prefix = string.quote, string.prefix
    at = _end(_FORMAT[quote, len(prefix) == 2], text, at)
    closed = text.startswith(quote, at)
    opens = not closed and text.startswith(b"{", at)
    if closed:
        at += len(quote)
    elif opens:
        at += 1
        fields.append(_Field(quote, prefix))
    return Piece(start, at, "string", quote, prefix, continues, opens, closed or opens), at
