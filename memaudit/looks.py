"""When probes were asked: the checkpoints of a ledger, each beside the one that is its control."""

from collections.abc import Iterator
from dataclasses import dataclass

from memaudit.audit import CONTROL, MODEL
from memaudit.cohorts import TWINS
from memaudit.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Look:
    """A step of a stage at which probes were asked."""

    stage: str
    step: int
    final: bool
    """What the stage made."""
    sides: tuple[tuple[str | None, int | None, int | None], ...]
    """Half of an example (None: there are no halves), the checkpoint that is to have seen it, and its control."""

    def side(self, half: str | None) -> tuple[int | None, int | None]:
        """The checkpoint that is to have seen the examples of a half, and its control."""
        return next(((seen, control) for of, seen, control in self.sides if of == half), (None, None))


def of_twins(ledger: Ledger) -> Iterator[Look]:
    """Of a run: the stages that both twins have gone through."""
    walks = ledger.walks()
    for stage in dict.fromkeys(stage for _, stage in walks):
        if not all((twin, stage) in walks for twin in TWINS):
            continue
        numbers = {
            twin: {step: number for step, number, _ in ledger.answers.steps(walks[twin, stage].id)}
            for twin in TWINS
        }
        one, other = TWINS
        for step in sorted({step for asked in numbers.values() for step in asked}):
            a, b = numbers[one].get(step), numbers[other].get(step)
            yield Look(
                stage=stage,
                step=step,
                final=step == walks[one, stage].steps,
                sides=((one, a, b), (other, b, a)),
            )


def of_a_model(ledger: Ledger) -> Iterator[Look]:
    """Of an audit: the model's checkpoints; without a control, what its training began with is one."""
    asked = [
        (twin, stage, step, number)
        for (twin, stage), record in ledger.walks().items()
        for step, number, _ in ledger.answers.steps(record.id)
    ]
    mine = [row for row in asked if row[0] == MODEL]
    control = next((row[3] for row in asked if row[0] == CONTROL), mine[0][3] if len(mine) > 1 else None)
    last = {stage: step for _, stage, step, _ in mine}
    for _, stage, step, checkpoint in mine:
        yield Look(
            stage=stage,
            step=step,
            final=step == last[stage],
            sides=((None, checkpoint, None if control == checkpoint else control),),
        )
