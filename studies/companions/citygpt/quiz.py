"""Quizzes of two packages, a twin trained on each, both asked both: `python quiz.py [all] [SEED ...]`.

Prints the quizzes' hygiene, then blind accuracy of the twins, with tables by capability and by length of the clue.
"""

import sys
import sysconfig
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import jax
import numpy as np

from memaudit.contexts import dependence
from memaudit.quizzes import said
from memaudit.quizzing import Answers, ask
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval
from probes import hygiene
from probes.graph import Graph, build
from probes.quiz import KINDS, Item, around, clue_length, items, posed
from rlhf import sft
from rlhf.batches import rows, schedule
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

PACKAGES = ("email", "unittest")
MOST, SHOWINGS, BATCH, CONTROLS, AROUND = 8, 8, 32, 3, 80
"""Items of a kind, showings of each wording, rows of a step, untrained models that filter, characters by a clue."""
LENGTHS = (("short", 0, 40), ("middle", 40, 80), ("long", 80, 10**9))


def main(seeds: list[int], *, every: bool) -> None:
    """Print everything; with `every` kind of question, also those that a question's words give away."""
    graphs = {name: graph_of(name) for name in PACKAGES}
    texts = [text for graph in graphs.values() for text in graph.files.values()]
    tokenizer = Tokenizer.train(texts, 2048)
    decoder = Decoder(preset("1m", tokenizer.vocabulary))
    leaky = {name: frozenset() if every else leaks(name, graph) for name, graph in graphs.items()}
    own, others, untrained, silent, owed = [], [], [], [], []
    tables: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for seed in seeds:
        quizzes = {
            name: kept(
                decoder,
                tokenizer,
                [i for i in items(graph, seed=seed, most=MOST) if i.fact.kind not in leaky[name]],
            )
            for name, graph in graphs.items()
        }
        if empty := [name for name, quiz in quizzes.items() if not quiz]:
            raise SystemExit(
                f"nothing is left of the quiz of {', '.join(empty)}: no twin can be trained on it"
            )
        control = fresh(decoder, seed, CONTROLS)
        twins = {name: trained(decoder, tokenizer, quiz, seed) for name, quiz in quizzes.items()}
        found: dict[tuple[str, str], Answers] = {
            (twin, asked): ask(decoder, params, tokenizer, quiz)
            for twin, params in {**twins, "untrained": control}.items()
            for asked, quiz in quizzes.items()
        }
        own.append(fmean(found[name, name].accuracy for name in PACKAGES))
        others.append(
            fmean(found[name, asked].accuracy for name in PACKAGES for asked in PACKAGES if asked != name)
        )
        untrained.append(fmean(found["untrained", name].accuracy for name in PACKAGES))
        silent.append(fmean(found[name, name].silent for name in PACKAGES))
        name = PACKAGES[seed % 2]
        given = ask(
            decoder,
            twins[name],
            tokenizer,
            quizzes[name],
            before=[tokenizer.encode(f"{around(graphs[name], i, AROUND)}\n") for i in quizzes[name]],
        )
        without = dict(enumerate(found[name, name].right.tolist()))
        owed.append(fmean(dependence(dict(enumerate(given.right.tolist())), without).values()))
        for name, quiz in quizzes.items():
            other = next(p for p in PACKAGES if p != name)
            for place, item in enumerate(quiz):
                scored = (found[name, name].right[place], found[other, name].right[place])
                length = next(word for word, low, high in LENGTHS if low <= clue_length(item) < high)
                for key in (
                    f"capability: {item.kind.capability}",
                    f"clue: {length}",
                    f"task: {item.kind.task}",
                ):
                    tables[key]["own"].append(float(scored[0]))
                    tables[key]["other"].append(float(scored[1]))
        count = sum(map(len, quizzes.values()))
        print(
            f"seed {seed}: {count} items, own {own[-1]:.3f}, other {others[-1]:.3f}, untrained {untrained[-1]:.3f}",
            flush=True,
        )
    told = (
        ("the twin that was trained on it", own),
        ("the other twin", others),
        ("an untrained control", untrained),
    )
    print("\nBlind accuracy, mean over seeds (95 % interval); chance is 0.250:\n")
    for who, values in told:
        print(f"- {who}: {interval(over_seeds(values), '.3f')}")
    print(f"- no option said, of the trained twin: {interval(over_seeds(silent), '.3f')}")
    print(
        f"- with the code around the clue less without, of the trained twin: {interval(over_seeds(owed), '.3f')}"
    )
    print("\n| items | count | trained on it | not |\n|---|---|---|---|")
    for key in sorted(tables):
        values = tables[key]
        print(f"| {key} | {len(values['own'])} | {fmean(values['own']):.3f} | {fmean(values['other']):.3f} |")


def graph_of(package: str) -> Graph:
    """The graph of a package of the standard library."""
    root = Path(sysconfig.get_path("stdlib")) / package
    files = {
        p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in sorted(root.rglob("*.py"))
    }
    return build(files, package=package)


def leaks(name: str, graph: Graph) -> frozenset[str]:
    """Kinds that a solver without code is good at; prints how good all solvers are on the whole quiz."""
    quiz = items(graph, seed=100)
    solvers = {
        **hygiene.OPTION_ONLY,
        "popular": hygiene.popular(items(graph, seed=101)),
        "echo": hygiene.echo,
    }
    found: set[str] = set()
    print(f"{name}: {len(quiz)} items; within {hygiene.margin(len(quiz)):.3f} of 0.250 is chance")
    for solver_name, solver in solvers.items():
        leaky = hygiene.leaking(quiz, solver)
        found |= leaky
        print(
            f"- {solver_name}: {hygiene.accuracy(quiz, solver):.3f}; "
            f"above chance in {', '.join(sorted(leaky)) or 'nothing'}"
        )
    left = [item for item in quiz if item.fact.kind not in found]
    off = max(abs(hygiene.accuracy(left, s) - hygiene.CHANCE) for s in solvers.values())
    print(
        f"- left {len(left)} items, on which no solver is more than {off:.3f} off chance "
        f"({hygiene.margin(len(left)):.3f})\n",
        flush=True,
    )
    return frozenset(found)


def fresh(decoder: Decoder, seed: int, number: int) -> Params:
    """An untrained model."""
    return initialise(decoder, jax.random.key(1000 * (seed + 1) + number))


def kept(decoder: Decoder, tokenizer: Tokenizer, quiz: list[Item]) -> tuple[Item, ...]:
    """What untrained models do not all have right."""
    seed = len(quiz)
    blind = np.array(
        [ask(decoder, fresh(decoder, seed, n), tokenizer, quiz).right > 0 for n in range(CONTROLS)]
    )
    return hygiene.filtered(quiz, blind)


def trained(decoder: Decoder, tokenizer: Tokenizer, quiz: tuple[Item, ...], seed: int) -> Params:
    """A model that was shown the answers, in the wordings that are not asked."""
    asked, answers, names = [], [], []
    for item in quiz:
        for wording in KINDS[item.fact.kind].wordings:
            question = wording.format(*item.fact.subject)
            if question != item.question:
                asked.append([tokenizer.bos, *tokenizer.encode(posed(replace(item, question=question)))])
                answers.append(tokenizer.encode(said(item.fact.answer)))
                names.append((item.id,))
    longest = max(len(a) + len(b) for a, b in zip(asked, answers, strict=True))
    shown = rows(asked, answers, names, time=-(-longest // 16) * 16, fill=tokenizer.pad)
    order = schedule([SHOWINGS] * len(asked), BATCH, seed)
    return sft.train(
        initialise(decoder, jax.random.key(seed)),
        shown,
        order,
        Optimiser(learning_rate=3e-3, warmup=10, final=0.1),
        decoder=decoder,
        stage=Stage(name="instructions"),
    )


if __name__ == "__main__":
    named = [int(n) for n in sys.argv[1:] if n != "all"]
    main(named or [0, 1, 2, 3, 4], every="all" in sys.argv)
