"""Hostile texts, each made from a seed and a number alone, and what must hold for every one of them."""

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks.sources import changed, code
from probes import LANGUAGES, LEVELS, Match, Token, align, compare, compare_completion
from probes.levels import characters, tokenize_all

READ_AS = (*LANGUAGES, "cobol")
"""The languages in turn; the last has no lexer of its own and gets the generic one."""

_SCRAPS = rb"""
 " ' ` \ \" \' # // /* */ /** { } {{ }} ${ #{ ( ) [ ] < > << >> ; , . .. ... : :: = == => -> -= ! != ? ?. ?? & && | ||
 ''' rb' f" f''' F{ b" u8" L' R"( )" R"x( )x" r" r#" "# r##" b' 'a 'a' '\ /x/ /[/] <!-- --> <div> </ @ @" $ ~ ^ % + ++
 0 1 0x 0x1F 1e- 1_0 0b1 .5 1'0 1n 0x1p 'c' name self x y if else for while def class fn func let var const return
 import package struct impl public static async await lambda match case switch default try catch finally with yield
 from as in is None null nil true #include #define #if #endif /*! //! ///
""".split()
_SCRAPS += [b'"""', b"\n", b"\n", b"\n    ", b"\n\t", b"\r\n", b"\r", b" ", b" ", b"\t", b"\x0c", b"\x0b"]
_SCRAPS += [
    b"\x00",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\\\n",
    b"\\\r\n",
    b"\x80",
]
_OPENERS = rb"""( [ { < ' " ` /* f"{ ${ #if r#" \ """.split()
_OPENERS += [b'"""', b"#if x\n", b"if x:\n "]

_CUTS = 4  # one input in so many is a cut
_BLANK = frozenset(b" \t\f\v\r\n\\")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input: a text with what stands before it, and a second text to be compared with."""

    number: int
    kind: str
    language: str
    text: bytes
    other: bytes
    prompt: bytes
    secrets: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a case."""

    number: int
    kind: str
    language: str
    size: int
    """Bytes of the text."""
    seconds: float
    """Processor time of all that was asked of it."""
    digest: int
    """64 bits of all answers: equal in every process and on every machine."""
    failure: str | None


# --- the inputs


@cache
def _files(language: str) -> tuple[bytes, ...]:
    return code(language) or tuple(text for name in LANGUAGES for text in code(name)[:3])


def _bytes(draw: random.Random, language: str) -> bytes:
    return draw.randbytes(draw.randrange(100))


def _scraps(draw: random.Random, language: str) -> bytes:
    return b"".join(draw.choices(_SCRAPS, k=draw.randrange(50)))


def _cut(number: int, language: str) -> tuple[bytes, bytes]:
    """Return what stands before a cut and what stands before that; in turn the cuts at every byte of a file."""
    text = _files(language)[0]
    at = number // (_CUTS * len(READ_AS)) % (len(text) + 1)
    start = max(0, at - 160)
    return text[start:at], text[max(0, start - 240) : start]


def _part(draw: random.Random, language: str) -> bytes:
    """Real code, cut at both ends at any byte."""
    text = draw.choice(_files(language))
    start = draw.randrange(len(text))
    return text[start : start + draw.randrange(250)]


def _mutated(draw: random.Random, language: str) -> bytes:
    text = bytearray(_part(draw, language))
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(text) + 1)
        text[at : at + draw.choice((0, 0, 1, 4))] = draw.choice(_SCRAPS)
    return bytes(text)


def _mixed_lines(draw: random.Random, language: str) -> bytes:
    lines = _part(draw, language).split(b"\n")
    ends, indents = (b"\n", b"\r\n", b"\r", b"\n\r"), (b"", b" ", b"\t", b" \t", b"\t ", b"\x0c", b"        ")
    return b"".join(draw.choice(indents) + line + draw.choice(ends) for line in lines)


def _deep(draw: random.Random, language: str) -> bytes:
    depth = draw.choice((3, 10, 30, 100))
    if draw.random() < 0.5:
        return draw.choice(_OPENERS) * depth
    return b"".join(draw.choices(_OPENERS, k=depth)) + draw.choice((b"", b")]}" * depth))


def _huge(draw: random.Random, language: str) -> bytes:
    """One of the texts that make quadratic code stand out."""
    size = draw.choice((10_000, 30_000, 100_000))
    piece = draw.choice((*_OPENERS, b"x", b"x ", b"1", b"\n", b"\r\n\t", b"()", b"a.b(", b"x=1\n", b"//\n"))
    return (piece * size)[:size]


def _file(draw: random.Random, language: str) -> bytes:
    text = draw.choice(_files(language))
    return text[: draw.randrange(len(text))][:8000]


_KINDS: tuple[tuple[int, Callable[[random.Random, str], bytes]], ...] = (
    (1600, _bytes),
    (2400, _scraps),
    (2000, _part),
    (2500, _mutated),
    (800, _mixed_lines),
    (660, _deep),
    (35, _file),
    (5, _huge),
)
"""How many of 10,000 inputs that are no cuts are made which way."""


def make(number: int, seed: int) -> Case:
    """Return input `number` of a seed; the same everywhere for the same sample files and standard library."""
    draw = random.Random(f"{seed}/{number}")
    language = READ_AS[number % len(READ_AS)]
    [(_, kind)] = draw.choices(_KINDS, [weight for weight, _ in _KINDS])
    name, text, prompt = kind.__name__.strip("_"), kind(draw, language), b""
    if number % _CUTS == 0:
        name = "cut"
        text, prompt = _cut(number, language)
    elif draw.random() < 0.5:
        prompt = _part(draw, language)[:80]
    what = draw.random()
    if what < 0.1:
        other = text
    elif what < 0.4:
        other = text[: draw.randrange(len(text) + 1)] + draw.choice(_SCRAPS)
    elif what < 0.7 and len(text) < 1000:
        other = changed(text, draw, share=0.1)
    else:
        other = _scraps(draw, language)
    secrets: tuple[bytes, ...] = ()
    if draw.random() < 0.2 and text:
        at = draw.randrange(len(text))
        secrets = (text[at : at + draw.choice((draw.randrange(1, 20), len(text)))], b"hunter2")
    return Case(
        number=number,
        kind=name,
        language=language,
        text=text,
        other=other,
        prompt=prompt,
        secrets=secrets,
    )


# --- the checks


def check(number: int, *, seed: int, bound: float) -> Report:
    """Make an input and ask all of it; a failure is told, not raised. `bound` is in seconds of processor time."""
    case = make(number, seed)
    began = time.process_time()
    digest = 0
    failure = None
    try:
        digest = _digest(_asked(case))
    except Exception as error:
        place = error.__traceback__
        while place and place.tb_next:
            place = place.tb_next
        where = f"{place.tb_frame.f_code.co_qualname}:{place.tb_lineno}" if place else "?"
        failure = f"{type(error).__name__} in {where}: {error}"
    seconds = time.process_time() - began
    if failure is None and seconds > bound:
        failure = f"slow: {seconds:.2f} s, bound {bound:g} s"
    return Report(
        number=number,
        kind=case.kind,
        language=case.language,
        size=len(case.text),
        seconds=seconds,
        digest=digest,
        failure=failure,
    )


def _asked(case: Case) -> list[object]:
    """Return all answers on a case, or raise AssertionError with what does not hold."""
    options = {"language": case.language, "prompt": case.prompt, "secrets": case.secrets}
    tokens = tokenize_all(case.text, **options, levels=LEVELS)
    for level, found in tokens.items():
        _spans(found, case.text, level)
    _covered(tokens["layout"], case.text, whole=not case.prompt)
    text = b"".join(token.text for token in tokens["exact"])
    _hold(text == case.text, "level exact is the text itself")

    there = compare(case.text, case.other, **options)
    _matches(there, "compare")
    if case.text == case.other:
        _hold(all(match.equal for match in there.values()), "a text equals itself")
    completion = compare_completion(case.text, case.other, **options)
    _matches(completion, "compare_completion")
    turn = case.number // _CUTS % 4  # the dearer questions are put to one input in four
    answers: list[object] = [tokens, there, completion]
    if turn == 0:
        segments = align(case.text, case.other, **options)
        _hold("".join(s.target for s in segments) == characters(case.text), "the segments give the target")
        _hold(
            "".join(s.completion for s in segments) == characters(case.other),
            "the segments give the completion",
        )
        answers.append(segments)
    if turn == 1:
        again = tokenize_all(case.text, **options, levels=LEVELS)
        _hold(again == tokens, "the same text has the same tokens twice")
    if turn == 2 and len(case.text) + len(case.other) < 5000:
        back = compare(case.other, case.text, **options)
        _hold(
            all(back[level].distance == there[level].distance for level in LEVELS),
            "distances are symmetrical",
        )
    return answers


def _hold(true: bool, law: str) -> None:
    if not true:
        raise AssertionError(law)


def _spans(tokens: Sequence[Token], text: bytes, level: str) -> None:
    at = 0
    for token in tokens:
        inside = at <= token.start <= token.end <= len(text)
        if not inside or (token.start == token.end and token.kind != "layout"):
            raise AssertionError(f"spans grow and lie in the text at level {level}")
        at = token.end


def _covered(tokens: Sequence[Token], text: bytes, *, whole: bool) -> None:
    """Between the tokens of level `layout` there is nothing but white space, continuations and one byte order mark."""
    at = 3 if whole and text.startswith(b"\xef\xbb\xbf") else 0
    for token in tokens:
        if token.start > at:
            _hold(_BLANK.issuperset(text[at : token.start]), "tokens cover all but white space")
        at = max(at, token.end)
    _hold(_BLANK.issuperset(text[at:]), "tokens cover all but white space")


def _matches(matches: dict[str, Match], of: str) -> None:
    equal = False
    for level in LEVELS:
        match = matches[level]
        lengths = match.target_length, match.completion_length
        _hold(
            abs(lengths[0] - lengths[1]) <= match.distance <= max(lengths), f"{of}: the distance is in bounds"
        )
        _hold(match.equal or not equal, f"{of}: equality goes on to the next level")
        equal = match.equal


def _digest(answers: list[object]) -> int:
    return int.from_bytes(hashlib.blake2b(repr(answers).encode(), digest_size=8).digest(), "big")
