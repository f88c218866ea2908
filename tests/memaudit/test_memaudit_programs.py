"""Functions with doctests as problems, and the family of small ones."""

import ast
import doctest
import re

import pytest

from memaudit.programs import DETOUR, generate, is_last, read
from memaudit.sandbox import Said, Sandbox, Task

TEXT = """def f(x):
    '''Double.

    >>> f(2)
    4
    >>> f("a")
    'aa'
    '''
    y = x * 2
    return y
"""


def test_a_problem_is_the_docstring_and_its_steps_put_it_together_again() -> None:
    problem = read(TEXT)
    assert problem.head.endswith("'''")
    assert problem.calls == ("f(2)", 'f("a")')
    assert problem.wanted == ("4", "'aa'")
    assert problem.steps == ("\n    y = x * 2", "\n    return y")
    assert problem.text(problem.steps) == TEXT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "expected Python that parses"),
        ("x = 1\n", "expected a function with a docstring"),
        ("", "expected a function with a docstring"),
        ("def f(x):\n    return x\n", "expected a function with a docstring"),
        ('def f(x):\n    """Nothing."""\n', "expected a docstring with doctest examples"),
        ('def f(x):\n    """\n    >>> y = f(1)\n    """\n', "with a value, got 'y = f\\(1\\)'"),
        (
            'def f(x):\n    """\n    >>> f(1)\n    Traceback (most recent call last):\n    E: x\n    """\n',
            "got 'f",
        ),
    ],
)
def test_what_is_no_problem_is_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("step", "last"),
    [
        ("\n    return x", True),
        ("\n    return", True),
        ("\n    return(x)", True),
        ("\n    returned = 1", False),
        ("\n        return x", False),
        ("\n    x = 1", False),
        ("", False),
    ],
)
def test_a_function_ends_where_it_returns_from_its_own_block(step: str, last: bool) -> None:
    assert is_last(step) == last


def test_every_program_of_the_family_passes_its_doctest_in_this_interpreter_and_in_the_sandbox() -> None:
    programs = generate(60, 3, detours=0.5)
    problems = [read(p.text) for p in programs]
    with Sandbox() as sandbox:
        said = sandbox.run(
            [Task(code=p.text, calls=q.calls) for p, q in zip(programs, problems, strict=True)]
        )
    assert said == [Said(q.wanted) for q in problems]
    for program in programs[:10]:
        space: dict = {}
        exec(program.text, space)
        (test,) = doctest.DocTestFinder().find(
            next(v for k, v in space.items() if k != "__builtins__"), "f", module=False, globs=space
        )
        assert doctest.DocTestRunner().run(test).failed == 0


def test_comments_say_what_a_step_makes_and_a_detour_comes_back() -> None:
    programs = generate(200, 0, detours=0.5)
    assert len({p.text for p in programs}) == len({p.name for p in programs}) == 200
    detours = [p for p in programs if p.name.startswith(DETOUR)]
    assert 40 < len(detours) < 100
    for program in programs:
        problem = read(program.text)
        found = re.fullmatch(r"\w+\((\d+)\)", problem.calls[0])
        assert found
        value, odd = int(found[1]), []
        for step in problem.steps[:-1]:
            code, _, comment = step.partition("#")
            operator, by = code.split()[1][0], code.split()[2]
            value = {"+": value + int(by), "-": value - int(by), "*": value * int(by)}[operator]
            assert value == int(comment)
            assert 0 <= value <= 40
            if int(by) > 7:
                odd.append(int(by))
        assert len(odd) == (2 if program in detours else 0)
        assert len(set(odd)) <= 1
        ast.parse(program.text)


def test_the_same_seed_draws_the_same_programs() -> None:
    assert generate(20, 5) == generate(20, 5)
    assert generate(20, 5) != generate(20, 6)
    assert not any(p.name.startswith(DETOUR) for p in generate(20, 5))
