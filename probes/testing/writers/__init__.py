"""One writer for each language."""

from collections.abc import Mapping

from probes.testing.writers.base import Writer
from probes.testing.writers.c import C
from probes.testing.writers.cpp import Cpp
from probes.testing.writers.go import Go
from probes.testing.writers.java import Java
from probes.testing.writers.javascript import JavaScript
from probes.testing.writers.python import Python
from probes.testing.writers.rust import Rust
from probes.testing.writers.typescript import TypeScript

WRITERS: Mapping[str, type[Writer]] = {
    "python": Python,
    "javascript": JavaScript,
    "typescript": TypeScript,
    "java": Java,
    "go": Go,
    "rust": Rust,
    "c": C,
    "cpp": Cpp,
}
