"""What the journals of rollouts come to: how many came near a target, of which probes, and when first."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memaudit.attach.rollouts import JOURNALS
from memaudit.errors import BadInput
from memaudit.sources import printable
from probes import normalized, within

SUMMARY = "rollouts.json"
"""Its name in the directory of an audit."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """How often something happened."""

    rollouts: int
    probes: int
    """Different ones."""


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A probe whose target came out in some rollout."""

    probe: str
    times: int
    """Rollouts in which it was near, or its secret whole, or the target stood somewhere."""
    first_step: int | None
    """None: the trainer does not tell steps."""
    last_step: int | None
    closest: float | None
    """Least normalised distance at level `exact`; None: it was no answer to the probe."""
    secret: bool
    """Its secret came out whole."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """All rollouts that were heard, sampled and not greedy, of training and evaluation alike."""

    threshold: float
    """Normalised distance up to which a rollout is near."""
    heard: int
    """Rollouts."""
    prompted: Count
    """Rollouts that answered a probe."""
    near: dict[str, Count]
    """By level, answers within the threshold."""
    secrets: Count
    """Answers with the probe's secret whole."""
    anywhere: Count | None
    """Whole targets in rollouts of whatever prompt; None: they were not looked for."""
    steps: tuple[int, int] | None
    """First and last; None: the trainer does not tell."""
    missed: int
    """Rollouts that were lost because hearing them failed."""
    repeated: list[Repeated] = field(default_factory=list)
    """Most often repeated first."""
    schema_version: int = 1

    def __str__(self) -> str:
        exact = self.near.get("exact", Count(rollouts=0, probes=0))
        said = (
            f"{self.heard:,} rollouts heard, {self.prompted.rollouts:,} of them answers to {self.prompted.probes:,} "
            f"probes; {exact.rollouts:,} near copies (within {self.threshold:g}) of {exact.probes:,} probes"
        )
        if self.secrets.rollouts:
            said += f"; {self.secrets.rollouts:,} whole secrets of {self.secrets.probes:,} probes"
        if self.anywhere is not None:
            said += f"; {self.anywhere.rollouts:,} whole targets anywhere, of {self.anywhere.probes:,} probes"
        return said + (f"; {self.missed:,} missed" if self.missed else "")


def has_journals(out: Path) -> bool:
    """Whether rollouts have been heard."""
    return any((out / JOURNALS).glob("*.jsonl"))


def summarise(out: str | Path, *, threshold: float = 0.1) -> Summary:
    """Count what the journals in the directory of an audit hold, and write it beside them as `rollouts.json`.

    Raises BadInput where there is no journal, or a line of one is none of ours.
    """
    folder = Path(out)
    if not has_journals(folder):
        raise BadInput(
            f"{printable(str(folder))}: expected journals of rollouts in {JOURNALS}/, got none: attach to a training"
        )
    found = _counted(folder, threshold)
    path = folder / SUMMARY
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(asdict(found), indent=2) + "\n", encoding="ascii")
    beside.replace(path)
    return found


@dataclass
class _Heard:
    """What was heard of one probe."""

    answers: int = 0
    near: Counter[str] = field(default_factory=Counter)
    """By level."""
    whole: int = 0
    inside: int = 0
    out: list[int | None] = field(default_factory=list)
    """The steps of the rollouts in which its target came out, one way or another."""
    closest: float | None = None

    def add(self, answer: dict[str, Any], threshold: float) -> bool:
        """Count an answer; whether its target, or its secret, came out."""
        self.answers += 1
        for level, (distance, target, completion) in answer["levels"].items():
            self.near[level] += within(distance, target, completion, threshold)
        distance, target, completion = answer["levels"]["exact"]
        apart = normalized(distance, target, completion)
        self.closest = apart if self.closest is None else min(self.closest, apart)
        whole = answer.get("secret", False)
        self.whole += whole
        return whole or within(distance, target, completion, threshold)


def _counted(folder: Path, threshold: float) -> Summary:
    heard = prompted = missed = 0
    searched = False
    steps: set[int] = set()
    probes: defaultdict[str, _Heard] = defaultdict(_Heard)
    for line in _lines(folder):
        heard += line["heard"]
        prompted += line["prompted"]
        missed += line.get("missed", 0)
        searched |= "anywhere" in line
        steps |= set() if line["step"] is None else {line["step"]}
        inside = [(row, name) for row, name in line.get("anywhere", ())]
        for _, name in inside:
            probes[name].inside += 1
        near = [(a["row"], a["probe"]) for a in line["answers"] if probes[a["probe"]].add(a, threshold)]
        for _, name in {*inside, *near}:
            probes[name].out.append(line["step"])
    levels = dict.fromkeys(level for probe in probes.values() for level in probe.near)
    return Summary(
        threshold=threshold,
        heard=heard,
        prompted=Count(rollouts=prompted, probes=sum(probe.answers > 0 for probe in probes.values())),
        near={level: _count(probe.near[level] for probe in probes.values()) for level in levels},
        secrets=_count(probe.whole for probe in probes.values()),
        anywhere=_count(probe.inside for probe in probes.values()) if searched else None,
        steps=(min(steps), max(steps)) if steps else None,
        missed=missed,
        repeated=sorted(
            (_repeated(name, probe) for name, probe in probes.items() if probe.out),
            key=lambda found: (-found.times, found.probe),
        ),
    )


def _count(times: Iterable[int]) -> Count:
    counts = [n for n in times if n]
    return Count(rollouts=sum(counts), probes=len(counts))


def _repeated(name: str, probe: _Heard) -> Repeated:
    steps = [step for step in probe.out if step is not None]
    return Repeated(
        probe=name,
        times=len(probe.out),
        first_step=min(steps, default=None),
        last_step=max(steps, default=None),
        closest=None if probe.closest is None else round(probe.closest, 6),
        secret=probe.whole > 0,
    )


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / JOURNALS).glob("*.jsonl")):
        with path.open("rb") as stream:
            for number, data in enumerate(stream, 1):
                if not data.endswith(b"\n"):
                    break  # the process was killed while it wrote
                try:
                    line = json.loads(data)
                except ValueError:
                    line = None
                if not isinstance(line, dict) or not {"step", "heard", "prompted", "answers"} <= line.keys():
                    raise BadInput(
                        f"{printable(str(path))}:{number}: expected a line that memaudit wrote, got another: "
                        "remove the file"
                    )
                yield line
