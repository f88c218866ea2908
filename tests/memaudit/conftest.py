"""One small run that many tests look at."""

import os
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from taught import Taught, teach
from tiny import Walked, walk

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
