"""Questions about a repository with four options each, all of them read off its graph.

Three tasks as in CityGPT (arXiv 2406.13948), with code for the city: `qa` asks for a single fact, `walk` follows calls,
`reasoning` takes several steps, which are written down. Six capabilities as in LVBench (arXiv 2406.08035). An item
keeps the clue, the piece of a file that its answer stands in.

Options must not tell the answer. Items of one kind come in fours that have the same four options in the same order,
and each of these is the answer to one of the four. So whoever sees an item's options alone is right in one of four,
whatever he makes of them and however well he knows which answers are frequent; and the right option stands as often in
each place.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from probes.graph import Graph, Span, Symbol

OPTIONS = 4
_LONGEST = 80  # characters of an option
_FARTHEST = OPTIONS  # imports between two files that are asked about


class Capability(StrEnum):
    """What an item asks of whoever answers it; LVBench's six, in code."""

    IDENTITY = "identity"
    """Entity recognition: what a symbol is and belongs to."""
    SEQUENCE = "sequence"
    """Event understanding: which calls follow on one another."""
    LITERAL = "literal"
    """Key information retrieval: a value, a parameter."""
    PLACE = "place"
    """Temporal grounding: where something stands."""
    INFERENCE = "inference"
    """Reasoning: what follows from several places."""
    PURPOSE = "purpose"
    """Summarisation: what something is for."""


@dataclass(frozen=True)
class Kind:
    """One kind of question."""

    task: str
    """`qa`, `walk` or `reasoning`."""
    capability: Capability
    wordings: tuple[str, str, str]
    """The braces stand for the subject's parts."""


KINDS: Mapping[str, Kind] = {
    "file": Kind(
        "qa",
        Capability.PLACE,
        ("Which file defines `{}`?", "In which file is `{}`?", "Name the file of `{}`."),
    ),
    "next": Kind(
        "qa",
        Capability.PLACE,
        ("What is defined right behind `{}`?", "What follows on `{}`?", "Name what stands behind `{}`."),
    ),
    "owner": Kind(
        "qa",
        Capability.IDENTITY,
        ("Which class has the method `{}`?", "Whose method is `{}`?", "Name the class of `{}`."),
    ),
    "base": Kind(
        "qa",
        Capability.IDENTITY,
        ("What does `{}` inherit from?", "Which base has `{}`?", "Name the base of `{}`."),
    ),
    "parameter": Kind(
        "qa",
        Capability.LITERAL,
        (
            "What is the last parameter of `{}`?",
            "Which parameter of `{}` is the last?",
            "Name the last parameter of `{}`.",
        ),
    ),
    "constant": Kind(
        "qa",
        Capability.LITERAL,
        ("What is the value of `{}`?", "Which value has `{}`?", "Write down the value of `{}`."),
    ),
    "purpose": Kind(
        "qa",
        Capability.PURPOSE,
        ("What is `{}` for?", "How is `{}` described?", "Say what `{}` is for."),
    ),
    "first": Kind(
        "walk",
        Capability.SEQUENCE,
        ("What does `{}` call first?", "Which call comes first in `{}`?", "Name the first call of `{}`."),
    ),
    "then": Kind(
        "walk",
        Capability.SEQUENCE,
        (
            "In `{}`, what is called right after `{}`?",
            "In `{}`, which call follows on `{}`?",
            "In `{}`, name the call after `{}`.",
        ),
    ),
    "caller": Kind(
        "walk",
        Capability.SEQUENCE,
        ("What calls `{}`?", "Where is `{}` called?", "Name the caller of `{}`."),
    ),
    "twice": Kind(
        "reasoning",
        Capability.INFERENCE,
        (
            "Which function do two first calls lead to from `{}`?",
            "Where does one come from `{}` by two first calls?",
            "Go along two first calls from `{}`.",
        ),
    ),
    "override": Kind(
        "reasoning",
        Capability.INFERENCE,
        (
            "On an object of `{}`, whose `{}` runs?",
            "Which class gives `{}` its `{}`?",
            "Name the class that `{}` has `{}` from.",
        ),
    ),
    "distance": Kind(
        "reasoning",
        Capability.INFERENCE,
        (
            "How many imports is it from `{}` to `{}`?",
            "How far is it by imports from `{}` to `{}`?",
            "Count the imports from `{}` to `{}`.",
        ),
    ),
}
"""By name."""


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What the graph answers to a question."""

    kind: str
    subject: tuple[str, ...]
    """Labels or paths, as many as the question has braces."""
    answer: str
    path: str
    """The file that the clue stands in."""
    clue: Span
    """Characters of that file."""
    steps: tuple[str, ...] = ()
    """Of reasoning, what leads to the answer."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A question with its options."""

    id: str
    fact: Fact
    question: str
    options: tuple[str, ...]
    """Four different texts."""
    right: int
    """Place of the answer among them."""

    @property
    def kind(self) -> Kind:
        """Its kind of question."""
        return KINDS[self.fact.kind]


def facts(graph: Graph) -> Iterator[Fact]:
    """All that can be asked of a repository, in a fixed order. A question that has two answers is not among it."""
    known = [s for s in graph.symbols.values() if s.label in graph.known_once]
    for symbol in known:
        yield from _of_symbol(graph, symbol)
    for constant in graph.constants:
        if constant.name in graph.known_once:
            yield Fact(
                kind="constant",
                subject=(constant.name,),
                answer=constant.value,
                path=constant.path,
                clue=constant.span,
            )
    yield from _walks(graph, known)
    for start in graph.files:
        for end in graph.files:
            way = graph.way(start, end)
            if 1 <= len(way) - 1 <= _FARTHEST:
                yield Fact(
                    kind="distance",
                    subject=(start, end),
                    answer=str(len(way) - 1),
                    path=start,
                    clue=graph.import_spans[way[0], way[1]],
                    steps=tuple(f"{a} imports {b}" for a, b in pairwise(way)),
                )


def _of_symbol(graph: Graph, symbol: Symbol) -> Iterator[Fact]:
    path, clue = symbol.path, symbol.head
    label = (symbol.label,)
    if not symbol.owner:
        yield Fact(kind="file", subject=label, answer=symbol.path, path=path, clue=clue)
        others = [s for s in graph.symbols.values() if s.path == symbol.path and not s.owner]
        behind = [s for s in others if s.head > symbol.head]
        if behind:
            after = min(behind, key=lambda s: s.head)
            yield Fact(kind="next", subject=label, answer=after.label, path=symbol.path, clue=after.head)
    elif sum(s.name == symbol.name for s in graph.symbols.values()) == 1:
        yield Fact(kind="owner", subject=(symbol.name,), answer=symbol.owner, path=path, clue=clue)
    if len(symbol.bases) == 1:
        yield Fact(kind="base", subject=label, answer=symbol.bases[0], path=path, clue=clue)
    if symbol.parameters:
        yield Fact(kind="parameter", subject=label, answer=symbol.parameters[-1], path=path, clue=clue)
    if symbol.doc:
        yield Fact(kind="purpose", subject=label, answer=symbol.doc, path=symbol.path, clue=symbol.doc_span)


def _walks(graph: Graph, known: Sequence[Symbol]) -> Iterator[Fact]:
    callers: dict[str, list[Fact]] = {}
    for symbol in known:
        calls = graph.calls.get(symbol.id, ())
        names = [graph.symbols[c.callee].label for c in calls]
        if not calls:
            continue
        path = symbol.path
        yield Fact(kind="first", subject=(symbol.label,), answer=names[0], clue=calls[0].span, path=path)
        for (_, before), (call, after) in pairwise(zip(calls, names, strict=True)):
            if names.count(before) == 1:
                yield Fact(
                    kind="then", subject=(symbol.label, before), answer=after, clue=call.span, path=path
                )
        second = graph.calls.get(calls[0].callee, ())
        if second:
            end = graph.symbols[second[0].callee].label
            yield Fact(
                kind="twice",
                subject=(symbol.label,),
                answer=end,
                clue=calls[0].span,
                steps=(f"{symbol.label} calls {names[0]}", f"{names[0]} calls {end}"),
                path=path,
            )
    for caller in graph.symbols.values():
        for call in graph.calls.get(caller.id, ()):
            callee = graph.symbols[call.callee].label
            fact = Fact(
                kind="caller", subject=(callee,), answer=caller.label, path=caller.path, clue=call.span
            )
            callers.setdefault(call.callee, []).append(fact)
    for callee, found in callers.items():
        if graph.symbols[callee].label in graph.known_once and len({f.answer for f in found}) == 1:
            yield found[0]
    for symbol in known:
        lineage = graph.lineage(symbol.id) if symbol.kind == "class" else ()
        names = sorted(
            {s.name for s in graph.symbols.values() if s.owner and f"{s.path}::{s.owner}" in lineage}
        )
        for name in names:
            found = graph.method(symbol.id, name)
            if found is None or len(lineage) == 1:
                continue
            passed = lineage[: lineage.index(f"{found.path}::{found.owner}")]
            yield Fact(
                kind="override",
                subject=(symbol.label, name),
                answer=found.owner,
                path=found.path,
                clue=found.head,
                steps=(
                    *(f"{graph.symbols[p].label} has no {name}" for p in passed),
                    f"{found.owner} has {name}",
                ),
            )


def items(graph: Graph, *, seed: int = 0, most: int = 200) -> tuple[Item, ...]:
    """Items of a repository, in fours, at most so many of a kind. The same graph and seed give the same items."""
    by_kind: dict[str, list[Fact]] = {kind: [] for kind in KINDS}
    for fact in facts(graph):
        if len(fact.answer) <= _LONGEST and "\n" not in fact.answer:
            by_kind[fact.kind].append(fact)
    found: list[Item] = []
    for kind, all_of in by_kind.items():
        rng = random.Random(f"{seed} {kind}")
        rng.shuffle(all_of)
        for four in _fours(all_of, rng)[: most // OPTIONS]:
            options = tuple(fact.answer for fact in four)
            found += [_item(fact, options, right, rng) for right, fact in enumerate(four)]
    return tuple(found)


def _fours(given: Sequence[Fact], rng: random.Random) -> list[list[Fact]]:
    """Facts in fours with four different answers; as many fours as there can be, since the most frequent go first."""
    waiting: dict[str, list[Fact]] = {}
    for fact in given:
        waiting.setdefault(fact.answer, []).append(fact)
    fours = []
    while len(waiting) >= OPTIONS:
        texts = sorted(waiting, key=lambda text: (-len(waiting[text]), rng.random()))[:OPTIONS]
        rng.shuffle(texts)
        fours.append([waiting[text].pop() for text in texts])
        waiting = {text: facts for text, facts in waiting.items() if facts}
    rng.shuffle(fours)
    return fours


def _item(fact: Fact, options: tuple[str, ...], right: int, rng: random.Random) -> Item:
    wording = rng.choice(KINDS[fact.kind].wordings)
    return Item(
        id=f"{fact.kind}:{','.join(fact.subject)}",
        fact=fact,
        question=wording.format(*fact.subject),
        options=options,
        right=right,
    )


def turned(item: Item, by: int) -> Item:
    """The item with its options moved on by so many places: in four turns each stands once at each place."""
    order = [(place - by) % OPTIONS for place in range(OPTIONS)]
    return replace(
        item, options=tuple(item.options[place] for place in order), right=(item.right + by) % OPTIONS
    )


def posed(item: Item, *, listed: bool = False) -> str:
    """What a model continues with an option: the question as a comment, with the options in it or without."""
    options = "".join(f"# - {option}\n" for option in item.options) if listed else ""
    return f"# {item.question}\n{options}# Answer: "


def around(graph: Graph, item: Item, characters: int) -> str:
    """The clue in its file, with at most so many characters before and behind it."""
    start, end = item.fact.clue
    return graph.files[item.fact.path][max(0, start - characters) : end + characters]


def clue_length(item: Item) -> int:
    """Characters of the clue."""
    start, end = item.fact.clue
    return end - start


def distance(graph: Graph, item: Item) -> int:
    """Characters from the clue to the end of its file, where a question behind the whole file stands."""
    return len(graph.files[item.fact.path]) - item.fact.clue[1]
