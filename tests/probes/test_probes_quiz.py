"""Items of a quiz: enough of them, right by a second way of reading, and told by nothing but the repository."""

import ast
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probes_repository import repository

from probes import hygiene
from probes.graph import Graph, build
from probes.quiz import (
    KINDS,
    OPTIONS,
    Capability,
    Fact,
    Item,
    _fours,
    around,
    distance,
    facts,
    items,
    posed,
    turned,
)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return build(repository())


@pytest.fixture(scope="module")
def quiz(graph: Graph) -> tuple[Item, ...]:
    return items(graph)


def test_there_are_enough_items_of_all_kinds_and_capabilities(quiz: tuple[Item, ...]) -> None:
    assert len(quiz) >= 300
    assert {i.fact.kind for i in quiz} == set(KINDS)
    assert {i.kind.capability for i in quiz} == set(Capability)
    assert len({i.id for i in quiz}) == len(quiz)


def test_the_same_graph_and_seed_give_the_same_items(graph: Graph, quiz: tuple[Item, ...]) -> None:
    assert items(build(dict(reversed(repository().items())))) == quiz
    assert items(graph, seed=1) != quiz


def test_every_answer_is_derivable_from_the_graph(graph: Graph, quiz: tuple[Item, ...]) -> None:
    known = {(f.kind, f.subject): f.answer for f in facts(graph)}
    for item in quiz:
        assert item.options[item.right] == known[item.fact.kind, item.fact.subject]
        assert len(set(item.options)) == OPTIONS


def test_answers_are_what_python_itself_says(graph: Graph, quiz: tuple[Item, ...]) -> None:
    trees = {path: ast.parse(text) for path, text in graph.files.items()}
    names = {
        n.name: (p, n)
        for p, t in trees.items()
        for n in ast.walk(t)
        if isinstance(n, ast.FunctionDef | ast.ClassDef)
    }
    checked = Counter[str]()
    for item in quiz:
        kind, subject, answer = item.fact.kind, item.fact.subject, item.fact.answer
        path, node = names.get(subject[0].rpartition(".")[2], ("", None))
        if kind == "file":
            assert answer == path
        elif kind == "parameter":
            assert isinstance(node, ast.FunctionDef)
            assert answer == node.args.args[-1].arg
        elif kind == "purpose":
            assert isinstance(node, ast.FunctionDef | ast.ClassDef)
            assert answer == ast.get_docstring(node)
        elif kind == "first":
            assert node is not None
            called = [
                c.func.id for c in ast.walk(node) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)
            ]
            assert answer == called[0]
        elif kind == "base":
            assert isinstance(node, ast.ClassDef)
            assert answer == ast.unparse(node.bases[0])
        else:
            continue
        checked[kind] += 1
    assert set(checked) == {"file", "parameter", "purpose", "first", "base"}


def test_the_answer_stands_in_the_clue(graph: Graph, quiz: tuple[Item, ...]) -> None:
    for item in quiz:
        start, end = item.fact.clue
        assert 0 <= start < end <= len(graph.files[item.fact.path])
        if item.fact.kind in ("constant", "purpose", "parameter", "first", "then", "next", "base"):
            assert item.fact.answer.rpartition(".")[0 if item.fact.answer.endswith(".") else 2] in around(
                graph, item, 0
            )
        assert distance(graph, item) >= 0


def test_reasoning_has_its_steps(quiz: tuple[Item, ...]) -> None:
    for item in quiz:
        if item.fact.kind == "distance":
            assert len(item.fact.steps) == int(item.fact.answer)
        assert bool(item.fact.steps) == (item.kind.task == "reasoning")


def test_items_come_in_fours_that_differ_in_nothing_but_the_answer(quiz: tuple[Item, ...]) -> None:
    fours = [quiz[at : at + OPTIONS] for at in range(0, len(quiz), OPTIONS)]
    for four in fours:
        assert len({(i.fact.kind, i.options) for i in four}) == 1
        assert [i.right for i in four] == list(range(OPTIONS))


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(0, 99))
def test_as_many_fours_as_there_can_be_are_dealt(times: list[int], seed: int) -> None:
    """As many as can be filled with no text twice in one; `times` says how often each text is an answer."""
    given = [
        Fact(kind="file", subject=(f"{text} {n}",), answer=str(text), path="p", clue=(0, 1))
        for text, count in enumerate(times)
        for n in range(count)
    ]
    fours = _fours(given, random.Random(seed))
    assert all(len({fact.answer for fact in four}) == len(four) == OPTIONS for four in fours)
    assert len({fact.subject for four in fours for fact in four}) == OPTIONS * len(fours)
    possible = [n for n in range(sum(times) + 1) if sum(min(count, n) for count in times) >= OPTIONS * n]
    assert len(fours) == max(possible)


def test_no_more_of_a_kind_than_asked_for(graph: Graph) -> None:
    counts = Counter(i.fact.kind for i in items(graph, most=9))
    assert set(counts) == set(KINDS)
    assert set(counts.values()) <= {4, 8}


def test_four_turns_put_every_option_everywhere_once(quiz: tuple[Item, ...]) -> None:
    item = quiz[0]
    all_turns = [turned(item, by) for by in range(OPTIONS)]
    assert sorted(t.right for t in all_turns) == list(range(OPTIONS))
    assert {t.options[t.right] for t in all_turns} == {item.fact.answer}
    assert {t.options.index(item.options[0]) for t in all_turns} == set(range(OPTIONS))
    assert item.options[2] in posed(item, listed=True)
    assert item.options[2] not in posed(item)


@given(st.integers(0, 2**32))
def test_whoever_sees_the_options_alone_is_right_in_one_of_four(
    graph: Graph, quiz: tuple[Item, ...], seed: int
) -> None:
    """Whatever he makes of a text: here a score of its own for each text in each place, with ties."""
    made, luck = {}, random.Random(seed)

    def solver(item: Item) -> list[float]:
        return [made.setdefault((place, text), luck.randrange(3)) for place, text in enumerate(item.options)]

    for name, by in {
        **hygiene.OPTION_ONLY,
        "popular": hygiene.popular(items(graph, seed=1)),
        "any": solver,
    }.items():
        for kind in KINDS:
            own = [i for i in quiz if i.fact.kind == kind]
            assert hygiene.accuracy(own, by) == pytest.approx(hygiene.CHANCE), (name, kind)


def _city(distance: int) -> Item:
    """Options as CityEval has them."""
    options = [str(n) for n in (distance // 2, distance, 2 * distance, distance + 500)]
    fact = Fact(kind="distance", subject=("a", "b"), answer=str(distance), path="a", clue=(0, 1))
    return Item(id=str(distance), fact=fact, question="How far?", options=tuple(options), right=1)


def test_the_options_of_cityeval_would_be_caught() -> None:
    leaky = [turned(_city(d), d % 4) for d in range(1200, 4000, 14)]
    assert hygiene.accuracy(leaky, hygiene.arithmetic) == 1
    assert hygiene.leaking(leaky, hygiene.arithmetic) == {"distance"}


def test_answers_that_are_frequent_would_be_caught(graph: Graph, quiz: tuple[Item, ...]) -> None:
    lopsided = [replace(i, options=(i.options[i.right], "x", "y", "z"), right=0) for i in quiz]
    assert hygiene.accuracy(lopsided, hygiene.popular(lopsided)) == 1


def test_names_that_tell_are_caught() -> None:
    told = [
        replace(_city(d), question=f"What is {d} for?", options=("abc", str(d), "xyz", "uvw"))
        for d in range(1000, 1040)
    ]
    assert hygiene.leaking(told, hygiene.echo) == {"distance"}


def test_the_filter_takes_out_what_all_controls_know_and_no_more() -> None:
    four = [_city(d) for d in (1000, 1200, 1400, 1600)]
    blind = np.array([[True, True, False, False], [True, False, True, False]])
    assert hygiene.filtered(four, blind) == tuple(four[1:])
    with pytest.raises(ValueError, match="of one control or more to 4 items each, got"):
        hygiene.filtered(four, blind[:, :3])


def test_after_the_filter_an_untrained_control_is_at_chance(quiz: tuple[Item, ...]) -> None:
    rng = np.random.default_rng(0)
    guesses = rng.integers(4, size=(3, len(quiz))) == [i.right for i in quiz]
    left = hygiene.filtered(quiz, guesses)
    assert len(left) >= 300
    other = dict(zip(quiz, rng.integers(4, size=len(quiz)).tolist(), strict=True))
    share = np.mean([other[i] == i.right for i in left])
    assert abs(share - hygiene.CHANCE) <= hygiene.margin(len(left))
