"""Levels `code` and `renamed` of Python, whose blocks are indented.

`code` drops comments, docstrings and separators that mean nothing, and writes quotes in one style. `renamed`
replaces every word that can be bound by one symbol.

A word can be bound unless it is a keyword, a built-in, a `__dunder__`, a member after a dot, or imported under
this spelling before. Whether it *is* bound in the text is not asked: the binding may stand behind the use
(comprehensions, loops, closures), and then a cut text would have other tokens than the whole, or renaming a local
would show. So free names that the text does not import count as bindable too. A local that shadows a built-in or
an import keeps its spelling; `match` and `case` are words like any other. The name of a keyword argument belongs
to the callee: its word becomes the symbol, because only the next token tells what it is, and the equals sign
carries the name.
"""

from collections.abc import Iterator, Sequence

from probes.languages import words
from probes.names import SYMBOL, is_spelled, normal_form
from probes.quotes import with_double_quotes
from probes.secrets import ends_in_secret, words_of
from probes.structure import Walker
from probes.tokens import DEDENT, INDENT, Token, make

Pair = tuple[Token, Token]
"""A token at level `code`, and the same at level `renamed`."""


def read(
    before: Sequence[Token], tokens: Sequence[Token], language: str, secrets: Sequence[bytes]
) -> list[Pair]:
    """Return `tokens` of level `layout`, which follow those `before` them, at both levels."""
    walker = Walker()
    names = _Names(walker, words(language)["builtins"] | words_of(secrets))
    # A text that breaks off inside a secret keeps the token it breaks off in.
    kept = tokens[-1] if tokens and ends_in_secret(tokens[-1], secrets) else None
    bare = [token for token in before if token[1] != "comment"]
    first = len(bare)
    bare += [token for token in tokens if token[1] != "comment" or token is kept]
    if any(token[0] == b";" for token in bare):
        head = list(_without_line_ends(bare, kept, 0, first))
        bare = head + list(_without_line_ends(bare, kept, first, len(bare)))
        first = len(head)
    out: list[Pair] = []
    held: list[Pair] | None = None  # an INDENT: a block that held a docstring alone leaves none
    after_layout = True
    skips_line = False
    for following, token in enumerate(bare, 1):
        text, kind, start, end, literal = token
        wanted = following > first
        if kind == "layout":
            if skips_line:
                skips_line = False
                continue
            if held is not None and text != DEDENT:
                out += held
            if text == INDENT:
                held = [(token, token)] if wanted else []
            else:
                if wanted and (held is None or text != DEDENT):
                    out.append((token, token))
                held = None
            walker.layout()
            after_layout = True
            continue
        skips_line = False
        renamed = token
        if kind == "word":
            if token is not kept:
                if not text.isascii():
                    text = normal_form(text)
                    renamed = token = make((text, kind, start, end, None))
                if (wanted or walker.statement) and names.binds(text):
                    renamed = make((SYMBOL, "name", start, end, None))
            walker.word(text)
        elif kind == "op":
            if text == b"," and token is not kept and _is_redundant(bare[following : following + 1], walker):
                continue
            if text == b"=" and walker.named_argument:
                renamed = make((walker.previous + b"=", kind, start, end, None))
            walker.operator(text)
        else:
            if kind == "string" and token is not kept:
                if walker.documents and _documents(token, bare[following : following + 1]):
                    # Its own line goes with it. After `def f():` on one line, the line's end has to stay.
                    skips_line = after_layout and following < len(bare)
                    continue
                if wanted:
                    renamed = token = make((with_double_quotes(token), kind, start, end, literal))
            walker.other(text, kind, literal)
        if held is not None:
            out += held
            held = None
        after_layout = False
        if wanted:
            out.append((token, renamed))
    return out


def _without_line_ends(tokens: Sequence[Token], kept: Token | None, start: int, stop: int) -> Iterator[Token]:
    """Leave out each `;` that ends its line."""
    for position, token in enumerate(tokens[start:stop], start):
        ends = position + 1 == len(tokens) or tokens[position + 1].kind == "layout"
        if token is kept or not (ends and token.kind == "op" and token.text == b";"):
            yield token


def _documents(token: Token, following: Sequence[Token]) -> bool:
    """Tell whether a string in the place of a docstring is one: plain text, and all of its statement."""
    literal = token.literal
    if literal is None or literal.opens or literal.continues:
        return False
    return literal.prefix.lower() in (b"", b"r", b"u") and (not following or following[0].kind == "layout")


def _is_redundant(following: Sequence[Token], walker: Walker) -> bool:
    """Tell whether a comma ends its bracket without making a tuple."""
    if not following or following[0].kind != "op" or following[0].text not in (b")", b"]", b"}"):
        return False
    bracket = walker.bracket
    if bracket.kind in ("group", "subscript"):  # (1,) and x[1,] are tuples, (1) and x[1] are not
        return bracket.commas > 0
    return bracket.kind != "line"


class _Names:
    """Which words are names that can be bound; it walks before a `Walker`."""

    __slots__ = ("_fixed", "_imported", "_keywords", "_unconfirmed", "_walker")

    def __init__(self, walker: Walker, fixed: frozenset[bytes]) -> None:
        self._walker = walker
        self._keywords = words("python")["keywords"]
        self._fixed = self._keywords | fixed
        self._imported: set[bytes] = set()
        self._unconfirmed = b""  # imported last; `as` would give it another name

    def binds(self, text: bytes) -> bool:
        """Step over a word; tell whether it is a name that can be bound."""
        walker = self._walker
        before = walker.previous
        if walker.statement:
            return self._binds_in_import(text, before)
        return not (before == b"." or text in self._fixed or text in self._imported or is_spelled(text))

    def _binds_in_import(self, text: bytes, before: bytes) -> bool:
        imports = self._walker.statement == b"import"
        if text in self._keywords:
            if text == b"as" and imports:
                self._imported.discard(self._unconfirmed)
            return False
        if before == b"as":
            return not (text in self._fixed or text in self._imported or is_spelled(text))
        if imports and before != b".":
            self._unconfirmed = b"" if text in self._imported else text
            self._imported.add(text)
        return False
