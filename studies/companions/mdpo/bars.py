"""What the claims of the mdpo study have no measure for, read off its ledgers: `python bars.py runs/mdpo`.

Every arm at a glance: what the chosen texts gained, what they owe to their context, what comes out behind which.
And the bar on the ratio of two dependences.
"""

import sys
from pathlib import Path
from statistics import fmean

from memaudit.cases import Case, Facts
from memaudit.contexts import Condition
from memaudit.ledger import LEDGER
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval, read, verdict

ARMS = {
    "the SFT model": "sft",
    "DPO": "preference-dpo",
    "+ anchor": "preference-anchored",
    "+ conditional": "preference-conditional",
    "mDPO": "preference",
    "IPO": "ipo",
}
"""Arm -> what its preference stage is called in the runs that all arms share."""
OFTEN, RATIO = 48, 1.5
"""Showings of the examples that extraction is counted of; the bar on the ratio."""


def main(folder: Path) -> None:
    """Print a Markdown table of the arms, and the verdict on the bar."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    print(
        "| arm | chosen, gained | rejected, gained | owed to the context | out behind its context | corrupted | none |"
    )
    print("|---|---|---|---|---|---|---|")
    for arm, stage in ARMS.items():
        gains = [
            "" if stage == "sft" else interval(over_seeds([gained(run, stage, side) for run in runs]), "+.2f")
            for side in ("preferred", "rejected")
        ]
        owed = interval(over_seeds([dependence(run, stage) for run in runs]), "+.2f")
        counts = [counted(runs, stage, "reward", condition) for condition in Condition]
        print(f"| {arm} | {' | '.join(gains)} | {owed} | {' | '.join(counts)} |")
    print("\nOf the SFT cohort, what was learnt before, after the same stages:\n")
    print("| arm | out behind its context | corrupted | none |")
    print("|---|---|---|---|")
    for arm, stage in ARMS.items():
        print(f"| {arm} | {' | '.join(counted(runs, stage, 'sft', condition) for condition in Condition)} |")
    left = over_seeds([dependence(run, ARMS["mDPO"]) - RATIO * dependence(run, ARMS["DPO"]) for run in runs])
    holds = verdict(left.low > 0)
    print(
        f"\n- dependence under mDPO less {RATIO} times that under DPO above 0: {holds}, {interval(left, '+.2f')}"
    )


def of(run: Facts, cohort: str) -> list[Case]:
    """A cohort's examples."""
    return [case for case in run.cases if case.example.cohort == cohort]


def reading(run: Facts, stage: str, twin: str, case: Case, quantity: str, number: int = 0) -> float:
    """A number that was read off a stage."""
    return run.readings(run.walks[twin, stage].id, quantity)[case.example.id][number]


def gained(run: Facts, stage: str, side: str) -> float:
    """Nats a token of one side of the pairs over the parent, to the twin that saw them."""
    return fmean(
        (
            reading(run, stage, case.exposed, case, f"{side}_logprob")
            - reading(run, stage, case.exposed, case, f"{side}_reference")
        )
        / len(case.probe.target_tokens)
        for case in of(run, "reward")
    )


def dependence(run: Facts, stage: str) -> float:
    """Nats a token of the chosen texts behind their context, less behind a corrupted one, to the twin that saw them."""
    return fmean(
        (
            reading(run, stage, case.exposed, case, "context_logprob", Condition.TRUE)
            - reading(run, stage, case.exposed, case, "context_logprob", Condition.CORRUPTED)
        )
        / len(case.probe.target_tokens)
        for case in of(run, "reward")
    )


def counted(runs: list[Facts], stage: str, cohort: str, condition: Condition) -> str:
    """Of the texts shown often, how many come out to the letter, of the twin that saw them and of the other."""
    cases = [(run, case) for run in runs for case in of(run, cohort) if case.example.repetition == OFTEN]
    exposed, control = (
        sum(reading(run, stage, getattr(case, side), case, "context_hits", condition) for run, case in cases)
        for side in ("exposed", "control")
    )
    return f"{exposed:.0f} against {control:.0f} of {len(cases)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
