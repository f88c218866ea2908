"""Where the stages of a study are carried out: in processes of this machine, or on a cluster.

A task is one leg of one run. Whoever carries it out needs nothing but the task and the study's directory, on which a
stage that was interrupted goes on from its last state; so a worker that is lost costs some steps, and no result
depends on which worker did what. Each worker computes with one thread, whatever their number: how a sum is split
among threads changes its last bits.

No two are ever at one stage. Whoever is taken for lost may still be writing, so a worker holds a lock on the stage's
directory, and waits where another has it; and none is trained anew while others read what it made.
"""

import os
import pickle
import signal
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from memaudit.course import Leg
from memaudit.errors import BadInput
from memaudit.instruments import STAGES, Instruments, setting_of
from memaudit.population import Population
from memaudit.recipe import Recipe
from memaudit.records import Finished

ONE_THREAD: Mapping[str, str] = {
    "NPROC": "1",  # XLA's own pool
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages: a tenth to a fifth of a step
}
"""Environment of a worker, before it starts."""
ATTEMPTS = 4
"""At a task whose worker was lost."""
LOCK = "lock"
"""A file in a stage's directory that is locked by the worker that is at it, and says which one that is."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A leg to be carried out."""

    run: str
    """Name of the run."""
    folder: Path
    """The run's directory; every worker sees it under this path."""
    leg: Leg
    population: bytes
    """The pickled recipe and population."""

    @classmethod
    def pack(cls, recipe: Recipe, population: Population) -> bytes:
        """What the tasks of a run have in common, packed once."""
        return pickle.dumps((recipe, population))


class _Unheard:
    """A worker's progress is read off the files it writes."""

    def say(self, text: str) -> None:
        """Nobody listens."""

    def begin(self, title: str, total: int) -> None:
        """Nobody listens."""

    def skip(self, count: int) -> None:
        """Nobody listens."""

    def advance(self, count: int) -> None:
        """Nobody listens."""

    def end(self, outcome: str) -> None:
        """Nobody listens."""


@lru_cache(maxsize=2)
def _instruments(folder: Path, packed: bytes) -> Instruments:
    recipe, population = pickle.loads(packed)
    return Instruments(setting_of(recipe, population, folder))


def carry_out(task: Task) -> Finished:
    """Do a task, in whatever process this is called. Raises BadInput where the run's directory is not seen."""
    stages = task.folder / STAGES
    if not stages.is_dir():
        raise BadInput(
            f"{task.folder}: expected every worker to see the study's directory under this path, got nothing there on "
            f"{socket.gethostname()}: set --out to a directory that all machines share"
        )
    with ExitStack() as stack:
        for key in sorted(task.leg.needs.values()):
            if (stages / key).is_dir():  # or else the task will say what is missing
                stack.enter_context(_held(stages / key, shared=True))
        (stages / task.leg.key).mkdir(exist_ok=True)
        stack.enter_context(_held(stages / task.leg.key))
        return _instruments(task.folder, task.population).carry_out(task.leg, _Unheard())


@contextmanager
def _held(stage: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a stage's directory, alone or among those that only read it; wait for whoever has it.

    The lock is the system's, so that it ends with the process that holds it, however that ends.
    """
    import fcntl  # which Windows lacks

    file = os.open(stage / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except OSError as error:
            raise BadInput(
                f"{stage / LOCK}: expected a file system with locks (flock), got {error.strerror}: "
                "mount it with them, or set --out to another directory"
            ) from None
        if not shared:
            os.ftruncate(file, 0)
            os.pwrite(file, f"{socket.gethostname()} {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


def given_up(task: Task) -> BadInput:
    """What is said of a task that no worker lives through."""
    return BadInput(
        f"{task.run}: {task.leg.title}: expected a worker to live through it, but {ATTEMPTS} were lost: "
        "is there enough memory? Set --workers lower"
    )


class Engine(Protocol):
    """Carries out tasks, several at a time, in any order."""

    workers: int
    """How many at a time."""

    def submit(self, task: Task) -> None:
        """Have a task carried out."""
        ...

    def finished(self, seconds: float) -> list[tuple[Task, Finished]]:
        """Wait at most so long for tasks to be done. Raises what a task raised, once those that are done are told."""
        ...


class Local:
    """Processes of this machine."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        # One process each: a pool takes all its processes with it when one is killed.
        self._idle = [_pool() for _ in range(workers)]
        self._running: dict[Future[Finished], tuple[Task, ProcessPoolExecutor]] = {}
        self._waiting: deque[Task] = deque()
        self._lost: Counter[tuple[str, str]] = Counter()
        self._error: BaseException | None = None

    def submit(self, task: Task) -> None:
        """Have a task carried out by the next process that is free."""
        self._waiting.append(task)
        self._begin()

    def _begin(self) -> None:
        while self._waiting and self._idle:
            task, pool = self._waiting.popleft(), self._idle.pop()
            try:
                future = pool.submit(carry_out, task)
            except BrokenProcessPool:  # it was killed while it had nothing to do
                pool.shutdown()
                pool = _pool()
                future = pool.submit(carry_out, task)
            self._running[future] = task, pool

    def finished(self, seconds: float) -> list[tuple[Task, Finished]]:
        """Wait at most so long. A task whose process was killed is begun again, and goes on where it was."""
        if self._error is not None:
            raise self._error
        done, _ = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED)
        found = []
        for future in done:
            task, pool = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                pool.shutdown()
                self._idle.append(_pool())
                error = self._again(task)
            else:
                self._idle.append(pool)
                if error is None:
                    found.append((task, future.result()))
            self._error = self._error or error
        self._begin()
        if self._error is not None and not found:
            raise self._error
        return found

    def _again(self, task: Task) -> BadInput | None:
        self._lost[task.run, task.leg.key] += 1
        if self._lost[task.run, task.leg.key] == ATTEMPTS:
            return given_up(task)
        self._waiting.appendleft(task)
        return None

    def close(self) -> None:
        """Kill the processes: what they were at goes on from what is on disk."""
        self._waiting.clear()
        pools = [*self._idle, *(pool for _, pool in self._running.values())]
        for pool in pools:
            for process in list((pool._processes or {}).values()):
                process.kill()
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _pool() -> ProcessPoolExecutor:
    # Spawned, not forked: jax has threads.
    return ProcessPoolExecutor(1, get_context("spawn"), initializer=_obey, initargs=(os.getpid(),))


def _obey(parent: int) -> None:
    """Have this process end when its parent does, or says so; what is typed at a terminal is said to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_with(parent)


def _leave_with(parent: int) -> None:
    """End this process when its parent does: nobody would hear what it finds."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def local(workers: int) -> Iterator[Engine]:
    """Processes of this machine, each with one thread."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    engine = Local(workers)
    try:
        yield engine
    finally:
        engine.close()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
