"""What a person sees in the terminal: progress with time left, the table at the end, errors."""

import sys
import time
from types import TracebackType

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Table

from reports import Findings, RateRow
from reports.escape import visible

_QUIET_SECONDS = 15.0  # between two lines where there is no terminal to draw a bar in


def complain(text: str) -> None:
    """One line on standard error; control characters of file names are shown, not obeyed."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    print(f"memaudit: {line}", file=sys.stderr)


def shown(text: str) -> str:
    """Hostile text for rich: neither markup nor anything that a terminal would act on."""
    return escape(visible(text, lines=False))


class Terminal:
    """Draws a bar for each piece of work; without a terminal, prints lines."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._done, self._skipped = "", 0, 0, 0
        self._started = self._spoke = 0.0

    def __enter__(self) -> "Terminal":
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self.console.print(shown(text), highlight=False, soft_wrap=True)

    def begin(self, title: str, total: int) -> None:
        """Start a bar."""
        self._title, self._total, self._done, self._skipped = title, total, 0, 0
        self._started = self._spoke = time.monotonic()
        if self.console.is_terminal:
            self._task = self._bars.add_task(shown(title), total=total)

    def skip(self, count: int) -> None:
        """Move the bar over what an earlier run has done, which took none of this run's time."""
        self._done += count
        self._skipped = count
        if self._task is not None:
            self._bars.reset(self._task, completed=count)

    def advance(self, count: int) -> None:
        """Move the bar on."""
        self._done += count
        if self._task is not None:
            self._bars.advance(self._task, count)
        elif (now := time.monotonic()) - self._spoke >= _QUIET_SECONDS:
            self._spoke = now
            left = (now - self._started) / (self._done - self._skipped) * (self._total - self._done)
            self.say(f"{self._title}: {self._done} of {self._total}, about {left:.0f} s left")

    def end(self, outcome: str) -> None:
        """Take the bar away and leave a line."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
        self.say(outcome)


def _cell(row: RateRow) -> str:
    text = f"{row.exposed.count} | {row.control.count}"
    if row.exposure == "none":
        return f"[dim]({text})[/dim]"
    return f"*{text} " if row.exposure == "indirect" else f"{text} "


def table(findings: Findings) -> Table:
    """Stages by cohorts under the default definition: exposed twin | its control."""
    default = next(d for d in findings.definitions if d.default)
    rows = {
        (r.stage, r.cohort): r for r in findings.totals if r.level == "exact" and r.definition == default.name
    }
    cohorts = list(dict.fromkeys(cohort for _, cohort in rows))
    # Narrow enough for 80 columns with three cohorts.
    drawn = Table(
        title=f"Came out of the twin that saw it | of its control, within distance {findings.threshold:g}",
        caption="( ) not shown to this model yet   * shown to a model that steered it",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column("stage", no_wrap=True)
    drawn.add_column("from", no_wrap=True)
    drawn.add_column("steps", justify="right", no_wrap=True)
    drawn.add_column("shown", justify="right", no_wrap=True)
    for cohort in cohorts:
        total = max(row.exposed.total for (_, name), row in rows.items() if name == cohort)
        drawn.add_column(f"{shown(cohort)} (of {total})", justify="right", no_wrap=True)
    for stage in findings.stages:
        drawn.add_row(
            shown(stage.name),
            shown(stage.parent or ""),
            str(stage.steps),
            str(stage.exposures),
            *(_cell(rows[stage.name, cohort]) for cohort in cohorts),
        )
    return drawn


def plain_table(title: str, *columns: str) -> Table:
    """A table of which the first two columns hold words and the others numbers."""
    drawn = Table(
        title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left"
    )
    for place, name in enumerate(columns):
        drawn.add_column(name, justify="left" if place < 2 else "right")
    return drawn
