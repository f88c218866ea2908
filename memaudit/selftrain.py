"""Self-training by tree search (ReST-MCTS*, arXiv 2406.03816): a policy learns from what it has solved itself.

    solutions are drawn at random: the first lessons of the value net
    each round: search with the policy and the value net
                the policy learns the solutions whose tests pass, one of each problem
                the value net is learnt anew from the lessons of all rounds so far

The cohort's examples are functions with doctests (see `memaudit.programs`): the problem is shown and the tests judge;
how the example itself goes on is not shown. What a round found is in `round-NUMBER.json` beside the stage's parameters
(0: what was drawn at random), the value net after it in `value-NUMBER`.

Exposures: `prompt` at the step before which an example's problem is searched, once a round and once for the first
lessons; `trace` where the policy learns a solution that it wrote for it; `target` in place of that where the
solution is the example's own to the letter, and so shows it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.errors import BadInput
from memaudit.methods import Rest
from memaudit.population import Population
from memaudit.programs import Problem, read
from memaudit.recipe import Recipe
from memaudit.records import Example
from memaudit.sandbox import Sandbox
from memaudit.solving import Partial, Solver
from rlhf import checkpoint, sft, tree, value
from rlhf.batches import Rows, epochs, rows, take
from rlhf.events import BatchConsumed, RowIds
from rlhf.fit import Batch, fit
from rlhf.model import Decoder, Params, initialise, zero_head
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

_APART = 1_000  # between the seeds of two rounds


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round found."""

    calls: tuple[int, ...]
    """Of the policy, for each problem."""
    solved: Mapping[int, tuple[str, ...]]
    """Problem -> the steps of the first solution whose tests passed."""
    lessons: Sequence[tuple[Partial, float]]
    """What its trees teach a value net."""


def problems_of(examples: Sequence[Example], *, stage: str) -> list[Problem]:
    """The problem that each example is. Raises BadInput where one is none."""
    found = []
    for example in examples:
        try:
            found.append(read(example.text))
        except ValueError as error:
            raise BadInput(
                f"stages.{stage}.cohort: {example.source}: {error}: rest needs a corpus of such functions, "
                "cohorts.sensitive = 0, and cohorts.longest above their length"
            ) from None
    return found


def check_problems(recipe: Recipe, population: Population) -> None:
    """Refuse examples that are no problems, before anything is written. Raises BadInput."""
    for name, config in recipe.stages.items():
        if isinstance(config, Rest):
            problems_of([e for e in population.examples if e.cohort == config.cohort], stage=name)


def train(
    config: Rest,
    *,
    parent: Params,
    examples: Sequence[Example],
    decoder: Decoder,
    tokenizer: Tokenizer,
    optimiser: Optimiser,
    stage: Stage,
    folder: Path,
    seed: int,
) -> Params:
    """Train a policy for `config.rounds` rounds; what they found is left in `folder`."""
    problems = problems_of(examples, stage=stage.name)
    heads = [1 + len(tokenizer.encode(problem.head)) for problem in problems]
    longest = [1 + len(tokenizer.encode(example.text)) for example in examples]
    with Sandbox() as sandbox:
        solver = Solver(
            problems=problems,
            decoder=decoder,
            tokenizer=tokenizer,
            sandbox=sandbox,
            line=config.line,
            lines=config.lines,
            temperature=config.temperature,
            # What is longer than the longest example, and a line, was not learnt either.
            time=max(*heads, *longest) + config.line,
        )
        rounds = _Rounds(config, solver, examples, parent, stage, folder, seed)
        parts = fit(
            {"model": parent},
            rounds.shown,
            loss=sft.CrossEntropy(decoder),
            optimiser=optimiser,
            role="trace",
            steps=config.rounds * config.steps,
            stage=stage,
            key=jax.random.key(seed),
            before=rounds.before,
        )
    return parts["model"]


class _Rounds:
    """The rounds of a stage, as far as they have come."""

    def __init__(
        self,
        config: Rest,
        solver: Solver,
        examples: Sequence[Example],
        parent: Params,
        stage: Stage,
        folder: Path,
        seed: int,
    ) -> None:
        self._config, self._solver, self._examples = config, solver, examples
        self._parent, self._stage, self._folder, self._seed = parent, stage, folder, seed
        self._number = 0
        self._rows: Rows
        self._verbatim: set[int]
        self._order: np.ndarray

    def before(self, step: int, model: Callable[[], Params]) -> None:
        """Search where a round begins, and tell what is shown to the letter."""
        number, within = divmod(step, self._config.steps)
        number += 1
        if within == 0:
            self._tell(step, "prompt", range(len(self._examples)), times=2 if number == 1 else 1)
        if number != self._number:
            self._begin(number, model)
        shown = [i for i in self._order[within].tolist() if i in self._verbatim]
        if shown:
            self._tell(step, "target", [self._places[i] for i in shown])

    def shown(self, step: int) -> tuple[Batch, tuple[RowIds, ...]]:
        """A batch of this round's solutions."""
        return take(self._rows, self._order[step % self._config.steps])

    def _tell(self, step: int, role: str, places: Sequence[int], times: int = 1) -> None:
        names: tuple[RowIds, ...] = tuple((self._examples[place].id,) for place in places)
        self._stage.announce(BatchConsumed(stage=self._stage.name, step=step, role=role, rows=names * times))

    def _begin(self, number: int, model: Callable[[], Params]) -> None:
        found = self._searched(number, model)
        if not found.solved:
            raise BadInput(
                f"stages.{self._stage.name}.budget: expected a search that solves a problem, got none of "
                f"{len(self._examples)} in round {number}: set a larger budget, or train the parent longer"
            )
        self._number, self._places = number, sorted(found.solved)
        texts = [self._solver.problems[i].text(found.solved[i]) for i in self._places]
        encode, head = self._solver.tokenizer.encode, [self._solver.problems[i].head for i in self._places]
        self._verbatim = {row for row, i in enumerate(self._places) if texts[row] == self._examples[i].text}
        self._rows = rows(
            [[self._solver.tokenizer.bos, *encode(h)] for h in head],
            [encode(text[len(h) :]) for text, h in zip(texts, head, strict=True)],
            [() if row in self._verbatim else (self._examples[i].id,) for row, i in enumerate(self._places)],
            time=self._solver.time,
            fill=self._solver.tokenizer.pad,
        )
        seed = self._seed + _APART * number
        self._order = epochs(len(texts), self._config.batch, self._config.steps, seed)

    def _searched(self, number: int, model: Callable[[], Params]) -> Round:
        """What the round found: what is on disk, or what is found now."""
        path = self._path(number)
        if path.exists():
            return load(path)
        params = model()
        if self._stage.layout.devices > 1:
            params = self._stage.layout.fetch(params)
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        if number == 1:
            self._drawn(params, key)
        net = self._net(number - 1)
        trees = tree.search_trees(
            self._solver.roots,
            search_of(self._config),
            propose=self._solver.proposer(params, key),
            value=self._solver.valuer(net),
            judge=self._solver.judge,
        )
        found = round_of(trees)
        self._teach(number, [*self._lessons(number), *found.lessons])
        _keep(path, found)
        return found

    def _drawn(self, params: Params, key: jax.Array) -> None:
        """Round 0: solutions drawn at random, and the value net that they teach."""
        if self._path(0).exists():
            return
        config = self._config
        trees = tree.sample_trees(
            self._solver.roots,
            config.budget,
            config.branch,
            propose=self._solver.proposer(params, jax.random.fold_in(key, 0)),
            judge=self._solver.judge,
        )
        found = round_of(trees)
        if not found.lessons:
            raise BadInput(
                f"stages.{self._stage.name}.budget: expected draws that solve a problem, got none of "
                f"{len(self._examples)}: set a larger budget, or train the parent longer"
            )
        self._teach(0, found.lessons)
        _keep(self._path(0), found)

    def _lessons(self, number: int) -> list[tuple[Partial, float]]:
        """Those of the rounds before."""
        return [lesson for before in range(number) for lesson in load(self._path(before)).lessons]

    def _teach(self, number: int, lessons: Sequence[tuple[Partial, float]]) -> None:
        config = self._config
        net = value.train(
            self._parent,
            [self._solver.tokens(state) for state, _ in lessons],
            np.array([worth for _, worth in lessons]),
            decoder=self._solver.decoder,
            optimiser=Optimiser(learning_rate=config.value_rate, warmup=config.warmup),
            steps=config.value_steps,
            batch=config.batch,
            time=self._solver.time,
            seed=self._seed + _APART * number + 1,
        )
        at = value_path(self._folder, number)
        checkpoint.remove(at)
        checkpoint.save(at, net.parts)

    def _net(self, number: int) -> value.ValueNet:
        return load_value(value_path(self._folder, number), self._solver.decoder, self._solver.time)

    def _path(self, number: int) -> Path:
        return round_path(self._folder, number)


def search_of(config: Rest) -> tree.Search:
    """The search that a section asks for."""
    return tree.Search(
        budget=config.budget,
        branch=config.branch,
        rollout=config.rollout,
        alpha=config.alpha,
        epsilon=config.epsilon,
        unvisited=config.unvisited,
    )


def round_of(trees: Sequence[tree.Tree[Partial]]) -> Round:
    """What trees found."""
    solved = [t.solution for t in trees if t.solution is not None]
    return Round(
        calls=tuple(t.calls for t in trees),
        solved={state.problem: state.steps for state in solved},
        lessons=[lesson for t in trees for lesson in tree.lessons(t)],
    )


def round_path(folder: Path, number: int) -> Path:
    """Where a stage leaves what a round found."""
    return folder / f"round-{number}.json"


def value_path(folder: Path, number: int) -> Path:
    """Where a stage leaves the value net after a round."""
    return folder / f"value-{number}"


def load(path: Path) -> Round:
    """The round in a file."""
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Round(
        calls=tuple(data["calls"]),
        solved={int(place): tuple(steps) for place, steps in data["solved"].items()},
        lessons=[(Partial(place, tuple(steps)), worth) for place, steps, worth in data["lessons"]],
    )


def load_value(path: Path, decoder: Decoder, time: int) -> value.ValueNet:
    """The value net in a directory, for texts of up to `time` tokens."""
    like = {"model": initialise(decoder, jax.random.key(0)), "head": zero_head(decoder.config.width)}
    parts = jax.tree.map(jnp.asarray, checkpoint.load(path, like))
    return value.ValueNet(decoder=decoder, parts=parts, time=time)


def _keep(path: Path, found: Round) -> None:
    """Write a round: whole or not at all."""
    data = {
        "calls": found.calls,
        "solved": {str(place): steps for place, steps in found.solved.items()},
        "lessons": [(state.problem, state.steps, worth) for state, worth in found.lessons],
    }
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(data), encoding="utf-8")
    beside.replace(path)
