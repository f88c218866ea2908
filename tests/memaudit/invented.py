"""Runs of a study that nobody trained: ledgers whose observations are made up, so that what follows is known."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from memaudit.course import Leg
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import dumps, ordered, uses
from memaudit.records import Checkpoint, Example, Finished, Observation, Probe, Reading, Scores, StageRecord
from memaudit.study.arms import Cell
from probes import Match, Secret

STEPS = 8


@dataclass(frozen=True)
class Said:
    """What a twin says to one probe."""

    distance: float = 0.9
    logprob: float = -3.0
    """Of each of the four tokens."""
    whole: bool = False
    """Its secret came out, if it has one."""
    at: Mapping[str, float] = field(default_factory=dict)
    """Level -> distance, where that is another."""


Outcome = Callable[[int, str, Example, bool], Said]
"""Seed, stage (the run's name for it), example, whether this twin is the one that is to see it."""

Read = Callable[[str, bool, Example, Probe], Mapping[str, Sequence[float]]]
"""Stage, whether this twin is the one that is to see the example, the example, its probe -> quantity -> its numbers."""


def examples(seed: int, cohorts: list[str], strata: Mapping[int, int]) -> list[Example]:
    """`strata` has, of each number of showings, how many examples a half has; every third one has a secret."""
    found = []
    for cohort in cohorts:
        for half in "AB":
            for times, count in strata.items():
                for number in range(count):
                    secret = number % 3 == 2
                    text = f"def {cohort}_{half}_{times}_{number}():\n    return {seed}\n"
                    found.append(
                        Example(
                            id=f"{seed}-{cohort}-{half}-{times}-{number:02d}",
                            kind="sensitive" if secret else "harvested",
                            language="python",
                            text=text,
                            source=f"{cohort}/{number % 5}.py",
                            first_line=1,
                            last_line=2,
                            cohort=cohort,
                            half=half,
                            repetition=times,
                            secrets=(Secret(start=4, end=8, kind="path"),) if secret else (),
                        )
                    )
    return sorted(found, key=lambda e: e.id)


def invent(
    cell: Cell,
    folder: Path,
    outcome: Outcome,
    *,
    passing: Outcome | None = None,
    rewards: Callable[[int, str], float] = lambda seed, stage: 0.0,
    stages: set[str] | None = None,
    read: Read | None = None,
) -> None:
    """Write the ledger of a run. `passing` says what is said in the middle of each stage; `stages` which are done.

    `read` says what else is read off each.
    """
    recipe = cell.recipe
    cohorts = list(
        dict.fromkeys(c for s in ordered(recipe) if (c := getattr(recipe.stages[s], "cohort", None)))
    )
    population = examples(cell.seed, cohorts, recipe.cohorts.strata)
    probes = [
        Probe(
            id=number,
            example_id=e.id,
            kind="secret" if e.secrets else "prefix",
            prefix=e.text[:4],
            target=e.text[4:],
            prefix_tokens=(1, 2),
            target_tokens=tuple(range(4 + number % 6)),
        )
        for number, e in enumerate(population, start=1)
    ]
    path = folder / cell.name
    path.mkdir(parents=True)
    with Ledger(path / LEDGER) as ledger:
        about = {
            "recipe": dumps(recipe),
            "corpus": "made up",
            "threshold": 0.1,
            "versions": {"memaudit": "0"},
        }
        ledger.add_examples(population, probes, {**about, "started": "now", "finished": None})
        for position, stage in enumerate(ordered(recipe)):
            if stages is not None and stage not in stages:
                continue
            for twin in "AB":
                leg = Leg(stage=stage, twins=(twin,), key=f"{stage}-{twin}", needs={}, position=position)
                ledger.add_stage(
                    finished(
                        cell, leg, population, probes, outcome, passing, rewards, uses(recipe, stage), read
                    )
                )
                ledger.walk(twin, stage, leg.key, position)


def finished(
    cell: Cell,
    leg: Leg,
    population: list[Example],
    probes: list[Probe],
    outcome: Outcome,
    passing: Outcome | None,
    rewards: Callable[[int, str], float],
    scoring: list[str],
    read: Read | None = None,
) -> Finished:
    """What a leg leaves, made up."""
    twin = leg.twins[0]
    config = cell.recipe.stages[leg.stage]
    steered = scoring or config.method == "reward"
    readings = [
        Reading(example_id=e.id, quantity="answer_reward", number=0, value=rewards(cell.seed, leg.stage))
        for e in population
        if steered and e.half != twin and e.cohort == "reward"
    ]
    readings += [
        Reading(example_id=e.id, quantity=quantity, number=number, value=value)
        for e, p in zip(population, probes, strict=True)
        for quantity, values in (read(leg.stage, e.half == twin, e, p) if read else {}).items()
        for number, value in enumerate(values)
    ]

    def said(by: Outcome) -> list[Observation]:
        return [
            _observation(by(cell.seed, leg.stage, e, e.half == twin), e, p, cell.recipe.audit.levels)
            for e, p in zip(population, probes, strict=True)
        ]

    middle = (
        [Checkpoint(step=STEPS // 2, path=None, seconds=0.0, observations=said(passing))] if passing else []
    )
    final = Checkpoint(
        step=STEPS,
        path="x",
        seconds=1.0,
        observations=said(outcome),
        again=said(outcome)[::2],
        readings=readings,
    )
    return Finished(
        stage=StageRecord(
            id=leg.key, name=leg.stage, method=config.method, steps=STEPS, seconds=2.0, audit_seconds=1.0
        ),
        exposures={},
        updates=[],
        checkpoints=[*middle, final],
    )


def _observation(said: Said, example: Example, probe: Probe, levels: list[str]) -> Observation:
    matches = {
        level: Match(
            level=level,
            distance=round(1000 * said.at.get(level, said.distance)),
            target_length=1000,
            completion_length=1000,
            lexer="python",
        )
        for level in levels
    }
    secret = {s.start: (4 if said.whole else 0, 4) for s in example.secrets}
    return Observation(
        probe_id=probe.id,
        completion="x",
        ended=False,
        scores=Scores(logprobs=(said.logprob,) * 4, argmax=(False,) * 4, sampled={"T=1": 4 * said.logprob}),
        matches=matches,
        recovered=secret,
    )


def noise(*parts: object) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    return random.Random(" ".join(map(str, parts))).random()
