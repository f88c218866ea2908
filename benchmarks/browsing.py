"""How long `memaudit view` lets one wait on a run of a million observations.

`python -m benchmarks.browsing FOLDER` writes the ledger of `benchmarks.million` into FOLDER, or takes what is there,
serves it, and asks for lists as a browser would: the first page of each question to a server that was never asked
before, the same page again, and the page that follows; at last the page of an example. Bar: 2 s for any page.
"""

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urljoin
from urllib.request import urlopen

from benchmarks import commandline
from benchmarks.million import Sizes, write
from memaudit.ledger import LEDGER
from memaudit.serving import Server

MOST_SECONDS = 2.0
QUESTIONS: dict[str, dict[str, str]] = {
    "everything": {},
    "everything, by distance after ppo": {"sort": "stage", "by": "ppo", "order": "desc"},
    "out after ppo, not of the control, nearest": {"stage": "ppo", "out": "only", "sort": "nearest"},
    "out after any stage, not of the control, nearest": {"out": "only", "sort": "nearest"},
    "the same at level renamed": {"level": "renamed", "out": "only", "sort": "nearest"},
    "secret whole after any stage, most shown": {"secret": "whole", "sort": "times", "order": "desc"},
    "0.3 to 0.6 after dpo, farthest": {
        "stage": "dpo", "least": "0.3", "most": "0.6", "sort": "nearest", "order": "desc"
    },
    "a folder, out of one cohort": {"text": "lib/cache", "cohort": "reward", "out": "yes", "sort": "source"},
}  # fmt: skip
"""What is asked of the list."""
_NEXT = r'<a href="([^"]*)" rel="next"'
_LEAD = r'<th scope="row"><a href="([^"]*)"'


@dataclass(frozen=True, kw_only=True)
class Waited:
    """Seconds for the pages of one question."""

    first: float
    again: float
    following: float
    """0 where there is none."""
    example: float
    """Of the first that was found, if one was. For it all secrets are read, which have to be masked."""


def ask(folder: Path, question: dict[str, str]) -> Waited:
    """Put a question to a server that has just started."""
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            first, page = _wait(f"{server.address}?{urlencode(question)}")
            again, _ = _wait(f"{server.address}?{urlencode(question)}")
            turned = [
                _wait(urljoin(server.address, unescape(link[1])))[0] if link else 0.0
                for link in (re.search(pattern, page) for pattern in (_NEXT, _LEAD))
            ]
        finally:
            server.shutdown()
            thread.join()
    return Waited(first=first, again=again, following=turned[0], example=turned[1])


def _wait(address: str) -> tuple[float, str]:
    began = time.perf_counter()
    with urlopen(address) as answer:
        page = answer.read()
    return time.perf_counter() - began, page.decode()


def waits(folder: Path) -> Iterator[tuple[str, Waited]]:
    """Each question with what it took."""
    for name, question in QUESTIONS.items():
        yield name, ask(folder, question)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write, ask and print; 0 if every page came within the bar."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.browsing", description=__doc__)
    command.add_argument("folder", type=Path, help="where the ledger lies or is to lie, 0.4 GB")
    command.add_argument(
        "--each", type=int, default=Sizes.each, help="see `million.Sizes` (default %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print the seconds as JSON")
    options = command.parse_args(arguments)
    if options.each < 3:
        command.error(f"expected --each of 3 at least, got {options.each}")
    tell = commandline.teller(options)
    tell(commandline.machine())
    if not (options.folder / LEDGER).exists():
        write(options.folder, Sizes(each=options.each))
    found = dict(waits(options.folder))
    if options.json:
        print(json.dumps({name: asdict(waited) for name, waited in found.items()}))
    else:
        print(f"{'seconds':<50} {'first':>9} {'again':>9} {'following':>9} {'example':>9}")
        for name, waited in found.items():
            print(f"{name:<50}", *(f"{seconds:>9.3f}" for seconds in asdict(waited).values()))
    return int(max(max(asdict(waited).values()) for waited in found.values()) > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
