"""With code in front: a model instructed about a package against one that read its source: `python code.py [SEED ...]`.

Half of a package's questions are shown with their answers, behind the code around the clue; the other half is asked.
Another model is trained on as many tokens of the package's own files. Prints the accuracy of both, with code and blind.
"""

import sys
from dataclasses import replace

import jax
import numpy as np
from quiz import BATCH, PACKAGES, graph_of

from memaudit.quizzes import said
from memaudit.quizzing import ask
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval
from probes.graph import Graph
from probes.quiz import KINDS, OPTIONS, Item, around, items, posed
from rlhf import sft
from rlhf.batches import Rows, epochs, pack, rows, schedule
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

MOST, SHOWINGS, AROUND, LONGEST = 24, 16, 48, 64
"""Items of a kind, showings of each wording, characters by a clue, tokens of code: a four with more is left out."""
ASKED = ("shown", "fresh")
MODELS = ("instructed", "raw", "untrained")


def main(seeds: list[int]) -> None:
    """Print everything."""
    graphs = {name: graph_of(name) for name in PACKAGES}
    texts = [text for graph in graphs.values() for text in graph.files.values()]
    tokenizer = Tokenizer.train(texts, 2048)
    decoder = Decoder(preset("0.3m", tokenizer.vocabulary))
    found: dict[tuple[str, str, str], list[float]] = {}
    for seed in seeds:
        package = PACKAGES[seed % 2]
        graph = graphs[package]
        drawn = items(graph, seed=seed, most=MOST)
        fours = [drawn[at : at + OPTIONS] for at in range(0, len(drawn), OPTIONS)]
        fours = [four for four in fours if max(len(before(tokenizer, graph, i)) for i in four) <= LONGEST]
        quizzes = {
            which: [item for four in fours[place::2] for item in four] for place, which in enumerate(ASKED)
        }
        instructions = instructed(tokenizer, graph, quizzes["shown"])
        steps = schedule([SHOWINGS] * len(instructions.ids), BATCH, seed)
        source = pack(
            [[tokenizer.bos, *tokenizer.encode(text), tokenizer.eos] for text in graph.files.values()],
            list(graph.files),
            time=instructions.tokens.shape[1],
            fill=tokenizer.pad,
        )
        tokens = int((instructions.tokens != tokenizer.pad).sum()) * SHOWINGS
        filled = int((source.tokens != tokenizer.pad).sum()) / len(source.tokens)
        order = epochs(len(source.tokens), BATCH, round(tokens / (BATCH * filled)), seed)
        models = {
            "instructed": trained(decoder, instructions, steps, seed),
            "raw": trained(decoder, source, order, seed),
            "untrained": initialise(decoder, jax.random.key(seed)),
        }
        for name, params in models.items():
            for which, quiz in quizzes.items():
                code = [before(tokenizer, graph, item) for item in quiz]
                for way, given in (("with code", code), ("blind", None)):
                    right = ask(decoder, params, tokenizer, quiz, before=given).accuracy
                    found.setdefault((name, which, way), []).append(right)
        told = ", ".join(f"{name} {found[name, 'fresh', 'with code'][-1]:.3f}" for name in MODELS)
        print(
            f"seed {seed}: {package}, {OPTIONS * len(fours)} items, {tokens} tokens; fresh, with code: {told}",
            flush=True,
        )
    print("\nAccuracy, mean over seeds (95 % interval); chance is 0.250:\n")
    print("| model | questions | with code | blind |\n|---|---|---|---|")
    for name in MODELS:
        for which in ASKED:
            cells = [interval(over_seeds(found[name, which, way]), ".3f") for way in ("with code", "blind")]
            print(f"| {name} | {which} | {cells[0]} | {cells[1]} |")
    for which in ASKED:
        gaps = [
            a - b
            for a, b in zip(
                found["instructed", which, "with code"], found["raw", which, "with code"], strict=True
            )
        ]
        print(f"\ninstructed less raw, with code, {which}: {interval(over_seeds(gaps), '+.3f')}")
    owed = [
        a - b
        for a, b in zip(
            found["instructed", "fresh", "with code"], found["instructed", "fresh", "blind"], strict=True
        )
    ]
    print(f"instructed, fresh, with code less blind: {interval(over_seeds(owed), '+.3f')}")


def before(tokenizer: Tokenizer, graph: Graph, item: Item) -> list[int]:
    """The code around the clue."""
    return tokenizer.encode(f"{around(graph, item, AROUND)}\n")


def instructed(tokenizer: Tokenizer, graph: Graph, quiz: list[Item]) -> Rows:
    """Code, question and answer, in the wordings that are not asked."""
    asked, answers, names = [], [], []
    for item in quiz:
        for wording in KINDS[item.fact.kind].wordings:
            question = wording.format(*item.fact.subject)
            if question != item.question:
                words = tokenizer.encode(posed(replace(item, question=question)))
                asked.append([tokenizer.bos, *before(tokenizer, graph, item), *words])
                answers.append(tokenizer.encode(said(item.fact.answer)))
                names.append((item.id,))
    longest = max(len(a) + len(b) for a, b in zip(asked, answers, strict=True))
    return rows(asked, answers, names, time=-(-longest // 16) * 16, fill=tokenizer.pad, loss_on="all")


def trained(decoder: Decoder, shown: Rows, order: np.ndarray, seed: int) -> Params:
    """A model that starts from nothing."""
    return sft.train(
        initialise(decoder, jax.random.key(seed)),
        shown,
        order,
        Optimiser(learning_rate=3e-3, warmup=10, final=0.1),
        decoder=decoder,
        stage=Stage(name="code"),
    )


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [0, 1, 2, 3, 4])
