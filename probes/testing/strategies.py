"""Hypothesis strategies: valid programs, pairs that differ in one known way, cuts, broken bytes, canaries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st

from probes.canaries import Canary, generate
from probes.testing import secrets
from probes.testing.growth import grow
from probes.testing.layout import render
from probes.testing.pieces import Style
from probes.testing.programs import Call, Do, Literal, Local, Member, Program, Template
from probes.testing.scraps import JUNK, SCRAPS
from probes.testing.writers import WRITERS
from probes.testing.writers.base import Writer

LANGUAGES = tuple(WRITERS)
"""Languages that `code` and its relatives can write."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two texts of one program."""

    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class LiteralPair(Pair):
    """Two texts that differ in one literal and perhaps in the white space beside it."""

    literal_a: str
    """The literal as it stands in `a`."""
    literal_b: str


@dataclass(frozen=True, kw_only=True)
class SecretPair(Pair):
    """Two texts that differ in one secret."""

    secret_a: str
    """The secret as it stands in `a`: ASCII, without quotes and line breaks."""
    secret_b: str
    """Neither begins with the other."""
    offset: int
    """Offset of the first byte (UTF-8) that differs."""
    place: str
    """Where the secret stands: one of `places(language)`."""


def code(language: str) -> st.SearchStrategy[str]:
    """Return valid programs, most of them of five to forty lines, in all manners of layout.

    Valid means that the language's own parser takes them; they do not compile. Encode them as UTF-8. Raises
    ValueError for a language that is none of `LANGUAGES`.
    """
    return _code(_writer(language))


def reformatted(language: str) -> st.SearchStrategy[Pair]:
    """Return pairs that differ in blanks, tabs, line ends and line breaks, where these mean nothing.

    Python: also in the width of its indentation, and in blanks in the fields of f-strings.
    """
    return _pairs(_writer(language), "layout")


def commented(language: str) -> st.SearchStrategy[Pair]:
    """Return pairs that differ in comments, the white space around these and, in Python, docstrings."""
    return _pairs(_writer(language), "remarks")


def separated(language: str) -> st.SearchStrategy[Pair]:
    """Return pairs that differ in separators that may be left out, and in the quotes of strings.

    Separators: commas before a closing bracket; in Python, JavaScript, TypeScript and Go also the semicolon at the
    end of a line, and its line end where it is needed instead. Quotes: in Python, JavaScript and TypeScript; what
    they hold is escaped as it has to be.
    """
    return _pairs(_writer(language), "separators", "quotes")


def renamed(language: str) -> st.SearchStrategy[Pair]:
    """Return pairs that differ in the names of locals and parameters.

    The renaming is one to one and catches no other name. Names can be members' names too, but no keywords,
    contextual ones included, no built-ins and nothing that the program imports or defines.
    """
    return _pairs(_writer(language), "names")


def with_other_literal(language: str) -> st.SearchStrategy[LiteralPair]:
    """Return pairs that differ in a literal that is not sensitive.

    A number becomes a number, a string one with the same prefix and the same kind of quotes, a character a
    character.
    """
    return _literal_pairs(_writer(language))


def with_other_secret(language: str, *, place: str | None = None) -> st.SearchStrategy[SecretPair]:
    """Return pairs that differ in a secret, by a character that is another, more or missing.

    Draws the place too unless it is given. Raises ValueError for one that is none of `places(language)`.
    """
    writer, known = _writer(language), places(language)
    if place is None:
        return st.one_of([_secret_pairs(writer, each) for each in known])
    if place not in known:
        raise ValueError(f"expected a place of {', '.join(known)}, got {place!r}")
    return _secret_pairs(writer, place)


def places(language: str) -> tuple[str, ...]:
    """Return where `with_other_secret` can put a secret.

    `string`: all of one; `part`: some of one; `comment`; `name`: a local or parameter; `member`: a method;
    `number`; and where the language has such, `template`: text of a string with fields, and `docstring`.
    """
    writer = _writer(language)
    found = ("string", "part", "comment", "name", "member", "number")
    found += ("template",) * writer.templates
    return found + ("docstring",) * writer.docstrings


def cuts(text: str | bytes) -> st.SearchStrategy[int]:
    """Return offsets in bytes (UTF-8) where the text may break off, both ends included."""
    return st.integers(0, len(text.encode() if isinstance(text, str) else text))


def hostile(language: str) -> st.SearchStrategy[bytes]:
    """Return bytes that are seldom code: scraps of the language, half tokens, junk, and programs with a hole."""
    return _hostile(_known(language))


def canaries() -> st.SearchStrategy[Canary]:
    """Return synthetic sensitive examples, of all kinds, from `probes.canaries.generate`."""
    return st.builds(
        lambda seed, at: generate(count=at + 1, seed=seed)[at], st.integers(0, 999), st.integers(0, 8)
    )


# How they are drawn

_PARTS = ("{}", "key={}", "{}/x", "a b {} c", "<{}>", "({},")
"""A secret among other text."""
_GENE, _HEADER, _TAPE = 14, 16, 53  # a prime, so that what repeats in a program meets other bytes
_PROGRAMS = st.builds(
    grow,
    st.binary(min_size=_HEADER, max_size=_HEADER),
    st.lists(st.binary(min_size=_GENE, max_size=_GENE), max_size=8),
)
_TAPES = st.binary(min_size=_TAPE, max_size=_TAPE)
_STYLES = st.builds(Style, layout=_TAPES, remarks=_TAPES, separators=_TAPES, quotes=_TAPES, names=_TAPES)
_INDEX = st.integers(0, 255)


def _writer(language: str) -> type[Writer]:
    return WRITERS[_known(language)]


def _known(language: str) -> str:
    if language not in WRITERS:
        raise ValueError(f"expected a language of {', '.join(LANGUAGES)}, got {language!r}")
    return language


def _text(writer: type[Writer], program: Program, style: Style) -> str:
    return render(writer(program, style).write(), rules=writer.rules, style=style)


@cache  # a strategy takes longer to build than an example to draw
def _code(writer: type[Writer]) -> st.SearchStrategy[str]:
    return st.builds(lambda program, style: _text(writer, program, style), _PROGRAMS, _STYLES)


@cache
def _pairs(writer: type[Writer], *fields: str) -> st.SearchStrategy[Pair]:
    """Return pairs whose styles differ in the fields."""

    def pair(program: Program, style: Style, others: Sequence[bytes]) -> Pair:
        changed = {}
        for field, tape in zip(fields, others, strict=True):
            # hypothesis likes to draw the same bytes twice.
            same = tape == getattr(style, field)
            changed[field] = bytes((byte - 1) % 256 for byte in tape) if same else tape
        other = replace(style, **changed)
        return Pair(a=_text(writer, program, style), b=_text(writer, program, other))

    return st.builds(pair, _PROGRAMS, _STYLES, st.tuples(*[_TAPES] * len(fields)))


@cache
def _literal_pairs(writer: type[Writer]) -> st.SearchStrategy[LiteralPair]:
    return st.builds(lambda *given: _with_other_literal(writer, *given), _PROGRAMS, _STYLES, _INDEX, _INDEX)


@cache
def _secret_pairs(writer: type[Writer], place: str) -> st.SearchStrategy[SecretPair]:
    drawn = {"number": secrets.NUMBERS, "name": secrets.NAMES, "member": secrets.NAMES}.get(
        place, secrets.TEXTS
    )
    return st.builds(
        lambda *given: _with_other_secret(writer, place, *given), _PROGRAMS, _STYLES, drawn, _INDEX
    )


@cache
def _hostile(language: str) -> st.SearchStrategy[bytes]:
    scraps = st.sampled_from(SCRAPS[language])
    pieces = st.one_of(scraps, scraps, st.sampled_from(JUNK), st.binary(max_size=3))
    mixed = st.one_of(st.lists(pieces, max_size=8), st.lists(pieces, min_size=8, max_size=40)).map(b"".join)

    def tear(text: str, start: int, size: int, junk: bytes) -> bytes:
        whole = text.encode()
        at = start % (len(whole) + 1)
        return whole[:at] + junk + whole[at + size :]

    torn = st.builds(tear, code(language), st.integers(0, 2**16), st.integers(0, 12), mixed)
    return st.one_of(st.binary(max_size=60), mixed, torn)


def _with_literal(program: Program, number: int, literal: Literal) -> Program:
    return replace(program, literals=(*program.literals[:number], literal, *program.literals[number + 1 :]))


def _with_other_literal(
    writer: type[Writer], program: Program, style: Style, index: int, value: int
) -> LiteralPair:
    first = writer(program, style)
    pieces = first.write()
    written = sorted(first.literals)
    # From the one drawn on: the values of some forms are few, and may be spelled alike.
    for number in (*written[index % len(written) :], *written):
        literal = program.literals[number]
        for step in range(256):
            changed = _with_literal(program, number, literal._replace(value=(value + step) % 256))
            second = writer(changed, style)
            other = second.write()
            if second.literals[number] != first.literals[number]:
                return LiteralPair(
                    a=render(pieces, rules=writer.rules, style=style),
                    b=render(other, rules=writer.rules, style=style),
                    literal_a=first.literals[number].replace("\n", style.newline),
                    literal_b=second.literals[number].replace("\n", style.newline),
                )
    raise AssertionError("a form of literals has one value only")


def _with_other_secret(
    writer: type[Writer], place: str, program: Program, style: Style, pair: tuple[str, str], index: int
) -> SecretPair:
    texts = []
    for secret in pair:
        text = _with_secret(writer, place, program, style, secret, index)
        if secret not in text:  # the literal drawn is one that this language does not write
            text = _with_secret(writer, place, program, style, secret, 0)
        texts.append(text)
    a, b = texts
    both = zip(a.encode(), b.encode(), strict=False)
    offset = next(at for at, (x, y) in enumerate(both) if x != y)
    return SecretPair(a=a, b=b, secret_a=pair[0], secret_b=pair[1], offset=offset, place=place)


def _with_secret(
    writer: type[Writer], place: str, program: Program, style: Style, secret: str, index: int
) -> str:
    if place == "name":
        style = replace(style, name=secret)
    elif place == "comment":
        style = replace(style, placed=(index, _PARTS[index % len(_PARTS)].format(secret)))
    elif place == "docstring":
        style = replace(style, docstring=_PARTS[index % len(_PARTS)].format(secret))
    elif place == "number":
        program = _with_literal(program, 0, Literal("number", 0, 0, secret))
    elif place in ("string", "part"):
        number = index % len(program.literals)
        text = secret if place == "string" else _PARTS[1:][index % (len(_PARTS) - 1)].format(secret)
        program = _with_literal(program, number, Literal("string", index // 8, 0, text))
    else:
        value = (
            Member(Local(0), secret, ())
            if place == "member"
            else Call("compute", (Template((secret, Local(0), ""), 1),), "")
        )
        first = program.functions[0]
        body = (first.body[0], Do(value), *first.body[1:])
        program = replace(program, functions=(first._replace(body=body), *program.functions[1:]))
    return _text(writer, program, style)
