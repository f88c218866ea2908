"""One small run that many tests look at."""

import pytest
from tiny import Walked, walk


@pytest.fixture(scope="session")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The tiny recipe, run once for all tests that only look."""
    return walk(tmp_path_factory.mktemp("walk") / "runs" / "tiny")
