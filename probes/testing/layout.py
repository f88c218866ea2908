"""Pieces of code to text: every freedom that a language leaves, decided by a style.

No lexer is asked anything. A writer says what the pieces are and where statements end; the rules of its language
say between which pieces white space, line breaks and comments may stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from probes.testing.pieces import NEWLINES, Gap, Piece, Role, Rules, Style

REMARKS = (
    "note",
    "it's",
    'say "x"',
    "(",
    "def f(): return 1",
    "}; x = 1; {",
    "`${a}`",
    "'''",
    '"""',
    "[é] 日本 ×",
    "# // # //",
    "",
    "x = 'a",
    "if (a) { b(); } else",
    "#include <a>",
    'r#"',
    "*",
    "see a, b, c;",
    "%s <b> && ||",
)
"""Texts of comments. None holds the end of a comment, and none ends in a backslash, which goes on in C."""
_OPERATORS = frozenset("+-*/%<>=!&|^~?:.#@\\")
_QUOTES = frozenset("\"'`")
_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")
_BLANKS = ("  ", "\t", " \t ", "   ")
_INDENTS = ("    ", "  ", "\t", "   ", " ", "        ")
_CALM = (256, 200, 120, 0)
_SILENT = (256, 248, 220, 150)


class _Token(NamedTuple):
    text: str
    gap: Gap
    number: int
    """Of its piece: choices at it do not depend on what other pieces became."""
    broken: bool = False
    """A line has to end before it."""
    fresh: bool = False
    """It usually begins a line."""
    indent: int = 0
    """Blocks opened before it."""
    directive: bool = False
    """It is in a preprocessor's line, not as the first."""
    documented: bool = False
    """Comments that document may stand before it."""
    after_line: bool = False
    """It follows a preprocessor's line."""
    optional: bool = False
    """It may be left out; so no comment stands before it, which would be left out too."""
    tame: bool = False
    """Where a separator may be left out before it, no line may end then: a comment before it has to fit either way."""


@dataclass
class _Renderer:
    rules: Rules
    style: Style
    newlines: tuple[str, ...] = field(init=False)
    calm: int = field(init=False)
    tight: bool = field(init=False)
    silent: int = field(init=False)
    places: int = 0
    """Gaps where a comment may stand, so far."""

    def __post_init__(self) -> None:
        layout = self.style.layout
        self.newlines = NEWLINES[layout[0] % len(NEWLINES)]
        self.calm = _CALM[layout[1] % 5 % 4]
        self.tight = layout[1] % 5 == 4
        self.silent = _SILENT[self.style.remarks[0] % 4]

    def render(self, tokens: Sequence[_Token]) -> str:
        out: list[str] = []
        indents = [""]
        depth = 0
        before = ""
        for token in tokens:
            if token.indent > 0:
                unit = _INDENTS[self._at(self.style.layout, 2 if self.calm == 256 else token.number) % 6]
                indents += [indents[-1] + unit] * token.indent
            elif token.indent < 0:
                del indents[token.indent :]
            if before:
                out.append(self._gap(before, token, indents[-1], depth))
            elif self.style.placed is None and token.gap is Gap.FREE:
                out.append(self._head(token))
            text = token.text
            out.append(text.replace("\n", self.newlines[0]) if "\n" in text else text)
            if text in _OPENERS:
                depth += 1
            elif text in _CLOSERS:
                depth -= 1
            before = text or before
        return "".join(out)

    @staticmethod
    def _at(tape: bytes, number: int) -> int:
        return tape[number % len(tape)]

    def _newline(self, number: int) -> str:
        return self.newlines[number % len(self.newlines)]

    def _head(self, token: _Token) -> str:
        """Comments before the first token."""
        remark, line = self._remark(token, 0, Gap.FREE)
        return remark + (self.newlines[0] if line else "") if remark else ""

    def _gap(self, before: str, token: _Token, indent: str, depth: int) -> str:
        gap, text, number = token.gap, token.text, token.number
        if gap is Gap.GLUED:
            return ""
        if gap is Gap.FREE and not token.broken and not self._may_break(before, token, depth):
            gap = Gap.UNBROKEN
        byte = self._at(self.style.layout, number)
        wild = byte >= self.calm
        remark, line = self._remark(token, number, Gap.UNBROKEN if token.tame else gap)
        newline = self._newline(number)
        # In the wildest layouts a line that goes on may stand left of its block.
        margin = "" if self.calm == 0 else indent
        if token.broken:
            return self._line_end(before, token, indent, byte if wild else 0, remark, line)
        needed = " " if _must_part(self.rules, before, text) else ""
        if self.tight:
            space = needed
        elif not wild:
            fresh = token.fresh and gap is Gap.FREE
            space = newline + indent if fresh else needed or ("" if _usually_touch(before, text) else " ")
        else:
            option = byte % 8
            goes_on = self.rules.lines or token.directive
            space = needed if option < 3 else _BLANKS[option - 3] if option < 6 else " "
            if option > 5 and gap is Gap.FREE:
                space = newline * (1 + (byte > 247)) + margin + _BLANKS[byte // 8 % 4]
            elif option > 5 and goes_on and gap is Gap.UNBROKEN and not remark:
                space = " \\" + newline + margin + " "
        if not remark:
            return space
        if line:
            return _pad(before, space) + remark + newline + indent
        # A comment parts two tokens as a blank does.
        return _pad(before, space if "\\" not in space else " ") + remark + (" " if wild and byte & 1 else "")

    def _line_end(self, before: str, token: _Token, indent: str, byte: int, remark: str, line: bool) -> str:
        newline = self._newline(token.number)
        # tree-sitter's grammars know no blank behind an #include.
        bare = token.after_line or (remark and line)
        out = "" if bare else ("", " ", "\t", "  ")[byte % 4] if byte else ""
        # Whether a comment has its line to itself is no matter of white space: Python's lines mean something.
        if remark and self._at(self.style.remarks, token.number) % 5 == 1:
            out += newline + " " * (byte % 5) + remark
        elif remark:
            out += _pad(before, " ") + remark
        out += newline
        if byte:
            out += ("", newline, " " + newline, newline * 2)[byte // 8 % 4]
        if byte and not self.rules.lines:
            indent = _BLANKS[byte // 4 % 4]
        return out + indent

    def _may_break(self, before: str, token: _Token, depth: int) -> bool:
        """Tell whether a line may end between the two."""
        rules = self.rules
        if token.directive:
            return False
        if rules.lines:
            return depth > 0
        if rules.ends_itself:
            ends = before.endswith(rules.ends_itself) or _is_word(before[-1]) or before[-1] in _QUOTES
            ends = ends or before[0].isdigit()  # as 5. does
            return not ends or before in rules.continues_itself
        return True

    def _remark(self, token: _Token, number: int, gap: Gap) -> tuple[str, bool]:
        """Return the comment to stand in a gap, if any, and whether it goes to the end of the line."""
        rules, style = self.rules, self.style
        line_only = not rules.block_comments
        if gap is Gap.INLINE or (line_only and gap is not Gap.FREE) or token.directive or token.optional:
            return "", False
        if style.placed is not None:
            self.places += 1
            if self.places - 1 != style.placed[0]:
                return "", False
            line = gap is Gap.FREE and (line_only or style.placed[0] % 2 == 0)
            text = style.placed[1]
            return (f"{rules.line_comment} {text}", True) if line else (f"/* {text} */", False)
        byte = self._at(style.remarks, number)
        if byte < self.silent:
            return "", False
        text = REMARKS[byte * 7 % len(REMARKS)]
        blank = " " if byte % 3 else ""
        if gap is Gap.FREE and (line_only or byte % 2):
            start = rules.line_comment
            if token.documented and rules.documents and byte % 4 == 3:
                start = rules.documents[byte // 8 % len(rules.documents)]
            elif not blank and text[:1] in ("#", "/", "!"):
                blank = " "
            return f"{start}{blank}{text}", True
        if gap is Gap.FREE and byte % 8 == 0:
            text += "\n  * " + text
        if rules.nested_comments and byte % 8 == 2:
            text = f"a /* {text} */ b"
        text = text.replace("\n", self._newline(number))
        if token.documented and byte % 4 == 0:
            return f"/** {text} */", False
        return f"/* {text} */" if blank or text[:1] in ("*", "!", "") else f"/*{text} */", False


def _pad(before: str, space: str) -> str:
    return space or (" " if before.endswith("/") else "")


_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$")


def _is_word(character: str) -> bool:
    return character in _WORD or character > "\x7f"


def _must_part(rules: Rules, a: str, b: str) -> bool:
    """Tell whether two tokens without a blank between them would be read as others."""
    last, first = a[-1], b[0]
    if _is_word(last):
        if first in _QUOTES:
            return a not in rules.quotable
        if first == "." and a[0].isdigit():
            return True
        if rules.sticky_exponents and first in "+-" and last in "eEpP" and a[0].isdigit():
            return True
        return _is_word(first)
    if last in _QUOTES:
        return first in _QUOTES or (rules.suffixes and _is_word(first))
    if last in "." and a[0].isdigit():
        return _is_word(first) or first in ".+-"
    if last in _OPERATORS:
        if first in _OPERATORS:
            return last + first not in rules.touching
        return first.isdigit() and last == "."
    return False


def _usually_touch(a: str, b: str) -> bool:
    return a[-1] in "([.!~@" or b[0] in ")],;.(["


def _resolve(pieces: Sequence[Piece], rules: Rules, style: Style) -> list[_Token]:
    """Decide about separators and docstrings, and tell each token where lines end and blocks begin."""
    tokens: list[_Token] = []
    broken = fresh = directive = documented = after_line = tame = False
    indent = 0
    silent = _SILENT[style.remarks[0] % 4]
    skipping = False
    docstring = style.docstring
    for number, (text, gap, role) in enumerate(pieces):
        if role is Role.COMMA:
            tame = bool(rules.ends_itself)
            if style.separators[number % len(style.separators)] % 2:
                tokens.append(_Token(text, gap, number, optional=True))
            continue
        if skipping and role is Role.END:
            skipping = False
            continue
        if role is Role.DOCSTRING:
            if docstring is not None:
                text, docstring = f'"""{docstring}"""', None
            elif style.remarks[number % len(style.remarks)] < silent:
                skipping = True
                continue
        if role is Role.END:
            if rules.separator_needed:
                tokens.append(_Token(text, Gap.FREE, number))
                fresh = True
                continue
            following = pieces[number + 1] if number + 1 < len(pieces) else None
            chosen = style.separators[number % len(style.separators)] % 3
            last = following is None or following.role is Role.CLOSE
            tame = last and bool(rules.ends_itself)
            hazard = following is not None and following.text.startswith(rules.hazards)
            if text and (chosen == 1 or (hazard and not last)):
                gap = Gap.UNBROKEN if rules.lines or rules.ends_itself else Gap.FREE
                tokens.append(_Token(text, gap, number, optional=True))
                broken = broken or rules.lines
            else:
                broken = broken or not last or rules.lines
            fresh = True
            continue
        if role is Role.LINE_END:
            broken = fresh = after_line = True
            directive = False
            continue
        if role is Role.CLOSE:
            indent -= 1
            fresh = True
            if not text:
                broken = True
                continue
        if role is Role.LINE:
            broken = True
        documented = documented or role is Role.DOCUMENTED
        if text:
            tokens.append(
                _Token(
                    text,
                    gap,
                    number,
                    broken=broken,
                    fresh=fresh,
                    indent=indent,
                    directive=directive,
                    documented=documented,
                    after_line=after_line,
                    tame=tame,
                )
            )
            broken = fresh = documented = after_line = tame = False
            indent = 0
        if role is Role.LINE:
            directive = True
        if role is Role.OPEN:
            indent += 1
            fresh = True
            broken = broken or rules.lines
    return tokens


def render(pieces: Sequence[Piece], *, rules: Rules, style: Style) -> str:
    """Write the pieces as text."""
    tokens = _resolve(pieces, rules, style)
    renderer = _Renderer(rules=rules, style=style)
    if style.placed is None:
        text = renderer.render(tokens)
    else:
        renderer.render(tokens)  # to count the places
        style = replace(style, placed=(style.placed[0] % max(1, renderer.places), style.placed[1]))
        text = _Renderer(rules=rules, style=style).render(tokens)
    layout = style.layout
    if (pieces and pieces[-1].role is Role.LINE_END) or layout[0] % 3 < 2 or layout[1] % 5 == 0:
        text += renderer.newlines[0]
    return text
