"""Huge pages for the arrays: a third off a training step on Linux, where the allocator has to be asked at its start."""

import os
import platform
import sys

_TUNABLES = "GLIBC_TUNABLES"
_HUGE = "glibc.malloc.hugetlb=1"


def restart_with_huge_pages() -> None:
    """Start this very command again with glibc's allocator told to ask for huge pages; return if that is no use.

    It changes speed and nothing else. Whoever has set the tunables is left alone, so it happens once.
    """
    if platform.libc_ver()[0] != "glibc" or _TUNABLES in os.environ or not sys.argv[0]:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _TUNABLES: _HUGE})
