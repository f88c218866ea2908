"""A study is carried out: its runs are planned, their legs handed to an engine as they become ready, and kept.

    runs/NAME/ARM-SEED/    a run like any other, whose recipe has the stages of several arms
              results.json  report.html  report.md

What a ledger has is done. A study that was stopped goes on with the legs that are missing.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from memaudit.course import Leg
from memaudit.instruments import METRICS
from memaudit.progress import Progress
from memaudit.run import Plan, finish, read
from memaudit.stages import steps_of
from memaudit.study import costs
from memaudit.study.arms import Cell, cells
from memaudit.study.design import Study
from memaudit.study.engines import Engine, Task

_LOOK = 5.0  # seconds after which running legs are looked at again


@dataclass(frozen=True, kw_only=True)
class Row:
    """A leg of a study's plan."""

    cell: Cell
    plan: Plan
    leg: Leg
    done: bool
    """A ledger has it already."""
    arms: tuple[str, ...]
    """Whose it is."""
    seconds: float
    """That one worker is expected to take."""


@dataclass(frozen=True)
class Schedule:
    """All legs of a study, in the order in which they are to be begun."""

    rows: Sequence[Row]

    @cached_property
    def missing(self) -> list[Row]:
        """What is to be trained."""
        return [row for row in self.rows if not row.done]

    @property
    def shared(self) -> int:
        """Legs that are spared because several arms have them in common."""
        return sum(len(row.arms) - 1 for row in self.rows)

    def seconds(self, workers: int) -> float:
        """How long it takes so many workers: no shorter than the longest chain of legs that need each other."""
        ends: dict[tuple[str, str], float] = {}
        for row in self.rows:
            began = max((ends[row.cell.name, key] for key in row.leg.needs.values()), default=0.0)
            ends[row.cell.name, row.leg.key] = began + (0.0 if row.done else row.seconds)
        return max(sum(row.seconds for row in self.missing) / workers, max(ends.values(), default=0.0))


def schedule(study: Study, text: str, folder: Path, progress: Progress) -> Schedule:
    """Plan a study into `folder`; nothing is written. `text` is the TOML of its recipe. Raises BadInput."""
    rate = costs.speed()
    corpora = {}
    rows = []
    for cell in cells(study, text):
        source = cell.recipe.corpus.model_dump_json()
        if source not in corpora:
            progress.say("reading the corpus")
            corpora[source] = read(cell.recipe)
            progress.say(corpora[source].description)
        plan = Plan.of(cell.recipe, folder / cell.name, corpora[source])
        done = plan.done()
        progress.say(f"{cell.name}: {len(plan.legs)} stages to train, of which {len(done)} are done")
        rows += [
            Row(
                cell=cell,
                plan=plan,
                leg=leg,
                done=leg.key in done,
                arms=tuple(arm for arm, stages in cell.stages.items() if leg.stage in stages.values()),
                seconds=costs.seconds(plan.setting, leg, rate),
            )
            for leg in plan.legs
        ]
    return Schedule(rows)


def conduct(schedule: Schedule, engine: Engine, progress: Progress, title: str) -> None:
    """Train and audit what is missing."""
    with ExitStack() as stack:
        plans = {row.cell.name: row.plan for row in schedule.rows}
        ledgers = {name: stack.enter_context(plan.open()) for name, plan in plans.items()}
        packed = {
            name: Task.pack(plan.setting.recipe, plan.setting.population) for name, plan in plans.items()
        }
        done: set[tuple[str, str]] = set()
        for row in schedule.rows:
            if row.done:
                row.plan.enter(ledgers[row.cell.name], row.leg)
                done.add((row.cell.name, row.leg.key))
        waiting, running = list(schedule.missing), dict[tuple[str, str], Row]()
        watch = _Watch(progress, schedule)
        progress.begin(title, max(1, round(watch.total)))
        while waiting or running:
            for row in list(waiting):
                # No more than there are workers: what is begun first is then what is first in the plan.
                if len(running) == engine.workers:
                    break
                if all((row.cell.name, key) in done for key in row.leg.needs.values()):
                    waiting.remove(row)
                    running[row.cell.name, row.leg.key] = row
                    engine.submit(
                        Task(
                            run=row.cell.name,
                            folder=row.plan.folder,
                            leg=row.leg,
                            population=packed[row.cell.name],
                        )
                    )
            for task, found in engine.finished(_LOOK):
                row = running.pop((task.run, task.leg.key))
                row.plan.enter(ledgers[task.run], row.leg, found)
                done.add((task.run, task.leg.key))
                watch.done(row, found.stage.seconds + found.stage.audit_seconds)
                if all((task.run, leg.key) in done for leg in row.plan.legs):
                    finish(ledgers[task.run])
            watch.look(list(running.values()))
        progress.end(f"{title}: {watch.said}")


class _Watch:
    """Tells how far a study is, in seconds that were expected of it."""

    def __init__(self, progress: Progress, schedule: Schedule) -> None:
        self._progress, self._rows = progress, schedule.missing
        self.total = sum(row.seconds for row in self._rows)
        self._told, self._behind, self._count = 0, 0.0, 0
        self._began = time.monotonic()

    @property
    def said(self) -> str:
        """How it ended."""
        return f"{self._count} stages in {(time.monotonic() - self._began) / 60:.0f} min"

    def done(self, row: Row, took: float) -> None:
        """A leg is done."""
        self._count += 1
        self._behind += row.seconds
        self._progress.say(
            f"{row.cell.name}: {row.leg.title}: {took:.0f} s ({self._count} of {len(self._rows)} stages)"
        )

    def look(self, running: Sequence[Row]) -> None:
        """Look at how far those that are running have come, by what they have written."""
        now = self._behind + sum(row.seconds * _share(row) for row in running)
        # Never back: a stage that goes on cuts off what its state does not know.
        told = max(self._told, round(now))
        if told > self._told:
            self._progress.advance(told - self._told)
            self._told = told


def _share(row: Row) -> float:
    """The share of a leg's updates that are in its journal."""
    journal = row.plan.setting.folder / row.leg.key / METRICS
    written = journal.read_bytes().count(b"\n") if journal.is_file() else 0
    return min(1.0, written / steps_of(row.plan.setting, row.leg.twins[0], row.leg.stage))
