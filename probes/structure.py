"""Where a Python token stands: brackets, heads of statements, imports. Known from the tokens before it alone."""

from dataclasses import dataclass
from typing import Literal

from probes.forms import Piece
from probes.languages import words

Opener = Literal["line", "call", "parameters", "group", "list", "subscript", "brace"]

_OPENING, _CLOSING = frozenset((b"(", b"[", b"{")), frozenset((b")", b"]", b"}"))
_HEADS = frozenset((b"lambda", b"import", b"from", b"def", b"class", b"async"))


@dataclass(slots=True)
class Bracket:
    """An open bracket, or the line itself, and what has been seen in it so far."""

    kind: Opener
    commas: int = 0
    """Commas that separate its elements."""
    lambdas: int = 0
    """Heads of lambdas that are still open; their commas and equals signs are parameters'."""


class Walker:
    """Reads tokens from left to right, each by the method for its kind; its fields tell of the place before the next.

    It looks back and never ahead, so what it says of a place holds for every continuation of the text. It
    knows nothing of comments, which callers leave out, and is total: brackets that do not match are let be.
    """

    __slots__ = (
        "_header",
        "_keywords",
        "_soft",
        "_special",
        "begins",
        "bracket",
        "brackets",
        "documents",
        "earlier",
        "previous",
        "previous_kind",
        "statement",
    )

    def __init__(self) -> None:
        known = words("python")
        self._keywords = known["keywords"]
        self._soft = known["soft_keywords"]
        self._special = _HEADS | self._soft
        self._header = b""
        self.brackets = [Bracket("line")]
        self.bracket = self.brackets[-1]
        """The innermost open bracket."""
        self.begins = True
        """A statement begins here."""
        self.documents = True
        """A string that stands here as a statement documents the module, class or function."""
        self.statement = b""
        """`import` or `from` inside such a statement; `from` turns into `import` at that word."""
        self.previous = b""
        """Text of the token before, if it is on the same logical line."""
        self.previous_kind = ""
        self.earlier = b""
        """Text of the token before that one, likewise."""

    @property
    def named_argument(self) -> bool:
        """The token before is a word that an equals sign makes the name of an argument in a call."""
        bracket = self.bracket
        return (
            self.previous_kind == "word"
            and self.earlier in (b"(", b",")
            and bracket.kind == "call"
            and not bracket.lambdas
        )

    def layout(self) -> None:
        """Step over a layout token: a new line begins."""
        self.begins, self.statement, self._header = True, b"", b""
        self.brackets = [Bracket("line")]
        self.bracket = self.brackets[-1]
        self.previous = self.earlier = b""
        self.previous_kind = ""

    def word(self, text: bytes) -> None:
        """Step over a word."""
        if text in self._special:
            self._head(text)
        else:
            self.begins = False
        self.documents = False
        self.earlier = self.previous
        self.previous = text
        self.previous_kind = "word"

    def _head(self, text: bytes) -> None:
        began, self.begins = self.begins, False
        if text == b"lambda":
            self.bracket.lambdas += 1
        elif text == b"import" or (began and text == b"from"):
            self.statement = text
        elif began and text == b"async":
            self.begins = True
        elif began and text != b"from":
            self._header = text

    def operator(self, text: bytes) -> None:
        """Step over an operator."""
        began, self.begins = self.begins, False
        self.documents = False
        if text in _OPENING:
            self.bracket = Bracket(self._opened(text, began))
            self.brackets.append(self.bracket)
        elif text in _CLOSING:
            self._close()
        elif text == b",":
            self.bracket.commas += not self.bracket.lambdas
        elif text == b":" and self.bracket.lambdas:
            self.bracket.lambdas -= 1
        elif len(self.brackets) == 1 and text in b":;":
            self.begins = True
            self.documents = text == b":" and self._header in (b"def", b"class")
            self.statement = self._header = b""
        self.earlier = self.previous
        self.previous = text
        self.previous_kind = "op"

    def other(self, text: bytes, kind: str, literal: Piece | None) -> None:
        """Step over a literal, a secret or junk."""
        self.begins = self.documents = False
        if literal is not None:
            if literal.continues:
                self._close()
            if literal.opens:
                self.bracket = Bracket("group")
                self.brackets.append(self.bracket)
        self.earlier = self.previous
        self.previous = text
        self.previous_kind = kind

    def _close(self) -> None:
        if len(self.brackets) > 1:
            self.brackets.pop()
            self.bracket = self.brackets[-1]

    def _opened(self, text: bytes, began: bool) -> Opener:
        """What the bracket is, by what stands before it."""
        if text == b"{":
            return "brace"
        before = self.previous
        if began or not self.previous_kind:
            return "group" if text == b"(" else "list"
        if text == b"(" and before == b"import":
            return "call"  # of an import's names, where a last comma means as little
        if self.previous_kind == "word":
            soft = before in self._soft and self._header == before
            operand = not soft and before not in self._keywords
        else:
            operand = before in (b")", b"]", b"}") or (text == b"[" and self.previous_kind == "string")
        if text == b"[":
            return "subscript" if operand else "list"
        if operand and self._header == b"def" and len(self.brackets) == 1:
            return "parameters"
        return "call" if operand else "group"
