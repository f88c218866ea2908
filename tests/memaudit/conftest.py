"""One small run that many tests look at."""

import os
import sys
from pathlib import Path

import jax
import pytest
from command import Said
from jax.experimental.compilation_cache import compilation_cache
from taught import Taught, teach
from tiny import Walked, walk

from memaudit.cli import main

KEEP_ALL = {
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_persistent_cache_min_compile_time_secs": 0.0,
}


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `walked` leaves its compiled programs: most of a small run's time is compilation."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Walked:
    """The tiny recipe, run once for all tests that only look."""
    settings = {"jax_compilation_cache_dir": str(programs), **KEEP_ALL}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        return walk(tmp_path_factory.mktemp("walk") / "runs" / "tiny")
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@pytest.fixture
def environment(programs: Path) -> dict[str, str]:
    """Of a process that runs the tiny recipe: it reads those programs, and writes none that a kill could cut short."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9",
    }


@pytest.fixture(scope="session")
def taught() -> Taught:
    """A model that says some texts, taught once for all tests that only ask it."""
    return teach()


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Run a command in this process."""
    # With the tunables set the command does not start itself again.
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    monkeypatch.setenv("COLUMNS", "140")

    def run(*arguments: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["memaudit", *map(str, arguments)])
        code: int | str | None = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return Said(int(code or 0), captured.out, captured.err)

    return run
