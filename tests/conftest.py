"""Settings every test shares."""

import shutil

import pytest
from hypothesis import settings

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=10_000)
settings.load_profile("ci")

_CHROMIUM = shutil.which("chromium")


def pytest_report_header() -> str:
    return f"browser tests: {_CHROMIUM or 'left out, no `chromium` on the PATH'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _CHROMIUM:
        return
    left_out = [item for item in items if item.get_closest_marker("browser")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
