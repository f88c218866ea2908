"""Questions about a text whose answers stand in it, word for word: what does this return, what is assigned to that.

The grammar's tree is asked, and `grammars/<language>/questions.scm` says what of it can be: so far only Python has
one. A question is asked where the text has one answer to it; one that would have two is left out. Code that is cut off
is asked about what is whole in it.

Instruction Pre-Training (arXiv 2406.14491) has a language model make such pairs. These are made by rule: the mechanism
is that of the paper, and the quality of its pairs is not claimed.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from probes.languages import LANGUAGES, grammar

if TYPE_CHECKING:
    import tree_sitter

KINDS = {
    "returns": (
        "What does `{}` return?",
        "Which value does `{}` give back?",
        "Write down what `{}` returns.",
    ),
    "raises": (
        "What does `{}` raise?",
        "Which exception comes out of `{}`?",
        "Write down what `{}` raises.",
    ),
    "takes": (
        "Which parameters does `{}` have?",
        "What does `{}` take?",
        "Write down the parameters of `{}`.",
    ),
    "documented": (
        "What is the docstring of `{}`?",
        "How is `{}` documented?",
        "Write down the docstring of `{}`.",
    ),
    "inherits": (
        "What does class `{}` inherit from?",
        "Which bases does `{}` have?",
        "Write down the bases of `{}`.",
    ),
    "owner": (
        "Which class has the method `{}`?",
        "In which class is `{}` defined?",
        "Name the class of the method `{}`.",
    ),
    "assigned": (
        "What is assigned to `{}`?",
        "Which value does `{}` get?",
        "Complete the assignment to `{}`.",
    ),
    "default": (
        "What is the default of `{}`?",
        "Which value has `{}` if none is given?",
        "Write down the default of `{}`.",
    ),
    "stored": (
        "What is stored under `{}`?",
        "Which value has the key `{}`?",
        "Write down the value of the key `{}`.",
    ),
    "called": ("What is `{}` called with?", "Which arguments does `{}` get?", "Complete the call of `{}`."),
    "imports": (
        "Which names are imported from `{}`?",
        "What is taken from `{}`?",
        "Write down what is imported from `{}`.",
    ),
}
"""Kind of question -> its wordings; the braces stand for the subject."""

_LONGEST_ANSWER = 160  # characters; what is longer is a text and no answer
_LONGEST_SUBJECT = 60


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A question about a text, and the answer that stands in it."""

    kind: str
    """One of `KINDS`."""
    subject: str
    """What it is about, as the text spells it."""
    question: str
    answer: str
    """``text[start:end]``."""
    start: int
    """First character of the answer in the text."""
    end: int
    """The character after its last."""


def ask(text: str, *, language: str = "python", seed: int = 0) -> tuple[Pair, ...]:
    """All that can be asked of a text, in the order of the answers; nothing in a language without questions.

    `seed` chooses among the wordings, for each question by itself. Raises MissingGrammar if the wheel of the
    language's grammar is not installed.
    """
    answers: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    if _can_be_asked(language):
        for kind, subject, start, end in _facts(text.encode(), language):
            answers.setdefault((kind, subject), {}).setdefault(text[start:end], (start, end))
    found = []
    for (kind, subject), spans in answers.items():
        if len(spans) > 1:
            continue
        answer, (start, end) = next(iter(spans.items()))
        wording = random.Random(f"{seed} {kind} {subject}").choice(KINDS[kind])
        question = wording.replace("{}", subject)
        found.append(Pair(kind=kind, subject=subject, question=question, answer=answer, start=start, end=end))
    return tuple(sorted(found, key=lambda pair: (pair.start, pair.end, pair.kind, pair.subject)))


def _can_be_asked(language: str) -> bool:
    folder = resources.files("probes") / "grammars" / language
    return language in LANGUAGES and (folder / "questions.scm").is_file()


def _facts(data: bytes, language: str) -> Iterator[tuple[str, str, int, int]]:
    """Kind, subject, and span of the answer in characters, of all that the query finds whole and short enough."""
    import tree_sitter

    known = grammar(language)
    root = known.parse(data).root_node
    imports: dict[tuple[int, int], list[tree_sitter.Node]] = {}
    for _, captures in tree_sitter.QueryCursor(known.query("questions")).matches(root):
        kind = next(name for name in captures if name != "subject")
        answer = captures[kind][0]
        subject = captures["subject"][0] if "subject" in captures else _function_around(answer)
        if subject is None or not all(map(_is_whole, (subject, answer))):
            continue
        if kind == "imports":  # one match for each name, and one answer: all of them
            imports.setdefault((subject.start_byte, subject.end_byte), []).append(answer)
        else:
            yield from _fact(
                data, kind, (subject.start_byte, subject.end_byte), answer.start_byte, answer.end_byte
            )
    for place, names in imports.items():
        yield from _fact(
            data, "imports", place, min(n.start_byte for n in names), max(n.end_byte for n in names)
        )


def _fact(
    data: bytes, kind: str, subject: tuple[int, int], start: int, end: int
) -> Iterator[tuple[str, str, int, int]]:
    about, answer = data[slice(*subject)].decode(), data[start:end].decode()
    short = len(about) <= _LONGEST_SUBJECT and len(answer) <= _LONGEST_ANSWER
    if short and "\n" not in about and any(map(str.isalnum, answer)):
        first = len(data[:start].decode())
        yield kind, about, first, first + len(answer)


def _is_whole(node: "tree_sitter.Node") -> bool:
    """Tell whether the parser mended nothing in a node, nor beside it, where that decides what the node is."""
    beside = node.parent.children if node.parent else ()
    return not node.has_error and not any(other.is_error or other.is_missing for other in beside)


def _function_around(node: "tree_sitter.Node") -> "tree_sitter.Node | None":
    """The name of the innermost function that a node stands in."""
    around = node.parent
    while around is not None and around.type != "function_definition":
        around = around.parent
    return None if around is None else around.child_by_field_name("name")
