"""The pipeline on one CUDA GPU, unattended, in under 8 minutes: `python -m benchmarks.gpu`, with `--json FILE`.

Random weights in the shapes of Qwen2.5 at 0.5 and 1.5 billion parameters; float32 masters, bfloat16 products:

- `sft`: a training step at sequence 1024 with the largest batch that fits: tokens/s, and MFU, the share of the
  device's dense bfloat16 peak. Aim: 45 %. Counted are 6 operations per token and matrix entry, and those of causal
  attention (half of the square); what is computed twice to save memory counts once.
- `decoding`: greedy, 64 rows, 512 tokens of prompt and 128 new ones: tokens/s of the steps after the prefill, and
  their share of the peak bandwidth. Aim: half of it, so within 2 times of the floor. Counted are the weights in
  bfloat16 and the filled part of the cache, both read once in each step.
- `ppo`: one iteration, from prompts to the updated policy, compilation left out.

Every cell runs in a process of its own, with the memory to itself and so many seconds at most; every figure is
written as a line of JSON as soon as it is there, so that a kill loses nothing that was measured. Without a GPU: one
line, and exit code 2. `--tiny` goes through the same code on any device, with shapes whose figures mean nothing.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

from rlhf import ppo
from rlhf.batches import Prompts
from rlhf.events import Hook, Updated
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, initialise
from rlhf.onpolicy import Passes
from rlhf.optimiser import Adam, Optimiser, prepare, update
from rlhf.presets import ModelConfig, preset
from rlhf.rollout import Sampling
from rlhf.sft import CrossEntropy
from rlhf.stage import Stage

Record = dict[str, Any]

PEAKS: dict[str, tuple[float, float]] = {
    "H200": (989, 4800),
    "H100 PCIe": (756, 2000),
    "H100 NVL": (835, 3900),
    "H100": (989, 3350),
    "B200": (2250, 8000),
    "A100-SXM4-80GB": (312, 2039),
    "A100 80GB PCIe": (312, 1935),
    "A100": (312, 1555),
    "L40S": (362, 864),
    "A10G": (70, 600),
    "L4": (121, 300),
}
"""By a part of the device's name, the first that fits: dense bfloat16 TFLOP/s and GB/s, as NVIDIA states them."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes of what is measured."""

    models: tuple[str, ...] = ("0.5b", "1.5b")
    """Presets; PPO takes the first."""
    vocabulary: int = 151_936
    time: int = 1024
    """Tokens of a training row."""
    batches: tuple[int, ...] = (32, 16, 8, 4, 2, 1)
    """Rows of a training step, tried in this order."""
    steps: int = 10
    """Timed training steps."""
    rows: int = 64
    """Rows decoded together."""
    prompt: int = 512
    new: int = 128
    answers: int = 16
    """Rows of a PPO batch."""
    question: int = 256
    answer: int = 128
    """Tokens of a prompt and of an answer in PPO."""


TINY = Sizes(
    models=("tiny",),
    vocabulary=256,
    time=16,
    batches=(4, 2),
    steps=2,
    rows=4,
    prompt=16,
    new=4,
    answers=4,
    question=8,
    answer=4,
)
SECONDS = {"sft": 85, "decoding": 75, "ppo": 130}
"""What a cell of each kind may take, compilation included: 450 in all."""


def peak(device: str) -> tuple[float, float] | None:
    """Operations and bytes per second of a device at best; None where we do not know it."""
    for part, (teraflops, gigabytes) in PEAKS.items():
        if part in device:
            return teraflops * 1e12, gigabytes * 1e9
    return None


def entries(config: ModelConfig) -> int:
    """Entries of the matrices that every token is multiplied with: the blocks' and the output head."""
    attention = config.width * config.head_size * (2 * config.heads + 2 * config.kv_heads)
    return config.layers * (attention + 3 * config.width * config.hidden) + config.vocabulary * config.width


def operations(config: ModelConfig, time: int) -> float:
    """Operations of a training step per token, forward and backward."""
    return 6.0 * entries(config) + 6.0 * config.layers * config.heads * config.head_size * time


def bytes_read(config: ModelConfig, rows: int, filled: float) -> float:
    """Bytes that a decoding step must read: bfloat16 weights, and the keys and values of `filled` tokens a row."""
    cache = 2 * config.layers * config.kv_heads * config.head_size * rows * filled
    return 2.0 * (entries(config) + cache)


def _model(name: str, sizes: Sizes) -> tuple[Decoder, Any]:
    decoder = Decoder(preset(name, sizes.vocabulary), dtype="bfloat16")
    # Not as one program: XLA takes a minute to compile the random numbers of all its matrices for a GPU.
    return decoder, initialise(decoder, jax.random.key(0))


def _share(found: float, most: float | None) -> float | None:
    return None if most is None else round(found / most, 4)


def sft(name: str, sizes: Sizes) -> Iterator[Record]:
    """The training step, at the first of the batches that fits."""
    limits = peak(jax.devices()[0].device_kind)
    for rows in sizes.batches:
        decoder, params = _model(name, sizes)
        optimiser = Optimiser(learning_rate=1e-5)
        state, frozen = prepare({"model": params}, optimiser, None, jax.random.key(0))
        del params
        # One token more: it is a target only.
        tokens = np.random.default_rng(0).integers(0, sizes.vocabulary, (rows, sizes.time + 1), np.int32)
        batch = {"tokens": jnp.asarray(tokens), "weights": jnp.ones(tokens.shape, jnp.float32)}

        def step(state: Any, batch: Any = batch, frozen: Any = frozen, decoder: Decoder = decoder) -> Any:
            return update(state, frozen, batch, 1e-5, loss=CrossEntropy(decoder), adam=Adam())

        try:
            began = time.perf_counter()
            state, metrics, _ = step(state)
            jax.block_until_ready(metrics)
            first = time.perf_counter() - began
            began = time.perf_counter()
            for _ in range(sizes.steps):
                state, metrics, _ = step(state)
            jax.block_until_ready((state, metrics))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            yield {"batch": rows, "note": "does not fit"}
            del state, frozen, batch, step
            continue
        seconds = (time.perf_counter() - began) / sizes.steps
        speed = rows * sizes.time / seconds
        done = speed * operations(decoder.config, sizes.time)
        yield {
            "batch": rows,
            "tokens_per_second": round(speed, 1),
            "milliseconds": round(seconds * 1e3, 2),
            "tflops": round(done / 1e12, 2),
            "mfu": _share(done, limits and limits[0]),
            "first_step_seconds": round(first, 1),
            "loss": round(float(metrics["loss"]), 3),
        }
        return


def decoding(name: str, sizes: Sizes) -> Iterator[Record]:
    """Greedy decoding: all of it less its prefill."""
    limits = peak(jax.devices()[0].device_kind)
    decoder, params = _model(name, sizes)
    # As a policy that is only read: the float32 masters would be rounded in every call.
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) if leaf.ndim > 1 else leaf, params)
    shape = (sizes.rows, sizes.prompt)
    prompts = np.random.default_rng(0).integers(0, sizes.vocabulary, shape, np.int32)
    lengths = np.full(sizes.rows, sizes.prompt, np.int32)
    keys = row_keys(jax.random.key(0), jnp.arange(sizes.rows))

    def seconds(budget: int) -> float:
        costs = []
        for _ in range(4):
            began = time.perf_counter()
            found = generate(
                params,
                prompts,
                lengths,
                keys,
                decoder=decoder,
                budget=budget,
                temperature=0.0,
                eos=None,
                pad=0,
                buckets=(sizes.prompt,),
            )
            jax.block_until_ready(found)
            costs.append(time.perf_counter() - began)
        return min(costs[1:])

    whole = seconds(sizes.new)
    yield {"batch": sizes.rows, "tokens_per_second_with_prefill": round(sizes.rows * sizes.new / whole, 1)}
    prefill = seconds(1)
    step = max(whole - prefill, 1e-9) / (sizes.new - 1)
    read = bytes_read(decoder.config, sizes.rows, sizes.prompt + sizes.new / 2) / step
    share = _share(read, limits and limits[1])
    yield {
        "batch": sizes.rows,
        "tokens_per_second": round(sizes.rows / step, 1),
        "milliseconds": round(step * 1e3, 3),
        "prefill_milliseconds": round(prefill * 1e3, 2),
        "gigabytes_per_second": round(read / 1e9, 1),
        "bandwidth": share,
        "times_the_floor": share and round(1 / share, 2),
    }


class _Clock(Hook):
    """When each iteration was done."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def on_update(self, event: Updated) -> None:
        self.ticks.append(time.perf_counter())


def ppo_iteration(name: str, sizes: Sizes) -> Iterator[Record]:
    """The last of three iterations of PPO with a reward in Python, one epoch, and the value on the policy's trunk."""
    decoder, params = _model(name, sizes)
    shape = (sizes.answers, sizes.question)
    prompts = Prompts(
        tokens=np.random.default_rng(0).integers(2, sizes.vocabulary, shape, np.int32),
        lengths=np.full(sizes.answers, sizes.question, np.int32),
        ids=tuple((str(row),) for row in range(sizes.answers)),
    )
    config = ppo.PPOConfig(sampling=Sampling(response=sizes.answer, stop=False), passes=Passes(epochs=1))
    clock = _Clock()
    ppo.train(
        params,
        prompts,
        np.tile(np.arange(sizes.answers), (3, 1)),
        lambda tokens, weights: (tokens * weights).mean(axis=1) / sizes.vocabulary,
        config,
        decoder=decoder,
        key=jax.random.key(0),
        eos=1,
        pad=0,
        stage=Stage(name="ppo", hooks=[clock]),
    )
    seconds = clock.ticks[-1] - clock.ticks[-2]
    yield {
        "batch": sizes.answers,
        "milliseconds": round(seconds * 1e3, 1),
        "tokens_per_second": round(sizes.answers * sizes.answer / seconds, 1),
    }


KINDS: dict[str, Callable[[str, Sizes], Iterator[Record]]] = {
    "sft": sft,
    "decoding": decoding,
    "ppo": ppo_iteration,
}


def cells(sizes: Sizes) -> list[str]:
    """Their names, as kind/model."""
    return [f"{kind}/{name}" for kind in ("sft", "decoding") for name in sizes.models] + [
        f"ppo/{sizes.models[0]}"
    ]


def measure(cell: str, sizes: Sizes) -> Iterator[Record]:
    """The figures of a cell, each with the names of the cell and of the device."""
    kind, name = cell.split("/")
    for record in KINDS[kind](name, sizes):
        yield {"cell": cell, "device": jax.devices()[0].device_kind, **record}


def apart(cell: str, seconds: float) -> Iterator[Record]:
    """`measure` in a process of its own, which is ended after so many seconds."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--cell", cell]
    began = time.perf_counter()
    told: list[str] = []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        listener = threading.Thread(target=lambda lines: told.extend(lines), args=(child.stderr,))
        listener.start()
        alarm = threading.Timer(seconds, child.kill)
        alarm.start()
        for line in child.stdout:
            yield json.loads(line)
        code = child.wait()
        alarm.cancel()
        listener.join()
    if time.perf_counter() - began >= seconds:
        yield {"cell": cell, "note": f"ended after its {seconds:g} s"}
    elif code:
        yield {"cell": cell, "note": f"failed with code {code}: {told[-1].strip() if told else 'no word'}"}


def line(record: Record) -> str:
    """A record for people."""
    figures = [
        f"{name}={value}"
        for name, value in record.items()
        if name not in ("cell", "device", "note") and value
    ]
    return f"{record['cell']:16}{'  '.join(figures)}  {record.get('note', '')}".rstrip()


def _gpu() -> str | None:
    """The name of the first GPU, asked for in another process: this one must not hold its memory."""
    code = "import jax; d = jax.devices()[0]; print(d.device_kind if d.platform == 'gpu' else '')"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="append every figure there, a line each")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes in this process, on any device")
    parser.add_argument("--share", type=float, default=1.0, help="of the seconds that each cell may take")
    parser.add_argument("--only", nargs="+", metavar="CELL", help=f"out of {', '.join(cells(Sizes()))}")
    parser.add_argument("--cell", help=argparse.SUPPRESS)  # the child's side of `apart`
    options = parser.parse_args(arguments)
    if not options.share > 0:
        parser.error(f"expected --share to be positive, got {options.share:g}")
    sizes = TINY if options.tiny else Sizes()
    wanted = options.only or cells(sizes)
    for cell in [*wanted, *([options.cell] if options.cell else [])]:
        if cell not in cells(sizes):
            parser.error(f"expected a cell out of {', '.join(cells(sizes))}, got {cell}")
    if options.cell:
        for record in measure(options.cell, sizes):
            print(json.dumps(record), flush=True)
        return 0
    device = jax.devices()[0].device_kind if options.tiny else _gpu()
    if device is None:
        print("benchmarks.gpu needs a CUDA GPU and jax[cuda12] or jax[cuda13], found none", file=sys.stderr)
        return 2
    limits = peak(device)
    told = f"peak {limits[0] / 1e12:g} TFLOP/s, {limits[1] / 1e9:g} GB/s" if limits else "peak not known"
    print(f"{device}, jax {jax.__version__}, {told}", flush=True)
    file: IO[str] | None = options.json.open("a") if options.json else None
    try:
        for cell in wanted:
            seconds = SECONDS[cell.split("/")[0]] * options.share
            for record in measure(cell, sizes) if options.tiny else apart(cell, seconds):
                print(line(record), flush=True)
                if file:
                    file.write(json.dumps(record) + "\n")
                    file.flush()
    finally:
        if file:
            file.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
