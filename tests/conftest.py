"""Settings every test shares."""

import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=10_000)
settings.load_profile("ci")

_CHROMIUM = shutil.which("chromium")


def pytest_report_header() -> str:
    return f"browser tests: {_CHROMIUM or 'left out, no `chromium` on the PATH'}"


class ByRun(LoadFileScheduling):
    """File by file, but all that look at the one small run of `walked` in one process, which then runs it once."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "walked" if _looks(self.config.rootpath / path) else path


@cache
def _looks(path: Path) -> bool:
    return "walked: Walked" in path.read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRun:
    return ByRun(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _CHROMIUM:
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
