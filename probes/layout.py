"""Line breaks and indentation that carry meaning, as tokens without bytes.

They are no leaves of a grammar and stand directly before the token that begins the line, behind the comments in
between, so the end of a text makes none. What carries meaning differs: in Python lines and blocks; in Go and
JavaScript a break after certain tokens, where it ends the statement; in C the ends of a preprocessor directive; in
Java and Rust nothing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from probes.tokens import DEDENT, INDENT, NEWLINE, Token, make


class Break(NamedTuple):
    """A line that begins with a token."""

    position: int
    """Which token."""
    gap: bytes
    """The white space before it, from the line break on; from the start of the text at the first token."""


_CONTINUATION = re.compile(rb"\\(?:\r\n|\n|\r)")
_NESTING = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}


def _blocks(tokens: Sequence[Token], breaks: Sequence[Break]) -> list[Token]:
    """Insert NEWLINE, INDENT and DEDENT as Python's tokenizer would, but lazily: before the next token."""
    out: list[Token] = []
    columns = [0]
    depth = 0
    in_statement = False
    last = 0
    for index, gap in breaks:
        line = tokens[last:index]
        last = index
        out += line
        for text, literal in [(t[0], t[4]) for t in line if t[0] in _NESTING or t[4] is not None]:
            change = _NESTING[text] if literal is None else literal.opens - literal.continues
            depth = max(0, depth + change)
        # A comment ends its line, so a line that is more than a comment does not begin with one.
        in_statement = in_statement or (line != [] and line[0][1] != "comment")
        if depth:
            continue
        token = tokens[index]
        if token[1] == "comment":
            continue
        start = token[2]
        if in_statement:
            out.append(make((NEWLINE, "layout", start, start, None)))
            in_statement = False
        column = _column(_CONTINUATION.sub(b"", gap) if b"\\" in gap else gap)
        while column < columns[-1]:
            columns.pop()
            out.append(make((DEDENT, "layout", start, start, None)))
        if column > columns[-1]:
            columns.append(column)
            out.append(make((INDENT, "layout", start, start, None)))
    out += tokens[last:]
    return out


def _column(gap: bytes) -> int:
    """Width of the indentation; a tab goes to the next multiple of eight, a form feed back to the margin."""
    indentation = gap.rpartition(b"\n")[2].rpartition(b"\r")[2]
    if not indentation.strip(b" "):
        return len(indentation)
    column = 0
    for byte in indentation:
        if byte == 0x09:
            column = column // 8 * 8 + 8
        elif byte == 0x0C:
            column = 0
        elif byte == 0x20:
            column += 1
    return column


# A statement of Go ends with a line whose last token is one of these, or a name or a literal.
_GO_ENDS = frozenset((b"break", b"continue", b"fallthrough", b"return", b"++", b"--", b")", b"]", b"}"))
_GO_GOES_ON = frozenset(
    b"case chan const default defer else for func go goto if import interface map package range select struct "
    b"switch type var".split()
)
# After these words of JavaScript a line break is a semicolon, whatever follows.
_RESTRICTED = frozenset((b"return", b"break", b"continue", b"throw", b"yield"))
_ENDS_ANYHOW = (b")", b"}", b";")


def _ends_in_go(token: Token) -> bool:
    text, kind = token[0], token[1]
    if kind == "word":
        return text not in _GO_GOES_ON
    return kind in ("number", "string") or text in _GO_ENDS


def _ends_in_javascript(token: Token) -> bool:
    return token[0] in _RESTRICTED


def _statements(
    tokens: Sequence[Token], breaks: Sequence[Break], ends: Callable[[Token], bool]
) -> list[Token]:
    """Insert NEWLINE where a line break ends a statement and is not followed by what ends it anyhow."""
    out: list[Token] = []
    last = 0
    for index, _ in breaks:
        if index < last:
            continue
        out += tokens[last:index]
        last = index
        before = out[-1] if out else None
        if before is not None and before[1] == "comment":
            before = next((token for token in reversed(out) if token[1] != "comment"), None)
        while last < len(tokens) and tokens[last][1] == "comment":
            out.append(tokens[last])
            last += 1
        if before is not None and last < len(tokens) and ends(before):
            text, _, start, _, _ = tokens[last]
            if text not in _ENDS_ANYHOW:
                out.append(make((NEWLINE, "layout", start, start, None)))
    out += tokens[last:]
    return out


def _directives(tokens: Sequence[Token], breaks: Sequence[Break]) -> list[Token]:
    """Insert NEWLINE before and after each directive of the preprocessor, which is a line of its own."""
    out: list[Token] = []
    inside = False
    started = False
    starts = [index for index, _ in breaks]
    for index, end in pairwise((*starts, len(tokens))):
        first = next((at for at in range(index, end) if tokens[at][1] != "comment"), None)
        if first is None:
            out += tokens[index:end]
            continue
        begins = tokens[first][0] == b"#"
        out += tokens[index:first]
        if started and (inside or begins):
            start = tokens[first][2]
            out.append(make((NEWLINE, "layout", start, start, None)))
        out += tokens[first:end]
        inside, started = begins, True
    return out


Layout = Callable[[Sequence[Token], Sequence[Break]], list[Token]]

LAYOUTS: Mapping[str, Layout] = {
    "python": _blocks,
    "javascript": lambda tokens, breaks: _statements(tokens, breaks, _ends_in_javascript),
    "typescript": lambda tokens, breaks: _statements(tokens, breaks, _ends_in_javascript),
    "go": lambda tokens, breaks: _statements(tokens, breaks, _ends_in_go),
    "c": _directives,
    "cpp": _directives,
}
"""By language. A language that is not here gives line breaks no meaning."""
