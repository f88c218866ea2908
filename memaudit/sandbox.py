"""Programs of anybody's, run so that they can do nothing but compute.

An interpreter of its own (`memaudit/cell.py`, isolated, without environment, in an empty directory that is removed)
forks a process for each program. What is guaranteed, on Linux on x86-64 and arm64:

- The kernel refuses the process every call but those that computing takes (seccomp): no file is opened, written or
  listed, no socket made, no process or thread begun, nobody signalled. So it has no network, and cannot read
  another process's environment; its own is empty.
- It is killed, with all it may have begun, after `seconds` by the clock; it has `memory` bytes of address space. What
  it prints goes nowhere, and an answer of more than `answer` bytes is none.
- It sees what is called and not what is expected: answers are compared outside. It may claim to have returned
  anything, which is as if it had. It cannot answer for another program.

Elsewhere the interpreter's audit hook and the system's limits stand alone; they hold a program that was sampled from a
model, and not one that was written to break out of an interpreter. An interpreter that ends is started again.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

_CELL = Path(__file__).with_name("cell.py")
_PATIENCE = 10.0  # seconds beyond a program's own until the interpreter around it counts as hung


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program may use."""

    seconds: float = 2.0
    """By the clock."""
    memory: int = 256 * 2**20
    """Bytes of address space, the interpreter's own among them."""
    answer: int = 4096
    """Bytes of its answer."""

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "answer"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected `{name}` to be positive, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """A program, and what is to be asked of it."""

    code: str
    calls: tuple[str, ...]
    """Expressions, evaluated after the program in its names."""


@dataclass(frozen=True)
class Said:
    """What a program answered."""

    answers: tuple[str, ...]
    """The `repr` of each call's value."""


@dataclass(frozen=True)
class Failed:
    """A program without an answer."""

    reason: str
    """A few words: `timed out`, `raised ValueError`, `ended with signal 9`."""


class Sandbox:
    """A context in which programs are run."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._cell: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> "Sandbox":
        self._folder = tempfile.TemporaryDirectory(prefix="memaudit-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._folder.cleanup()

    def run(self, tasks: Sequence[Task]) -> list[Said | Failed]:
        """What each program answers, in their order."""
        return [self._one(json.dumps(asdict(task)).encode() + b"\n") for task in tasks]

    def _one(self, line: bytes) -> Said | Failed:
        for _ in range(2):
            found = self._asked(line)
            if found is not None:
                return Said(tuple(found["said"])) if "said" in found else Failed(found["failed"])
            self._end()
        return Failed("ended the interpreter around it")

    def _asked(self, line: bytes) -> dict | None:
        """The answer of the interpreter that runs; None: it has ended, or hangs."""
        cell = self._cell or self._start()
        assert cell.stdin is not None
        assert cell.stdout is not None
        try:
            cell.stdin.write(line)
            cell.stdin.flush()
        except OSError:
            return None
        while b"\n" not in self._unread:
            ready, _, _ = select.select([cell.stdout], [], [], self.limits.seconds + _PATIENCE)
            piece = os.read(cell.stdout.fileno(), 65536) if ready else b""
            if not piece:
                return None
            self._unread += piece
        said, _, self._unread = self._unread.partition(b"\n")
        return json.loads(said)

    def _start(self) -> "subprocess.Popen[bytes]":
        self._unread = b""
        self._cell = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(_CELL), json.dumps(asdict(self.limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd=self._folder.name,
            close_fds=True,
            start_new_session=True,
        )
        return self._cell

    def _end(self) -> None:
        cell, self._cell = self._cell, None
        if cell is None:
            return
        if cell.poll() is None:
            os.killpg(cell.pid, signal.SIGKILL)
        cell.wait()
        for pipe in (cell.stdin, cell.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not written yet has no reader any more
                    pipe.close()
