"""Whether a mesh learns what one device learns: `python -m benchmarks.sharding`, with `--json` for programs.

Eight devices are forced on this machine's processor. Every stage is run on one of them and then on each layout of
data x fsdp x tensor devices, with the same rows and keys, and the losses of all updates are compared. The last rows
are two processes (`jax.distributed`) of two devices each, which write one checkpoint; a single process reads it.
The exit code is 0 even if a bar is missed; missed bars are named.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.stages import STAGES, STEPS, decoder_of, parent
from rlhf import checkpoint
from rlhf.checkpoint import Saver
from rlhf.events import Hook, RolledOut, Updated
from rlhf.mesh import ONE_DEVICE, Layout
from rlhf.model import Decoder
from rlhf.stage import Stage

DEVICES = 8
LAYOUTS = tuple(Layout(*axes) for axes in ((8, 1, 1), (1, 8, 1), (1, 1, 2), (2, 2, 2), (1, 4, 2), (2, 1, 4)))
LARGEST = 1e-5
"""Bar on the difference of losses (`Row.losses`)."""
PAIR = Layout(2, 2, 1)
"""Of the two processes; `data` divides among them."""


class Watch(Hook):
    """Keeps the loss of each update, and what was sampled."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.answers: list[np.ndarray] = []

    def on_update(self, event: Updated) -> None:
        """Keep the loss."""
        self.losses.append(event.metrics["loss"])

    def on_rollout(self, event: RolledOut) -> None:
        """Keep the answers."""
        self.answers.append(event.tokens)


@dataclass(frozen=True, kw_only=True)
class Watched(Stage):
    """A stage that notes where its state lies after each step."""

    shares: list[float] = field(default_factory=list)
    """Bytes of the state on one device, of its bytes in all: parameters and moments."""
    strayed: set[str] = field(default_factory=set)
    """Names of arrays that do not lie where the layout puts them."""

    def keep(self, done: int, steps: int, state: Any) -> None:
        """Note, and go on as ever."""
        held = whole = 0
        for path, leaf in jax.tree_util.tree_leaves_with_path(state):
            if isinstance(leaf.sharding, jax.sharding.NamedSharding):
                wanted = self.layout.sharding(path, leaf.shape)
                held += leaf.addressable_shards[0].data.nbytes
                whole += leaf.nbytes
                if not leaf.sharding.is_equivalent_to(wanted, leaf.ndim):
                    self.strayed.add(jax.tree_util.keystr(path))
        self.shares.append(held / whole if whole else 1.0)
        super().keep(done, steps, state)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A stage that was run."""

    losses: list[float]
    answers: list[np.ndarray]
    result: dict[str, np.ndarray]
    """Name of each array that came out -> the array."""
    share: float
    strayed: set[str]


def run(name: str, layout: Layout, decoder: Decoder, *, saver: Saver | None = None) -> Ran:
    """Run a stage on a layout's devices."""
    job, lora = STAGES[name]
    watch = Watch()
    stage = Watched(name=name, hooks=[watch], layout=layout, lora=lora, saver=saver)
    result = layout.fetch(checkpoint.flatten(job(decoder, parent(decoder), stage)))
    return Ran(
        losses=watch.losses,
        answers=watch.answers,
        result=result,
        share=max(stage.shares),
        strayed=stage.strayed,
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage on one layout, beside one device."""

    stage: str
    layout: str
    """data x fsdp x tensor."""
    losses: float
    """Largest difference of a loss over all updates; where the loss is above 1, as a share of it."""
    parameters: float
    """Largest difference of a parameter at the end."""
    answers: bool
    """All sampled tokens are the same; true where nothing is sampled."""
    share: float
    """Bytes of parameters and moments on one device, of the bytes in all; the largest of all steps."""
    strayed: int
    """Arrays of the state that did not lie where the layout puts them, after any step."""

    @property
    def reached(self) -> bool:
        """Whether it is as good as one device."""
        return self.losses <= LARGEST and self.answers and not self.strayed


def compare(name: str, layout: Layout, found: Ran, alone: Ran) -> Row:
    """What sets the two apart."""
    assert len(found.losses) == len(alone.losses) > 0
    assert found.result.keys() == alone.result.keys()
    return Row(
        stage=name,
        layout=f"{layout.data}x{layout.fsdp}x{layout.tensor}",
        losses=float(
            np.max(np.abs(np.subtract(found.losses, alone.losses)) / np.maximum(np.abs(alone.losses), 1))
        ),
        parameters=max(float(np.abs(found.result[n] - leaf).max()) for n, leaf in alone.result.items()),
        answers=all(np.array_equal(a, b) for a, b in zip(found.answers, alone.answers, strict=True)),
        share=found.share,
        strayed=len(found.strayed),
    )


def on_layouts(stages: Sequence[str], layouts: Sequence[Layout], decoder: Decoder) -> Iterator[Row]:
    """Each stage on one device and on each layout, in this process."""
    for name in stages:
        alone = run(name, ONE_DEVICE, decoder)
        for layout in layouts:
            yield compare(name, layout, run(name, layout, decoder), alone)


def _saver(folder: Path, name: str) -> Saver:
    return Saver(folder=folder / name, every=STEPS, identity=name)


def process(number: int, port: int, folder: Path, stages: Sequence[str], decoder: Decoder) -> None:
    """One of the two processes: train, save the state together, write down what it saw."""
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)
    for name in stages:
        ran = run(name, PAIR, decoder, saver=_saver(folder, name))
        seen = {"losses": ran.losses, "share": ran.share, "strayed": sorted(ran.strayed)}
        (folder / f"{name}-{number}.json").write_text(json.dumps(seen), encoding="utf-8")
        np.savez(folder / f"{name}-{number}.npz", *ran.answers)


def in_two_processes(stages: Sequence[str], decoder: Decoder) -> Iterator[Row]:
    """Each stage in two processes, whose checkpoint is read here and compared with the state of one device."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as temporary:
        free.bind(("127.0.0.1", 0))
        port, folder = free.getsockname()[1], Path(temporary)
        free.close()
        command = [sys.executable, "-m", "benchmarks.sharding", "--port", str(port), "--folder", temporary]
        command += ["--layers", str(decoder.config.layers)]
        environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
        pair = [
            subprocess.Popen(
                [*command, "--process", str(number), "--only", *stages],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number in range(2)
        ]
        alone = {
            name: run(name, ONE_DEVICE, decoder, saver=_saver(folder / "alone", name)) for name in stages
        }
        for told in pair:
            said, _ = told.communicate(timeout=600)
            if told.returncode:
                for other in pair:
                    other.kill()
                raise RuntimeError(
                    f"expected process to end well, got exit code {told.returncode}: {said[-3000:]}"
                )
        for name in stages:
            (mine,) = (folder / "alone" / name).iterdir()
            (state,) = (folder / name).iterdir()
            like = _like(mine)
            own, both = checkpoint.load(mine, like), checkpoint.load(state, like)
            for number in range(2):
                seen = json.loads((folder / f"{name}-{number}.json").read_text(encoding="utf-8"))
                answers = [array for _, array in sorted(np.load(folder / f"{name}-{number}.npz").items())]
                found = Ran(
                    losses=seen["losses"],
                    answers=answers,
                    result=both,
                    share=seen["share"],
                    strayed=set(seen["strayed"]),
                )
                row = compare(name, PAIR, found, replace(alone[name], result=own))
                yield replace(row, stage=f"{name}, process {number} of 2")


def _like(path: Path) -> dict[str, np.ndarray]:
    """A flat tree of the arrays that a checkpoint has."""
    said = json.loads((path / "note.json").read_text(encoding="utf-8"))["arrays"]
    found = {}
    for name, described in said.items():
        kind, _, shape = described.partition("[")
        found[name] = np.zeros(json.loads(f"[{shape}"), kind)
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows as lines for people."""
    lines = [("stage", "layout", "losses", "parameters", "same answers", "bytes a device", "strayed", "")]
    lines += [
        (
            row.stage,
            row.layout,
            f"{row.losses:.1e}",
            f"{row.parameters:.1e}",
            "yes" if row.answers else "NO",
            f"{row.share:.0%}",
            str(row.strayed),
            "reached" if row.reached else "MISSED",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _layout(text: str) -> Layout:
    try:
        data, fsdp, tensor = map(int, text.split("x"))
        found = Layout(data, fsdp, tensor)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected DATAxFSDPxTENSOR, got {text!r}") from None
    if found.devices > DEVICES:
        raise argparse.ArgumentTypeError(f"expected at most {DEVICES} devices, got {text!r}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharding", description=__doc__)
    parser.add_argument(
        "--json", action="store_true", help="print the differences by name, and the rows, as JSON"
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=list(STAGES), help="stages to be run")
    parser.add_argument(
        "--layouts",
        nargs="*",
        type=_layout,
        default=list(LAYOUTS),
        metavar="DxFxT",
        help="data x fsdp x tensor",
    )
    parser.add_argument(
        "--pair", nargs="*", choices=STAGES, default=["sft", "ppo"], help="stages for the two processes"
    )
    parser.add_argument("--layers", type=int, default=2, help="of the model (default 2)")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    jax.config.update("jax_platforms", "cpu")
    if options.process is not None:
        jax.config.update("jax_num_cpu_devices", PAIR.devices // 2)
        process(options.process, options.port, options.folder, options.only, decoder_of(options.layers))
        return
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", DEVICES)

    decoder = decoder_of(options.layers)
    rows = [*on_layouts(options.only if options.layouts else [], options.layouts, decoder)]
    rows += in_two_processes(options.pair, decoder) if options.pair else []
    missed = [f"{row.stage}/{row.layout}" for row in rows if not row.reached]
    if options.json:
        differences = {f"{row.stage}/{row.layout}": row.losses for row in rows}
        print(json.dumps({"losses": differences, "missed": missed, "rows": [asdict(row) for row in rows]}))
        return
    print(f"jax {jax.__version__}, {platform.machine()}, bar on the difference of losses {LARGEST:g}")
    print(table(rows))
    print(f"bars missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
