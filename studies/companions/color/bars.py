"""What the claims of the CoLoR-Filter studies have no measure for, read off their ledgers: `python bars.py runs/color`,
or `runs/color-again`.

What was selected and in what that is enriched; what came out of the learners, by what it was; and the score as a
membership attack on the texts that tell what is wanted. Of arms that a study does not have nothing is said.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from statistics import fmean

from memaudit.attacks import reference_difference
from memaudit.cases import Case, Facts
from memaudit.cohorts import TWINS
from memaudit.ledger import LEDGER
from memaudit.records import Example
from memaudit.roc import area
from memaudit.sources import matches
from memaudit.statistics import Interval, over_seeds
from memaudit.study.bars import interval, read, scores, verdict

CHOSEN = {
    "random": "brief",
    "conditional only": "brief-conditional",
    "CoLoR": "brief-color",
    "CoLoR, batch by batch": "brief-batch",
    "CoLoR, de-duplicated": "long-dedup",
}
"""Selection -> a stage that made it, in the runs that all arms share."""
LEARNT = {"random": "long", "CoLoR": "long-color", "CoLoR, de-duplicated": "long-dedup"}
"""Selection -> the long training on it."""
TARGET, OFTEN, NEAR, OTHER = "subject, once", "subject, ten times", "near-copy of D_down", "other"
TIMES = 10
RATIO, LEAST = 3.0, 0.8
"""The bars: least enrichment, least AUC."""


def main(folder: Path) -> None:
    """Print Markdown tables of the arms, and the verdict on each bar."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    chosen = {arm: stage for arm, stage in CHOSEN.items() if all(stage in run.stages for run in runs)}
    found = {
        (arm, kind): over_seeds([enrichment(run, stage, kind) for run in runs])
        for arm, stage in chosen.items()
        for kind in (TARGET, OFTEN, NEAR, OTHER)
    }
    table(
        "taken: its share there over its share in the pool",
        chosen,
        (TARGET, OFTEN, NEAR, OTHER),
        found,
        partial(interval, form=".2f"),
    )
    kinds: dict[str, Callable[[Facts, Case], bool]] = {
        OFTEN: lambda run, case: case.example.cohort == "pool" and case.example.repetition == TIMES,
        NEAR: lambda run, case: case.example.cohort == "pool" and case.example.repetition != TIMES,
        "D_down that has near-copies": lambda run, case: (
            case.example.cohort == "down" and place(case) in copied(run)
        ),
        "D_down that has none": lambda run, case: (
            case.example.cohort == "down" and place(case) not in copied(run)
        ),
    }
    out = {(arm, kind): outcome(runs, stage, kinds[kind]) for arm, stage in LEARNT.items() for kind in kinds}
    table(
        "memorized after the long training (and guessed), likelier by nats a token", LEARNT, kinds, out, str
    )
    showings = {
        (arm, kind): shown(runs, stage, kinds[kind]) for arm, stage in LEARNT.items() for kind in kinds
    }
    less = {
        (f"CoLoR less {arm}", kind): over_seeds(
            [gain(run, LEARNT["CoLoR"], kinds[kind]) - gain(run, LEARNT[arm], kinds[kind]) for run in runs]
        )
        for arm in LEARNT
        for kind in kinds
    }
    table(
        "likelier after the long training, nats a token",
        [f"CoLoR less {arm}" for arm in LEARNT if arm != "CoLoR"],
        kinds,
        less,
        partial(interval, form="+.2f"),
    )
    table(
        "times that a text was shown in the long training, on average",
        LEARNT,
        kinds,
        showings,
        "{:.1f}".format,
    )

    tenfold = [allotted(run, kinds[OFTEN]) for run in runs]
    print("Of the texts that are there ten times CoLoR left out, took in part, took whole, by run:")
    print("; ".join(f"{out}, {part}, {whole}" for out, part, whole, _, _ in tenfold))
    taken, came = (sum(row[column] for row in tenfold) for column in (3, 4))
    print(f"\nOf those that it took, whole or in part, {came} of {taken} came out of its long training.")
    said = originals(runs, kinds[NEAR])
    print(f"Of texts of D_down {said[0]} of {said[1]} have a near-copy that did.\n")
    if "CoLoR, batch by batch" in chosen:
        alike = over_seeds([shared(run, chosen["CoLoR, batch by batch"], chosen["CoLoR"]) for run in runs])
        print(f"Of what CoLoR took batch by batch, the share that it took of all: {interval(alike, '.3f')}\n")

    told = {name: membership(runs, cohort, stage) for name, cohort, stage in (
        ("one subject", "down", "conditional"), ("the prior's own distribution", "own", "own")
    ) if all(stage in run.stages for run in runs)}  # fmt: skip
    print("The score as a membership attack on D_down, its members against the other twin's (AUC):\n")
    for name, auc in told.items():
        print(f"- D_down of {name}: {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})")
    copies = over_seeds([nearer(run) for run in runs])
    print(
        f"- near-copies of D_down against public texts of the subject, in the pool: {interval(copies, '.2f')}\n"
    )

    more = over_seeds(
        [enrichment(run, CHOSEN["CoLoR"], NEAR) - enrichment(run, CHOSEN["CoLoR"], TARGET) for run in runs]
    )
    for arm in ("CoLoR", "CoLoR, batch by batch"):
        if arm in chosen:
            least = found[arm, TARGET].low
            print(f"- enrichment of the subject >= {RATIO:g} under {arm}: {verdict(least >= RATIO)}")
    print(f"- near-copies are enriched more, by {interval(more, '.2f')}: {verdict(more.low > 0)}")
    print(
        f"- AUC of the score on D_down of one subject >= {LEAST}: {verdict(told['one subject'].low >= LEAST)}"
    )


def table(
    title: str,
    rows: Iterable[str],
    columns: Iterable[str],
    cells: Mapping[tuple[str, str], object],
    written: Callable[..., str],
) -> None:
    """Print a table of Markdown."""
    columns = list(columns)
    print(f"| {title} | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for row in rows:
        print(f"| {row} | {' | '.join(written(cells[row, column]) for column in columns)} |")
    print()


def kind_of(run: Facts, example: Example) -> str:
    """What a candidate is."""
    if example.cohort is not None:
        return OFTEN if example.repetition == TIMES else NEAR
    return TARGET if matches(example.source, run.recipe.cohorts.makeup("down").paths) else OTHER


@cache
def known(run: Facts) -> dict[str, Example]:
    """All examples of a run, public ones too."""
    return {e.id: e for e in run.ledger.examples(probed=False)}


def place(case: Case) -> tuple[str, int]:
    """Where an example is from; a near-copy is from where its original is."""
    return case.example.source, case.example.first_line


@cache
def copied(run: Facts) -> frozenset[tuple[str, int]]:
    """Where the originals of near-copies are from."""
    return frozenset(
        place(c) for c in run.cases if c.example.cohort == "pool" and c.example.repetition != TIMES
    )


def shares(run: Facts, counted: Mapping[str, float]) -> Mapping[str, float]:
    """Kind -> its share of copies, of which `counted` tells how many there are by example."""
    found: dict[str, float] = dict.fromkeys((TARGET, OFTEN, NEAR, OTHER), 0.0)
    for name, copies in counted.items():
        found[kind_of(run, known(run)[name])] += copies / sum(counted.values())
    return found


def enrichment(run: Facts, stage: str, kind: str) -> float:
    """Share of a kind in what was taken over its share in the pool as it came, mean of both twins."""
    ratios = []
    for twin in TWINS:
        pool = {
            e.id: e.repetition or 1
            for e in known(run).values()
            if (e.cohort, e.half) in ((None, None), ("pool", twin))
        }
        taken = run.readings(run.walks[twin, stage].id, "selection_taken")
        ratios.append(shares(run, {k: v[0] for k, v in taken.items()})[kind] / shares(run, pool)[kind])
    return fmean(ratios)


def outcome(runs: list[Facts], stage: str, belongs: Callable[[Facts, Case], bool]) -> str:
    """Of the texts of a kind, in all runs: how many came out of the twin that was to see them and not of the other."""
    pairs = [
        run.arms(stage, case, "exact", run.definitions[0])
        for run in runs
        for case in run.cases
        if belongs(run, case)
    ]
    memorized = sum(bool(pair and pair[0] and not pair[1]) for pair in pairs)
    guessed = sum(bool(pair and pair[1]) for pair in pairs)
    likelier = fmean(gain(run, stage, belongs) for run in runs)
    return f"{memorized} of {len(pairs)} ({guessed}), {likelier:+.2f}"


def gain(run: Facts, stage: str, belongs: Callable[[Facts, Case], bool]) -> float:
    """How much likelier the texts of a kind are to the twin that was to see them, nats a token."""
    return fmean(
        fmean(scores(run, stage, case.exposed, case).logprobs)
        - fmean(scores(run, stage, case.control, case).logprobs)
        for case in run.cases
        if belongs(run, case)
    )


def allotted(run: Facts, belongs: Callable[[Facts, Case], bool]) -> tuple[int, int, int, int, int]:
    """Texts of a kind of which CoLoR took no copy, some, all; of which it took any, and how many of those came out."""
    stage, found = LEARNT["CoLoR"], [0, 0, 0, 0, 0]
    for case in (c for c in run.cases if belongs(run, c)):
        taken = run.readings(run.walks[case.exposed, stage].id, "selection_taken")
        copies = int(taken.get(case.example.id, (0,))[0])
        pair = run.arms(stage, case, "exact", run.definitions[0])
        found[2 if copies == case.example.repetition else 1 if copies else 0] += 1
        found[3] += copies > 0
        found[4] += bool(copies and pair and pair[0] and not pair[1])
    out, part, whole, any_, came = found
    return out, part, whole, any_, came


def originals(runs: list[Facts], belongs: Callable[[Facts, Case], bool]) -> tuple[int, int]:
    """Of the texts that near-copies are of: those with a near-copy that came out under CoLoR, and all."""
    said, every = set(), set()
    for number, run in enumerate(runs):
        for case in (c for c in run.cases if belongs(run, c)):
            pair = run.arms(LEARNT["CoLoR"], case, "exact", run.definitions[0])
            every.add((number, place(case)))
            if pair and pair[0] and not pair[1]:
                said.add((number, place(case)))
    return len(said), len(every)


def shared(run: Facts, stage: str, other: str) -> float:
    """Of the copies that one stage took the share that the other took too, mean of both twins."""
    shares = []
    for twin in TWINS:
        mine, theirs = (
            {name: int(copies[0]) for name, copies in run.readings(run.walks[twin, s].id, "selection_taken").items()}
            for s in (stage, other)
        )  # fmt: skip
        shares.append(sum(min(n, theirs.get(name, 0)) for name, n in mine.items()) / sum(mine.values()))
    return fmean(shares)


def shown(runs: list[Facts], stage: str, belongs: Callable[[Facts, Case], bool]) -> float:
    """Showings of a text of a kind to the twin that was to see it, by the ledger's exposures."""
    times = []
    for run in runs:
        counted = {(row[0], row[1]): row[4] for row in run.ledger.shown() if row[2] == stage}
        times += [counted.get((c.example.id, c.exposed), 0) for c in run.cases if belongs(run, c)]
    return fmean(times)


def membership(runs: list[Facts], cohort: str, stage: str) -> Interval:
    """Each text that tells what is wanted is a member under one twin and a non-member under the other."""
    members, others, names = [], [], []
    for number, run in enumerate(runs):
        for case in (c for c in run.cases if c.example.cohort == cohort):
            for twin, side in ((case.exposed, members), (case.control, others)):
                after, before = (scores(run, s, twin, case) for s in (stage, "prior"))
                side.append(reference_difference(after, before))
            names.append((number, case.example.id))
    return area(members, others, clusters=(names, names)).interval


def nearer(run: Facts) -> float:
    """AUC of the score that was selected by: near-copies against public texts of the subject, mean of both twins."""
    areas = []
    for twin in TWINS:
        sides: dict[str, list[float]] = {TARGET: [], OFTEN: [], NEAR: [], OTHER: []}
        for name, (score,) in run.readings(run.walks[twin, CHOSEN["CoLoR"]].id, "selection_score").items():
            sides[kind_of(run, known(run)[name])].append(score)
        areas.append(area(sides[NEAR], sides[TARGET]).interval.value)
    return fmean(areas)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
