"""What it costs to ask while a stage is trained: `python -m benchmarks.passing`, with `--json`.

A small model is fine-tuned on windows of the standard library, once as it is and once with a sample of the probes put
to it ten times. Both sides take turns in one process, with everything compiled before. The ratio is how much longer
the stage takes.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax

from benchmarks import commandline
from benchmarks.extraction import Sizes as Taught
from benchmarks.extraction import example_of, prepare
from benchmarks.timing import Row
from benchmarks.training import fastest
from memaudit.extraction import Interrogation
from memaudit.sample import drawn
from memaudit.timeline import Timeline
from rlhf import sft
from rlhf.batches import epochs, rows
from rlhf.events import Hook
from rlhf.mesh import ONE_DEVICE
from rlhf.optimiser import Optimiser
from rlhf.stage import Stage

LEVELS = ("exact",)
"""Those of a timeline."""
BAR = 1.1


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 3
    """Turns of each side, after two that do not count."""
    steps: int = 110
    """Of the stage, with eight rows each."""
    times: int = 10
    """How often the sample is asked."""
    probes: int = 300
    """That there are in all."""
    share: float = 0.05
    """Of them, in the sample."""


def compare(sizes: Sizes) -> Iterator[Row]:
    """One row."""
    taught = Taught(probes=sizes.probes // 2)
    bench = prepare("1m", 48, taught)
    probes = [*bench.shown, *bench.others[: len(bench.shown)]]
    t = bench.tokenizer
    data = rows(
        [[t.bos, *p.prefix_tokens] for p in probes],
        [p.target_tokens for p in probes],
        [(p.example_id,) for p in probes],
        time=1 + taught.prompt + 48,
        fill=t.pad,
    )
    sample = [p for p in probes if drawn(p.id, sizes.share)]
    asking = Interrogation(
        decoder=bench.decoder,
        tokenizer=t,
        levels=LEVELS,
        batch=len(sample),
        examples={p.example_id: example_of(p) for p in sample},
        probes=sample,
        context=1 + taught.prompt,
        budget=48,
        closing=0.1,
        scored=False,
    )
    heard: list[int] = []

    def train(*hooks: Hook) -> float:
        params = sft.train(
            bench.params,
            data,
            epochs(len(probes), 8, sizes.steps, seed=0),
            Optimiser(learning_rate=1e-4, warmup=10),
            decoder=bench.decoder,
            stage=Stage(name="sft", hooks=hooks),
        )
        return float(jax.tree.leaves(params)[0].sum())

    with tempfile.TemporaryDirectory() as folder:

        def asked() -> float:
            every = sizes.steps // (sizes.times + 1)
            timeline = Timeline(Path(folder) / "timeline.jsonl", asking, every=every, layout=ONE_DEVICE)
            found = train(timeline)
            heard.append(len(timeline.checkpoints()))
            return found

        with_it, without = fastest([asked, train], sizes.rounds)
    if set(heard) != {sizes.times}:
        raise SystemExit(
            f"expected {sizes.times} looks in each turn, got {set(heard)}: set --steps to a multiple of "
            f"{sizes.times + 1}"
        )
    yield Row(
        name="passing",
        ours=f"{sizes.steps} steps, {len(sample)} of {len(probes)} probes {sizes.times} times: {with_it:.2f} s",
        theirs=f"without: {without:.2f} s",
        ratio=with_it / without,
        bar=BAR,
        most=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    command = commandline.parser("passing", __doc__, Sizes)
    options = command.parse_args(arguments)
    sizes = commandline.sized(command, options, Sizes())
    commandline.teller(options)(commandline.machine())
    commandline.show(list(compare(sizes)), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
