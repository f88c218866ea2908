"""Functions that stand in for `compare_completion` in workers. The completion says what is to happen.

Apart from the tests, so that a worker that imports them does not import pytest.
"""

import os
import signal
import time
from pathlib import Path

from probes.match import Match


class Awkward(Exception):
    """Survives no pipe: it is made from two arguments and keeps one."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what)


def sizes(target: bytes, completion: bytes, *, prompt, language, levels, secrets) -> dict[str, Match]:
    """A comparison whose answer tells the job."""
    return {
        level: Match(
            level=level,
            distance=int(completion or b"0"),
            target_length=len(prompt) + len(secrets),
            completion_length=len(completion),
            lexer=language,
        )
        for level in levels
    }


def misbehave(target: bytes, completion: bytes, **options) -> dict[str, Match]:
    deed, _, detail = completion.partition(b" ")
    if deed == b"sleep":
        time.sleep(float(detail))
        return sizes(target, b"", **options)
    if deed == b"spin":
        if detail:
            with Path(os.fsdecode(detail)).open("a") as mark:
                mark.write("begun\n")
        while True:
            pass
    if deed == b"kill":
        os.kill(os.getpid(), getattr(signal, detail.decode()))
    if deed == b"exit":
        os._exit(int(detail))
    if deed == b"exit-once":
        mark = Path(os.fsdecode(detail))
        if not mark.exists():
            mark.touch()
            os._exit(1)
        return sizes(target, b"", **options)
    if deed == b"hoard":
        return sizes(target, b"%d" % len(bytes(int(detail))), **options)
    if deed == b"raise":
        raise LookupError("nothing there")
    if deed == b"raise-awkward":
        raise Awkward("all", "of it")
    if deed == b"tell":
        return sizes(target, b"%d" % os.getpid(), **options)
    return sizes(target, completion, **options)
