"""Hostile programs do nothing but fail."""

import os
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memaudit.sandbox import Failed, Limits, Said, Sandbox, Task

SECONDS = 0.5


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=SECONDS, memory=128 * 2**20, answer=1000)) as sandbox:
        yield sandbox


def body(*lines: str) -> Task:
    """A function of these lines, called once."""
    return Task(
        code="\n".join(["def f(x):", *(f"    {line}" for line in lines), "    return x", ""]), calls=("f(3)",)
    )


def one(sandbox: Sandbox, task: Task) -> Said | Failed:
    (found,) = sandbox.run([task])
    return found


def test_programs_that_compute_are_answered_in_their_order(sandbox: Sandbox) -> None:
    tasks = [body(f"x = x * {n}") for n in range(5)] + [body("import math", "x = math.comb(x, 2)")]
    assert sandbox.run(tasks) == [Said((str(3 * n),)) for n in range(5)] + [Said(("3",))]
    assert sandbox.run([]) == []
    assert one(sandbox, Task(code="y = [1]\n", calls=("y", "y + [2]"))) == Said(("[1]", "[1, 2]"))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["while True: pass"], "timed out"),
        (["x = 9 ** 9 ** 9"], "timed out"),
        (["import os", "while True: os.fork()"], "raised PermissionError"),
        (["import subprocess"], "raised PermissionError"),
        (["import os", "os.system('touch pwned')"], "raised PermissionError"),
        (["import os", "os.execv('/bin/sh', ['sh'])"], "raised PermissionError"),
        (["x = bytearray(10 ** 9)"], "raised MemoryError"),
        (["x = [0] * 10 ** 8"], "raised MemoryError"),
        (["open('pwned', 'w').write('a')"], "raised PermissionError"),
        (["x = open('/etc/passwd').read()"], "raised PermissionError"),
        (["import os", "x = os.listdir('/')"], "raised PermissionError"),
        (["import os", "os.remove('/tmp/nothing')"], "raised PermissionError"),
        (["import socket"], "raised PermissionError"),
        (["import _socket"], "raised PermissionError"),
        (["import threading"], "raised PermissionError"),
        (["import ctypes", "ctypes.CDLL(None)"], "raised PermissionError"),
        (["import os", "os.kill(os.getppid(), 9)"], "raised PermissionError"),
        (["import os", "os.kill(1, 9)"], "raised PermissionError"),
        (["import os, os.path", "x = open(f'/proc/{os.getpid()}/environ')"], "raised PermissionError"),
        (["import sys", "sys.exit(0)"], "raised SystemExit"),
        (["import os", "os._exit(0)"], "ended with no answer"),
        (["import os", "os.close(3)", "while True: pass"], "ended with signal 9"),
        (["import signal, os", "os.abort()"], "ended with signal"),
        (["return f(x)"], "raised RecursionError"),
        (["x = 'a' * 10 ** 6"], "said too much"),
        (["import os", "while True: os.write(3, b'x' * 100)"], "said too much"),
        (["import os", "os.write(3, b'[')", "os._exit(0)"], "ended with no answer"),
        (["import os", "os.write(3, b'{\"said\": 7}')", "os._exit(0)"], "ended with no answer"),
        (["raise KeyboardInterrupt"], "raised KeyboardInterrupt"),
        (["def"], "raised SyntaxError"),
        (["return g"], "raised NameError"),
    ],
)
def test_a_hostile_program_fails_in_its_time_and_the_next_one_is_answered(
    sandbox: Sandbox, lines: list[str], reason: str
) -> None:
    before = time.monotonic()
    hostile, good = sandbox.run([body(*lines), body("x = x + 1")])
    assert isinstance(hostile, Failed), hostile
    assert hostile.reason.startswith(reason)
    assert good == Said(("4",))
    assert time.monotonic() - before < SECONDS + 5


def test_a_program_that_prints_a_great_deal_says_nothing(sandbox: Sandbox) -> None:
    assert one(sandbox, body("print('a' * 10 ** 7)", "import sys", "sys.stderr.write('b')")) == Said(("3",))


def test_nothing_of_the_environment_nor_of_memaudit_is_within_reach(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN", "s3cret")
    with Sandbox() as fresh:
        said = one(fresh, body("import os", "x = sorted(os.environ)"))
        assert isinstance(said, Said)
        assert "TOKEN" not in said.answers[0]
        said = one(fresh, body("import sys", "x = [m for m in sys.modules if 'memaudit' in m or 'jax' in m]"))
        assert said == Said(("[]",))


def test_it_sees_calls_and_not_what_is_expected_and_claims_for_itself_alone(sandbox: Sandbox) -> None:
    forged = body("import os", 'os.write(3, b\'{"said": ["9"]}\')', "os._exit(0)")
    assert sandbox.run([forged, body("x = 5")]) == [Said(("9",)), Said(("5",))]


@pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")), reason="no filter there"
)
def test_the_kernel_refuses_what_the_interpreter_does_not_ask_about(sandbox: Sandbox) -> None:
    """`os.pipe` and `os.getppid` have no audit event."""
    assert one(sandbox, body("import os", "x = os.pipe()")) == Failed("raised PermissionError")
    assert one(sandbox, body("import os", "x = os.getppid()")) == Said(("-1",))


def test_an_interpreter_that_was_killed_is_started_again_and_its_folder_goes(tmp_path: Path) -> None:
    with Sandbox() as sandbox:
        assert one(sandbox, body()) == Said(("3",))
        cell, folder = sandbox._cell, Path(sandbox._folder.name)
        assert cell is not None
        assert list(folder.iterdir()) == []
        os.killpg(cell.pid, 9)
        cell.wait()
        assert sandbox.run([body(), body("x = 0")]) == [Said(("3",)), Said(("0",))]
        again = sandbox._cell
        assert again is not None
        assert again.pid != cell.pid
    assert again.poll() is not None
    assert not folder.exists()


@pytest.mark.parametrize("name", ["seconds", "memory", "answer"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` to be positive, got 0"):
        Limits(**{name: 0})
