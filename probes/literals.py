"""Strings and comments, found from left to right.

A grammar sees an unfinished string as broken code: its content turns into names. The scanner decides by the
text before a position alone, so a cut never changes what stands before it, and an open literal stays a
literal. It is total, runs in linear time and keeps its own stack.
"""

from collections.abc import Iterator

from probes.forms import SCANNERS, WORD_BYTES, Field, Piece, goes_on, read_run


def literals(text: bytes, language: str) -> Iterator[Piece]:
    """Yield the strings and comments of source code, in order; total over any bytes.

    An interpolated string (Python's f-strings and t-strings, templates of JavaScript) yields one piece for each
    literal run, with what opens and what ends its fields; what stands inside the fields is code and not yielded.
    Quotes inside a field open a string of their own (in Python by PEP 701; before it such text was an error
    anyhow). White space at the end of a line comment is not part of it.
    """
    scanner = SCANNERS[language]
    readers = scanner.readers
    fields: list[Field] = []
    depths: list[int] = []  # brackets open inside each field
    at = ended = 0
    value = False  # a value ends where the last step ended: a slash behind it divides
    while found := (scanner.inside if fields else scanner.outside).search(text, at):
        start = found.start()
        if scanner.divides:
            value = _ends_value(text[at:start], value)
        at = start + 1
        read = readers.get(text[start])
        if read is not None:
            piece = None if value and _may_divide(text, start) else read(text, start, ended)
        else:  # in a field: a bracket, or what ends the field
            piece = None
            mark = found.group()
            if mark in scanner.opening:
                depths[-1] += 1
            elif depths[-1]:
                depths[-1] -= mark in scanner.closing
            elif mark in scanner.ends:
                depths.pop()
                piece = read_run(text, start, at, fields.pop(), continues=True)
        if piece is None:
            value = False
            continue
        ended = at = piece.end
        yield piece
        if piece.kind != "comment":
            value = not piece.opens
        if piece.opens:
            fields.append(Field(piece.quote, piece.prefix))
            depths.append(0)
    cut = scanner.tail.search(text, max(ended, len(text) - 300)) if scanner.tail else None
    if cut and not goes_on(text, cut.start(), ended):
        yield Piece(cut.start(), len(text), "string", b'"', cut.group(), closed=False)


# After these words a value begins, so a slash opens a regular expression.
_BEFORE_VALUES = frozenset(
    b"return typeof case in of delete void throw new instanceof do else yield await extends default".split()
)


def _ends_value(code: bytes, before: bool) -> bool:
    """Tell whether a value ends where `code` ends; `before` tells it of what stands before the code."""
    code = code.rstrip()
    if not code:
        return before
    if code[-1:] == b"!" and (code[-2:-1] in (b")", b"]") or code[-2:-1].isalnum()):
        code = code[:-1]  # TypeScript's sign that a value is there
    at = len(code)
    while at and (code[at - 1] in WORD_BYTES or code[at - 1] == 0x24):
        at -= 1
    if at < len(code):
        return code[at:] not in _BEFORE_VALUES
    return code[-1:] in b")]" or code[-2:] in (b"++", b"--")


def _may_divide(text: bytes, at: int) -> bool:
    return text[at] == 0x2F and text[at + 1 : at + 2] not in (b"/", b"*")
