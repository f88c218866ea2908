"""Stages that are killed and go on: `python -m benchmarks.kills [--kills 20] [--stages sft ppo] [--json]`.

Each stage trains a tiny model twice. One run is left alone. The other is killed at random moments, many of them while
its state is being written, started again each time from what is on disk, and at last allowed to finish. In the end
the whole state (parameters, moments, KL coefficient, key), the result and what a hook has put down in a file
have to be the same to the bit.

Each attempt is a fork of this process, which has imported JAX and not started it, and reads its programs from a cache
that only the undisturbed run writes. The exit code is 1 if a run differs.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NoReturn

import jax
import numpy as np

from rlhf import checkpoint, group, ppo, preference, reward, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs, pad, rows
from rlhf.events import BatchConsumed, Checkpointed, Hook, RolledOut, StageEnded, StageStarted, Updated
from rlhf.lora import Lora
from rlhf.model import Decoder, initialise
from rlhf.onpolicy import Passes
from rlhf.optimiser import Optimiser
from rlhf.presets import preset
from rlhf.rollout import Sampling
from rlhf.stage import Stage

PAD, BOS, EOS = 0, 1, 2
VOCABULARY, ROWS, TIME, PROMPT, RESPONSE = 40, 8, 12, 6, 6
EVERY = 2
"""Steps between two states."""
PAUSE = 0.02
"""Seconds that the hook takes over each step, so that not all kills meet a checkpoint."""

_INTERRUPTED = 130  # exit code of a child that was interrupted, as shells have it
_OPTIMISER = Optimiser(learning_rate=5e-3, warmup=3)
_LORA = Lora(rank=2)


class Notebook(Hook):
    """Puts down in a file what it hears; its state is how much of the file counts."""

    def __init__(self, path: Path, report: int, pause: float) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        self._report = report
        self._pause = pause
        self._lines = 0

    def on_stage_started(self, event: StageStarted) -> None:
        """Begin an empty page, unless the stage goes on."""
        if event.first == 0:
            self.restore({"bytes": 0, "lines": 0})
        os.write(self._report, f"{event.first}\n".encode())

    def on_batch(self, event: BatchConsumed) -> None:
        """Note the exposures, report the step and take a little while over it."""
        self._note(event.step, event.role, event.rows)
        os.write(self._report, b"step\n")
        time.sleep(self._pause)

    def on_rollout(self, event: RolledOut) -> None:
        """Note the answers and all numbers that come with them."""
        numbers = (event.tokens, event.logprobs, event.reference, event.values, event.scores)
        self._note(event.step, *(sha256(array.tobytes()).hexdigest() for array in numbers))

    def on_update(self, event: Updated) -> None:
        """Note the metrics, every digit of them."""
        self._note(event.step, dict(sorted(event.metrics.items())))

    def on_checkpoint(self, event: Checkpointed) -> None:
        """Note that the state is on disk."""
        self._note(event.step, event.path.name)

    def on_stage_ended(self, event: StageEnded) -> None:
        """Note the end."""
        self._note(event.steps, "ended")

    def state(self) -> Any:
        """How far the file goes."""
        return {"bytes": os.fstat(self._file).st_size, "lines": self._lines}

    def restore(self, state: Any) -> None:
        """Tear out what came after the checkpoint."""
        os.ftruncate(self._file, state["bytes"])
        self._lines = state["lines"]

    def _note(self, *what: Any) -> None:
        self._lines += 1
        os.write(self._file, (json.dumps([self._lines, *what]) + "\n").encode())


@dataclass(frozen=True, kw_only=True)
class _World:
    """What every stage is given."""

    params: Any
    pairs: Pairs
    prompts: Prompts
    order: np.ndarray
    shared: dict[str, Any]
    """Arguments that all of them take."""


def _world(steps: int, stage: Stage) -> _World:
    """All of it follows from fixed seeds."""
    rng = np.random.default_rng(0)
    starts = [[BOS, *rng.integers(3, VOCABULARY, 1 + i % (PROMPT - 1)).tolist()] for i in range(ROWS)]
    ids = tuple((f"row-{i}",) for i in range(ROWS))

    def continued() -> Rows:
        ends = [[*rng.integers(3, VOCABULARY, 2 + i % 4).tolist(), EOS] for i in range(ROWS)]
        return rows(starts, ends, ids, time=TIME, fill=PAD)

    decoder = Decoder(preset("tiny", VOCABULARY))
    tokens, lengths = pad(starts, PROMPT, PAD)
    return _World(
        params=jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0)),
        pairs=Pairs(preferred=continued(), rejected=continued()),
        prompts=Prompts(tokens=tokens, lengths=lengths, ids=ids),
        order=epochs(ROWS, ROWS // 2, steps, 0),
        shared={"decoder": decoder, "key": jax.random.key(1), "stage": stage},
    )


def _low(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A reward: the share of tokens below 12 in each answer."""
    return ((tokens < 12) * weights).sum(axis=1) / weights.sum(axis=1)


def _sft(world: _World) -> Any:
    return sft.train(world.params, world.pairs.preferred, world.order, _OPTIMISER, **world.shared)


def _reward(world: _World) -> Any:
    config = reward.RewardConfig(optimiser=_OPTIMISER)
    return dict(reward.train(world.params, world.pairs, world.order, config, **world.shared).scorer)


def _preference(world: _World, method: Literal["dpo", "ipo"]) -> Any:
    config = preference.PreferenceConfig(optimiser=_OPTIMISER, beta=0.2, method=method)
    return preference.train(world.params, world.pairs, world.order, config, **world.shared)


def _on_policy(world: _World, train: Callable[..., Any], config: Any) -> Any:
    return train(world.params, world.prompts, world.order, _low, config, eos=EOS, pad=PAD, **world.shared)


_SAMPLING = Sampling(response=RESPONSE, temperature=0.8)
_PPO = ppo.PPOConfig(
    optimiser=_OPTIMISER,
    sampling=_SAMPLING,
    passes=Passes(epochs=2, minibatch=2),
    kl_coefficient=0.05,
    kl_target=0.1,
    kl_horizon=40,
)
_GROUP = {
    "optimiser": _OPTIMISER,
    "sampling": _SAMPLING,
    "passes": Passes(epochs=2, minibatch=4),
    "size": 2,
    "kl_coefficient": 0.05,
}

STAGES: dict[str, tuple[Callable[[_World], Any], Lora | None]] = {
    "sft": (_sft, None),
    "sft, LoRA": (_sft, _LORA),
    "reward": (_reward, None),
    "ppo": (partial(_on_policy, train=ppo.train, config=_PPO), None),
    "ppo, LoRA": (partial(_on_policy, train=ppo.train, config=_PPO), _LORA),
    "grpo": (partial(_on_policy, train=group.train, config=group.GRPOConfig(**_GROUP)), None),
    "rloo": (partial(_on_policy, train=group.train, config=group.RLOOConfig(**_GROUP)), None),
    "dpo": (partial(_preference, method="dpo"), None),
    "ipo": (partial(_preference, method="ipo"), None),
}
"""Name of a stage -> what trains it, and its adapters. The coefficient of PPO moves."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of a stage that was killed."""

    stage: str
    steps: int
    kills: int
    """While it trained, all of them."""
    writing: int
    """Those of them that left a half-written or half-removed state behind."""
    starts: list[int]
    """The step that came next, each time it was started: 0 at the first, and where nothing was on disk yet."""
    differs: list[str]
    """What is not the same to the bit as in the undisturbed run."""

    @property
    def equal(self) -> bool:
        """Whether all is."""
        return not self.differs


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    first: int
    """The step that it started with."""
    seconds: float
    """Between its start and its end, or the kill."""
    killed: bool


def _train(name: str, steps: int, folder: Path, cache: Path, *, fill: bool, report: int) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # A process that may be killed at any moment writes no program that another one would load.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0 if fill else 1e9)
    train, lora = STAGES[name]
    stage = Stage(
        name=name,
        hooks=[Notebook(folder / "notebook.jsonl", report, PAUSE)],
        saver=checkpoint.Saver(folder=folder / "state", every=EVERY, identity=name),
        lora=lora,
    )
    result = checkpoint.flatten(train(_world(steps, stage)))
    digests = {key: sha256(np.asarray(leaf).tobytes()).hexdigest() for key, leaf in result.items()}
    (folder / "result.json").write_text(json.dumps(digests, indent=1))


def _child(log: Path, work: Callable[[], None]) -> NoReturn:
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _attempt(
    name: str,
    steps: int,
    folder: Path,
    cache: Path,
    *,
    fill: bool = False,
    moment: Callable[[int], tuple[int, float]] | None = None,
    by: signal.Signals = signal.SIGKILL,
) -> _Outcome:
    """Run the stage in a fork, or what is left of it. `moment`: first step -> steps and then seconds to the kill."""
    folder.mkdir(parents=True, exist_ok=True)
    reading, report = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reading)
        _child(folder / "log.txt", partial(_train, name, steps, folder, cache, fill=fill, report=report))
    os.close(report)
    with os.fdopen(reading) as lines:
        first, start = int(next(lines, "-1")), time.monotonic()
        if moment and 0 <= first < steps:
            after, seconds = moment(first)
            for _ in range(after):
                next(lines, None)
            time.sleep(seconds)
            os.kill(child, by)
        for _ in lines:
            pass
    seconds = time.monotonic() - start
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == _INTERRUPTED
    if status and not (killed and moment):
        log = (folder / "log.txt").read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{name}: expected the run to end, got status {status}:\n{log}")
    return _Outcome(first=first, seconds=seconds, killed=killed)


def drill(
    name: str, kills: int, folder: Path, rng: random.Random, by: signal.Signals = signal.SIGKILL
) -> Row:
    """Train a stage undisturbed, and again with `kills` kills in between; compare."""
    steps = max(8, 3 * kills)
    calm, shaken, cache = folder / "calm", folder / "shaken", folder / "cache"
    pace = _attempt(name, steps, calm, cache, fill=True).seconds / steps
    starts, writing, killed, differs = [], 0, 0, set()

    def moment(first: int) -> tuple[int, float]:
        after = rng.randint(0, 2 * (steps - first) // (kills - killed + 1))
        return min(after, max(0, steps - first - EVERY)), rng.uniform(0, pace)

    while killed < kills:
        outcome = _attempt(name, steps, shaken, cache, moment=moment, by=by)
        starts.append(outcome.first)
        if outcome.killed:
            killed += 1
            writing += any((shaken / "state").glob("*.partial"))
        else:
            # It was over before the blow fell; the remaining ones are for another run.
            differs |= _differences(calm, shaken, steps)
            shutil.rmtree(shaken)
    starts.append(_attempt(name, steps, shaken, cache).first)
    differs |= _differences(calm, shaken, steps)
    return Row(stage=name, steps=steps, kills=killed, writing=writing, starts=starts, differs=sorted(differs))


def _differences(calm: Path, shaken: Path, steps: int) -> set[str]:
    files = {
        "state": f"state/step-{steps:08d}/SHA256SUMS",
        "result": "result.json",
        "notebook": "notebook.jsonl",
    }
    return {
        what for what, file in files.items() if (calm / file).read_bytes() != (shaken / file).read_bytes()
    }


def _print(row: Row) -> None:
    starts = " ".join(map(str, row.starts))
    print(
        f"{row.stage:<10} {row.steps:>5} {row.kills:>5} {row.writing:>7}  "
        f"{'yes' if row.equal else 'NO: ' + ', '.join(row.differs):<5} {starts}",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row per stage; 0 if all are equal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="per stage (default %(default)s)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), metavar="STAGE")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default %(default)s)")
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    asked = parser.parse_args(arguments)
    if not asked.json:
        print(f"{'stage':<10} {'steps':>5} {'kills':>5} {'writing':>7}  {'equal':<5} started at step")
    rows_, start = [], time.monotonic()
    for name in asked.stages:
        folder = Path(tempfile.mkdtemp(prefix="kills-"))
        try:
            row = drill(
                name,
                asked.kills,
                folder,
                random.Random(f"{asked.seed} {name}"),
                signal.Signals[f"SIG{asked.signal}"],
            )
        finally:
            shutil.rmtree(folder)
        rows_.append(row)
        if not asked.json:
            _print(row)
    good = all(row.equal for row in rows_)
    if asked.json:
        print(json.dumps({"rows": [asdict(row) | {"equal": row.equal} for row in rows_]}, indent=1))
    else:
        print(f"{'all equal' if good else 'NOT all equal'}, {time.monotonic() - start:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
