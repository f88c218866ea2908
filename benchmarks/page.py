"""The report of a run of a million observations: how long it takes to make, how large it is, how soon it can be used.

`python -m benchmarks.page FOLDER` writes the ledger of `benchmarks.million` into FOLDER, or takes what is there, makes
`report.html` of it, and opens that in a headless Chromium from disk. Interactive is when what is typed into the
filter has its answer on the page. Bars: 15 MB, 3 s.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks import commandline
from benchmarks.million import Sizes, write
from memaudit.documents import DOCUMENTS, write_report
from memaudit.ledger import LEDGER

MOST_BYTES, MOST_SECONDS = 15_000_000, 3.0
_DRAWN = (
    "() => [...document.querySelectorAll('.plot:not([hidden] *, details:not([open]) *)')]"
    ".every(plot => plot.querySelector('.main-svg'))"
)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Seconds since a page was asked for."""

    loaded: float
    """Its document is whole."""
    interactive: float
    """A word was typed into the filter, and the count is that of the filtered list."""
    drawn: float
    """All figures that show are drawn."""


def opened(page: Path) -> Opened:
    """Open a page in a fresh Chromium, from disk and with the network off."""
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
        began = time.perf_counter()
        sheet.goto(page.as_uri(), wait_until="commit")
        sheet.wait_for_function("() => document.readyState === 'complete'")
        loaded = time.perf_counter() - began
        before = sheet.inner_text("#filter-count")
        sheet.fill("#filter-text", "cache")
        sheet.wait_for_function(
            "(text) => document.getElementById('filter-count').innerText !== text", arg=before
        )
        interactive = time.perf_counter() - began
        sheet.wait_for_function(_DRAWN)
        drawn = time.perf_counter() - began
        browser.close()
    return Opened(loaded=loaded, interactive=interactive, drawn=drawn)


def main(arguments: list[str] | None = None) -> int:
    """Make, open, print; 0 if the page is within its bars."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    command.add_argument("folder", type=Path, help="where the ledger lies or is to lie, 0.4 GB")
    command.add_argument(
        "--each", type=int, default=Sizes.each, help="see `million.Sizes` (default %(default)s)"
    )
    command.add_argument("--rounds", type=int, default=3, help="times it is opened (default %(default)s)")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = command.parse_args(arguments)
    if options.each < 3 or options.rounds < 1:
        command.error(
            f"expected --each of 3 and --rounds of 1 at least, got {options.each}, {options.rounds}"
        )
    tell = commandline.teller(options)
    tell(commandline.machine())
    if not (options.folder / LEDGER).exists():
        write(options.folder, Sizes(each=options.each))
    page = options.folder / DOCUMENTS["html"]
    began = time.perf_counter()
    write_report(options.folder, "html", page)
    made = time.perf_counter() - began
    rounds = [opened(page) for _ in range(options.rounds)]
    found = {
        "made": round(made, 1),
        "bytes": page.stat().st_size,
        "opened": [{name: round(value, 2) for name, value in asdict(one).items()} for one in rounds],
    }
    if options.json:
        print(json.dumps(found))
    else:
        print(f"made in {made:.0f} s, {found['bytes'] / 1e6:.1f} MB")
        for one in rounds:
            print(f"loaded {one.loaded:.2f} s, interactive {one.interactive:.2f} s, drawn {one.drawn:.2f} s")
    best = min(one.interactive for one in rounds)
    return int(found["bytes"] > MOST_BYTES or best > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
