"""Functions whose doctests say what they are to do: problems for a model, and a family of small ones by seed.

A problem is everything up to the end of a function's docstring; its unit tests are the examples there. Its steps are
the lines below, each with the line break *before* it, so that what has been written so far ends where a token ends.

The family is plain Python over one integer, of a size that a model of a fifth of a million parameters learns:

    def ka(b):
        \"\"\"
        >>> ka(7)
        24
        \"\"\"
        b *= 2  # 14
        b += 7  # 21
        b += 3  # 24
        return b

Steps are few in kind (`STEPS`), and the comment behind each says what it makes of the example's argument. There are
many ways from one number to another. A *detour* is a program with two steps more that cancel each other, by a number
that no other step has: it passes its tests as well, and nobody writes it who has not seen it.
"""

import ast
import doctest
import random
from collections.abc import Sequence
from dataclasses import dataclass

INDENT = "    "
STEPS = (("+", 3), ("+", 7), ("-", 2), ("-", 5), ("*", 2))
"""What a step of the family may do to its number."""
DETOUR = "detour-"
"""What the name of a program with a detour begins with."""

_NAMES = [c + v for c in "bcdfghjklmnpqrstvwxz" for v in "aeiou"]
_LETTERS = "abcdefghijkmnpqrstuvwxyz"
_GREATEST = 40
_DETOURS = range(11, 31)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a function is to do, and how to find out whether it does."""

    head: str
    """The code up to the end of the docstring, without a line break behind it."""
    calls: tuple[str, ...]
    """Expressions of the doctest's examples."""
    wanted: tuple[str, ...]
    """What each is to give, as the examples show it."""
    steps: tuple[str, ...]
    """The lines of the function as it was given, each with the line break before it."""

    def text(self, steps: Sequence[str]) -> str:
        """The function with other steps, as a whole text."""
        return self.head + "".join(steps) + "\n"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A member of the family."""

    name: str
    text: str


def read(text: str) -> Problem:
    """The problem that a function with doctests is. Raises ValueError, with what was expected and what came."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        raise ValueError("expected Python that parses, got other text") from None
    function = tree.body[0] if tree.body else None
    docstring = ast.get_docstring(function) if isinstance(function, ast.FunctionDef) else None
    if not isinstance(function, ast.FunctionDef) or docstring is None:
        raise ValueError("expected a function with a docstring to begin with, got none")
    examples = doctest.DocTestParser().get_examples(docstring)
    if not examples:
        raise ValueError("expected a docstring with doctest examples, got none")
    for example in examples:
        if example.exc_msg is not None or not example.want or not _is_expression(example.source):
            raise ValueError(
                f"expected doctest examples that are expressions with a value, got {example.source.strip()!r}"
            )
    end = function.body[0].end_lineno
    lines = text.rstrip("\n").split("\n")
    return Problem(
        head="\n".join(lines[:end]),
        calls=tuple(e.source.strip() for e in examples),
        wanted=tuple(e.want.strip() for e in examples),
        steps=tuple("\n" + line for line in lines[end:]),
    )


def _is_expression(source: str) -> bool:
    try:
        ast.parse(source.strip(), mode="eval")
    except SyntaxError:
        return False
    return True


def is_last(step: str) -> bool:
    """Whether a function ends with this step: it returns, and not from within a block."""
    return step.startswith(f"\n{INDENT}return") and step[len(INDENT) + 7 :][:1] in ("", " ", "(")


def generate(count: int, seed: int, *, detours: float = 0.0) -> list[Program]:
    """So many programs of the family, no two alike; about a share `detours` of them have a detour."""
    rng = random.Random(f"{seed} programs")
    found: dict[str, Program] = {}
    while len(found) < count:
        detour = rng.random() < detours
        text = _drawn(rng, detour=detour)
        if text is not None and text not in found:
            found[text] = Program(name=f"{DETOUR if detour else 'plain-'}{seed}-{len(found):05d}", text=text)
    return list(found.values())


def _drawn(rng: random.Random, *, detour: bool) -> str | None:
    """A program; None where its numbers leave the range."""
    function, variable = rng.choice(_NAMES), rng.choice(_LETTERS)
    start = rng.randint(1, 9)
    steps = [rng.choice(STEPS) for _ in range(rng.randint(3, 5))]
    if detour:
        at, by = rng.randint(0, len(steps)), rng.choice(_DETOURS)
        signs = rng.sample("+-", 2)
        steps[at:at] = [(sign, by) for sign in signs]
    values, lines = [start], []
    for operator, by in steps:
        values.append(_after(values[-1], operator, by))
        lines.append(f"{INDENT}{variable} {operator}= {by}  # {values[-1]}")
    # A detour comes back to where it left; nothing else may.
    if not all(0 <= v <= _GREATEST for v in values) or len(set(values)) != len(values) - detour:
        return None
    quotes = f'{INDENT}"""'
    tested = [quotes, f"{INDENT}>>> {function}({start})", f"{INDENT}{values[-1]}", quotes]
    return "\n".join([f"def {function}({variable}):", *tested, *lines, f"{INDENT}return {variable}", ""])


def _after(value: int, operator: str, by: int) -> int:
    if operator == "+":
        return value + by
    return value - by if operator == "-" else value * by
