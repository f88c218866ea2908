"""Samples of code, one a language, that use as many forms of tokens as the language has."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


@cache
def _sample(language: str) -> bytes:
    return (Path(__file__).parent / "samples" / f"{language}.txt").read_bytes()


@pytest.fixture
def sample() -> Callable[[str], bytes]:
    return _sample
