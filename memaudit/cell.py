"""What runs inside the sandbox: an interpreter of its own that forks a process for each program.

It is started by `memaudit.sandbox` as a script, alone (`python -I -S`), and imports nothing of memaudit's. It reads a
JSON line for each program and answers with one. A program never meets the pipes to the auditor, nor the process that
the next program comes from: the process it runs in is its own, and is gone when it has been answered for.
"""

import bisect  # what is imported here, programs may import: nothing else can be, once files are shut
import collections
import contextlib
import ctypes
import functools
import heapq
import itertools
import json
import math
import operator
import os
import re
import resource
import select
import signal
import string
import struct
import sys
import time

GIVEN = (bisect, collections, functools, heapq, itertools, math, operator, re, string)

# Calls to the kernel that computing takes: memory, time, signals of its own, the pipe that is open already, the end.
_X86 = "0 1 3 5 8 9 10 11 12 13 14 15 24 25 28 35 39 60 131 186 202 228 230 231 318 334"
_ARM = "63 64 57 80 62 222 226 215 214 134 135 139 124 216 233 101 172 93 132 178 98 113 115 94 278 293"
_CALLS = {"x86_64": (0xC000003E, _X86), "aarch64": (0xC00000B7, _ARM)}
"""Machine -> the kernel's name for it, and the numbers of those calls there."""
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # refuse: as not permitted
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06

# What the interpreter itself tells its audit hooks of and a program that computes may do.
_HARMLESS = frozenset(("exec", "compile", "builtins.id", "array.__new__", "time.sleep"))


def filtered() -> bool:
    """Let the kernel refuse this process, for good, all but `_CALLS`. False where there is no such filter."""
    if not sys.platform.startswith("linux") or os.uname().machine not in _CALLS:
        return False
    arch, numbers = _CALLS[os.uname().machine]
    calls = [int(number) for number in numbers.split()]
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]
    program += [(_EQUAL, len(calls) - i, 0, call) for i, call in enumerate(calls)]
    program += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    kernel = ctypes.CDLL(None)
    no_new_privileges, set_filter = 38, 22
    if kernel.prctl(no_new_privileges, 1, 0, 0, 0):
        return False
    return kernel.prctl(set_filter, 2, head, 0, 0) == 0


def confine(limits: dict, out: int) -> None:
    """Take from this process all that a program that computes does not need. There is no way back."""
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)
    os.dup2(out, 3)
    os.closerange(4, 256)
    whole = math.ceil(limits["seconds"])
    for what, most in (
        (resource.RLIMIT_CPU, whole + 1),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 4),
        (getattr(resource, "RLIMIT_NPROC", None), 0),
    ):
        if what is not None:
            resource.setrlimit(what, (most, most))

    # A pipe is no file: RLIMIT_FSIZE does not hold for it.
    def refuse(event: str, args: tuple) -> None:
        if event not in _HARMLESS:
            raise PermissionError("not permitted: " + event)

    filtered()
    sys.addaudithook(refuse)


def answer(task: dict) -> bytes:
    """Run a program; the answer as JSON."""
    try:
        space: dict = {"__name__": "program"}
        exec(compile(task["code"], "program", "exec"), space)
        said = {"said": [repr(eval(compile(call, "call", "eval"), space)) for call in task["calls"]]}
    except BaseException as error:
        said = {"failed": "raised " + type(error).__name__}
    return json.dumps(said).encode()


def judged(task: dict, limits: dict) -> dict:
    """Run a program in a process of its own and wait for what it says, as long as it may take."""
    end, out = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(end)
        confine(limits, out)
        said = answer(task)
        while said:
            said = said[os.write(3, said) :]
        os._exit(0)
    os.close(out)
    said, until, late = b"", time.monotonic() + limits["seconds"], False
    while len(said) <= limits["answer"]:
        ready, _, _ = select.select([end], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            late = True
            break
        piece = os.read(end, 65536)
        if not piece:
            break
        said += piece
    os.close(end)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):  # it has ended, or is in no group of its own yet
            kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if late:
        return {"failed": "timed out"}
    if len(said) > limits["answer"]:
        return {"failed": "said too much"}
    try:
        found = json.loads(said)
        if isinstance(found.get("failed"), str):
            return {"failed": found["failed"][:80]}
        if len(found["said"]) == len(task["calls"]) and all(isinstance(s, str) for s in found["said"]):
            return {"said": found["said"]}
    except (ValueError, AttributeError, KeyError, TypeError):
        pass  # it ended before, or wrote to the pipe itself
    how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no answer"
    return {"failed": "ended with " + how}


def main() -> None:
    """Answer lines until there are no more."""
    limits = json.loads(sys.argv[1])
    for line in sys.stdin:
        sys.stdout.write(json.dumps(judged(json.loads(line), limits)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
