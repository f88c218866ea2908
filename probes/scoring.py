"""Scoring many completions on all cores, where none can take more than its time, bytes and memory.

A completion is hostile text. The levels are total functions in near-linear time, but the distance is quadratic,
and an error in native code can hang or end a process. So each job is done where it can be killed: see `workers`.
"""

import math
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from probes.levels import LEVELS, check_levels
from probes.match import Match, compare_completion
from probes.workers import Lost, each

LIMIT = 1 << 18
"""Bytes that the texts of one job may have together: 256 KiB, a hundred times a long completion."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A completion to be compared with its target."""

    target: bytes
    completion: bytes
    prompt: bytes = b""
    """What both follow."""
    language: str = "python"
    secrets: tuple[bytes, ...] = ()
    levels: tuple[str, ...] = LEVELS

    def __post_init__(self) -> None:
        for name in ("target", "completion", "prompt"):
            text = getattr(self, name)
            if not isinstance(text, bytes):
                raise TypeError(f"expected {name} as bytes, got {type(text).__name__}; encode it as UTF-8")
        if not isinstance(self.language, str):
            raise TypeError(f"expected the name of a language, got {self.language!r}; set a string")
        if not isinstance(self.secrets, tuple) or not all(isinstance(s, bytes) for s in self.secrets):
            raise TypeError("expected secrets as a tuple of bytes; encode each, and set () for none")
        if not all(self.secrets):
            raise ValueError("expected secrets of at least one byte, got an empty one; leave it out")
        if not isinstance(self.levels, tuple) or not self.levels:
            raise TypeError(f"expected a tuple of at least one level, got {self.levels!r}")
        check_levels(self.levels)

    @property
    def size(self) -> int:
        """Bytes of all its texts together."""
        return len(self.target) + len(self.completion) + len(self.prompt) + sum(map(len, self.secrets))


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A job without an answer: it was too large, took too long or too much memory, or ended its process."""

    reason: str
    """One line for a person, such as `too large: 12,000,000 bytes, limit 262,144`. It quotes no text of the job."""


Result = dict[str, Match] | Refusal
Compare = Callable[..., dict[str, Match]]
"""A function called as `compare_completion` is."""


def score(
    jobs: Iterable[Job],
    *,
    workers: int,
    timeout: float = 10.0,
    limit: int = LIMIT,
    memory: int | None = None,
    function: Compare = compare_completion,
) -> Generator[Result, None, None]:
    """Compare completions with their targets in `workers` processes; yield the results in the order of the jobs.

    A result is what `compare_completion` returns for the job, or a Refusal. Which process does a job, and which
    jobs it did before, changes nothing. Jobs are taken from the iterable as workers get free. The processes end
    with the iterator: when it is exhausted, closed, or left by an exception.

    - `workers`: 0 does all in this process, without `timeout` and `memory`. More of them than there are cores
      gain nothing. They are spawned, never forked, so a script has to call this under
      `if __name__ == "__main__":`.
    - `timeout`: seconds that one job may take. A worker that takes longer is killed and replaced.
    - `limit`: bytes that the texts of a job may have together. A larger job is refused unread, because a cut
      text has another distance.
    - `memory`: bytes of address space that a worker may use, where the platform has such a cap (RLIMIT_AS);
      None for no cap.
    - `function`: what compares. Workers must be able to import it.

    An exception that `function` raises, other than MemoryError, is raised here in its job's turn. Raises
    RuntimeError if a worker ends before it is ready to work.
    """
    _check_count("workers", workers, least=0)
    _check_count("limit", limit, least=1)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"expected a timeout in seconds, got {timeout!r}; set a number")
    if not 0 < timeout < math.inf:
        raise ValueError(f"expected a finite timeout of more than 0 seconds, got {timeout}")
    if memory is not None:
        _check_count("memory", memory, least=1)
        if workers and not _can_cap_memory():
            raise ValueError(f"expected no cap on memory on this platform, got {memory}; set memory=None")
    if not callable(function):
        raise TypeError(f"expected a function that compares, got {function!r}")
    admitted = (_admitted(job, limit) for job in jobs)
    answer = partial(_answer, function)
    if not workers:
        return (answer(job) for job in admitted)
    return _results(each(answer, admitted, workers=workers, timeout=timeout, memory=memory))


def _results(found: Generator[Result | Lost, None, None]) -> Generator[Result, None, None]:
    with closing(found):
        for result in found:
            yield Refusal(reason=result.reason) if isinstance(result, Lost) else result


def _check_count(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected {name} as a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"expected {name} of at least {least}, got {value}")


def _can_cap_memory() -> bool:
    try:
        import resource
    except ImportError:
        return False
    return hasattr(resource, "RLIMIT_AS")


def _admitted(job: Job, limit: int) -> Job | Refusal:
    if not isinstance(job, Job):
        raise TypeError(f"expected jobs of class Job, got {type(job).__name__}")
    return job if job.size <= limit else Refusal(reason=f"too large: {job.size:,} bytes, limit {limit:,}")


def _answer(function: Compare, job: Job | Refusal) -> Result:
    if isinstance(job, Refusal):
        return job
    try:
        return function(
            job.target,
            job.completion,
            prompt=job.prompt,
            language=job.language,
            levels=job.levels,
            secrets=job.secrets,
        )
    except MemoryError:
        return Refusal(reason=f"out of memory: {job.size:,} bytes of text took more than there is")
