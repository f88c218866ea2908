"""What a token is."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from probes.forms import Piece

NEWLINE, INDENT, DEDENT = b"NEWLINE", b"INDENT", b"DEDENT"
"""Texts of the tokens of kind layout."""


class Token(NamedTuple):
    """A piece of a text. A tuple, because a text has very many; `token[:2]` is what is compared.

    Kinds: word, number, string, comment, op, layout (`NEWLINE`, `INDENT`, `DEDENT`; no bytes of their own), junk
    (bytes that are no code), and by level also character (`exact`), secret (kept verbatim and whole), name
    (the one symbol of `renamed`) and literal (the symbols of `shape`).
    """

    text: bytes
    kind: str
    start: int
    """Offset in bytes."""
    end: int
    literal: Piece | None = None
    """How the scanner read a string."""


make: Callable[[tuple[bytes, str, int, int, Piece | None]], Token] = partial(tuple.__new__, Token)
"""Make a token of a tuple of all its fields, three times as fast as by its name."""


def unify_newlines(text: bytes) -> bytes:
    r"""Return `text` with `\r\n` and `\r` as `\n`, which is how most languages read a string over several lines."""
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in text else text
