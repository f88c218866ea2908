"""Tree search that a value guides, MCTS* of ReST-MCTS* (arXiv 2406.03816), and the values that its trees teach.

A state is a partial solution, anything that can be hashed. Three callables know what it means: `propose` continues it
by a step (a call of the policy for each), `value` says how good partial solutions are, `judge` says whether one is
over, and if so whether it is right. Nothing here is a model.

A round of the search walks down to a state that has no children yet, along the largest

    V + epsilon sqrt(2 ln N / n)        (a child not visited yet: V + unvisited)

where N and n are the visits of the parent and of the child; gives it children; follows the best of them greedily for a
few steps, V <- (1 - alpha) V + alpha max; and takes the mean of the children, weighted by visits, up to the root.
What is over is worth 1 or 0, and no walk leads there again; a state from which nothing else leads on is continued
anew, as a policy that draws may have more to say. The steps of a rollout stay in the tree: they are paid for. All
trees take their rounds together, so that a model is asked for all of them at once.

The quality of a state after k steps, which a value net is to learn, follows from a tree in which something was right:

    v_0 = 0,   v_k = max(v_{k-1} + w_k, 0),   w_k = (1 - v_{k-1}) / (m_k + 1) (1 - 2 r_k)

with m_k the fewest further steps to a right solution, and r_k = 1 where the step led away from all that were found.
From such a step there is no way known; its m is that of the state it left.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

S = TypeVar("S")

Propose = Callable[[Sequence[S], int], Sequence[Sequence[S]]]
"""(states, count) -> for each of them `count` states that are one step further; some may be equal."""
Value = Callable[[Sequence[S]], Sequence[float]]
"""States -> how good each is, from 0 to 1."""
Judge = Callable[[Sequence[S]], Sequence[bool | None]]
"""States -> True: over and right; False: over and wrong; None: it goes on."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How trees are searched."""

    budget: int = 48
    """Calls of the policy for each tree, the last round of which is finished."""
    branch: int = 3
    """Steps that are proposed where a state is continued."""
    rollout: int = 1
    """Steps of the greedy rollout."""
    alpha: float = 0.5
    """Weight of the best value in the rollout."""
    epsilon: float = 0.5
    """Weight of exploration."""
    unvisited: float = 0.9
    """What is added to the value of a child that was not visited yet."""

    def __post_init__(self) -> None:
        for name, least in (("budget", 1), ("branch", 1), ("rollout", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"expected `{name}` to be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"expected `alpha` to be a share, 0 to 1, got {self.alpha}")
        for name in ("epsilon", "unvisited"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected `{name}` not to be negative, got {getattr(self, name)}")


@dataclass(eq=False, kw_only=True)
class Node(Generic[S]):
    """A state in a tree."""

    state: S
    parent: "Node[S] | None" = None
    value: float = 0.0
    """V: what the value net said, and later what was found below."""
    visits: int = 0
    right: bool | None = None
    """What the judge said."""
    children: list["Node[S]"] = field(default_factory=list)

    def add(self, state: S) -> "Node[S]":
        """The child of this state, a new one where there is none."""
        for child in self.children:
            if child.state == state:
                return child
        self.children.append(Node(state=state, parent=self))
        return self.children[-1]

    def walk(self) -> "Iterator[Node[S]]":
        """This node and all below, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def lineage(self) -> "Iterator[Node[S]]":
        """This node and all above."""
        node: Node[S] | None = self
        while node is not None:
            yield node
            node = node.parent


@dataclass(eq=False, kw_only=True)
class Tree(Generic[S]):
    """What was found from one root."""

    root: Node[S]
    calls: int = 0
    """Of the policy."""
    solution: S | None = None
    """The first state that was judged right."""


def attraction(node: Node[S], search: Search) -> float:
    """What a child is chosen by: V + epsilon sqrt(2 ln N / n), N the visits of its parent and n its own."""
    if not node.visits or node.parent is None:
        return node.value + search.unvisited
    return node.value + search.epsilon * math.sqrt(2 * math.log(max(node.parent.visits, 1)) / node.visits)


def select(root: Node[S], search: Search) -> Node[S]:
    """The state to be continued: down along the most attractive child that goes on, as far as there is one."""
    node = root
    while open_ := [child for child in node.children if child.right is None]:
        node = max(open_, key=lambda child: attraction(child, search))
    return node


def back_up(node: Node[S]) -> None:
    """One more visit from `node` up to the root, each of whose values becomes the mean of its visited children."""
    for above in node.lineage():
        above.visits += 1
        count = sum(c.visits for c in above.children)
        if count:
            above.value = sum(c.visits * c.value for c in above.children) / count


def search_trees(
    roots: Sequence[S], search: Search, *, propose: Propose[S], value: Value[S], judge: Judge[S]
) -> list[Tree[S]]:
    """Search from each root until something is right or the budget is spent."""
    trees: list[Tree[S]] = [Tree(root=Node(state=state)) for state in roots]
    while active := [t for t in trees if t.calls < search.budget and t.solution is None]:
        leaves = [select(tree.root, search) for tree in active]
        _expand(active, leaves, search.branch, propose, judge, value)
        rolled = [_best(leaf) for leaf in leaves]
        heads, tops = list(rolled), [node.value for node in rolled]
        for _ in range(search.rollout):
            on = [i for i, head in enumerate(heads) if head.right is None and active[i].solution is None]
            _expand([active[i] for i in on], [heads[i] for i in on], search.branch, propose, judge, value)
            for i in on:
                heads[i] = _best(heads[i])
                tops[i] = max(tops[i], heads[i].value)
        for node, top in zip(rolled, tops, strict=True):
            if node.right is None:
                node.value = (1 - search.alpha) * node.value + search.alpha * top
            back_up(node)
    return trees


def sample_trees(
    roots: Sequence[S], budget: int, together: int, *, propose: Propose[S], judge: Judge[S]
) -> list[Tree[S]]:
    """Best of N: solutions are drawn from each root, `together` at once, until one is right or the budget is spent.

    No value guides it. Equal beginnings are one state of the tree, and are paid for as often as they are drawn.
    """
    trees: list[Tree[S]] = [Tree(root=Node(state=state)) for state in roots]
    while active := [t for t in trees if t.calls < budget and t.solution is None]:
        heads = [(tree, tree.root) for tree in active for _ in range(together)]
        while heads := [(tree, node) for tree, node in heads if node.right is None]:
            found = propose([node.state for _, node in heads], 1)
            heads = [(t, node.add(states[0])) for (t, node), states in zip(heads, found, strict=True)]
            for tree, _ in heads:
                tree.calls += 1
            _judge(heads, judge)
            heads = [(tree, node) for tree, node in heads if tree.solution is None]
    return trees


def _expand(
    trees: Sequence[Tree[S]],
    leaves: Sequence[Node[S]],
    branch: int,
    propose: Propose[S],
    judge: Judge[S],
    value: Value[S],
) -> None:
    """Give each leaf its children, judged and valued."""
    if not leaves:
        return
    new: list[tuple[Tree[S], Node[S]]] = []
    for tree, leaf, states in zip(
        trees, leaves, propose([leaf.state for leaf in leaves], branch), strict=True
    ):
        tree.calls += branch
        known = len(leaf.children)
        for state in states:
            leaf.add(state)
        new += [(tree, child) for child in leaf.children[known:]]
    _judge(new, judge)
    open_ = [node for _, node in new if node.right is None]
    if open_:
        for node, worth in zip(open_, value([node.state for node in open_]), strict=True):
            node.value = float(worth)


def _judge(new: Sequence[tuple[Tree[S], Node[S]]], judge: Judge[S]) -> None:
    for (tree, node), right in zip(new, judge([node.state for _, node in new]), strict=True):
        node.right = right
        if right is not None:
            node.value = float(right)
        if right and tree.solution is None:
            tree.solution = node.state


def _best(node: Node[S]) -> Node[S]:
    """The best child, one that goes on if there is any: nothing follows one that is wrong."""
    return max(node.children, key=lambda c: (c.right is not False, c.value))


def quality(before: float, distance: int, *, wrong: bool) -> float:
    """v_k of v_{k-1}, m_k and r_k; see the top of this file."""
    reward = (1 - before) / (distance + 1) * (-1 if wrong else 1)
    return max(before + reward, 0.0)


def lessons(tree: Tree[S]) -> list[tuple[S, float]]:
    """Every state of a tree but its root, with its quality; none where nothing was right: then nothing is known."""
    further = _distances(tree.root)
    if tree.root not in further:
        return []
    known = {tree.root: (0.0, further[tree.root])}
    found: list[tuple[S, float]] = []
    for node in tree.root.walk():
        if node.parent is None:
            continue
        before, distance = known[node.parent]
        wrong = node not in further
        distance = distance if wrong else further[node]
        known[node] = (quality(before, distance, wrong=wrong), distance)
        found.append((node.state, known[node][0]))
    return found


def _distances(root: Node[S]) -> dict[Node[S], int]:
    """Fewest further steps to a right state, of each node from which there is one."""
    found: dict[Node[S], int] = {}
    for node in root.walk():
        if node.right:
            for steps, above in enumerate(node.lineage()):
                found[above] = min(steps, found.get(above, steps))
    return found
