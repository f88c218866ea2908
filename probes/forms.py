"""The forms of strings and comments: how each language begins one, and how it is read to its end.

Each language lists in `SCANNERS` the bytes that can begin a literal, with the function that reads on from there. A
string that may not go over a line ends with its line at the latest, whatever follows.
"""

import re
from collections.abc import Callable, Mapping
from itertools import permutations, product
from types import MappingProxyType
from typing import Literal, NamedTuple


class Piece(NamedTuple):
    """One literal, or the run of an interpolated string between two replacement fields. Offsets are bytes."""

    start: int
    end: int
    kind: Literal["string", "comment"]
    quote: bytes = b""
    """The quote that delimits the string; empty for a comment."""
    prefix: bytes = b""
    """What stands before the quote, as spelled; empty for a comment."""
    continues: bool = False
    """It goes on after a replacement field, so it has no opening quote."""
    opens: bool = False
    """It ends with what opens a replacement field, so it has no closing quote."""
    closed: bool = True
    """It is complete: false for a string that the end of the line or of the text leaves open."""


class Field(NamedTuple):
    """An interpolated string, around a replacement field whose code is being read."""

    quote: bytes
    prefix: bytes


Read = Callable[[bytes, int, int], Piece | None]
"""Read a literal in a text at a byte that may begin one, not reaching back beyond the end of the last; None if it
does not."""

WORD_BYTES = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_") | frozenset(
    range(0x80, 0x100)
)
_ESCAPE = rb"\\(?:\r\n|[\s\S]|\Z)"


# --- comments


def _line(end: re.Pattern[bytes]) -> Read:
    """Read a comment up to the end of its line, whose pattern is `end`."""

    def read(text: bytes, start: int, ended: int) -> Piece:
        end_of_line = _end(end, text, start)
        spelled = text[start:end_of_line].rstrip(b" \t\f\v")
        return Piece(start, start + len(spelled), "comment")

    return read


_BLOCK_MARK = re.compile(rb"/\*|\*/")


def _slashes(
    end: re.Pattern[bytes], *, nested: bool = False, otherwise: Read = lambda text, start, ended: None
) -> Read:
    """Read what begins with a slash: a comment of a line, one in `/* */`, which may hold others, or something else."""
    read_line = _line(end)

    def read(text: bytes, start: int, ended: int) -> Piece | None:
        if text.startswith(b"//", start):
            return read_line(text, start, ended)
        if not text.startswith(b"/*", start):
            return otherwise(text, start, ended)
        at, depth = start + 2, 1
        while depth:
            if not nested:
                at = text.find(b"*/", at) + 2
                depth = at < 2
                break
            found = _BLOCK_MARK.search(text, at)
            if found is None:
                break
            at = found.end()
            depth += 1 if found.group() == b"/*" else -1
        return Piece(start, len(text) if depth else at, "comment", closed=not depth)

    return read


def _hashbang(text: bytes, start: int, ended: int) -> Piece | None:
    """Read the first line, if it names an interpreter."""
    if start or not text.startswith(b"#!") or text.startswith(b"#!["):
        return None
    return _line(_TO_LINE_END)(text, start, ended)


_TO_LINE_END = re.compile(rb"[^\r\n]*+")
# In C a backslash at the end of a line goes on with a line comment too.
_TO_LINE_END_OF_C = re.compile(rb"(?:[^\r\n\\]++|\\(?:\r\n|[\s\S])?)*+")


# --- strings


def _body(quote: bytes, *, lines: bool = False, escapes: bool = True) -> re.Pattern[bytes]:
    """Pattern of all that a string holds after its opening `quote`, over one line or over `lines`."""
    mark = quote[:1]
    stop = mark + (b"\\\\" if escapes else b"") + (b"" if lines else b"\\r\\n")
    parts = [rb"[^%b]++" % stop]
    if escapes:
        parts.append(_ESCAPE)
    if len(quote) == 3:
        parts.append(rb"%b(?!%b%b)" % (mark, mark, mark))
    return re.compile(rb"(?:%b)*+" % rb"|".join(parts))


_BODIES = {quote: _body(quote, lines=len(quote) == 3) for quote in (b'"', b"'", b'"""', b"'''")}
_OVER_LINES = {b'"': _body(b'"', lines=True), b"`": _body(b"`", lines=True, escapes=False)}


def _closed(text: bytes, start: int, quote: bytes, at: int, body: re.Pattern[bytes]) -> Piece:
    """Read a string that begins at `start`, with its `quote` at `at`, and whose content has the pattern `body`."""
    end = _end(body, text, at + len(quote))
    closed = text.startswith(quote, end)
    end += len(quote) if closed else 0
    return Piece(start, end, "string", quote, text[start:at], closed=closed)


def _word_before(text: bytes, at: int, ended: int) -> bytes:
    """Return the word that ends at `at`, or its last bytes: a prefix of a string has at most three."""
    start = at
    while start > ended and at - start < 4 and text[start - 1] in WORD_BYTES:
        start -= 1
    return text[start:at]


def _string(
    prefixes: frozenset[bytes] = frozenset(),
    *,
    triple: bool = False,
    bodies: Mapping[bytes, re.Pattern[bytes]] = MappingProxyType(_BODIES),
) -> Read:
    """Read a string, perhaps with one of `prefixes`."""

    def read(text: bytes, start: int, ended: int) -> Piece | None:
        quote = text[start : start + 1]
        if triple and text.startswith(quote * 3, start):
            quote *= 3
        word = _word_before(text, start, ended) if prefixes else b""
        if word not in prefixes:
            word = b""
        if b"f" in word.lower() or b"t" in word.lower():
            return read_run(text, start - len(word), start + len(quote), Field(quote, word))
        return _closed(text, start - len(word), quote, start, bodies[quote])

    return read


def _template(text: bytes, start: int, ended: int) -> Piece:
    return read_run(text, start, start + 1, Field(b"`", b""))


def _raw(text: bytes, start: int, at: int, closing: bytes, prefix: bytes) -> Piece:
    """Read a raw string whose content begins at `at` and that ends with `closing`."""
    end = text.find(closing, at)
    return Piece(
        start, end + len(closing) if end >= 0 else len(text), "string", b'"', prefix, closed=end >= 0
    )


_PREFIXES_OF_RUST = frozenset((b"b", b"c"))
_RAW_OF_RUST = frozenset((b"r", b"br", b"cr"))
_string_of_rust = _string(_PREFIXES_OF_RUST, bodies=_OVER_LINES)


def _double_of_rust(text: bytes, start: int, ended: int) -> Piece | None:
    r"""Read a string, or a raw one, r#"..."#, which may have up to 255 marks."""
    hashes = start
    while hashes > ended and start - hashes < 255 and text[hashes - 1] == 0x23:
        hashes -= 1
    word = _word_before(text, hashes, ended)
    begin = hashes - len(word)
    if word in _RAW_OF_RUST and not goes_on(text, begin, ended):
        return _raw(text, begin, start + 1, b'"' + b"#" * (start - hashes), text[begin:start])
    return _string_of_rust(text, start, ended)


def goes_on(text: bytes, at: int, ended: int) -> bool:
    """Tell whether the word at `at` is the end of a lifetime or of a raw name, 'r or r#r, and so no prefix."""
    return text[max(ended, at - 2) : at].endswith((b"'", b"r#"))


_CHARACTER = re.compile(rb"'(?:\\(?:[^\r\n](?:[^'\r\n]*+'?)?)?|[^'\\\r\n][\x80-\xbf]*+(?:'|\Z)|\Z)")


def _character(text: bytes, start: int, ended: int) -> Piece | None:
    """Read a character of Rust; without its closing quote it is a lifetime, and no literal."""
    found = _CHARACTER.match(text, start)
    if found is None:
        return None
    prefixed = _word_before(text, start, ended) == b"b" and not goes_on(text, start - 1, ended)
    prefix = b"b" if prefixed else b""
    closed = found.end() - start > 2 and text.endswith(b"'", start, found.end())
    return Piece(start - len(prefix), found.end(), "string", b"'", prefix, closed=closed)


_PREFIXES_OF_C = frozenset((b"u8", b"u", b"U", b"L"))
_RAW_OF_C = frozenset(prefix + b"R" for prefix in (*_PREFIXES_OF_C, b""))
_DELIMITER = re.compile(rb"\"([^()\\\s\"]{0,16}+)(?:\(|\Z)")
_string_of_c = _string(_PREFIXES_OF_C)
_LONGEST_NUMBER = 64


def _single_of_c(text: bytes, start: int, ended: int) -> Piece | None:
    """Read a character; the digit separator of 1'000 opens none."""
    at = start
    while at > max(ended, start - _LONGEST_NUMBER) and (text[at - 1] in WORD_BYTES or text[at - 1] == 0x27):
        at -= 1
    if at < start and text[at : at + 1].isdigit():
        return None
    return _string_of_c(text, start, ended)


def _double_of_cpp(text: bytes, start: int, ended: int) -> Piece | None:
    r"""Read a string, or a raw one, R"mark(...)mark"."""
    word = _word_before(text, start, ended)
    found = _DELIMITER.match(text, start) if word in _RAW_OF_C else None
    if found is None:
        return _string_of_c(text, start, ended)
    return _raw(text, start - len(word), found.end(), b")" + found[1] + b'"', word)


_INCLUDE = re.compile(rb"#[ \t]*+include(?:_next)?+[ \t]*+(<[^>\r\n]*+>?+)")


def _include(text: bytes, start: int, ended: int) -> Piece | None:
    """Read the file that a directive includes in angle brackets."""
    found = _INCLUDE.match(text, start)
    if found is None:
        return None
    return Piece(found.start(1), found.end(), "string", b"<", closed=found[1].endswith(b">"))


_REGEX = re.compile(rb"/(?:[^/\\\[\r\n]++|\\(?:[^\r\n]|\Z)|\[(?:[^\]\\\r\n]++|\\(?:[^\r\n]|\Z))*+\]?)*+")
_FLAGS = re.compile(rb"[0-9A-Za-z_$]*+")


def _regex(text: bytes, start: int, ended: int) -> Piece | None:
    """Read a regular expression with its flags."""
    if text[start + 1 : start + 2] in (b"", b"\r", b"\n"):
        return None
    end = _end(_REGEX, text, start)
    closed = text.startswith(b"/", end)
    end = _end(_FLAGS, text, end + 1) if closed else end
    return Piece(start, end, "string", b"/", closed=closed)


# --- interpolated strings


def _run_body(quote: bytes, *, raw: bool) -> re.Pattern[bytes]:
    """Pattern of a literal run: up to what opens a field or the closing quote."""
    mark = quote[:1]
    if mark == b"`":
        return re.compile(rb"(?:[^\\$`]++|\$(?!\{)|\\(?:[\s\S]|\Z))*+")
    line = rb"" if len(quote) == 3 else rb"\r\n"
    parts = [rb"[^\\{%b%b]++" % (mark, line), rb"\{\{"]
    if not raw:  # \N{DASH} is an escape, not a field
        parts.append(rb"\\N\{[^}\"'\r\n]*+\}?")
    # A backslash does not hide a brace: f"\{x}" has a field.
    parts.append(rb"\\(?:\r\n|[^{]|(?=\{)|\Z)")
    if len(quote) == 3:
        parts.append(rb"%b(?!%b%b)" % (mark, mark, mark))
    return re.compile(rb"(?:" + rb"|".join(parts) + rb")*+")


_RUNS = {
    (quote, raw): _run_body(quote, raw=raw)
    for quote in (b'"', b"'", b'"""', b"'''", b"`")
    for raw in (False, True)
}


def _end(body: re.Pattern[bytes], text: bytes, at: int) -> int:
    """Where the body that begins at `at` ends; it may be empty."""
    found = body.match(text, at)
    return found.end() if found else at


def read_run(text: bytes, start: int, at: int, string: Field, *, continues: bool = False) -> Piece:
    """Read a literal run of an interpolated string from `at`."""
    quote, prefix = string
    opener = b"${" if quote == b"`" else b"{"
    at = _end(_RUNS[quote, len(prefix) == 2], text, at)
    closed = text.startswith(quote, at)
    opens = not closed and text.startswith(opener, at)
    at += len(quote) if closed else len(opener) if opens else 0
    return Piece(start, at, "string", quote, prefix, continues, opens, closed or opens)


# --- the languages


class Scanner(NamedTuple):
    """How literals begin in a language."""

    readers: Mapping[int, Read]
    """By the byte that begins one, or that its prefix stands before."""
    outside: re.Pattern[bytes]
    """One of these bytes."""
    inside: re.Pattern[bytes]
    """The same inside a replacement field, with brackets and what can end the field."""
    divides: bool = False
    """A slash may divide or open a regular expression."""
    opening: bytes = b""
    """Brackets that are counted in a field."""
    closing: bytes = b""
    ends: bytes = b""
    """What ends a field where no bracket is open in it."""
    tail: re.Pattern[bytes] | None = None
    """Opening of a string that the end of the text has cut."""


def _scanner(readers: Mapping[bytes, Read], *, marks: bytes = b"", inside: bytes = b"", **more) -> Scanner:
    first = b"".join(readers)
    return Scanner(
        readers={mark[0]: read for mark, read in readers.items()},
        outside=re.compile(rb"[%b]" % first),
        inside=re.compile(inside + rb"[%b%b]" % (first, marks)),
        **more,
    )


def _prefixes(*letters: str) -> frozenset[bytes]:
    """All orders and cases of the letters of a prefix."""
    return frozenset(
        "".join(spelled).encode()
        for word in letters
        for order in permutations(word)
        for spelled in product(*((letter.lower(), letter.upper()) for letter in order))
    )


_slash_of_c = _slashes(_TO_LINE_END_OF_C)
_quote = _string()
_python_string = _string(_prefixes("r", "u", "b", "f", "t", "rb", "rf", "rt"), triple=True)
_OF_JAVASCRIPT = _scanner(
    {
        b"#": _hashbang,
        b"/": _slashes(_TO_LINE_END, otherwise=_regex),
        b'"': _quote,
        b"'": _quote,
        b"`": _template,
    },
    marks=rb"{}",
    divides=True,
    opening=b"{",
    closing=b"}",
    ends=b"}",
)
SCANNERS: Mapping[str, Scanner] = {
    "python": _scanner(
        {b"#": _line(_TO_LINE_END), b'"': _python_string, b"'": _python_string},
        marks=rb"\][(){}:!",
        inside=rb"!=|",
        opening=b"([{",
        closing=b")]}",
        ends=b"}:!",
    ),
    "javascript": _OF_JAVASCRIPT,
    "typescript": _OF_JAVASCRIPT,
    "java": _scanner({b"/": _slashes(_TO_LINE_END), b'"': _string(triple=True), b"'": _quote}),
    "go": _scanner(
        {b"/": _slashes(_TO_LINE_END), b'"': _quote, b"'": _quote, b"`": _string(bodies=_OVER_LINES)}
    ),
    "rust": _scanner(
        {
            b"#": _hashbang,
            b"/": _slashes(_TO_LINE_END, nested=True),
            b'"': _double_of_rust,
            b"'": _character,
        },
        tail=re.compile(rb"(?<![0-9A-Za-z_\x80-\xff])[bc]?r#{1,255}+\Z"),
    ),
    "c": _scanner({b"#": _include, b"/": _slash_of_c, b'"': _string_of_c, b"'": _single_of_c}),
    "cpp": _scanner({b"#": _include, b"/": _slash_of_c, b'"': _double_of_cpp, b"'": _single_of_c}),
}
