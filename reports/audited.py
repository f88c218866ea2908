"""Finds things in a `Tally`: its checkpoints, their lines by kind and level, and the row that stands for each."""

from dataclasses import dataclass

from reports.tally import CheckpointRow, Leaked, Passage, Tally


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is known of one kind of probe at one level."""

    kind: str
    """prefix, infill, secret, or all. Hostile."""
    level: str
    """How much of the text is normalised away before comparing."""
    row: CheckpointRow
    """Under the default definition."""
    others: dict[str, CheckpointRow]
    """Under the other definitions that have something to say here, by name."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was asked."""

    stage: str
    """Hostile."""
    step: int
    lines: list[Line]
    """By kind, all kinds together first, and by level."""

    @property
    def main(self) -> Line:
        """All kinds together at level `exact`, or the nearest there is."""
        return self.lines[0]

    @property
    def kinds(self) -> list[tuple[str, list[Line]]]:
        """The lines of each kind."""
        names = dict.fromkeys(line.kind for line in self.lines)
        return [(name, [line for line in self.lines if line.kind == name]) for name in names]


def default(tally: Tally) -> str:
    """Return the name of the default definition."""
    ranked = sorted(tally.definitions, key=lambda item: not item.default)
    return ranked[0].name if ranked else ""


def others(tally: Tally) -> list[str]:
    """List the other definitions that have rows."""
    found = {row.definition for row in tally.rows}
    return [item.name for item in tally.definitions if item.name in found - {default(tally)}]


def checkpoints(tally: Tally) -> list[Checkpoint]:
    """List the checkpoints in the order in which they came to be."""
    usual = default(tally)
    found: dict[tuple[str, int], dict[tuple[str, str], dict[str, CheckpointRow]]] = {}
    for row in tally.rows:
        lines = found.setdefault((row.stage, row.step), {})
        lines.setdefault((row.kind, row.level), {})[row.definition] = row

    def place(line: Line) -> tuple[bool, str, int]:
        return line.kind != "all", line.kind, tally.levels.index(line.level)

    return [
        Checkpoint(
            stage=stage,
            step=step,
            lines=sorted(
                (
                    Line(kind=kind, level=level, row=rows.pop(usual), others=rows)
                    for (kind, level), rows in lines.items()
                ),
                key=place,
            ),
        )
        for (stage, step), lines in found.items()
    ]


def ends(found: list[Checkpoint]) -> list[Checkpoint]:
    """Return the last checkpoint of each stage."""
    return list({checkpoint.stage: checkpoint for checkpoint in found}.values())


def finished(tally: Tally) -> bool:
    """Tell whether this is of a finished model, whose one checkpoint needs no name."""
    return {(row.stage, row.step) for row in tally.rows} <= {(row.stage, 0) for row in tally.rows[:1]}


def model_name(tally: Tally) -> str:
    """Return the path or address of what was audited. Hostile."""
    return next((asked.name for asked in tally.asked if asked.role == "model"), "a model")


def controlled(tally: Tally) -> bool:
    """Tell whether there was anything to compare with."""
    return any(row.control is not None for row in tally.rows)


def passages(tally: Tally) -> list[Passage]:
    """List the stages in which some probes were asked at several steps."""
    return [passage for passage in tally.passages if passage.asked]


def passed(passage: Passage) -> int:
    """Count what came out at some step and no more at the last."""
    return sum(passage.last_out[:-1])


def distances(leak: Leaked, tally: Tally) -> str:
    """Write how far the completion lies from the target, and the control's."""
    own = f"distance {_far(leak.normalized, tally)}"
    if leak.control_normalized is None:
        return own
    return f"{own}, control’s {_far(leak.control_normalized, tally)}"


def _far(distance: float, tally: Tally) -> str:
    """Beyond the threshold nothing was decoded that a verdict did not need: the distance is a bound."""
    bound = "at least " if not tally.full and distance > tally.threshold else ""
    return f"{bound}{distance:.2f}"
