"""Bytes to tokens: words, numbers, operators and literals, and Python's lines and blocks.

Tokens are read from left to right by the language's lexical rules, which for valid code gives the leaves of the
grammar (a test holds this on the standard library). The leaves themselves are not used. A parser that meets an
error reads on in a state that depends on all of the text, and then `0x` is two leaves and `0x1F` one, the content
of an unfinished string turns into names, and a line break inside brackets can split `**`. Completions are cut
code, and the tokens before a cut must not depend on what follows it.

Lines and blocks are no leaves either: NEWLINE, INDENT and DEDENT are made from the white space.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from probes.languages import LANGUAGES
from probes.literals import Piece, python_literals

NEWLINE, INDENT, DEDENT = b"NEWLINE", b"INDENT", b"DEDENT"

# At the end of the text 0x, 1e- and .. are the beginning of one token.
_WORD_BYTES = rb"0-9A-Za-z_\x80-\xff"
_WORD = rb"[A-Za-z_\x80-\xff][%b]*+" % _WORD_BYTES
_NUMBER = (
    rb"0[xX](?:[0-9A-Fa-f_]++|\Z)|0[oO](?:[0-7_]++|\Z)|0[bB](?:[01_]++|\Z)"
    rb"|(?:[0-9][0-9_]*+(?:\.(?:[0-9][0-9_]*+)?)?|\.[0-9][0-9_]*+)"
    rb"(?:[eE](?:[+-]?[0-9][0-9_]*+|[+-]?\Z))?[jJ]?"
)
_OP = rb"\*\*=|//=|>>=|<<=|\.\.(?:\.|\Z)|->|\*\*|//|>>|<<|<>|[-+*/%@&|^<>=!:]=|[-+*/%@&|^<>=~:;.,()\[\]{}]"
_GENERIC_OP = rb"===|!==|<=>|>>>|\.\.\.|[-=]>|::|&&|\|\||\+\+|--|\?\?|\?\.|" + _OP + rb"|[!?$#\\]"
_QUOTED = rb"(?P<string>\"(?:[^\"\\\r\n]++|\\.)*+\"?|'(?:[^'\\\r\n]++|\\.)*+'?|`(?:[^`\\\r\n]++|\\.)*+`?)"

_LEXER = re.compile(
    rb"(?:[ \t\f\v\r\n]++|\\(?:\r\n|\n|\r))++|(?P<word>%b)|(?P<number>%b)|(?P<op>%b)|(?P<junk>[\s\S])"
    % (_WORD, _NUMBER, _OP)
)
_GENERIC = re.compile(
    rb"\s++|(?P<word>%b)|(?P<number>%b)|%b|(?P<op>%b)|(?P<junk>[\s\S])"
    % (_WORD, _NUMBER, _QUOTED, _GENERIC_OP)
)
_CONTINUATION = re.compile(rb"\\(?:\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"


class Token(NamedTuple):
    """A piece of a text. A tuple, because a text has very many; `token[:2]` is what is compared.

    Kinds: word, number, string, comment, op, layout (NEWLINE, INDENT, DEDENT; no bytes of their own), junk
    (bytes that are no code), and by level also character (`exact`), secret (kept verbatim and whole) and name
    (the one symbol of `renamed`).
    """

    text: bytes
    kind: str
    start: int
    """Offset in bytes."""
    end: int
    literal: Piece | None = None
    """How the scanner read a string."""


def lex(text: bytes, language: str) -> list[Token]:
    """Return all tokens of `text`, white space dropped, strings and comments as spelled but for line ends.

    A language without a grammar gets the generic lexer: words, numbers, strings that end with their line,
    operators; it drops line breaks and knows no comments. Layout tokens stand directly before the token that
    begins the line, so the end of a text makes none. Total over any bytes, in linear time.
    """
    return list(_with_layout(text, _python(text)) if language in LANGUAGES else _generic(text))


def unify_newlines(text: bytes) -> bytes:
    r"""Return `text` with `\r\n` and `\r` as `\n`, which is how Python reads a string over several lines."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _generic(text: bytes) -> Iterator[Token]:
    for found in _GENERIC.finditer(text):
        if found.lastgroup:
            yield Token(found.group(), found.lastgroup, found.start(), found.end())


def _python(text: bytes) -> Iterator[Token]:
    """Yield the literals that the scanner finds, and the tokens of the code between them."""
    at = len(_BOM) if text.startswith(_BOM) else 0
    for piece in python_literals(text):
        yield from _code(text, at, piece.start)
        at = piece.end
        raw = unify_newlines(text[piece.start : at])
        yield Token(raw, piece.kind, piece.start, at, piece if piece.kind == "string" else None)
    yield from _code(text, at, len(text))


def _code(text: bytes, start: int, end: int) -> Iterator[Token]:
    for found in _LEXER.finditer(text, start, end):
        if found.lastgroup:
            yield Token(found.group(), found.lastgroup, found.start(), found.end())


def _with_layout(text: bytes, tokens: Iterator[Token]) -> Iterator[Token]:
    """Insert NEWLINE, INDENT and DEDENT as Python's tokenizer would, but lazily: before the next token."""
    columns = [0]
    depth = 0
    in_statement = False
    before: int | None = None
    for token in tokens:
        start = token.start
        gap = text[before:start]
        if not depth and (before is None or b"\n" in gap or b"\r" in gap):
            lines = _CONTINUATION.sub(b"", gap) if b"\\" in gap else gap
            if before is None or b"\n" in lines or b"\r" in lines:
                if in_statement:
                    yield Token(NEWLINE, "layout", start, start)
                    in_statement = False
                if token.kind != "comment":
                    column = _column(re.split(rb"[\r\n]", lines)[-1])
                    while column < columns[-1]:
                        columns.pop()
                        yield Token(DEDENT, "layout", start, start)
                    if column > columns[-1]:
                        columns.append(column)
                        yield Token(INDENT, "layout", start, start)
        yield token
        before = token.end
        if token.kind == "op":
            if token.text in b"([{":
                depth += 1
            elif token.text in b")]}" and depth:
                depth -= 1
        elif token.literal is not None:
            opens, continues = token.literal.opens, token.literal.continues
            depth = max(0, depth + opens - continues)
        in_statement = in_statement or token.kind != "comment"


def _column(indentation: bytes) -> int:
    """Width of the indentation; a tab goes to the next multiple of eight, a form feed back to the margin."""
    column = 0
    for byte in indentation:
        if byte == 0x09:
            column = column // 8 * 8 + 8
        elif byte == 0x0C:
            column = 0
        elif byte == 0x20:
            column += 1
    return column
