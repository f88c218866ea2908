"""Where a Python token stands: brackets, heads of statements, imports. Known from the tokens before it alone."""

from dataclasses import dataclass
from typing import Literal

from probes.languages import Grammar
from probes.tokens import Token

Opener = Literal["line", "call", "parameters", "group", "list", "subscript", "brace"]


@dataclass(slots=True)
class Bracket:
    """An open bracket, or the line itself, and what has been seen in it so far."""

    kind: Opener
    commas: int = 0
    """Commas that separate its elements."""
    lambdas: int = 0
    """Heads of lambdas that are still open; their commas and equals signs are parameters'."""


class Walker:
    """Reads tokens from left to right; its fields tell of the place before the next token.

    It looks back and never ahead, so what it says of a place holds for every continuation of the text. It
    knows nothing of comments, which callers leave out, and is total: brackets that do not match are let be.
    """

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._header = b""
        self.brackets = [Bracket("line")]
        self.begins = True
        """A statement begins here."""
        self.documents = True
        """A string that stands here as a statement documents the module, class or function."""
        self.statement = b""
        """`import` or `from` inside such a statement; `from` turns into `import` at that word."""
        self.previous: Token | None = None
        """The token before, if it is on the same logical line."""

    @property
    def bracket(self) -> Bracket:
        """The innermost open bracket."""
        return self.brackets[-1]

    def advance(self, token: Token) -> None:
        """Step over `token`."""
        text, kind = token.text, token.kind
        if kind == "layout":
            self.begins, self.statement, self._header = True, b"", b""
            self.brackets = [Bracket("line")]
            self.previous = None
            return
        began, self.begins = self.begins, False
        self.documents = False
        if kind == "word":
            self._word(text, began)
        elif kind == "op":
            self._operator(text, began)
        elif token.literal is not None:
            if token.literal.continues and len(self.brackets) > 1:
                self.brackets.pop()
            if token.literal.opens:
                self.brackets.append(Bracket("group"))
        self.previous = token

    def _word(self, text: bytes, began: bool) -> None:
        if text == b"lambda":
            self.bracket.lambdas += 1
        elif text == b"import" or (began and text == b"from"):
            self.statement = text
        elif began and text in (b"def", b"class"):
            self._header = text
        elif began and text == b"async":
            self.begins = True
        elif began and text in self._grammar.soft_keywords:
            self._header = text

    def _operator(self, text: bytes, began: bool) -> None:
        if text in b"([{":
            self.brackets.append(Bracket(self._opened(text, began)))
        elif text in b")]}":
            if len(self.brackets) > 1:
                self.brackets.pop()
        elif text == b",":
            self.bracket.commas += not self.bracket.lambdas
        elif text == b":" and self.bracket.lambdas:
            self.bracket.lambdas -= 1
        elif len(self.brackets) == 1 and text in b":;":
            self.begins = True
            self.documents = text == b":" and self._header in (b"def", b"class")
            self.statement = self._header = b""

    def _opened(self, text: bytes, began: bool) -> Opener:
        """What the bracket is, by what stands before it."""
        if text == b"{":
            return "brace"
        before = self.previous
        if began or before is None:
            return "group" if text == b"(" else "list"
        if text == b"(" and before.text == b"import":
            return "call"  # of an import's names, where a last comma means as little
        if before.kind == "word":
            soft = before.text in self._grammar.soft_keywords and self._header == before.text
            operand = not soft and before.text not in self._grammar.keywords
        else:
            operand = before.text in (b")", b"]", b"}") or (text == b"[" and before.kind == "string")
        if text == b"[":
            return "subscript" if operand else "list"
        if operand and self._header == b"def" and len(self.brackets) == 1:
            return "parameters"
        return "call" if operand else "group"
