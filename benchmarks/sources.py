"""The code that the benchmarks read: the standard library of the interpreter, and one sample file a language."""

import random
import re
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from probes import language_of

_FILES = 400  # of one language; more change no figure
_BYTES = 1 << 20  # of one file


class Window(NamedTuple):
    """A place in a file: what stands before it, and what a model would have to complete."""

    prompt: bytes
    target: bytes


@cache
def library() -> tuple[bytes, ...]:
    """Files of the standard library, in the order of their names."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted([*folder.glob("*.py"), *folder.glob("[a-hj-z]*/*.py")])
    return _read(path for path in paths if "site-packages" not in path.parts)


def code(language: str, folder: Path | None = None) -> tuple[bytes, ...]:
    """Return files of a language: those below `folder` if it has any, else what comes with us."""
    found = _below(folder).get(language, ()) if folder else ()
    if not found and language == "python":
        return library()
    return found or _below(Path(__file__).parent / "samples").get(language, ())


@cache
def _below(folder: Path) -> dict[str, tuple[bytes, ...]]:
    paths: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        language = language_of(path.name)
        if language and path.is_file():
            paths.setdefault(language, []).append(path)
    return {language: _read(found[:_FILES]) for language, found in paths.items()}


def _read(paths) -> tuple[bytes, ...]:
    texts = (path.read_bytes() for path in paths)
    return tuple(text for text in texts if 0 < len(text) <= _BYTES)


def windows(
    files: Sequence[bytes], count: int, draw: random.Random, *, prompt: int = 1500, target: int = 770
) -> list[Window]:
    """Draw places in files, each of the two parts of so many bytes, both from the start of a line.

    A file that is too short for a window is read in a circle.
    """
    found = []
    for _ in range(count):
        text = draw.choice(files)
        if len(text) < prompt + target:
            text *= 2 + (prompt + target) // len(text)
        at = draw.randrange(len(text) - prompt - target + 1)
        start = text.rfind(b"\n", 0, at) + 1
        border = text.rfind(b"\n", start, start + prompt) + 1 or start + prompt
        found.append(Window(text[start:border], text[border : border + target]))
    return found


_PIECE = re.compile(rb"\w+|\s+|[^\w\s]")


def changed(text: bytes, draw: random.Random, *, share: float = 0.05) -> bytes:
    """Return the text as a model that nearly knows it would write it: some words replaced, doubled or left out."""
    pieces = _PIECE.findall(text)
    words = [piece for piece in pieces if not piece.isspace()] or [b"x"]
    for at in range(len(pieces)):
        if draw.random() < share:
            pieces[at] = draw.choice((draw.choice(words), pieces[at] * 2, b" ", b"x1"))
    return b"".join(pieces)
