"""What the claims of the ReST-MCTS* study have no measure for: `python bars.py runs/rest`.

Whether search with the value net solves more problems nobody has seen than drawing as many lines at random, whether the
value net gets better, and which of the solutions that a round accepted are a fine-tuning example to the letter.
"""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.cases import Facts
from memaudit.instruments import STAGES
from memaudit.ledger import LEDGER, Ledger
from memaudit.methods import Rest
from memaudit.programs import DETOUR, generate, read
from memaudit.recipe import parse
from memaudit.run import Plan
from memaudit.run import read as corpus_of
from memaudit.sandbox import Sandbox
from memaudit.selftrain import load, load_value, problems_of, round_path, search_of, value_path
from memaudit.solving import Solver
from memaudit.stages import Result, Setting, shown_to
from memaudit.statistics import Estimate, over_seeds
from rlhf import tree

FRESH, FRESH_SEED, TIME = 96, 1_000, 100
"""Problems of the family that no run has, and the tokens of the longest program that is written for one."""
MARGIN, DOSE = 0.05, 0.2
OFTEN, ONCE = 32, 1
TWIN = "A"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run and what it takes to use its models."""

    facts: Facts
    setting: Setting
    folder: Path

    def stage(self, name: str, twin: str = TWIN) -> Path:
        """The directory of a twin's stage."""
        return self.folder / STAGES / self.facts.walks[twin, name].id

    def policy(self, name: str) -> Any:
        """A stage's language model."""
        return jax.tree.map(
            jnp.asarray, Result(folder=self.stage(name), scalar=False).params(self.setting.decoder)
        )

    @property
    def config(self) -> Rest:
        """Of the self-training."""
        config = self.setting.recipe.stages["rest"]
        assert isinstance(config, Rest)
        return config


def main(folder: Path) -> None:
    """Print tables, and the verdict on each bar."""
    runs = [opened(path.parent) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    with Sandbox() as sandbox:
        found = [tried(run, sandbox) for run in runs]

    def over(read_off: Callable[[dict[str, float]], float]) -> Estimate:
        return over_seeds([read_off(one) for one in found])

    print("| on problems nobody has seen | solved |\n|---|---|")
    for name in ("drawn", "searched", "shuffled", "drawn after", "searched after"):
        print(f"| {name} | {points(over(lambda one, name=name: one[name]))} |")
    print("\n| value net after round | mean square of what it is off |\n|---|---|")
    for number in range(3):
        print(f"| {number} | {of(over(lambda one, n=number: one[f'value-{n}']))} |")
    gain, blind = (over(lambda one, n=name: one[n] - one["drawn"]) for name in ("searched", "shuffled"))
    fall = over(lambda one: one["value-1"] - one["value-2"])
    learnt = over(lambda one: one["drawn after"] - one["drawn"])
    print(f"\n- search less draws, in points: {points(gain)}; with the value net shuffled: {points(blind)}")
    print(f"- B1, search at least {100 * MARGIN:.0f} points better than draws: {verdict(gain, MARGIN)}")
    print(f"- B2, and not with the value net shuffled: {verdict(blind, MARGIN, below=True)}")
    print(
        f"- B3, the value net is off by less after round 2 than after round 1: {of(fall)}: {verdict(fall, 0)}"
    )
    print(f"- policy after two rounds less before, draws: {points(learnt)}: {verdict(learnt, 0)}\n")
    print("| round | solved | to the letter, shown 32 times | shown once | with a detour, 32 times |")
    print("|---|---|---|---|---|")
    for number in range(3):
        shares = [verbatim(run, number) for run in runs]
        cells = [points(over_seeds([s[key] for s in shares])) for key in ("solved", "often", "once")]
        there, letters = (sum(s[key] for s in shares) for key in ("detours", "detours verbatim"))
        print(f"| {number} | {' | '.join(cells)} | {letters:.0f} of {there:.0f} |")
    for number in (1, 2):
        dose = over_seeds([s["often"] - s["once"] for s in (verbatim(run, number) for run in runs)])
        held = verdict(dose, DOSE)
        print(f"\n- B4, round {number}: to the letter, 32 times less once, in points: {points(dose)}: {held}")


def opened(folder: Path) -> Run:
    """A run's facts, and its population as it was drawn."""
    ledger = Ledger(folder / LEDGER)
    recipe = parse(ledger.setting("recipe"), where=str(folder))
    setting = Plan.of(recipe, folder, corpus_of(recipe)).setting
    return Run(facts=Facts(ledger, recipe), setting=setting, folder=folder)


def tried(run: Run, sandbox: Sandbox) -> dict[str, float]:
    """Shares of fresh problems that are solved in each way at the stage's budget, and errors of the value nets."""
    config, decoder = run.config, run.setting.decoder
    solver = Solver(
        problems=[read(p.text) for p in generate(FRESH, FRESH_SEED)],
        decoder=decoder,
        tokenizer=run.setting.population.tokenizer,
        sandbox=sandbox,
        line=config.line,
        lines=config.lines,
        temperature=config.temperature,
        time=TIME,
    )
    before, after = run.policy("sft"), run.policy("rest")
    nets = [load_value(value_path(run.stage("rest"), n), decoder, TIME) for n in range(3)]

    def drawn(policy: Any) -> list[tree.Tree]:
        propose = solver.proposer(policy, jax.random.key(1))
        return tree.sample_trees(solver.roots, config.budget, 1, propose=propose, judge=solver.judge)

    def searched(policy: Any, value: tree.Value) -> float:
        propose = solver.proposer(policy, jax.random.key(2))
        return solved(
            tree.search_trees(
                solver.roots, search_of(config), propose=propose, value=value, judge=solver.judge
            )
        )

    draws = drawn(before)
    known = solver.valuer(nets[2])
    lots = random.Random(0)

    def shuffled(states: Sequence[Any]) -> Sequence[float]:
        values = list(known(states))
        lots.shuffle(values)
        return values

    lessons = [lesson for one in draws for lesson in tree.lessons(one)]
    wanted = np.array([worth for _, worth in lessons])
    errors = {
        f"value-{n}": float(np.mean((np.array(solver.valuer(net)([s for s, _ in lessons])) - wanted) ** 2))
        for n, net in enumerate(nets)
    }
    return errors | {
        "drawn": solved(draws),
        "searched": searched(before, known),
        "shuffled": searched(before, shuffled),
        "drawn after": solved(drawn(after)),
        "searched after": searched(after, known),
    }


def solved(trees: Sequence[tree.Tree]) -> float:
    """Share of the trees with a solution."""
    return fmean(t.solution is not None for t in trees)


def verbatim(run: Run, number: int) -> dict[str, float]:
    """Of what both twins accepted in a round: how much is the example's own text, by how often that was shown."""
    kept: dict[str, list[bool]] = {"often": [], "once": [], "detour": []}
    asked = 0
    for twin in ("A", "B"):
        examples = shown_to(run.setting, twin, "rest")
        problems = problems_of(examples, stage="rest")
        found = load(round_path(run.stage("rest", twin), number))
        asked += len(examples)
        for place, steps in found.solved.items():
            example = examples[place]
            same = problems[place].text(steps) == example.text
            kept["often" if example.repetition == OFTEN else "once"].append(same)
            if example.repetition == OFTEN and example.id.startswith(DETOUR):
                kept["detour"].append(same)
    return {
        "solved": (len(kept["often"]) + len(kept["once"])) / asked,
        "often": fmean(kept["often"] or [0.0]),
        "once": fmean(kept["once"] or [0.0]),
        "detours": len(kept["detour"]),
        "detours verbatim": sum(kept["detour"]),
    }


def points(found: Estimate) -> str:
    """In percent, with its 95 % interval."""
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


def of(found: Estimate) -> str:
    """With its 95 % interval."""
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def verdict(found: Estimate, bound: float, *, below: bool = False) -> str:
    """In the words of the claims."""
    if found.method == "unknown":
        return "no interval"
    low, high = (-found.high, -found.low) if below else (found.low, found.high)
    bound = -bound if below else bound
    return "holds" if low > bound else "contradicted" if high < bound else "not resolved"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
