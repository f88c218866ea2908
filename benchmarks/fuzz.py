"""Hostile texts by the hundred thousand: `python -m benchmarks.fuzz --inputs 100000 --seed 0`.

Each input is made from the seed and its number, read at all levels, compared and aligned in a process that can be
killed, and held to the laws in `benchmarks.hostile` and to a bound in time. The digest at the end is of all
answers: two runs that print the same gave the same answers. With `--state FILE` a run that was stopped goes on.
The exit code is 1 if an input failed.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.hostile import READ_AS, Report, check, make
from probes import versions
from probes.workers import Lost, each

_SAVED_EVERY = 2000


@dataclass(kw_only=True)
class Tally:
    """What a run has found so far; all of it is saved."""

    seed: int
    versions: dict[str, str]
    first: int
    done: int = 0
    """Inputs that are done, from `first` on."""
    seconds: float = 0.0
    """Processor time of the checks."""
    digest: int = 0
    inputs: Counter[str] = field(default_factory=Counter)
    """By language."""
    kinds: Counter[str] = field(default_factory=Counter)
    size: Counter[str] = field(default_factory=Counter)
    """Bytes by language."""
    slowest: dict[str, list[float]] = field(default_factory=dict)
    """Seconds, bytes and number of the slowest input of each language."""
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count one input. The digest adds up, so it does not depend on how a run was split."""
        self.done += 1
        self.seconds += report.seconds
        self.digest = (self.digest + report.digest * (2 * report.number + 1)) % 2**64
        self.inputs[report.language] += 1
        self.kinds[report.kind] += 1
        self.size[report.language] += report.size
        if report.seconds > self.slowest.get(report.language, [0.0])[0]:
            self.slowest[report.language] = [report.seconds, report.size, report.number]
        if report.failure is not None:
            case = make(report.number, self.seed)
            row = {"number": report.number, "failure": report.failure, **asdict(case)}
            row["secrets"] = [secret.hex() for secret in case.secrets]
            self.failures.append({k: v.hex() if isinstance(v, bytes) else v for k, v in row.items()})

    def save(self, path: Path) -> None:
        """Write the tally, all or nothing."""
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps(vars(self)), encoding="utf-8")
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> "Tally":
        """Read a tally that was saved."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**values | {name: Counter(values[name]) for name in ("inputs", "kinds", "size")})


def fuzz(
    tally: Tally, inputs: int, *, workers: int, bound: float, timeout: float, state: Path | None
) -> None:
    """Check inputs until `inputs` are done."""
    numbers = range(tally.first + tally.done, tally.first + inputs)
    work = partial(check, seed=tally.seed, bound=bound)
    began = shown = time.monotonic()
    start = tally.done
    with closing(each(work, numbers, workers=workers, timeout=timeout)) as reports:
        for number, report in zip(numbers, reports, strict=True):
            if isinstance(report, Lost):
                case = make(number, tally.seed)
                report = Report(
                    number=number,
                    kind=case.kind,
                    language=case.language,
                    size=len(case.text),
                    seconds=timeout,
                    digest=0,
                    failure=report.reason,
                )
            tally.add(report)
            if state and tally.done % _SAVED_EVERY == 0:
                tally.save(state)
            if sys.stderr.isatty() and time.monotonic() - shown > 1:
                shown = time.monotonic()
                rate = (tally.done - start) / (shown - began)
                left = (inputs - tally.done) / rate
                print(
                    f"\r{tally.done:,} of {inputs:,}, {rate:,.0f}/s, {left:,.0f} s left ",
                    end="",
                    file=sys.stderr,
                )
    if state:
        tally.save(state)


def summary(tally: Tally) -> str:
    """Return the tally as a table for people."""
    failed = Counter(failure["language"] for failure in tally.failures)
    lines = [("language", "inputs", "bytes", "failed", "slowest", "of bytes", "number")]
    for language in READ_AS:
        seconds, size, number = tally.slowest.get(language, [0.0, 0, 0])
        count, total = tally.inputs[language], tally.size[language]
        lines.append(
            (
                language,
                f"{count:,}",
                f"{total:,}",
                str(failed[language]),
                f"{seconds * 1000:,.0f} ms",
                f"{int(size):,}",
                str(int(number)),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = ["  ".join(map(str.rjust, line, widths)) for line in lines]
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in tally.kinds.most_common())
    rate = tally.done / tally.seconds if tally.seconds else 0.0
    return "\n".join(
        [
            *table,
            f"kinds: {kinds}",
            f"{tally.done:,} inputs of seed {tally.seed}, {rate:,.0f} a second and core; "
            f"digest {tally.digest:016x}; failed: {len(tally.failures)}",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--first", type=int, default=0, metavar="N", help="number of the first input (default 0)"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default %(default)s)")
    parser.add_argument(
        "--bound", type=float, default=10.0, metavar="S", help="seconds an input may take (%(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds until it is killed (%(default)s)"
    )
    parser.add_argument(
        "--state", type=Path, metavar="FILE", help="go on from FILE if it is there, and save to it"
    )
    parser.add_argument(
        "--failures", type=Path, default=Path("fuzz-failures.jsonl"), metavar="FILE", help="%(default)s"
    )
    options = parser.parse_args(arguments)
    for name in ("inputs", "workers", "bound", "timeout"):
        if getattr(options, name) <= 0:
            parser.error(f"expected --{name} of more than 0, got {getattr(options, name)}")
    tally = Tally(seed=options.seed, versions=versions(), first=options.first)
    if options.state and options.state.exists():
        saved = Tally.load(options.state)
        if (saved.seed, saved.first, saved.versions) != (tally.seed, tally.first, tally.versions):
            parser.error(
                f"expected a state of the same seed, first and versions in {options.state}; remove the file"
            )
        tally = saved
    fuzz(
        tally,
        options.inputs,
        workers=options.workers,
        bound=options.bound,
        timeout=options.timeout,
        state=options.state,
    )
    print(summary(tally))
    if tally.failures:
        with options.failures.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps(failure) + "\n" for failure in tally.failures)
        print(f"failures, with their texts in hexadecimal: {options.failures}")
        for failure in tally.failures[:5]:
            print(f"  {failure['number']} ({failure['language']}, {failure['kind']}): {failure['failure']}")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
