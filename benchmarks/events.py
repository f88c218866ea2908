"""What events cost a stage: `python -m benchmarks.events`, with `--json` for the shares by name.

A hook hears everything, counts exposures and writes each update's metrics and each rollout to a file. Its cost is
found twice. The bar is on the first figure, the time from before an event is made until the last hook has heard it,
as a share of the stage's time: both are the least of all rounds. The second is the stage with hooks over the stage
without, medians of runs in turns; it has in it what the first may miss, and the machine's noise, which is more than
the whole. The exit code is 0 even if a bar is missed; missed bars are named.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.timing import Row, alternate
from rlhf import onpolicy, ppo, rollout, sft
from rlhf.batches import Prompts, Rows, epochs
from rlhf.events import BatchConsumed, Event, Hook, RolledOut, Updated
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage

LARGEST = 0.02
"""Bar: events' share of a stage's time."""
VOCABULARY, PAD, EOS = 2048, 0, 2


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    model: str = "1m"
    """Preset."""
    rounds: int = 5
    """Runs of each side."""
    steps: int = 10
    """Of SFT in a run."""
    iterations: int = 3
    """Of PPO in a run."""
    batch: int = 8
    """Rows of SFT."""
    time: int = 128
    """Tokens of each."""
    prompts: int = 16
    """Of PPO."""
    tokens: int = 32
    """Of each prompt, and of each answer."""


QUICK = Sizes(rounds=2, steps=3, iterations=1)


class Everything(Hook):
    """Hears all that there is to hear, and writes it down."""

    def __init__(self, folder: Path) -> None:
        self.exposures: Counter[tuple[str, str]] = Counter()
        """(role, example id) -> times."""
        names = ("exposures", "metrics", "rollouts")
        self._files = {name: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in names}

    def _write(self, name: str, line: Mapping[str, Any] | Sequence[Any]) -> None:
        self._files[name].write(json.dumps(line) + "\n")

    def on_batch(self, event: BatchConsumed) -> None:
        """Count the examples and write them down."""
        shown = [(event.role, example) for row in event.rows for example in row]
        self.exposures.update(shown)
        self._write("exposures", [event.step, *shown])

    def on_update(self, event: Updated) -> None:
        """Write the metrics."""
        self._write(
            "metrics", {"step": event.step, **{name: round(v, 6) for name, v in event.metrics.items()}}
        )

    def on_rollout(self, event: RolledOut) -> None:
        """Write a line for each answer."""
        for row, name in enumerate(event.rows):
            inside = slice(0, int(event.lengths[row]))
            line = {
                "step": event.step,
                "ids": name,
                "prompt": event.prompts[row, : event.prompt_lengths[row]].tolist(),
                "tokens": event.tokens[row, inside].tolist(),
                "logprobs": event.logprobs[row, inside].tolist(),
                "kl": event.kl[row, inside].tolist(),
                "score": float(event.scores[row]),
            }
            self._write("rollouts", line)

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()


@dataclass(frozen=True, kw_only=True)
class Timed(Stage):
    """A stage that knows how long its events take."""

    spent: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Seconds so far, and events."""

    def announce(self, event: Event, to: Sequence[Hook] | None = None) -> None:
        """Tell the hooks and look at the clock."""
        began = time.perf_counter()
        super().announce(event, to)
        self.spent[0] += time.perf_counter() - began
        self.spent[1] += 1


@contextmanager
def making(spent: list[float]) -> Iterator[None]:
    """Add to `spent` what it takes to make the one event that is not made of what is there already."""
    make = onpolicy._rolled_out

    def timed(*arguments: Any) -> RolledOut:
        began = time.perf_counter()
        event = make(*arguments)
        spent[0] += time.perf_counter() - began
        return event

    onpolicy._rolled_out = timed
    try:
        yield
    finally:
        onpolicy._rolled_out = make


Train = Callable[[Stage], object]


def sft_of(sizes: Sizes, decoder: Decoder, params: Params) -> Train:
    """Some steps of SFT on full rows."""
    draw = np.random.default_rng(0)
    count = 4 * sizes.batch
    shown = Rows(
        tokens=draw.integers(3, VOCABULARY, (count, sizes.time)).astype(np.int32),
        weights=np.ones((count, sizes.time), np.float32),
        ids=tuple((f"row-{i}",) for i in range(count)),
    )
    order, optimiser = epochs(count, sizes.batch, sizes.steps, 0), Optimiser(learning_rate=1e-4)
    return lambda stage: sft.train(params, shown, order, optimiser, decoder=decoder, stage=stage)


def ppo_of(sizes: Sizes, decoder: Decoder, params: Params) -> Train:
    """Some iterations of PPO: four epochs of one minibatch each, every answer of full length."""
    draw = np.random.default_rng(1)
    prompts = Prompts(
        tokens=draw.integers(3, VOCABULARY, (sizes.prompts, sizes.tokens)).astype(np.int32),
        lengths=np.full(sizes.prompts, sizes.tokens, np.int32),
        ids=tuple((f"prompt-{i}",) for i in range(sizes.prompts)),
    )
    config = ppo.PPOConfig(
        optimiser=Optimiser(learning_rate=1e-5),
        sampling=rollout.Sampling(response=sizes.tokens, stop=False),
        passes=onpolicy.Passes(epochs=4, minibatch=sizes.prompts),
        kl_coefficient=0.05,
    )

    def even(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return ((tokens % 2 == 0) * weights).mean(axis=1)

    return lambda stage: ppo.train(
        params,
        prompts,
        epochs(sizes.prompts, sizes.prompts, sizes.iterations, 0),
        even,
        config,
        decoder=decoder,
        key=jax.random.key(0),
        eos=EOS,
        pad=PAD,
        stage=stage,
    )


def measure(name: str, train: Train, rounds: int) -> Iterator[Row]:
    """A stage with the hook and without."""
    events, stages, count = [], [], 0.0

    def with_hook(number: int) -> None:
        nonlocal count
        with tempfile.TemporaryDirectory() as folder:
            hook = Everything(Path(folder))
            stage = Timed(name=name, hooks=[hook])
            with making(stage.spent):
                began = time.perf_counter()
                jax.block_until_ready(train(stage))
                whole = time.perf_counter() - began
            hook.close()
        assert hook.exposures.total()
        if number >= 0:
            events.append(stage.spent[0])
            stages.append(whole)
            count = stage.spent[1]

    def without(_: int) -> None:
        jax.block_until_ready(train(Stage(name=name)))

    heard, silent = alternate(with_hook, without, rounds=rounds, clock=time.perf_counter)
    yield Row(
        name=f"events_{name}",
        ours=f"{count:.0f} events {min(events) * 1e3:.2f} ms",
        theirs=f"stage {min(stages) * 1e3:,.0f} ms",
        ratio=min(events) / min(stages),
        bar=LARGEST,
        most=True,
    )
    yield Row(
        name=f"events_{name}_paired",
        ours=f"with hooks {heard * 1e3:,.0f} ms",
        theirs=f"without {silent * 1e3:,.0f} ms",
        ratio=heard / silent - 1,
    )


PARTS: dict[str, Callable[[Sizes, Decoder, Params], Train]] = {"sft": sft_of, "ppo": ppo_of}


def table(rows: Sequence[Row]) -> str:
    """The rows as lines for people."""
    lines = [("", "ours", "theirs", "share", "bar", "")]
    for row in rows:
        bar = "" if row.bar is None else f"<= {row.bar:.0%}"
        verdict = {True: "reached", False: "MISSED", None: ""}[row.reached]
        lines.append((row.name, row.ours, row.theirs, f"{row.ratio:.3%}", bar, verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the shares by name, and the rows, as JSON")
    parser.add_argument("--quick", action="store_true", help="few rounds: figures less sure")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="stages to be measured")
    for size in fields(Sizes):
        kind = str if size.name == "model" else int
        parser.add_argument(f"--{size.name}", type=kind, metavar="N", help=f"default {size.default}")
    options = parser.parse_args(arguments)
    given = {f.name: getattr(options, f.name) for f in fields(Sizes) if getattr(options, f.name) is not None}
    if wrong := [name for name, value in given.items() if name != "model" and value < 1]:
        parser.error(f"expected --{wrong[0]} of at least 1, got {given[wrong[0]]}")
    sizes = replace(QUICK if options.quick else Sizes(), **given)

    decoder = Decoder(preset(sizes.model, VOCABULARY))
    params = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))
    rows = [
        row
        for part in options.only
        for row in measure(part, PARTS[part](sizes, decoder, params), sizes.rounds)
    ]
    missed = [row.name for row in rows if row.reached is False]
    if options.json:
        ratios = {row.name: round(row.ratio, 6) for row in rows}
        print(json.dumps({**ratios, "missed": missed, "rows": [row.as_json() for row in rows]}))
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, {platform.machine()}, jax {jax.__version__}, {jax.devices()[0].device_kind}")
    print(table(rows))
    print(f"bars missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
