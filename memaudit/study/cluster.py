"""The stages of a study as tasks on a Ray cluster that is there already.

Ray decides where a task is carried out, and does so once more when the process or the machine that was at it is lost.
The study's directory has to be on a file system that all machines see under one path, and that has locks; and all of
them need the memaudit and the jax of the machine that conducts the study, since other code makes other stages.
"""

import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from memaudit.errors import BadInput
from memaudit.records import Finished
from memaudit.stages import code_digest
from memaudit.study.engines import ATTEMPTS, ONE_THREAD, Engine, Task, carry_out, given_up

_PATIENCE = 10.0  # seconds for a cluster to take a connection


class Cluster:
    """Workers of a Ray cluster that this process is connected with."""

    def __init__(self, ray: Any, workers: int) -> None:
        self.workers = workers
        self._ray = ray
        self._carry_out = ray.remote(
            num_cpus=1,
            max_retries=ATTEMPTS - 1,
            retry_exceptions=False,
            runtime_env={"env_vars": dict(ONE_THREAD)},
        )(_carried_out)
        self._stored: dict[bytes, Any] = {}
        """What the tasks of a run have in common -> where the cluster keeps it."""
        self._running: dict[Any, Task] = {}
        self._error: BaseException | None = None

    def submit(self, task: Task) -> None:
        """Have a task carried out wherever a CPU is free."""
        packed = task.population
        if packed not in self._stored:
            self._stored[packed] = self._ray.put(packed)
        carry_out = self._carry_out.options(name=f"{task.run}: {task.leg.title}")
        reference = carry_out.remote(replace(task, population=b""), self._stored[packed], code_digest())
        self._running[reference] = task

    def finished(self, seconds: float) -> list[tuple[Task, Finished]]:
        """Wait at most so long. A task whose worker was lost is begun again by Ray, and goes on where it was."""
        if self._error is not None:
            raise self._error
        found = []
        for reference in self._ready(seconds):
            task = self._running.pop(reference)
            try:
                found.append((task, self._ray.get(reference)))
            except self._ray.exceptions.RayError as error:
                self._error = self._error or self._said(task, error)
        if self._error is not None and not found:
            raise self._error
        return found

    def _ready(self, seconds: float) -> list[Any]:
        references = list(self._running)
        if not references:
            return []
        first, _ = self._ray.wait(references, timeout=seconds)
        return first and self._ray.wait(references, num_returns=len(references), timeout=0)[0]

    def _said(self, task: Task, error: Any) -> Exception:
        """What a task raised, without what Ray puts around it; or what became of its workers, in one line."""
        errors = self._ray.exceptions
        if isinstance(error, errors.RayTaskError):
            if "function failed to import on the worker" in str(error.cause):
                last = str(error.cause).strip().splitlines()[-1]
                return BadInput(
                    f"expected memaudit on all machines of the cluster, got one with {last.strip()}"
                )
            return error.cause if isinstance(error.cause, BadInput) else error
        if isinstance(error, errors.WorkerCrashedError | errors.NodeDiedError | errors.OutOfMemoryError):
            return given_up(task)
        return BadInput(
            f"{task.run}: {task.leg.title}: expected the Ray cluster to carry it out, got {type(error).__name__}: "
            + " ".join(str(error).split())
        )

    def close(self) -> None:
        """Have the cluster end what it is at: it goes on from what is on disk."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._stored.clear()


def _carried_out(task: Task, population: bytes, digest: str) -> Finished:
    """Do a task, on a machine of the cluster."""
    if code_digest() != digest:
        raise BadInput(
            f"{socket.gethostname()}: expected the memaudit and the jax of the machine that conducts the study, "
            "got others: install the same on all machines of the cluster"
        )
    return carry_out(replace(task, population=population))


@contextmanager
def cluster(address: str = "auto", workers: int | None = None) -> Iterator[Engine]:
    """Workers of the Ray cluster at `address` (auto: the one of this machine); as many as it has CPUs, unless told.

    Raises BadInput where there is no Ray, or no cluster. When this process ends, so do its tasks.
    """
    ray = _ray()
    mine = not ray.is_initialized()
    try:
        if mine:
            _join(ray, address)
        engine = Cluster(ray, workers or _cpus(ray))
        try:
            yield engine
        finally:
            engine.close()
    finally:
        if mine:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise BadInput(
            f"expected a Ray cluster at {address}, got none that answers ({_line(error)}): "
            "start one with `ray start`, or set its address"
        ) from error


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _cpus(ray: Any) -> int:
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if not cpus:
        raise BadInput("expected a Ray cluster with CPUs, got one that has none yet: set --workers")
    return cpus


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's makers are not told
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise BadInput(
            "expected ray, which studies on a cluster need, got no such library: pip install 'memaudit[distributed]'"
        ) from error


def _line(error: BaseException) -> str:
    """The first line of what Ray says."""
    return next(iter(str(error).splitlines()), type(error).__name__)
