"""Work done in processes that can be killed: a task that hangs or ends its process costs the others nothing.

A parser and a distance hold the interpreter's lock in native code, so no thread can stop them or run beside them.
`concurrent.futures.ProcessPoolExecutor` gives processes, but no way to end one task: killing its process breaks
the pool and loses the other tasks with it. Here each process has a pipe of its own, and tells in shared memory
which task it is at since when.
"""

import ctypes
import pickle
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")

# A chunk of tasks for about this many seconds outweighs the way through the pipe; the last one keeps no one waiting.
_CHUNK_SECONDS = 0.05
_CHUNK_TASKS = 64
_AHEAD = 4096  # tasks that may be taken beyond the first one without an answer: bounds what is held back
_TRIES = 2  # a process can also end by another's hunger for memory; a task that ends two is the cause
_STARTING, _READY = -2, -1


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A task that has no answer, because its process had to be killed or ended by itself."""

    reason: str
    """One line for a person: `timed out after 10 s`, or `worker died: signal 11, Segmentation fault`."""


def each(
    function: Callable[[Task], Answer],
    tasks: Iterable[Task],
    *,
    workers: int,
    timeout: float,
    memory: int | None = None,
) -> Generator[Answer | Lost, None, None]:
    """Yield `function(task)` for each of `tasks`, in their order, computed in `workers` spawned processes.

    `function` has to be one that a worker can import, and tasks and answers go through a pipe. A task may take
    `timeout` seconds; a worker may use `memory` bytes of address space (RLIMIT_AS, where the platform has it).
    A worker that overruns its time is killed and replaced, and so is one that ended; its other tasks are done
    again. What ended a worker gets one more try. An exception that `function` raises is raised here, in its
    task's turn. Tasks are taken as workers get free, at most a few thousand ahead. The processes end with the
    iterator: when it is exhausted, closed, or left by an exception.

    Raises TypeError if the function cannot be sent, RuntimeError if a worker ends before it is ready.
    """
    try:
        pickle.dumps(function)
    except Exception as error:
        raise TypeError(
            f"expected a function that workers can import, got {function!r} ({error}); define it in a module"
        ) from None
    return _parallel(_Queue(tasks), workers, _Terms(function, timeout, memory))


# --- the worker's side


class _Terms(NamedTuple):
    function: Callable[[Any], Any]
    timeout: float
    memory: int | None


_Progress = ctypes.Array[ctypes.c_double]
"""Number of the task a worker is at, and when it began by the monotonic clock in seconds, 0 between two tasks."""


def _work(pipe: Connection, progress: _Progress, terms: _Terms) -> None:
    """Answer chunks of tasks until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this process
    alarm = getattr(signal, "setitimer", None)
    if terms.memory is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (terms.memory, terms.memory))
    progress[0] = _READY
    while True:
        try:
            chunk: list[tuple[int, Any]] = pipe.recv()
        except (EOFError, OSError):
            return
        answers: list[tuple[bool, Any]] = []
        for number, task in chunk:
            progress[0] = number
            progress[1] = time.monotonic()
            if alarm:  # a parent that is gone kills no one
                alarm(signal.ITIMER_REAL, 2 * terms.timeout + 1)
            try:
                answers.append((True, terms.function(task)))
            except Exception as error:
                answers.append((False, _portable(error)))
            progress[1] = 0.0
        if alarm:
            alarm(signal.ITIMER_REAL, 0)
        pipe.send(answers)


def _portable(error: Exception) -> Exception:
    """Return the error, or one that says the same if it does not survive a pipe, with its traceback as a note."""
    note = "in a worker:\n" + traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


# --- the parent's side


class _Worker(Generic[Task]):
    def __init__(self, terms: _Terms) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.progress: _Progress = context.RawArray("d", [_STARTING, 0.0])
        self.process = context.Process(target=_work, args=(theirs, self.progress, terms), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does
        self.chunk: list[tuple[int, Task]] = []
        """What it was given and has not answered."""
        self.given = 0.0

    def give(self, chunk: list[tuple[int, Task]]) -> None:
        self.chunk = chunk
        self.given = time.monotonic()
        with suppress(OSError):  # it has ended, and the end of the pipe will tell
            self.pipe.send(chunk)

    def end(self, *, patience: float = 0.0) -> int:
        """Kill the process unless it ends within `patience` seconds; return its exit code, or less its signal."""
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        assert code is not None  # it was waited for
        self.pipe.close()
        return code


class _Queue(Generic[Task]):
    """The tasks on their way to the workers, and the answers on their way back into order."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = enumerate(tasks)
        self._size = 1
        self._again: deque[list[tuple[int, Task]]] = deque()
        self._deaths: Counter[int] = Counter()
        self._done: dict[int, tuple[bool, Any]] = {}
        self._taken = 0
        self._yielded = 0
        self.exhausted = False
        """All tasks were taken."""

    def chunk(self) -> list[tuple[int, Task]]:
        """Return the tasks to be done next; empty if there are none for now."""
        if self._again:
            return self._again.popleft()
        chunk: list[tuple[int, Task]] = []
        while len(chunk) < self._size and self._taken - self._yielded < _AHEAD and not self.exhausted:
            row = next(self._tasks, None)
            if row is None:
                self.exhausted = True
            else:
                chunk.append(row)
                self._taken += 1
        return chunk

    def answered(
        self, chunk: list[tuple[int, Task]], answers: list[tuple[bool, Any]], seconds: float
    ) -> None:
        self._done.update((number, answer) for (number, _), answer in zip(chunk, answers, strict=True))
        if seconds > _CHUNK_SECONDS:
            self._size = max(1, self._size // 2)
        elif len(chunk) >= self._size:
            self._size = min(_CHUNK_TASKS, 2 * self._size)

    def again(self, chunk: list[tuple[int, Task]]) -> None:
        if chunk:
            self._again.append(chunk)

    def timed_out(self, chunk: list[tuple[int, Task]], number: int, timeout: float) -> None:
        self._done[number] = (True, Lost(reason=f"timed out after {timeout:g} s"))
        self.again([row for row in chunk if row[0] != number])

    def died(self, chunk: list[tuple[int, Task]], number: int, how: str) -> None:
        self._deaths[number] += 1
        if self._deaths[number] == _TRIES:
            self._done[number] = (True, Lost(reason=f"worker died: {how}"))
        else:  # by itself, so that it takes no other with it
            self.again([row for row in chunk if row[0] == number])
        self.again([row for row in chunk if row[0] != number])

    def in_order(self) -> Iterator[Any]:
        """Yield the answers whose turn it is, or raise."""
        while self._yielded in self._done:
            good, answer = self._done.pop(self._yielded)
            self._yielded += 1
            if not good:
                raise answer
            yield answer


def _parallel(queue: _Queue, workers: int, terms: _Terms) -> Generator[Any, None, None]:
    pool: list[_Worker] = []
    try:
        while True:
            busy = [worker for worker in pool if worker.chunk]
            idle = [worker for worker in pool if not worker.chunk]
            while len(busy) < workers and (chunk := queue.chunk()):
                if not idle:
                    idle.append(_Worker(terms))
                    pool += idle
                busy.append(idle.pop())
                busy[-1].give(chunk)
            yield from queue.in_order()
            if busy:
                _collect(pool, busy, queue, terms.timeout)
            elif queue.exhausted:
                return
    finally:
        for worker in pool:
            worker.end()


def _collect(pool: list[_Worker], busy: list[_Worker], queue: _Queue, timeout: float) -> None:
    """Wait until a worker has answered, has ended or is overdue; the latter two leave the pool."""
    starts = [start for worker in busy if (start := worker.progress[1])]
    pause = min(starts) + timeout - time.monotonic() if starts else timeout
    ready = connection.wait([worker.pipe for worker in busy], max(0.0, pause))
    for worker in busy:
        start = worker.progress[1]
        if worker.pipe in ready:
            try:
                answers = worker.pipe.recv()
            except (EOFError, OSError):
                _bury(worker, queue, timeout)
                pool.remove(worker)
            else:
                queue.answered(worker.chunk, answers, time.monotonic() - worker.given)
                worker.chunk = []
        elif start and start + timeout <= time.monotonic():
            worker.end()
            pool.remove(worker)
            if worker.progress[1] == start:
                queue.timed_out(worker.chunk, int(worker.progress[0]), timeout)
            else:  # it was done at the last moment
                queue.again(worker.chunk)


def _bury(worker: _Worker, queue: _Queue, timeout: float) -> None:
    """Find out which task ended a worker, and have the others done again."""
    code = worker.end(patience=1.0)
    how = f"exit code {code}" if code >= 0 else f"signal {-code}, {signal.strsignal(-code)}"
    number = int(worker.progress[0])
    if number == _STARTING:
        raise RuntimeError(
            f"expected a worker that starts, got one that ended with {how}; start the work under "
            '`if __name__ == "__main__":`, and give a cap on memory that an interpreter fits in'
        )
    if all(number != other for other, _ in worker.chunk):
        number = worker.chunk[0][0]  # it ended while it read the chunk
    if code == -getattr(signal, "SIGALRM", 0):
        queue.timed_out(worker.chunk, number, timeout)
    else:
        queue.died(worker.chunk, number, how)
