"""MCTS* on trees that one can draw, and the values they teach beside a NumPy oracle."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.tree import (
    Node,
    Search,
    Tree,
    attraction,
    back_up,
    lessons,
    quality,
    sample_trees,
    search_trees,
    select,
)

GOAL = "rlrl"
"""What is right in a maze of lefts and rights four deep."""


class Maze:
    """Proposes in a fixed turn, and counts."""

    def __init__(self, goal: str = GOAL, depth: int = len(GOAL)) -> None:
        self.goal, self.depth = goal, depth
        self.proposed: list[str] = []
        self.judged: list[str] = []

    def propose(self, states: Sequence[str], count: int) -> list[list[str]]:
        self.proposed += list(states)
        return [[state + "lr"[i % 2] for i in range(count)] for state in states]

    def judge(self, states: Sequence[str]) -> list[bool | None]:
        self.judged += list(states)
        return [state == self.goal if len(state) == self.depth else None for state in states]

    def value(self, states: Sequence[str]) -> list[float]:
        """How far a state is along the way to the goal, as one who knows it would say."""
        return [len(state) / self.depth if self.goal.startswith(state) else 0.0 for state in states]


def found(maze: Maze, search: Search, roots: Sequence[str] = ("",)) -> list[Tree[str]]:
    return search_trees(roots, search, propose=maze.propose, value=maze.value, judge=maze.judge)


# --- the quality of a state


def oracle(distances: Sequence[int], wrong: Sequence[int]) -> list[float]:
    """v_k by the formula, step by step."""
    values = [0.0]
    for m, r in zip(distances, wrong, strict=True):
        weighted = (1 - values[-1]) / (m + 1) * (1 - 2 * r)
        values.append(float(np.maximum(values[-1] + weighted, 0)))
    return values[1:]


@given(st.integers(1, 30))
def test_along_a_right_path_quality_rises_in_equal_steps_and_is_1_at_its_end(length: int) -> None:
    value, seen = 0.0, []
    for further in reversed(range(length)):
        value = quality(value, further, wrong=False)
        seen.append(value)
    np.testing.assert_allclose(seen, np.arange(1, length + 1) / length)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1)), max_size=30))
def test_quality_is_the_formula_and_stays_between_0_and_1(steps: list[tuple[int, int]]) -> None:
    value, seen = 0.0, []
    for distance, wrong in steps:
        value = quality(value, distance, wrong=bool(wrong))
        seen.append(value)
    np.testing.assert_allclose(seen, oracle([m for m, _ in steps], [r for _, r in steps]))
    assert all(0 <= v <= 1 + 1e-12 for v in seen)


def test_a_wrong_step_takes_what_a_right_one_gives_and_never_more_than_there_is() -> None:
    assert quality(0.5, 1, wrong=False) == pytest.approx(0.75)
    assert quality(0.5, 1, wrong=True) == pytest.approx(0.25)
    assert quality(0.1, 0, wrong=True) == 0
    assert quality(1.0, 3, wrong=True) == 1, "where nothing is missing nothing can be lost"


def planted(*paths: tuple[str, bool | None]) -> Tree[str]:
    """A tree of these states, with what the judge said of the last one of each path."""
    tree = Tree(root=Node(state=""))
    for path, right in paths:
        node = tree.root
        for end in range(1, len(path) + 1):
            node = node.add(path[:end])
        node.right = right
    return tree


def test_the_lessons_of_a_tree_drawn_by_hand() -> None:
    """Right after three steps, a wrong end beside the last one, and a branch that was never finished."""
    tree = planted(("abc", True), ("abd", False), ("xy", None))
    taught = dict(lessons(tree))
    assert set(taught) == {"a", "ab", "abc", "abd", "x", "xy"}
    assert [taught[s] for s in ("a", "ab", "abc")] == pytest.approx([1 / 3, 2 / 3, 1])
    # From `ab` one step was missing, and so it is behind the wrong one: 2/3 - (1/3) / 2.
    assert taught["abd"] == pytest.approx(1 / 2)
    assert taught["x"] == taught["xy"] == 0


def test_the_distance_is_that_of_the_nearest_solution() -> None:
    paths = (("abcdef", True), ("abx", True))
    taught = dict(lessons(planted(*paths)))
    assert taught == dict(lessons(planted(*reversed(paths))))
    assert taught["a"] == pytest.approx(1 / 3), "two steps further to `abx`, and not five"
    assert taught["abx"] == pytest.approx(1)
    assert taught["abcdef"] == pytest.approx(1)


def test_where_nothing_was_right_nothing_is_taught() -> None:
    assert lessons(planted(("ab", False), ("ac", None))) == []


# --- the search


def test_selection_is_by_value_and_exploration() -> None:
    search = Search(epsilon=0.5, unvisited=0.9)
    root = Node(state="", visits=8)
    seen = Node(state="a", parent=root, value=0.4, visits=2)
    new = Node(state="b", parent=root, value=0.1)
    root.children = [seen, new]
    assert attraction(seen, search) == pytest.approx(0.4 + 0.5 * math.sqrt(2 * math.log(8) / 2))
    assert attraction(new, search) == pytest.approx(1.0)
    assert select(root, search) is seen
    assert select(root, Search(epsilon=0.0, unvisited=0.9)) is new
    seen.right = False
    assert select(root, search) is new
    new.right = False
    assert select(root, search) is root, "nothing leads on: it is continued anew"


def test_a_visit_is_counted_up_to_the_root_and_values_are_means_by_visits() -> None:
    root = Node(state="")
    left, right = root.add("l"), root.add("r")
    left.value, left.visits, right.value, right.visits = 0.8, 2, 0.2, 0
    right.value = 0.5
    back_up(right)
    assert (root.visits, left.visits, right.visits) == (1, 2, 1)
    assert root.value == pytest.approx((2 * 0.8 + 1 * 0.5) / 3)
    assert right.value == 0.5


def test_what_was_never_visited_has_no_say_in_the_mean() -> None:
    root = Node(state="")
    left, right = root.add("l"), root.add("r")
    left.value, right.value = 0.8, 0.1
    back_up(left)
    assert root.value == pytest.approx(0.8)


@pytest.mark.parametrize(("alpha", "wanted"), [(0.0, 0.25), (0.5, 0.375), (1.0, 0.5)])
def test_a_rollout_mixes_the_best_value_it_met(alpha: float, wanted: float) -> None:
    (tree,) = found(Maze(), Search(budget=1, branch=2, rollout=1, alpha=alpha))
    rolled = next(c for c in tree.root.children if c.state == "r")
    assert rolled.value == pytest.approx(wanted)
    assert tree.root.value == pytest.approx(wanted)


def test_one_who_knows_the_way_walks_it() -> None:
    maze = Maze()
    (tree,) = found(maze, Search(budget=100, branch=2, rollout=1, epsilon=0.0, unvisited=0.0))
    assert tree.solution == GOAL
    assert maze.proposed == ["", "r", "rl", "rlr"]
    assert tree.calls == 8


def test_no_more_than_the_budget_and_the_round_that_is_begun() -> None:
    for budget in (1, 5, 6, 13):
        maze = Maze(goal="never", depth=20)
        (tree,) = found(maze, Search(budget=budget, branch=2, rollout=2))
        assert tree.solution is None
        assert budget <= tree.calls < budget + 6
        assert tree.calls == 2 * len(maze.proposed)


def test_what_is_over_is_judged_once_and_what_leads_nowhere_is_continued_anew() -> None:
    """A maze without a goal: the search goes on to the end of its budget, and knows every state it has seen."""
    maze = Maze(goal="none", depth=3)
    (tree,) = found(maze, Search(budget=60, branch=2, rollout=1))
    assert set(maze.proposed) == {"", "l", "ll", "lr", "r", "rl", "rr"}
    assert len(maze.proposed) == 30
    assert len(maze.judged) == len(set(maze.judged)) == 14
    assert tree.root.value < 0.1, "what led nowhere is worth nothing"


def test_equal_proposals_are_one_state_and_are_paid_for() -> None:
    maze = Maze()
    (tree,) = found(maze, Search(budget=1, branch=5, rollout=0))
    assert [c.state for c in tree.root.children] == ["l", "r"]
    assert tree.calls == 5


def test_trees_searched_together_are_those_searched_alone() -> None:
    class Both(Maze):
        def judge(self, states: Sequence[str]) -> list[bool | None]:
            return [s in ("1rr", "2ll") if len(s) == 3 else None for s in states]

        def value(self, states: Sequence[str]) -> list[float]:
            return [(hash_of(s) % 97) / 97 for s in states]

    def hash_of(state: str) -> int:
        return sum(ord(c) * 31**i for i, c in enumerate(state))

    search = Search(budget=40, branch=2, rollout=1)
    together = found(Both(), search, ["1", "2"])
    alone = [found(Both(), search, [root])[0] for root in ("1", "2")]
    for one, other in zip(together, alone, strict=True):
        assert (one.solution, one.calls) == (other.solution, other.calls)
        assert [(n.state, n.value, n.visits) for n in one.root.walk()] == [
            (n.state, n.value, n.visits) for n in other.root.walk()
        ]


def test_a_value_that_knows_finds_more_than_one_that_does_not() -> None:
    """The point of the method, in a maze: at a budget where the one gets there, the other does not."""
    maze = Maze(goal="rrrrrrrr", depth=8)
    search = Search(budget=32, branch=2, rollout=1, epsilon=0.2, unvisited=0.2)
    told = search_trees([""], search, propose=maze.propose, value=maze.value, judge=maze.judge)
    blind = search_trees([""], search, propose=maze.propose, value=lambda s: [0.5] * len(s), judge=maze.judge)
    assert told[0].solution == maze.goal
    assert blind[0].solution is None


def test_best_of_n_draws_until_it_is_right_or_the_budget_is_spent() -> None:
    rng = np.random.default_rng(0)

    def propose(states: Sequence[str], count: int) -> list[list[str]]:
        assert count == 1
        return [[state + "lr"[rng.integers(2)]] for state in states]

    maze = Maze()
    (tree,) = sample_trees([""], 400, 4, propose=propose, judge=maze.judge)
    assert tree.solution == GOAL
    assert tree.calls % 4 == 0
    assert dict(lessons(tree))[GOAL] == pytest.approx(1)
    (tree,) = sample_trees([""], 30, 4, propose=propose, judge=lambda s: [len(x) == 4 and None for x in s])
    assert tree.solution is None
    assert tree.calls == 32


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"budget": 0}, "`budget` to be at least 1, got 0"),
        ({"branch": 0}, "`branch` to be at least 1, got 0"),
        ({"rollout": -1}, "`rollout` to be at least 0, got -1"),
        ({"alpha": 1.5}, "`alpha` to be a share, 0 to 1, got 1.5"),
        ({"epsilon": -0.1}, "`epsilon` not to be negative, got -0.1"),
        ({"unvisited": -1}, "`unvisited` not to be negative, got -1"),
    ],
)
def test_what_cannot_be_meant_is_refused(setting: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Search(**setting)
