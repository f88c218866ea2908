"""What an audit of many probes costs: `python -m benchmarks.scale`, with `--json` for the ratios by name.

`memaudit audit` is run as a command on files of more and more probes, windows of the standard library at different
places, put to one small model that knows a few of them. For each number of probes: the seconds of asking as the
ledger has them, those of the whole command, and the most memory that its process had. The ratios hold them against
the smallest file: seconds per probe, which should stay, and memory, which should too.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import commandline
from benchmarks.extraction import Bench, prepare
from benchmarks.extraction import Sizes as Taught
from benchmarks.sources import library
from benchmarks.timing import Row
from memaudit.ledger import LEDGER, Ledger
from rlhf import huggingface

KNOWN = 128
"""Windows that the model learns."""
BAR = 1.25
"""What seconds per probe and memory may grow by, from the smallest file to any other."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    prompt: int = 64
    """Tokens."""
    target: int = 64
    """Tokens."""
    passes: int = 60
    """Over the windows that the model learns."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one command."""

    probes: int
    asking: float
    """Seconds."""
    whole: float
    """Seconds."""
    memory: float
    """MiB."""


def write_probes(bench: Bench, path: Path, count: int, sizes: Sizes) -> None:
    """The probes that the model has learnt, and as many others as it takes."""
    t, need = bench.tokenizer, sizes.prompt + sizes.target
    with path.open("w", encoding="ascii") as stream:
        for number, (prefix, target) in enumerate(_windows(bench, sizes)):
            if number == count:
                return
            record = {"id": f"probe-{number}", "prefix": prefix, "target": target, "language": "python"}
            stream.write(json.dumps(record) + "\n")
    raise SystemExit(f"expected {count} windows of {need} tokens, got fewer: {t.vocabulary} tokens")


def _windows(bench: Bench, sizes: Sizes) -> Iterator[tuple[str, str]]:
    yield from ((p.prefix, p.target) for p in bench.shown)
    need = sizes.prompt + sizes.target
    for offset in range(0, need, 8):
        for text in library():
            ids = bench.tokenizer.encode(text.decode("utf-8", errors="replace"))
            for at in range(offset, len(ids) - need, need):
                prefix = bench.tokenizer.decode(ids[at : at + sizes.prompt])
                target = bench.tokenizer.decode(ids[at + sizes.prompt : at + need])
                if prefix.strip() and target.strip():
                    yield prefix, target


def audit(folder: Path, count: int) -> Cost:
    """Run the command on `count` probes."""
    out = folder / f"audit-{count}"
    command = [sys.executable, "-m", "memaudit", "audit", "--model", str(folder / "model")]
    command += ["--probes", str(folder / f"{count}.jsonl"), "--out", str(out)]
    command += ["--levels", "exact", "--twice", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    whole = time.perf_counter() - began
    if status:
        raise SystemExit(f"expected the audit of {count} probes to end well, got status {status}")
    with Ledger(out / LEDGER) as ledger:
        found = ledger.count("observations")
        if found != count:
            raise SystemExit(f"expected {count} observations, got {found}")
        asking = sum(seconds for _, _, seconds in ledger.answers.steps("model"))
    return Cost(probes=count, asking=asking, whole=whole, memory=used.ru_maxrss / 1024)


def compare(counts: Sequence[int], sizes: Sizes) -> Iterator[Row]:
    """Rows of seconds per probe and of memory, for every number of probes but the first."""
    bench = prepare("1m", sizes.target, Taught(probes=KNOWN, prompt=sizes.prompt, passes=sizes.passes))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        huggingface.write(folder / "model", bench.decoder.config, bench.params, tokenizer=bench.tokenizer)
        for count in counts:
            write_probes(bench, folder / f"{count}.jsonl", count, sizes)
        least = audit(folder, counts[0])
        for count in counts[1:]:
            more = audit(folder, count)
            yield Row(
                name=f"seconds_{count}",
                ours=f"{count:,}: {more.asking:.1f} s asking, {more.whole:.1f} s in all",
                theirs=f"{least.probes:,}: {least.asking:.1f} s asking, {least.whole:.1f} s in all",
                ratio=(more.asking / count) / (least.asking / least.probes),
                bar=BAR,
                most=True,
            )
            yield Row(
                name=f"memory_{count}",
                ours=f"{more.memory:,.0f} MiB",
                theirs=f"{least.memory:,.0f} MiB",
                ratio=more.memory / least.memory,
                bar=BAR,
                most=True,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    command = commandline.parser("scale", __doc__, Sizes)
    command.add_argument(
        "--counts", nargs="+", type=int, default=[1000, 10_000, 100_000], metavar="N", help="probes in a file"
    )
    options = command.parse_args(arguments)
    sizes = commandline.sized(command, options, Sizes())
    if len(options.counts) < 2 or min(options.counts) < KNOWN:
        command.error(f"expected --counts of at least two numbers from {KNOWN} on, got {options.counts}")
    commandline.teller(options)(commandline.machine())
    commandline.show(list(compare(options.counts, sizes)), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
