"""A model at work on problems: it proposes lines, a value net says how good a beginning is, unit tests judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from memaudit.programs import Problem, is_last
from memaudit.sandbox import Said, Sandbox, Task
from rlhf.batches import chunks, pad
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params
from rlhf.tokenizer import Tokenizer
from rlhf.tree import Propose, Value
from rlhf.value import ValueNet

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Partial:
    """A function that is being written: a state of the search."""

    problem: int
    """Which of the problems."""
    steps: tuple[str, ...] = ()
    """Its lines so far, each with the line break before it. An empty one is none that could be continued."""


@dataclass(frozen=True, kw_only=True)
class Solver:
    """The problems, and what it takes to have a model work on them."""

    problems: Sequence[Problem]
    decoder: Decoder
    tokenizer: Tokenizer
    sandbox: Sandbox
    line: int
    """Tokens of a line at most."""
    lines: int
    """Lines of a function at most."""
    temperature: float
    """Of the proposals."""
    time: int
    """Tokens of a function at most."""

    @property
    def roots(self) -> list[Partial]:
        """Every problem with nothing written yet."""
        return [Partial(number) for number in range(len(self.problems))]

    def tokens(self, state: Partial) -> list[int]:
        """What a model reads of a state."""
        text = self.problems[state.problem].head + "".join(state.steps)
        return [self.tokenizer.bos, *self.tokenizer.encode(text)]

    def proposer(self, params: Params, key: Array) -> Propose[Partial]:
        """The policy; each call of it draws with a key of its own, each row of a call too."""
        calls = 0

        def propose(states: Sequence[Partial], count: int) -> list[list[Partial]]:
            nonlocal calls
            rows = [state for state in states for _ in range(count)]
            found = self._lines(params, rows, jax.random.fold_in(key, calls))
            calls += 1
            new = [Partial(s.problem, (*s.steps, step)) for s, step in zip(rows, found, strict=True)]
            return [new[i : i + count] for i in range(0, len(new), count)]

        return propose

    def _lines(self, params: Params, states: Sequence[Partial], key: Array) -> list[str]:
        tokens, lengths = pad([self.tokens(s) for s in states], self.time, self.tokenizer.pad)
        drawn = [
            generate(
                params,
                tokens[index],
                lengths[index],
                row_keys(key, jnp.asarray(index)),
                decoder=self.decoder,
                budget=self.line,
                temperature=self.temperature,
                eos=None,
                pad=self.tokenizer.pad,
                buckets=(self.time,),
            ).tokens
            for index in chunks(len(states), _ROWS_AT_ONCE)
        ]
        return [self._line(row) for row in np.concatenate(jax.device_get(drawn))[: len(states)].tolist()]

    def _line(self, ids: list[int]) -> str:
        """The line that tokens begin with; empty where they do not begin with a whole one."""
        ended = self.tokenizer.eos in ids
        if ended:
            ids = ids[: ids.index(self.tokenizer.eos)]
        text = self.tokenizer.decode_bytes(ids).decode(errors="replace")
        first, second = text.find("\n"), text.find("\n", 1)
        if first != 0 or (second < 0 and not ended):
            return ""
        return text[:second] if second > 0 else text

    def valuer(self, net: ValueNet) -> Value[Partial]:
        """A value net that reads states."""
        return lambda states: net([self.tokens(state) for state in states]).tolist()

    def judge(self, states: Sequence[Partial]) -> list[bool | None]:
        """Whether each is over, and if so whether its tests pass."""
        over = [number for number, state in enumerate(states) if is_last(state.steps[-1])]
        tasks = [self._task(states[number]) for number in over]
        passed = {
            number: isinstance(found, Said) and found.answers == self.problems[states[number].problem].wanted
            for number, found in zip(over, self.sandbox.run(tasks), strict=True)
        }
        return [
            passed[number] if number in passed else None if self._goes_on(state) else False
            for number, state in enumerate(states)
        ]

    def _task(self, state: Partial) -> Task:
        problem = self.problems[state.problem]
        return Task(code=problem.text(state.steps), calls=problem.calls)

    def _goes_on(self, state: Partial) -> bool:
        if not state.steps[-1].strip() or len(state.steps) >= self.lines:
            return False
        return len(self.tokens(state)) + self.line <= self.time
