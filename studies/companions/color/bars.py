"""What the claims of the CoLoR-Filter study have no measure for, read off its ledgers: `python bars.py runs/color`.

What was selected and what that is enriched in; the gain where the target is what the prior has learnt from; and the
score as a membership attack on the texts that tell what is wanted.
"""

import sys
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import fmean

from memaudit.attacks import reference_difference
from memaudit.cases import Case, Facts
from memaudit.cohorts import TWINS
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import makeup, parse
from memaudit.records import Example, Scores
from memaudit.roc import area
from memaudit.sources import matches
from memaudit.statistics import Estimate, Interval, over_seeds

ARMS = {
    "random": "learn",
    "conditional only": "learn-conditional",
    "CoLoR": "learn-color",
    "CoLoR, de-duplicated": "learn-dedup",
}
"""Arm -> what its learner is called in the runs that all arms share."""
KINDS = ("target, public", "ten-fold duplicate", "near-copy")
OFTEN = 10
RATIO, LEAST, MARGIN = 3.0, 0.9, 0.02
"""The bars: least enrichment, least AUC, and what counts as a gain in distribution (nats a token)."""


def main(folder: Path) -> None:
    """Print Markdown tables of the arms, and the verdict on each bar."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    print(
        "Enrichment: share of what was taken over share of what was offered; mean over seeds and its interval.\n"
    )
    print(f"| arm | {' | '.join(KINDS)} | other |\n|{'---|' * (len(KINDS) + 2)}")
    found = {
        (arm, kind): over_seeds([fmean(enriched(run, stage, kind, twin) for twin in TWINS) for run in runs])
        for arm, stage in ARMS.items()
        for kind in (*KINDS, "other")
    }
    for arm in ARMS:
        print(f"| {arm} | " + " | ".join(interval(found[arm, kind]) for kind in (*KINDS, "other")) + " |")
    print(
        "\n| arm | texts taken | tokens of them shown | of the near-copies offered, taken | of the duplicates |"
    )
    print("|---|---|---|---|---|")
    for arm, stage in ARMS.items():
        pairs = [(run, twin) for run in runs for twin in TWINS]
        shares = [
            fmean(count(run, stage, kind, twin)[0] / sizes(run, kind, twin) for run, twin in pairs)
            for kind in ("near-copy", "ten-fold duplicate")
        ]
        texts = fmean(sum(taken(run, stage, twin).values()) for run, twin in pairs)
        tokens = fmean(m["num_tokens"] for run, twin in pairs for _, m in updates(run, stage, twin))
        print(f"| {arm} | {texts:.0f} | {tokens:,.0f} a step | {shares[0]:.1%} | {shares[1]:.1%} |")

    own = over_seeds(
        [held_out(run, "learn-own", "own") - held_out(run, "learn-own-color", "own") for run in runs]
    )
    aimed = over_seeds(
        [held_out(run, "learn", "down") - held_out(run, "learn-color", "down") for run in runs]
    )
    print(f"\nGain of CoLoR over random on unseen texts, nats a token: of the target {interval(aimed)};")
    print(f"where the target is what the prior has learnt from {interval(own)}.\n")

    told = {
        name: membership(runs, cohort, stage)
        for name, cohort, stage in (
            ("D_down of the target domain", "down", "conditional"),
            ("D_down of the prior's own distribution", "own", "own"),
        )
    }
    print("| the score, prior less conditional, as a membership attack | AUC |\n|---|---|")
    for name, auc in told.items():
        print(
            f"| members: {name}; others: the other twin's | {auc.value:.4f} ({auc.low:.4f} to {auc.high:.4f}) |"
        )
    copies = over_seeds([nearer(run) for run in runs])
    print(f"| near-copies of D_down, among public texts of the target domain | {interval(copies)} |\n")

    target, near = found["CoLoR", KINDS[0]], found["CoLoR", "near-copy"]
    more = over_seeds(
        [
            fmean(
                enriched(run, ARMS["CoLoR"], "near-copy", twin) - enriched(run, ARMS["CoLoR"], KINDS[0], twin)
                for twin in TWINS
            )
            for run in runs
        ]
    )
    print(f"- enrichment of the target >= {RATIO:g}: {verdict(target.low >= RATIO)}")
    print(
        f"- near-copies enriched more than the target ({interval(near)}), by {interval(more)}: {verdict(more.low > 0)}"
    )
    print(f"- no gain in distribution: at most {MARGIN} nats a token: {verdict(own.high <= MARGIN)}")
    auc = told["D_down of the target domain"]
    print(f"- AUC of the score on D_down >= {LEAST}: {verdict(auc.low >= LEAST)}")


def read(path: Path) -> Facts:
    """A run's facts."""
    ledger = Ledger(path)
    return Facts(ledger, parse(ledger.setting("recipe"), where=str(path)))


def verdict(holds: bool) -> str:
    """In the words of the claims."""
    return "holds" if holds else "does not hold"


def interval(found: Estimate) -> str:
    """With its 95 % interval, where seeds tell one."""
    bounds = "" if found.method == "unknown" else f" ({found.low:.3f} to {found.high:.3f})"
    return f"{found.value:.3f}{bounds}"


def kind_of(run: Facts, example: Example) -> str:
    """What a candidate is."""
    if example.cohort is not None:
        return "ten-fold duplicate" if example.repetition == OFTEN else "near-copy"
    return KINDS[0] if matches(example.source, makeup(run.recipe, "down").paths) else "other"


@cache
def known(run: Facts) -> dict[str, Example]:
    """All examples of a run, public ones too."""
    return {e.id: e for e in run.ledger.examples(probed=False)}


def taken(run: Facts, stage: str, twin: str) -> dict[str, int]:
    """Example -> how many copies a learner was given to read."""
    found = run.readings(run.walks[twin, stage].id, "selection_taken")
    return {name: int(values[0]) for name, values in found.items()}


def sizes(run: Facts, kind: str, twin: str) -> int:
    """Copies of a kind in the pool of a twin, before anything is de-duplicated."""
    return sum(
        e.repetition or 1
        for e in known(run).values()
        if (e.cohort, e.half) in ((None, None), ("pool", twin)) and kind_of(run, e) == kind
    )


def count(run: Facts, stage: str, kind: str, twin: str) -> tuple[int, int]:
    """Of what was taken: copies of a kind, and all."""
    found: Counter[str] = Counter()
    for name, copies in taken(run, stage, twin).items():
        found[kind_of(run, known(run)[name])] += copies
    return found[kind], found.total()


def enriched(run: Facts, stage: str, kind: str, twin: str) -> float:
    """Share of a kind in what was taken, over its share in the pool as it came."""
    some, total = count(run, stage, kind, twin)
    return some / total / (sizes(run, kind, twin) / sum(sizes(run, k, twin) for k in (*KINDS, "other")))


def updates(run: Facts, stage: str, twin: str) -> list[tuple[int, dict[str, float]]]:
    """What a learner told of its steps."""
    return run.ledger.updates(run.walks[twin, stage].id)


def scores(run: Facts, stage: str, twin: str, case: Case) -> Scores:
    """What a twin thinks of a target."""
    found = run.observation(stage, twin, case).scores
    assert found is not None, "a run scores every target"
    return found


def held_out(run: Facts, stage: str, cohort: str) -> float:
    """Nats a token of the targets of a cohort, each under the twin that was not shown it in any stage."""
    unseen = [scores(run, stage, c.control, c) for c in run.cases if c.example.cohort == cohort]
    return fmean(-fmean(s.logprobs) for s in unseen)


def membership(runs: list[Facts], cohort: str, stage: str) -> Interval:
    """Each text that tells what is wanted is a member under one twin and a non-member under the other."""
    members, others, names = [], [], []
    for number, run in enumerate(runs):
        for case in run.cases:
            if case.example.cohort == cohort:
                for twin, side in ((case.exposed, members), (case.control, others)):
                    side.append(
                        reference_difference(scores(run, stage, twin, case), scores(run, "prior", twin, case))
                    )
                names.append((number, case.example.id))
    return area(members, others, clusters=(names, names)).interval


def nearer(run: Facts) -> float:
    """AUC of the score by which a learner chose: its near-copies among public texts of the target domain."""
    areas = []
    for twin in TWINS:
        found = run.readings(run.walks[twin, ARMS["CoLoR"]].id, "selection_score")
        sides: dict[str, list[float]] = {kind: [] for kind in (*KINDS, "other")}
        for name, values in found.items():
            sides[kind_of(run, known(run)[name])].append(values[0])
        areas.append(area(sides["near-copy"], sides[KINDS[0]]).interval.value)
    return fmean(areas)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
