"""What the probes cost beside what there is: `python -m benchmarks.probes`, with `--json` for the ratios by name.

Both sides of a row run in one process and in turns, on texts that neither has seen before, and a figure is the
median over the rounds. The exit code is 0 even if a bar is missed; missed bars are named.
"""

import argparse
import difflib
import json
import os
import platform
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import tree_sitter

from benchmarks.sources import changed, code, library, windows
from benchmarks.timing import Row, alternate
from probes import LANGUAGES, LEVELS, align, compare_completion, grammar, match, versions
from probes.distance import edits
from probes.levels import tokenize_all
from probes.scoring import Job, Refusal, score


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 7
    """Turns of each side."""
    windows: int = 100
    """Probes in one round, and targets to be cached."""
    jobs: int = 10_000
    """Completions to be scored in processes."""
    tokens: int = 1_000_000
    """Tokens of the indexed corpus."""
    queries: int = 400_000
    """Look-ups in one round."""
    pairs: int = 8
    """Pairs aligned in one round."""
    length: int = 512
    """Tokens of an aligned text."""
    code: Path | None = None
    """Folder of code in the eight languages, read instead of our own samples."""


QUICK = Sizes(rounds=3, windows=20, jobs=1000, tokens=200_000, queries=50_000, pairs=2)


def normalise(sizes: Sizes) -> Iterator[Row]:
    """All levels of a completion after its prompt, against tree-sitter's parse of both and a walk over the leaves."""
    for language in LANGUAGES:
        files = code(language, sizes.code)
        parser = tree_sitter.Parser(grammar(language).language)
        drawn = {
            number: windows(files, sizes.windows, random.Random(number)) for number in range(-1, sizes.rounds)
        }

        def ours(number: int, language: str = language, drawn: dict = drawn) -> None:
            for prompt, target in drawn[number]:
                tokenize_all(target, prompt=prompt, language=language, levels=LEVELS[1:])

        def theirs(number: int, parser: tree_sitter.Parser = parser, drawn: dict = drawn) -> None:
            for prompt, target in drawn[number]:
                leaves(parser.parse(prompt + target))

        mine, other = alternate(ours, theirs, rounds=sizes.rounds)
        yield Row(
            name=f"normalise/{language}",
            ours=f"{len(LEVELS) - 1} levels {_each(mine, sizes.windows)}",
            theirs=f"parse and walk {_each(other, sizes.windows)}",
            ratio=mine / other,
            bar=1.3,
            most=True,
        )


def leaves(tree: tree_sitter.Tree) -> list[tuple[int, int]]:
    """Return the spans of the leaves in order: the least that one can do with a tree."""
    found = []
    stack = [tree.root_node]
    while stack:
        node = stack.pop()
        children = node.children
        if children:
            stack += reversed(children)
        else:
            found.append((node.start_byte, node.end_byte))
    return found


def targets(sizes: Sizes) -> Iterator[Row]:
    """The units of a target that was compared before, against those of one that was not."""
    drawn = {
        number: windows(library(), sizes.windows, random.Random(number)) for number in range(-1, sizes.rounds)
    }
    repeats = 200  # a look-up is too short to be timed alone

    def cached(number: int) -> None:
        for _ in range(repeats):
            for prompt, target in drawn[number]:
                match.target_units(target, prompt, "python", ())

    def uncached(number: int) -> None:
        match.target_units.cache_clear()
        for prompt, target in drawn[number]:
            match.target_units(target, prompt, "python", ())

    # In each round the uncached side comes first and leaves its targets in the cache.
    slow, fast = alternate(uncached, cached, rounds=sizes.rounds)
    fast /= repeats
    yield Row(
        name="cached-targets",
        ours=f"known target {_each(fast, sizes.windows)}",
        theirs=f"new target {_each(slow, sizes.windows)}",
        ratio=slow / fast,
        bar=30,
    )

    completions = {
        number: [changed(target, random.Random(number)) for _, target in found]
        for number, found in drawn.items()
    }

    def compare(number: int, *, forget: bool) -> None:
        if forget:
            match.target_units.cache_clear()
        for (prompt, target), completion in zip(drawn[number], completions[number], strict=True):
            compare_completion(target, completion, prompt=prompt)

    slow, fast = alternate(partial(compare, forget=True), partial(compare, forget=False), rounds=sizes.rounds)
    yield Row(
        name="compared-with-cached-target",
        ours=f"completion, known target {_each(fast, sizes.windows)}",
        theirs=f"completion, new target {_each(slow, sizes.windows)}",
        ratio=slow / fast,
    )


def scaling(sizes: Sizes) -> Iterator[Row]:
    """Scoring completions in two processes against one, from the first job to the last result."""
    draw = random.Random(0)
    jobs = [
        Job(target=window.target, completion=changed(window.target, draw), prompt=window.prompt)
        for window in windows(library(), sizes.jobs, draw)
    ]

    def run(number: int, *, workers: int) -> None:
        some = jobs[:50] if number < 0 else jobs
        results = list(score(some, workers=workers))
        assert len(results) == len(some)
        assert not any(isinstance(result, Refusal) for result in results)

    two, one = alternate(
        partial(run, workers=2), partial(run, workers=1), rounds=min(3, sizes.rounds), clock=time.perf_counter
    )
    yield Row(
        name="scaling",
        ours=f"{sizes.jobs:,} jobs, 2 processes {two:.1f} s",
        theirs=f"1 process {one:.1f} s",
        ratio=one / two,
        bar=1.7,
    )


_TOKEN = re.compile(rb"\w+|[^\w\s]")


def index(sizes: Sizes) -> Iterator[Row]:
    """Look-ups in the n-gram index against a dict of the same n-grams, and what both take for a token."""
    import numpy as np

    from probes.index import NgramIndex

    documents: list[tuple[str, list[bytes]]] = []
    left = sizes.tokens
    for number, text in enumerate(library()):
        if not left:
            break
        tokens = _TOKEN.findall(text)[:left]
        documents.append((str(number), tokens))
        left -= len(tokens)
    found = NgramIndex(documents, n=8)
    everything = np.concatenate([found.grams(tokens) for _, tokens in documents])
    table = {gram: position for position, gram in enumerate(map(tuple, everything.tolist()))}

    draw = np.random.default_rng(0)
    asked = everything[draw.integers(len(everything), size=sizes.queries)]
    # Every second one gets another last token: most of these are in no document.
    asked[::2, -1] = draw.permutation(asked[::2, -1])
    asked = asked[np.lexsort(asked.T[::-1])]
    keys = list(map(tuple, asked.tolist()))

    def ours(_: int) -> "np.ndarray":
        return found.contains(asked)

    def theirs(_: int) -> list[bool]:
        return [key in table for key in keys]

    assert list(ours(0)) == theirs(0)
    mine, other = alternate(ours, theirs, rounds=sizes.rounds)
    yield Row(
        name="index",
        ours=f"array look-up {_each(mine, sizes.queries)}",
        theirs=f"dict look-up {_each(other, sizes.queries)}",
        ratio=other / mine,
        bar=5,
    )
    size = sys.getsizeof(table) + sum(map(sys.getsizeof, table))  # the numbers themselves are shared
    yield Row(
        name="index-bytes-a-token",
        ours=f"{found.token_count:,} tokens in {found.nbytes / 1e6:,.1f} MB",
        theirs=f"dict and its keys {size / 1e6:,.1f} MB",
        ratio=found.bytes_per_token,
        bar=16,
        most=True,
    )


def evidence(sizes: Sizes) -> Iterator[Row]:
    """Alignment of pairs of 512 tokens, one in twenty changed, against `difflib`.

    `evidence` is the whole of `align`: both texts are tokenised at all levels, aligned and explained, while
    difflib gets the same texts as characters and gives opcodes. `evidence-tokens` gives difflib the tokens that
    align has to find first; it cannot win there by much, and has no bar. `evidence-opcodes` is the alignment alone
    on both sides, on the same tokens, and `evidence-opcodes-characters` on the same characters.
    """
    drawn = {number: _pairs(sizes, random.Random(number)) for number in range(-1, sizes.rounds)}
    units = {number: [(_units(a), _units(b)) for a, b in pairs] for number, pairs in drawn.items()}
    texts = {
        number: [(a.decode("latin-1"), b.decode("latin-1")) for a, b in p] for number, p in drawn.items()
    }

    def aligned(number: int) -> None:
        for a, b in drawn[number]:
            align(a, b)

    def opcodes(number: int, *, of: dict[int, list]) -> None:
        for a, b in of[number]:
            edits(a, b)

    def by_difflib(number: int, *, of: dict[int, list]) -> None:
        for a, b in of[number]:
            difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes()

    rows: list[tuple[str, Callable[[int], None], str, dict[int, list], str, float | None]] = [
        ("evidence", aligned, "align, from bytes", texts, "difflib, characters", 50),
        ("evidence-opcodes", partial(opcodes, of=units), "opcodes, tokens", units, "difflib, tokens", None),
        (
            "evidence-opcodes-characters",
            partial(opcodes, of=texts),
            "opcodes, characters",
            texts,
            "difflib, characters",
            None,
        ),
        ("evidence-tokens", aligned, "align, from bytes", units, "difflib, tokens", None),
    ]
    for name, side, what, of, other, bar in rows:
        mine, theirs = alternate(side, partial(by_difflib, of=of), rounds=min(5, sizes.rounds))
        yield Row(
            name=name,
            ours=f"{what} {_each(mine, sizes.pairs)}",
            theirs=f"{other} {_each(theirs, sizes.pairs)}",
            ratio=theirs / mine,
            bar=bar,
        )


def _pairs(sizes: Sizes, draw: random.Random) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    while len(found) < sizes.pairs:
        [window] = windows(library(), 1, draw, prompt=0, target=20_000)
        tokens = tokenize_all(window.target, levels=("layout",))["layout"]
        if len(tokens) >= sizes.length:
            text = window.target[: tokens[sizes.length - 1].end]
            found.append((text, changed(text, draw)))
    return found


def _units(text: bytes) -> list[tuple[bytes, str]]:
    return [token[:2] for token in tokenize_all(text, levels=("layout",))["layout"]]


def _each(seconds: float, count: int) -> str:
    micro = seconds / count * 1e6
    return f"{micro:,.0f} us" if micro >= 100 else f"{micro:.3g} us"


PARTS: dict[str, Callable[[Sizes], Iterator[Row]]] = {
    part.__name__: part for part in (normalise, targets, index, evidence, scaling)
}


def machine() -> str:
    """Return one line on what this ran on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wheels = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{cores} cores, {platform.machine()}, Python {platform.python_version()}, {wheels}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as lines for people."""
    lines = [("", "ours", "theirs", "ratio", "bar", "")]
    for row in rows:
        bar = "" if row.bar is None else f"{'<=' if row.most else '>='} {row.bar:g}"
        verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
        lines.append((row.name, row.ours, row.theirs, f"{row.ratio:.2f}", bar, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probes", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the ratios by name, and the rows, as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes: seconds, and figures less sure")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to be measured")
    parser.add_argument("--code", type=Path, metavar="DIR", help="read code below DIR, not our own samples")
    for setting in fields(Sizes):
        if setting.name != "code":
            parser.add_argument(
                f"--{setting.name}", type=int, metavar="N", help=f"default {setting.default:,}"
            )
    options = parser.parse_args(arguments)
    given = {name: value for name in Sizes.__annotations__ if (value := getattr(options, name)) is not None}
    if options.code and not options.code.is_dir():
        parser.error(f"expected a folder of code, got {options.code}")
    if wrong := [name for name, value in given.items() if name != "code" and value < 1]:
        parser.error(f"expected --{wrong[0]} of at least 1, got {given[wrong[0]]}")
    sizes = replace(QUICK if options.quick else Sizes(), **given)

    rows = [row for part in options.only for row in PARTS[part](sizes)]
    missed = [row.name for row in rows if row.reached is False]
    if options.json:
        ratios = {row.name: round(row.ratio, 4) for row in rows}
        print(
            json.dumps(
                {
                    "ratios": ratios,
                    "missed": missed,
                    "machine": machine(),
                    "rows": [r.as_json() for r in rows],
                }
            )
        )
        return
    print(machine())
    print(table(rows))
    print(f"bars missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
