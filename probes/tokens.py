"""Bytes to tokens: the grammar's leaves, what lies between them, and Python's lines and blocks.

Tokens are read lexically, never from the shape of the tree: a cut changes the shape, not the leaves before it.
Strings and comments come from `literals`, since a grammar reads the content of an unfinished string as code.
All the rest are leaves of the grammar; where it has none (gaps, errors, missing grammar) a lexer reads on. Lines
and blocks have no leaves of their own, so NEWLINE, INDENT and DEDENT are made from the white space.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import tree_sitter

from probes.languages import Grammar, grammar
from probes.literals import Piece, python_literals

NEWLINE, INDENT, DEDENT = b"NEWLINE", b"INDENT", b"DEDENT"

_WORD = rb"[A-Za-z_\x80-\xff][0-9A-Za-z_\x80-\xff]*+"
_NUMBER = (
    rb"0[xX][0-9A-Fa-f_]++|0[oO][0-7_]++|0[bB][01_]++"
    rb"|(?:[0-9][0-9_]*+(?:\.(?:[0-9][0-9_]*+)?)?|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9][0-9_]*+)?[jJ]?"
)
_OP = rb"\*\*=|//=|>>=|<<=|\.\.\.|->|\*\*|//|>>|<<|<>|[-+*/%@&|^<>=!:]=|[-+*/%@&|^<>=~:;.,()\[\]{}]"
_GENERIC_OP = rb"===|!==|<=>|>>>|\.\.\.|[-=]>|::|&&|\|\||\+\+|--|\?\?|\?\.|" + _OP + rb"|[!?$#\\]"
_QUOTED = rb"(?P<string>\"(?:[^\"\\\r\n]++|\\.)*+\"?|'(?:[^'\\\r\n]++|\\.)*+'?|`(?:[^`\\\r\n]++|\\.)*+`?)"

_SKIPPED = re.compile(rb"(?:[ \t\f\v\r\n]++|\\(?:\r\n|\n|\r))++")
_LEXER = re.compile(
    rb"(?P<word>%b)|(?P<number>%b)|(?P<op>%b)|(?P<junk>[\s\S])" % (_WORD, _NUMBER, _OP), re.ASCII
)
_GENERIC = re.compile(
    rb"\s++|(?P<word>%b)|(?P<number>%b)|%b|(?P<op>%b)|(?P<junk>[\s\S])"
    % (_WORD, _NUMBER, _QUOTED, _GENERIC_OP)
)
_CONTINUATION = re.compile(rb"\\(?:\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"

# Leaves that belong to literals, which `literals` decides, or that are no tokens.
_NO_TOKENS = frozenset(
    ("string_start", "string_content", "string_end", "escape_sequence", "escape_interpolation")
    + ("type_conversion", "comment", "line_continuation", "ERROR")
)


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
    begins the line, so the end of a text makes none. Total over any bytes, linear but for error recovery in
    the parser.
    """
    found = grammar(language)
    if found is None:
        return _generic(text)
    return list(_with_layout(text, _leaves(text, found)))


def unify_newlines(text: bytes) -> bytes:
    r"""Return `text` with `\r\n` and `\r` as `\n`, which is how Python reads a string over several lines."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text


def _generic(text: bytes) -> list[Token]:
    return [
        Token(found.group(), found.lastgroup, found.start(), found.end())
        for found in _GENERIC.finditer(text)
        if found.lastgroup
    ]


def _leaves(text: bytes, source: Grammar) -> Iterator[Token]:
    """Merge the scanner's literals with the grammar's leaves; what neither covers is lexed."""
    spans = _leaf_spans(source.parse(text))
    span = next(spans, None)
    pieces = python_literals(text)
    at = len(_BOM) if text.startswith(_BOM) else 0
    while True:
        piece = next(pieces, None)
        border = piece.start if piece else len(text)
        while span is not None and span[0] < border:
            start, stop = span
            if start >= at and stop <= border:
                yield from _lex(text, at, start)
                yield from _lex(text, start, stop, whole=True)
                at = stop
            span = next(spans, None)
        yield from _lex(text, at, border)
        if piece is None:
            return
        raw = unify_newlines(text[piece.start : piece.end])
        yield Token(raw, piece.kind, piece.start, piece.end, piece if piece.kind == "string" else None)
        at = piece.end


def _leaf_spans(tree: tree_sitter.Tree) -> Iterator[tuple[int, int]]:
    """Yield the spans of the tree's leaves in order, without literals, errors and what is missing."""
    cursor = tree.walk()
    while True:
        if cursor.goto_first_child():
            continue
        node = cursor.node
        if node is not None and node.type not in _NO_TOKENS:
            start, end = node.byte_range
            if start < end:
                yield start, end
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def _lex(text: bytes, start: int, end: int, *, whole: bool = False) -> Iterator[Token]:
    """Yield the tokens of a stretch of code; `whole`: it is a single token whose kind alone is asked."""
    while start < end:
        skipped = _SKIPPED.match(text, start, end)
        if skipped:
            start = skipped.end()
            continue
        found = _LEXER.match(text, start, end)
        if found is None or found.lastgroup is None:
            return
        stop = end if whole else found.end()
        yield Token(text[start:stop], found.lastgroup, start, stop)
        start = stop


def _with_layout(text: bytes, leaves: Iterator[Token]) -> Iterator[Token]:
    """Insert NEWLINE, INDENT and DEDENT as Python's tokenizer would, but lazily: before the next token."""
    columns = [0]
    depth = 0
    in_statement = False
    before: int | None = None
    for leaf in leaves:
        start = leaf.start
        gap = text[before:start]
        if not depth and (before is None or b"\n" in gap or b"\r" in gap):
            lines = _CONTINUATION.sub(b"", gap) if b"\\" in gap else gap
            if before is None or b"\n" in lines or b"\r" in lines:
                if in_statement:
                    yield Token(NEWLINE, "layout", start, start)
                    in_statement = False
                if leaf.kind != "comment":
                    column = _column(re.split(rb"[\r\n]", lines)[-1])
                    while column < columns[-1]:
                        columns.pop()
                        yield Token(DEDENT, "layout", start, start)
                    if column > columns[-1]:
                        columns.append(column)
                        yield Token(INDENT, "layout", start, start)
        yield leaf
        before = leaf.end
        if leaf.kind == "op":
            if leaf.text in b"([{":
                depth += 1
            elif leaf.text in b")]}" and depth:
                depth -= 1
        elif leaf.literal is not None:
            opens, continues = leaf.literal.opens, leaf.literal.continues
            depth = max(0, depth + opens - continues)
        in_statement = in_statement or leaf.kind != "comment"


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
