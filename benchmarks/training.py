"""A training step of ours beside one of PyTorch: `python -m benchmarks.training`, with `--json` for ratios by name.

The same decoder on both sides, float32, 16 rows of 128 tokens with loss on all of them: `rlhf.optimiser.update` with
the loss of `rlhf.sft`, against `LlamaForCausalLM` of transformers with eager attention. A step is forward, backward,
clipping to norm 1, AdamW, and its loss read back. The row `packed` gives our side segment masks, and `attend` gives
theirs PyTorch's fused attention; both only inform.

The two sides take turns in one process, each on all cores. A figure is the fastest of many steps by the clock on the
wall: whatever else runs on the machine only ever adds. Start it with `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, which
helps both. Needs torch and transformers; exits with 2 without. A missed bar is named and does not fail.
"""

import argparse
import gc
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from benchmarks.timing import Row
from rlhf.presets import ModelConfig, preset

SHAPES = {"training_1m": preset("1m", 2048), "training_5m": preset("5m", 4096)}
RATE, BETAS, CLIP = 1e-3, (0.9, 0.95), 1.0
BAR = 1.2

Step = Callable[[], float]
"""Takes one step and returns its loss."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows of a batch, and tokens of a row."""

    rows: int = 16
    time: int = 128

    def tokens(self, vocabulary: int) -> np.ndarray:
        """Random ids, int32 ``[rows, time]``, the same for the same shape."""
        return np.random.default_rng(0).integers(0, vocabulary, (self.rows, self.time)).astype(np.int32)


def ours(config: ModelConfig, batch: Batch, *, packed: bool = False) -> Step:
    """Our update; `packed` rows hold two texts each."""
    import jax

    from rlhf.model import Decoder, initialise
    from rlhf.optimiser import Adam, Optimiser, prepare, update
    from rlhf.sft import CrossEntropy

    decoder = Decoder(config)
    params = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))
    adam = Adam(b1=BETAS[0], b2=BETAS[1], clip=CLIP)
    state, frozen = prepare(
        {"model": params}, Optimiser(learning_rate=RATE, adam=adam), None, jax.random.key(0)
    )
    tokens = batch.tokens(config.vocabulary)
    shown = {"tokens": tokens, "weights": np.ones(tokens.shape, np.float32)}
    if packed:
        shown["segments"] = np.repeat(np.arange(2, dtype=np.int32), batch.time // 2)[None].repeat(
            batch.rows, 0
        )
        shown["weights"][:, batch.time // 2] = 0

    def step() -> float:
        nonlocal state
        state, metrics, _ = update(state, frozen, shown, RATE, loss=CrossEntropy(decoder), adam=adam)
        return float(jax.device_get(metrics)["loss"])

    return step


def theirs(config: ModelConfig, batch: Batch, *, attention: str = "eager") -> Step:
    """A step of PyTorch on a model of the same shape."""
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    torch.set_num_threads(cores())
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocabulary,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            intermediate_size=config.hidden,
            tie_word_embeddings=config.tied,
            attn_implementation=attention,
            use_cache=False,
        )
    )
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)
    tokens = torch.from_numpy(batch.tokens(config.vocabulary).astype(np.int64))

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        adam.step()
        return loss.item()

    return step


def fastest(
    sides: Sequence[Step], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each side's fastest step; the sides take turns, and their first two turns do not count.

    Each round begins with the next side, because what ran just before costs a side something: caches, threads that
    still wait for work.
    """
    if rounds < 1:
        raise ValueError(f"expected at least 1 round, got {rounds}")
    best = [float("inf")] * len(sides)
    for number in range(-2, rounds):
        for turn in range(len(sides)):
            index = (turn + number) % len(sides)
            gc.collect()
            began = clock()
            sides[index]()
            spent = clock() - began
            if number >= 0:
                best[index] = min(best[index], spent)
    return best


def compare(name: str, batch: Batch, rounds: int) -> Iterator[Row]:
    """The rows of one shape."""
    config = SHAPES[name]
    sides = (
        ours(config, batch),
        theirs(config, batch),
        ours(config, batch, packed=True),
        theirs(config, batch, attention="sdpa"),
    )
    plain, eager, packed, fused = fastest(sides, rounds)
    for label, mine, other, bar in (
        (name, plain, eager, BAR),
        (f"{name}_packed", packed, eager, None),
        (f"{name}_attend", plain, fused, None),
    ):
        yield Row(
            name=label, ours=_speed(mine, batch), theirs=_speed(other, batch), ratio=other / mine, bar=bar
        )


def _speed(seconds: float, batch: Batch) -> str:
    return f"{batch.rows * batch.time / seconds:,.0f} tokens/s ({1e3 * seconds:.1f} ms)"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """One line on what this ran on."""
    wheels = ", ".join(f"{name} {version(name)}" for name in ("jax", "torch", "transformers"))
    return f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {wheels}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the ratios by name, and the rows, as JSON")
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="shapes")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="turns of each side; default 30")
    parser.add_argument("--rows", type=int, default=16, metavar="N", help="rows of a batch; default 16")
    parser.add_argument("--time", type=int, default=128, metavar="N", help="tokens of a row; default 128")
    options = parser.parse_args(arguments)
    for name, least in (("rounds", 1), ("rows", 1), ("time", 2)):
        if getattr(options, name) < least:
            parser.error(f"expected --{name} of at least {least}, got {getattr(options, name)}")
    if options.time % 2:
        parser.error(f"expected --time to be even, got {options.time}")
    for library in ("torch", "transformers"):
        try:
            importlib.import_module(library)
        except ImportError:
            parser.error(
                f"expected {library} to be installed to compare with: pip install torch transformers"
            )
    batch = Batch(rows=options.rows, time=options.time)
    rows = [row for name in options.only for row in compare(name, batch, options.rounds)]
    missed = [row.name for row in rows if row.reached is False]
    if options.json:
        printed = {
            "ratios": {row.name: round(row.ratio, 4) for row in rows},
            "missed": missed,
            "machine": machine(),
            "rows": [row.as_json() for row in rows],
        }
        print(json.dumps(printed))
        return
    print(machine())
    for row in rows:
        verdict = {True: f"{BAR} reached", False: f"{BAR} MISSED", None: ""}[row.reached]
        print(f"{row.name:20}  {row.ours:28}  {row.theirs:28}  {row.ratio:5.2f}  {verdict}".rstrip())
    print(f"bars missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    sys.exit(main())
