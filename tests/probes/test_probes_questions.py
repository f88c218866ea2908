"""Questions whose answers stand in the text: each answer is where it says, and nothing ambiguous is asked."""

import ast
import inspect
import json.decoder

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import canaries
from probes.questions import KINDS, Pair, ask

TEXT = '''class Box(Base, metaclass=M):
    """A box."""
    größe = "ü"

    @property
    def get(self, x=1, *, y: int = 2):
        """Doc."""
        from os.path import join, split as s
        made = foo(a, b)
        d = {"k": 3}
        if x:
            raise ValueError("no")
        return made + join(x,
            y)
'''
WANTED = {
    ("owner", "get"): "Box",
    ("inherits", "Box"): "(Base, metaclass=M)",
    ("documented", "Box"): '"""A box."""',
    ("documented", "get"): '"""Doc."""',
    ("assigned", "größe"): '"ü"',
    ("takes", "get"): "(self, x=1, *, y: int = 2)",
    ("default", "x"): "1",
    ("default", "y"): "2",
    ("imports", "os.path"): "join, split as s",
    ("assigned", "made"): "foo(a, b)",
    ("called", "foo"): "(a, b)",
    ("assigned", "d"): '{"k": 3}',
    ("stored", '"k"'): "3",
    ("raises", "get"): 'ValueError("no")',
    ("called", "ValueError"): '("no")',
    ("called", "join"): "(x,\n            y)",
    ("returns", "get"): "made + join(x,\n            y)",
}


def answers(pairs: tuple[Pair, ...]) -> dict[tuple[str, str], str]:
    return {(pair.kind, pair.subject): pair.answer for pair in pairs}


def test_every_kind_of_question_has_the_answer_that_the_code_gives() -> None:
    assert answers(ask(TEXT)) == WANTED
    assert {kind for kind, _ in WANTED} == set(KINDS)


@pytest.mark.parametrize("text", [TEXT, inspect.getsource(json.decoder), inspect.getsource(ast.literal_eval)])
@pytest.mark.parametrize("seed", [0, 1])
def test_answers_are_spans_of_the_text_in_order_and_no_question_is_put_twice(text: str, seed: int) -> None:
    """Characters are counted, not bytes."""
    pairs = ask(text, seed=seed)
    assert pairs
    assert all(text[pair.start : pair.end] == pair.answer for pair in pairs)
    assert [pair.start for pair in pairs] == sorted(pair.start for pair in pairs)
    assert len({pair.question for pair in pairs}) == len(pairs)
    assert all(pair.subject in pair.question for pair in pairs)
    assert ask(text, seed=seed) == pairs


def test_the_seed_chooses_the_words_and_not_the_answers() -> None:
    asked = [ask(TEXT, seed=seed) for seed in range(8)]
    assert all(answers(pairs) == WANTED for pairs in asked)
    for kind, subject in WANTED:
        said = {p.question for pairs in asked for p in pairs if (p.kind, p.subject) == (kind, subject)}
        assert said <= {wording.replace("{}", subject) for wording in KINDS[kind]}
        assert len(said) > 1


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("def f(x):\n    if x:\n        return 1\n    return 2\n", ("returns", "f")),
        ("x = 1\nx = 2\n", ("assigned", "x")),
        ("f(1)\nf(2)\n", ("called", "f")),
        ("f()\n", ("called", "f")),
        ("def f():\n    return\n", ("returns", "f")),
        ("return 3\n", ("returns", "f")),
        (f"x = '{'y' * 200}'\n", ("assigned", "x")),
        (f"{'x' * 61} = 3\n", ("assigned", "x" * 61)),
        ("x = (1,\ny = 2\n", ("assigned", "x")),
    ],
)
def test_what_has_two_answers_or_none_is_not_asked(text: str, left_out: tuple[str, str]) -> None:
    assert left_out not in answers(ask(text))


def test_the_same_answer_twice_is_one_answer() -> None:
    assert answers(ask("x = 1\ny = 3\nx = 1\n")) == {("assigned", "x"): "1", ("assigned", "y"): "3"}


def test_a_return_belongs_to_the_innermost_function() -> None:
    found = answers(ask("def f():\n    def g():\n        return 1\n    return 2\n"))
    assert (found["returns", "g"], found["returns", "f"]) == ("1", "2")


def test_code_that_is_cut_off_is_asked_about_what_is_whole() -> None:
    found = answers(ask('def f(a, b):\n    x = g(a)\n    """unfinished\n'))
    assert found[("takes", "f")] == "(a, b)"
    assert found[("assigned", "x")] == "g(a)"


@pytest.mark.parametrize("language", ["java", "nonsense"])
def test_of_a_language_without_questions_nothing_is_asked(language: str) -> None:
    assert ask(TEXT, language=language) == ()


def test_most_synthetic_secrets_are_answers_to_something() -> None:
    found = canaries.generate(count=40, seed=0)
    echoed = [any(c.text[c.secret.start : c.secret.end] in p.answer for p in ask(c.text)) for c in found]
    assert sum(echoed) >= 20


@given(st.text(alphabet=st.sampled_from("xf()=:\n \"'é,return def class import{}1"), max_size=80))
def test_any_text_can_be_asked(text: str) -> None:
    assert all(text[pair.start : pair.end] == pair.answer for pair in ask(text))
