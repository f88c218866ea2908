"""Levels `code` and `renamed` of the languages whose blocks stand in braces.

`code` drops comments and separators that mean nothing, and in JavaScript and TypeScript writes quotes in one style.
`renamed` replaces every word that can be bound by one symbol.

A word can be bound unless it is a keyword, a name the language or its runtime gives, a member (after `.`, `->`,
`::`), or imported under this spelling before. As in Python it is not asked whether the text binds it. The key of
an object, of a literal or of a record's field belongs to the type: its word becomes the symbol, because only the
next token tells what it is, and the colon carries the name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from probes.forms import Piece
from probes.languages import words
from probes.names import SYMBOL, is_spelled, normal_form
from probes.quotes import with_double_quotes
from probes.secrets import ends_in_secret, words_of
from probes.tokens import NEWLINE, Token, make

Pair = tuple[Token, Token]
"""A token at level `code`, and the same at level `renamed`."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What is particular to a language."""

    commas: bytes
    """Brackets before whose end a comma means nothing."""
    quotes: bool = False
    """Single and double quotes mean the same."""
    semicolons: str = ""
    """`optional` where a line break can stand for one, `breaks` where it always does."""
    imports: frozenset[bytes] = frozenset()
    """Words that begin a statement that imports."""
    path: bytes = b""
    """What joins the parts of an imported name, of which the last is bound."""
    keys: frozenset[bytes] = frozenset()
    """What a key stands directly behind, inside braces."""
    heads: frozenset[bytes] = frozenset()
    """Words whose brace is a block: in Go the next one, elsewhere the one they stand in."""


_SCRIPT = Rules(
    commas=b"([{",
    quotes=True,
    semicolons="optional",
    imports=frozenset((b"import",)),
    keys=frozenset(b"{ , ; readonly static public private protected".split()),
    heads=frozenset(b"let const var return if for while case function".split()),
)
RULES = {
    "javascript": _SCRIPT,
    "typescript": _SCRIPT,
    "java": Rules(commas=b"{", imports=frozenset((b"import", b"package")), path=b"."),
    "go": Rules(
        commas=b"([{",
        semicolons="breaks",
        imports=frozenset((b"import", b"package")),
        keys=frozenset((b"{", b",")),
        heads=frozenset(b"for if switch select func struct interface else".split()),
    ),
    "rust": Rules(
        commas=b"([{",
        imports=frozenset((b"use", b"crate")),
        path=b"::",
        keys=frozenset(b"{ , pub ) ] }".split()),
        heads=frozenset(
            b"fn let type const static impl struct enum union trait mod match if while loop".split()
        ),
    ),
    # A macro's argument may be empty, so commas in parentheses all count.
    "c": Rules(commas=b"{"),
    "cpp": Rules(commas=b"{", imports=frozenset((b"using",)), path=b"::"),
}

_OPENS = frozenset((b"(", b"[", b"{"))
_CLOSES = frozenset((b")", b"]", b"}"))


@dataclass(slots=True)
class Bracket:
    """An open bracket, or the text itself, and what has been seen in it so far."""

    text: bytes
    groups: bool = False
    """A parenthesis with a value before it does not open a group."""
    headed: bool = False
    """A parenthesis behind `if`, `for`, `while`: a semicolon after it is an empty statement. A brace behind `do`."""
    keyed: bool = False
    """A brace that may hold keys."""
    block: bool = False
    """Of Go: the next brace in it opens a block."""
    commas: int = 0
    """Commas that separate its elements."""
    ended: bool = False
    """The last bracket that closed in it was such a parenthesis."""
    done: bool = False
    """The last bracket that closed in it was such a brace: `while` behind it heads nothing."""


def read(
    before: Sequence[Token], tokens: Sequence[Token], language: str, secrets: Sequence[bytes]
) -> list[Pair]:
    """Return `tokens` of level `layout`, which follow those `before` them, at both levels."""
    rules = RULES[language]
    state = _State(language, secrets)
    last = tokens[-1] if tokens else _END
    # A text that breaks off inside a secret keeps the token it breaks off in.
    kept = last if ends_in_secret(last, secrets) else None
    bare = [token for token in before if token[1] != "comment"]
    first = len(bare)
    bare += [token for token in tokens if token[1] != "comment" or token is kept]
    out: list[Pair] = []
    for following, token in enumerate(bare, 1):
        text, kind, start, end, literal = token
        wanted = following > first
        renamed = token
        if kind == "word":
            if token is not kept:
                if not text.isascii():
                    text = normal_form(text)
                    renamed = token = make((text, kind, start, end, None))
                if state.imports(text):
                    pass
                elif wanted and state.binds(text):
                    renamed = make((SYMBOL, "name", start, end, None))
            state.word(text)
        elif kind == "op":
            if token is kept:
                pass
            elif text == b"," and state.bracket.text in rules.commas:
                if state.ends_list(_next(bare, following, last)):
                    continue
            elif text == b";" and rules.semicolons:
                stands = state.semicolon(_next(bare, following, last))
                if stands is None:
                    continue
                if stands == NEWLINE:
                    renamed = token = make((NEWLINE, "layout", start, end, None))
            elif text == b":" and wanted and state.keyed:
                renamed = make((state.previous + b":", kind, start, end, None))
            state.operator(text)
        else:
            if wanted and rules.quotes and literal is not None and token is not kept:
                renamed = token = make((with_double_quotes(token), kind, start, end, literal))
            state.other(text, kind, literal)
        if wanted:
            out.append((token, renamed))
    return out


_END = Token(b"", "end", 0, 0)


def _next(tokens: Sequence[Token], position: int, last: Token) -> Token:
    """Return the token at a position; `_END` behind them, and for a last slash, which may begin a comment."""
    if position == len(tokens) or (tokens[position] is last and last.text == b"/"):
        return _END
    return tokens[position]


# After these a semicolon cannot go: the next word would go on with the statement.
_CONTEXTUAL = frozenset(
    b"async get set static type let of declare abstract namespace module interface accessor readonly else do".split()
)
_HEADS_OF_GO = frozenset((b"for", b"if", b"switch", b"select"))
_RESTRICTED = frozenset((b"return", b"break", b"continue", b"throw", b"yield"))
_HEADS = frozenset((b"if", b"for", b"while", b"with"))
# After these a word that could begin a statement is part of a value or of a type.
_OF_VALUES = frozenset(b": = || && ?? ? & * < -> . ?. dyn async".split())


class _State:
    """What the tokens before a place say of it; it never looks ahead but where it is shown the next token."""

    __slots__ = (
        "_brackets",
        "_earlier",
        "_fixed",
        "_header",
        "_imported",
        "_kind",
        "_language",
        "_members",
        "_rules",
        "_special",
        "_statement",
        "_typed",
        "_unconfirmed",
        "bracket",
        "previous",
    )

    def __init__(self, language: str, secrets: Sequence[bytes]) -> None:
        known = words(language)
        self._language, self._rules = language, RULES[language]
        self._fixed = known["keywords"] | known["builtins"] | words_of(secrets)
        self._members = known["members"]
        self._special = self._rules.imports | self._rules.heads
        self._brackets = [Bracket(b"")]
        self._imported: set[bytes] = set()
        self._unconfirmed = b""  # imported last; what follows may give it another name
        self._statement = b""  # the word that began a statement that imports
        self._header = False  # of Go: semicolons part a head, up to the brace of its block
        self._typed = False  # of Go: the next brace opens a literal of a map, array or slice
        self.bracket = self._brackets[-1]
        """The innermost open bracket."""
        self.previous = self._earlier = b""
        """Text of the token before."""
        self._kind = ""

    # --- words

    def imports(self, text: bytes) -> bool:
        """Note what a word imports; tell whether it keeps its spelling for that."""
        if not self._statement:
            if text not in self._rules.imports or self.previous in (b".", b"+"):  # impl A + use<'a>
                return False
            if text == b"crate" and self.previous != b"extern":  # crate::a is a path
                return False
            self._statement, self._unconfirmed = text, b""
            return True
        before = self.previous
        if text == b"as":
            self._imported.discard(self._unconfirmed)
            return True
        if before == b"as" or (self._language == "go" and self._statement == b"import"):
            return False
        if self._rules.quotes and self.bracket.text != b"{":
            return False  # import name from "module": the name is the importer's own
        if self._language == "cpp" and before not in (b"::", b"namespace"):
            return False
        if text not in self._fixed:
            self._unconfirmed = b"" if text in self._imported else text
            self._imported.add(text)
        return True

    def binds(self, text: bytes) -> bool:
        """Tell whether a word is a name that can be bound."""
        return not (
            text in self._fixed
            or self.previous in self._members
            or text in self._imported
            or is_spelled(text)
        )

    def word(self, text: bytes) -> None:
        """Step over a word."""
        if text in self._special:
            if self._language == "go":
                self._header = self._header or text in _HEADS_OF_GO
                self.bracket.block = self.bracket.block or text in self._rules.heads
            elif text in self._rules.heads and self.previous not in _OF_VALUES:
                self.bracket.keyed = False  # in a block a word before a colon is a label, or declared
        self._earlier = self.previous
        self.previous = text
        self._kind = "word"

    @property
    def keyed(self) -> bool:
        """A colon makes the token before a key."""
        text = self.previous
        return (
            self.bracket.keyed
            and self._kind == "word"
            and self._earlier in self._rules.keys
            and text not in self._fixed
            and text[:1] != b"'"
        )

    # --- operators

    def ends_list(self, following: Token) -> bool:
        """Tell whether a comma ends its bracket, or a block in it, and means nothing."""
        # Of Rust, behind the block of an arm, and at the end of `where`.
        behind = self._language == "rust" and self.bracket.text not in (b"(", b"[")
        if behind and (self.previous == b"}" or following.text in (b"{", b";")):
            return True
        if following is not _END and (following.kind != "op" or following.text not in _CLOSES):
            return False
        if self.previous in (b",", b"(", b"[", b"{", b""):  # holes in an array
            return False
        grouped = self._language == "rust" and self.bracket.groups
        return not grouped or self.bracket.commas > 0  # (x,) is a tuple

    def semicolon(self, following: Token) -> bytes | None:
        """Return what a semicolon is at level `code`: itself, NEWLINE, or None where it means nothing."""
        ends = following is _END or following.text in (b"}", b")")
        if self._rules.semicolons == "breaks":
            if self._header:
                return b";"
            return None if ends else NEWLINE
        if self.bracket.text == b"(" or (self.previous == b")" and self.bracket.ended):
            return b";"
        if ends:
            return None
        if self.previous in _RESTRICTED:
            return NEWLINE
        if self.previous in _CONTEXTUAL:
            return b";"
        if following.kind == "layout":
            return None
        first = following.text[:1]
        return None if first.isalnum() or first in b"_$\"'" or first >= b"\x80" else b";"

    def operator(self, text: bytes) -> None:
        """Step over an operator."""
        if text in _OPENS:
            self._open(text)
        elif text in _CLOSES:
            self._close(text)
        elif text == b",":
            self.bracket.commas += 1
        elif text == b":" and self.previous in self._rules.heads and self._earlier in self._rules.keys:
            self.bracket.keyed = True  # the word was a key
        elif self._statement:
            if text in (b";", b"="):
                self._statement = b""
            elif text == self._rules.path:
                self._imported.discard(self._unconfirmed)
        self._typed = text == b"]" or (self._typed and text in (b".", b"*"))
        self._earlier = self.previous
        self.previous = text
        self._kind = "op"

    def _open(self, text: bytes) -> None:
        before, word = self.previous, self._kind == "word"
        groups = headed = keyed = False
        if text == b"(":
            if self._rules.quotes:
                self._statement = b""  # import("module") is a call
                headed = before in _HEADS and not (self._earlier == b"}" and self.bracket.done)
            value = word and before not in words(self._language)["keywords"]
            groups = not value and before not in (b")", b"]", b">", b"!")
        elif text == b"{" and self._rules.keys:
            headed = before == b"do"
            if self._language != "go":
                keyed = True
            elif not self.bracket.block and (not self._typed or before == b"]"):  # p[int]{a: 1}
                keyed = word or before in (b"{", b",", b":", b"}", b"]")
            self._header = self.bracket.block = False
        self.bracket = Bracket(text, groups=groups, headed=headed, keyed=keyed)
        self._brackets.append(self.bracket)

    def _close(self, text: bytes) -> None:
        if len(self._brackets) > 1:
            headed = self._brackets.pop().headed
            self.bracket = self._brackets[-1]
            # The bracket around it remembers, until the next closes in it.
            self.bracket.ended = headed and text == b")"
            self.bracket.done = headed and text == b"}"
        if text == b")" and self._language == "go":
            self._statement = b""

    # --- all else

    def other(self, text: bytes, kind: str, literal: Piece | None) -> None:
        """Step over a literal, a line break, a secret or junk."""
        if kind == "layout":
            self.bracket.block = False
        if self._statement:
            if kind == "layout":
                if self.bracket.text != b"(":
                    self._statement = b""
            elif kind == "string" and self._language == "go":
                self._import_path(text)
            elif kind == "string" and self._rules.quotes:
                self._statement = b""
        if literal is not None:
            if literal.continues and len(self._brackets) > 1:
                self._brackets.pop()
                self.bracket = self._brackets[-1]
            if literal.opens:
                self.bracket = Bracket(b"${")
                self._brackets.append(self.bracket)
        self._typed = False
        self._earlier = self.previous
        self.previous = text
        self._kind = kind

    def _import_path(self, quoted: bytes) -> None:
        """Note the name of an imported package of Go: the last part of its path that is no version."""
        parts = [part for part in quoted.strip(b'"`').split(b"/") if not _is_version(part)]
        name = parts[-1].partition(b".")[0] if parts else b""
        named = self.previous == b"." or (self._kind == "word" and self.previous != b"import")
        if name and not named:
            self._imported.add(name)
        if self.bracket.text != b"(":
            self._statement = b""


def _is_version(part: bytes) -> bool:
    return len(part) > 1 and part[:1] == b"v" and part[1:].isdigit()
