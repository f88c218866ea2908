"""What a writer hands to the layout: pieces of code, the rules of the language, and the style to write in."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

NEWLINES = (("\n",), ("\r\n",), ("\n",), ("\n", "\r\n"))
"""Line ends a style can choose from; strings and comments over several lines have the first."""


class Role(Enum):
    """What a piece is to the layout."""

    TOKEN = auto()
    OPEN = auto()
    """The last token before the statements of a block."""
    CLOSE = auto()
    """The first token after them."""
    END = auto()
    """The end of a statement. Its text is the separator that may stand or has to stand there, if one can."""
    COMMA = auto()
    """A comma before a closing bracket that may be left out."""
    LINE = auto()
    """The first token of a line of its own, which a preprocessor reads."""
    LINE_END = auto()
    """The end of that line. No text."""
    DOCSTRING = auto()
    """A string that documents: stands only where comments do."""
    DOCUMENTED = auto()
    """Comments that document may stand before the next token. No text."""


class Gap(Enum):
    """What may stand between a piece and the one before."""

    FREE = auto()
    UNBROKEN = auto()
    """White space, but no line break."""
    INLINE = auto()
    """Blanks, but neither a line break nor a comment."""
    GLUED = auto()
    """Nothing."""


class Piece(NamedTuple):
    """A token, or a mark of structure."""

    text: str
    gap: Gap = Gap.FREE
    role: Role = Role.TOKEN


@dataclass(frozen=True, kw_only=True)
class Style:
    """How to write a program. A field of bytes, three or more, is read in a circle; a zero is the plainest choice.

    Two styles with one equal field make the same choices in it, whatever the others are.
    """

    layout: bytes
    """White space and line ends."""
    remarks: bytes
    """Comments and docstrings."""
    separators: bytes
    """Separators that may be left out."""
    quotes: bytes
    """Which quotes strings have."""
    names: bytes
    """Names of locals and parameters."""
    placed: tuple[int, str] | None = None
    """A comment's text and, modulo their number, the gap where it stands. It excludes other comments."""
    docstring: str | None = None
    """What the first docstring says, where the language has docstrings."""
    name: str | None = None
    """The name of each function's first local or parameter."""

    @property
    def newline(self) -> str:
        """How lines end that are in a string."""
        return NEWLINES[self.layout[0] % len(NEWLINES)][0]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a language's layout is like."""

    line_comment: str = "//"
    block_comments: bool = True
    nested_comments: bool = False
    documents: tuple[str, ...] = ()
    """Beginnings of line comments that document, which may stand before a function only."""
    lines: bool = False
    """Line breaks and indentation mean something, but for those in brackets."""
    separator_needed: bool = True
    """A statement's separator has to stand, unlike at a line's end in Python, JavaScript and Go."""
    ends_itself: tuple[str, ...] = ()
    """Go: a line break after these and after words and literals ends a statement."""
    continues_itself: frozenset[str] = frozenset()
    """Go: words that do not end a statement."""
    hazards: tuple[str, ...] = ()
    """JavaScript: beginnings of a line that go on with the line before."""
    touching: frozenset[str] = frozenset()
    """Pairs of operator characters that may touch and stay two tokens."""
    quotable: frozenset[str] = frozenset()
    """Words that a quote may follow without a blank."""
    suffixes: bool = False
    """A word directly behind a string belongs to it."""
    sticky_exponents: bool = False
    """C: a sign directly behind an `e` belongs to the number, be it hexadecimal or not."""
