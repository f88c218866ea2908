"""Bytes to tokens: literals, and between them words, numbers and operators.

Tokens are read from left to right by the language's lexical rules, which for valid code gives the leaves of the
language's tree-sitter grammar (a test holds this for every language). The leaves themselves are not used. A parser
that meets an error reads on in a state that depends on all of the text, and then `0x` is two leaves and `0x1F`
one, the content of an unfinished string turns into names, and a line break inside brackets can split `**`.
Completions are cut code, and the tokens before a cut must not depend on what follows it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

from probes.languages import LANGUAGES, words
from probes.layout import LAYOUTS, Break
from probes.literals import literals
from probes.tokens import Token, make, unify_newlines

# --- words and numbers

_NAME = rb"[A-Za-z_\x80-\xff][0-9A-Za-z_\x80-\xff]*+"
_DOLLAR = rb"[A-Za-z_$\x80-\xff][0-9A-Za-z_$\x80-\xff]*+"
_WORDS: Mapping[str, bytes] = MappingProxyType(
    {
        "javascript": _DOLLAR,
        "typescript": _DOLLAR,
        "java": _DOLLAR,
        # Raw names and lifetimes. A character in quotes has been taken by the scanner of literals.
        "rust": rb"r#(?:%b|\Z)|%b|'%b" % (_NAME, _NAME, _NAME),
    }
)


def _number(*, digits: bytes, dot: bytes, leading: bool, floats: bool) -> bytes:
    r"""Pattern of a number; at the end of the text 0x and 1e- are the beginning of one.

    `digits` may stand in it besides the decimal ones, `dot` is the pattern of its point; `leading`: it may begin
    with the point; `floats`: hexadecimal ones have a point and an exponent.
    """
    decimal = rb"(?:[0-9]|%b)*+" % digits
    exponent = rb"(?:[eE](?:[+-]?[0-9]%b|[+-]?\Z))?+" % decimal
    tail = rb"[0-9A-Za-z_]*+"
    hexadecimal = rb"0[xX](?:[0-9A-Fa-f]|%b)*+" % digits
    if floats:
        hexadecimal += rb"(?:\.[0-9A-Fa-f_]*+)?(?:[pP](?:[+-](?=[0-9]|\Z))?)?+"
    forms = [hexadecimal + tail, rb"[0-9]%b(?:%b%b)?+%b%b" % (decimal, dot, decimal, exponent, tail)]
    if leading:
        forms.append(rb"\.[0-9]%b%b%b" % (decimal, exponent, tail))
    return rb"|".join(forms)


_PYTHON_NUMBER = (
    rb"0[xX](?:[0-9A-Fa-f_]++|\Z)|0[oO](?:[0-7_]++|\Z)|0[bB](?:[01_]++|\Z)"
    rb"|(?:[0-9][0-9_]*+(?:\.(?:[0-9][0-9_]*+)?)?|\.[0-9][0-9_]*+)"
    rb"(?:[eE](?:[+-]?[0-9][0-9_]*+|[+-]?\Z))?[jJ]?"
)
_WITH_UNDERSCORES = _number(digits=rb"_", dot=rb"\.", leading=True, floats=True)
_OF_C = _number(digits=rb"'(?=[0-9A-Fa-f]|\Z)", dot=rb"\.", leading=True, floats=True)
_OF_JAVASCRIPT = _number(digits=rb"_", dot=rb"\.", leading=True, floats=False)
_NUMBERS: Mapping[str, bytes] = MappingProxyType(
    {
        "python": _PYTHON_NUMBER,
        "javascript": _OF_JAVASCRIPT,
        "typescript": _OF_JAVASCRIPT,
        "java": _WITH_UNDERSCORES,
        "go": _WITH_UNDERSCORES,
        # 1..2 is a range, 1.max(2) a call; `_with_points` makes the `1.` that is left.
        "rust": _number(digits=rb"_", dot=rb"\.(?=[0-9]|\Z)", leading=False, floats=False),
        "c": _OF_C,
        "cpp": _OF_C,
    }
)


# --- the languages

_BLANK = rb"[ \t\f\v]++"
_SPLICE = rb"\\(?:\r\n|\n|\r|\Z)"
_LINES = rb"[\r\n][ \t\f\v\r\n]*+"
# Where a line break means nothing, or a backslash takes its meaning away.
_GAPS: Mapping[str, tuple[bytes, bytes]] = MappingProxyType(
    {
        "python": (_BLANK + rb"|" + _SPLICE, _LINES + rb"(?:%b[ \t\f\v\r\n]*+)*+" % _SPLICE),
        "c": (_BLANK + rb"|" + _SPLICE, _LINES),
        "cpp": (_BLANK + rb"|" + _SPLICE, _LINES),
        "java": (rb"[ \t\f\v\r\n]++", rb"(?!)"),
        "rust": (rb"[ \t\f\v\r\n]++", rb"(?!)"),
    }
)
# A comment over several lines ends a line as white space would.
_BROKEN_BY_COMMENTS = ("go", "javascript", "typescript")


class _Rules(NamedTuple):
    """How the code between literals is read."""

    pattern: re.Pattern[bytes]
    """White space, and the token behind it: a run of line breaks counts as one, and so does the end."""
    at_end: re.Pattern[bytes]
    """The same behind the last literal, where the text may break off inside a token."""
    kinds: tuple[str, ...]
    """Kind of a token by its first byte; empty for line breaks, and for the point, where the second byte tells."""


def _operators(spelled: Iterable[bytes]) -> bytes:
    """Pattern of the operators, the longest first.

    At the end of a text what may become an operator is one token, so that `..` is no two that `...` would unite.
    """
    known = set(spelled)
    forms = {operator: re.escape(operator) for operator in known}
    for operator in known:
        for length in range(2, len(operator)):
            if operator[:length] not in known:
                forms[operator[:length]] = re.escape(operator[:length]) + rb"\Z"
    return rb"|".join(forms[operator] for operator in sorted(forms, key=lambda o: (-len(o), o)))


@cache
def _rules(language: str) -> _Rules:
    operators = words(language)["operators"]
    blank, line = _GAPS.get(language, (_BLANK, _LINES))
    name, number = _WORDS.get(language, _NAME), _NUMBERS[language]
    kinds = ["junk"] * 256
    for operator in operators:
        kinds[operator[0]] = "op"
    kinds[ord(".")] = ""
    for byte in range(256):
        if re.match(name, bytes([byte])):
            kinds[byte] = "word"
        elif 0x30 <= byte <= 0x39:
            kinds[byte] = "number"
    if language == "rust":
        kinds[ord("'")] = "word"
    if LAYOUTS.get(language):
        kinds[ord("\r")] = kinds[ord("\n")] = ""
    pattern = rb"((?:%b)*+)(%b|%b|%b|%b|[\s\S]|)" % (blank, line, name, number, _operators(operators))
    return _Rules(re.compile(pattern.replace(rb"\Z", rb"(?!)")), re.compile(pattern), tuple(kinds))


_BOM = b"\xef\xbb\xbf"


def lex(text: bytes, language: str) -> list[Token]:
    """Return all tokens of `text`, white space dropped, strings and comments as spelled but for line ends.

    A language that is none of `LANGUAGES` gets the generic lexer: words, numbers, strings that end with their
    line, operators; it drops line breaks and knows no comments. Total over any bytes, in linear time.
    """
    if language not in LANGUAGES:
        return list(_generic(text))
    rules = _rules(language)
    find, kinds = rules.pattern.findall, rules.kinds
    tokens: list[Token] = []
    breaks: list[Break] = []
    at = len(_BOM) if text.startswith(_BOM) else 0
    gap: bytes | None = b""  # the text begins with a line
    for piece in (*literals(text, language), None):
        for blank, word in find(text, at, piece.start) if piece else rules.at_end.findall(text, at):
            start = at + len(blank)
            at = start + len(word)
            kind = kinds[word[0]] if word else ""
            if not kind:  # the end, a line break, or a point
                if word[:1] != b".":
                    gap = word or (gap if gap is None else gap + blank)
                    continue
                kind = "number" if word[1:2].isdigit() else "op"
            if gap is not None:
                breaks.append(Break(len(tokens), gap + blank))
                gap = None
            tokens.append(make((word, kind, start, at, None)))
        if not piece:
            break
        at = piece.end
        if gap is not None:
            breaks.append(Break(len(tokens), gap))
            gap = None
        raw = unify_newlines(text[piece.start : at])
        if piece.kind == "string":
            tokens.append(make((raw, "string", piece.start, at, piece)))
        else:
            tokens.append(make((raw, "comment", piece.start, at, None)))
            if b"\n" in raw and language in _BROKEN_BY_COMMENTS:
                gap = b"\n"
    if language == "rust":
        tokens = _with_points(tokens, text)
    layout = LAYOUTS.get(language)
    return layout(tokens, breaks) if layout else tokens


_GOES_ON = frozenset(b"._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") | frozenset(
    range(0x80, 0x100)
)


def _with_points(tokens: Sequence[Token], text: bytes) -> list[Token]:
    """Put a number and a point right behind it together, unless a name or another point follows.

    The pattern of numbers cannot tell: what follows may be a literal, which it is not shown.
    """
    out: list[Token] = []
    for token in tokens:
        end = token[3]
        if token[0] == b"." and out and out[-1][1] == "number" and out[-1][3] == token[2]:
            whole = b"." not in out[-1][0] and out[-1][0].isdigit()
            if whole and (end == len(text) or text[end] not in _GOES_ON):
                out[-1] = make((out[-1][0] + b".", "number", out[-1][2], end, None))
                continue
        out.append(token)
    return out


# --- any other language

_GENERIC_NUMBER = _PYTHON_NUMBER
_GENERIC_OPERATORS = _operators(
    b"=== !== <=> >>> ... **= //= >>= <<= -> => :: && || ++ -- ?? ?. ** // >> << <> += -= *= /= %= @= &= |= ^= "
    b"<= >= == != := - + * / % @ & | ^ = < > ~ : ; . , ( ) [ ] { } ! ? $ # \\".split()
)
_QUOTED = rb"(?P<string>\"(?:[^\"\\\r\n]++|\\.)*+\"?|'(?:[^'\\\r\n]++|\\.)*+'?|`(?:[^`\\\r\n]++|\\.)*+`?)"
_GENERIC = re.compile(
    rb"\s++|(?P<word>%b)|(?P<number>%b)|%b|(?P<op>%b)|(?P<junk>[\s\S])"
    % (_NAME, _GENERIC_NUMBER, _QUOTED, _GENERIC_OPERATORS)
)


def _generic(text: bytes) -> Iterator[Token]:
    for found in _GENERIC.finditer(text):
        if found.lastgroup:
            yield Token(found.group(), found.lastgroup, found.start(), found.end())
