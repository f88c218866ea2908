"""What the benchmarks' commands have in common: settings by option, libraries they need, how rows are printed."""

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from benchmarks.timing import Row

_Sizes = TypeVar("_Sizes")


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(*libraries: str) -> str:
    """One line on what this ran on."""
    wheels = []
    for name in ("jax", *libraries):
        try:
            wheels.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return f"{cores()} cores, {platform.machine()}, Python {platform.python_version()}, {', '.join(wheels)}"


def parser(name: str, doc: str | None, sizes: Any) -> argparse.ArgumentParser:
    """A command with --json and an option for each setting of `sizes`, a dataclass of numbers."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=doc)
    made.add_argument("--json", action="store_true", help="print the ratios by name, and the rows, as JSON")
    for setting in fields(sizes):
        made.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=type(setting.default),
            metavar="N",
            help=f"see `Sizes` in the source (default {setting.default})",
        )
    return made


def sized(command: argparse.ArgumentParser, options: argparse.Namespace, sizes: _Sizes) -> _Sizes:
    """The settings with what was given on the command line; refuses what is not positive."""
    given = {
        f.name: value
        for f in fields(sizes)  # pyright: ignore[reportArgumentType]
        if (value := getattr(options, f.name)) is not None
    }
    for name, value in given.items():
        if value <= 0:
            command.error(f"expected --{name.replace('_', '-')} to be positive, got {value}")
    return replace(sizes, **given)  # pyright: ignore[reportArgumentType]


def missing(name: str, libraries: Sequence[str]) -> str | None:
    """What to say where a library is not installed that this compares with."""
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            wanted = " and ".join(libraries)
            return f"benchmarks.{name} needs {wanted} to compare with: pip install {' '.join(libraries)}"
    return None


def teller(options: argparse.Namespace) -> Callable[[str], None]:
    """Prints a line on the way: beside the JSON, if that is what is asked for."""

    def told(line: str) -> None:
        print(line, file=sys.stderr if options.json else sys.stdout, flush=True)

    return told


def show(rows: Sequence[Row], options: argparse.Namespace, *libraries: str) -> None:
    """Print the rows, or JSON of them. A missed bar is named and does not fail."""
    missed = [row.name for row in rows if row.reached is False]
    if options.json:
        printed = {
            "ratios": {row.name: round(row.ratio, 4) for row in rows},
            "missed": missed,
            "machine": machine(*libraries),
            "rows": [row.as_json() for row in rows],
        }
        print(json.dumps(printed))
        return
    widths = [max((len(getattr(row, key)) for row in rows), default=0) for key in ("name", "ours", "theirs")]
    for row in rows:
        verdict = (
            {True: f"{row.bar:g} reached", False: f"{row.bar:g} MISSED", None: ""}[row.reached]
            if row.bar
            else ""
        )
        cells = (
            text.ljust(width) for text, width in zip((row.name, row.ours, row.theirs), widths, strict=True)
        )
        print(f"{'  '.join(cells)}  {row.ratio:7.2f}  {verdict}".rstrip())
    print(f"bars missed: {', '.join(missed) or 'none'}")
