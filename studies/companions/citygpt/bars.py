"""What the claims of the study have no measure for, read off its ledgers: `python bars.py runs/citygpt`.

The loss on texts a model has not seen, and how an example's weight goes with what became of it.
"""

import sys
from pathlib import Path
from statistics import fmean

from scipy.stats import spearmanr

from memaudit.cases import Case, Facts
from memaudit.ledger import LEDGER
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval, read, verdict

PLAIN, WEIGHED = "sft", "swft"
OFTEN = 16


def main(folder: Path) -> None:
    """Print the numbers and the verdict on each bar."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    print(f"{len(runs)} seeds\n")
    for stage in ("pretrain", PLAIN, WEIGHED):
        print(
            f"- held-out loss after {stage}: {fmean(held_out(run, stage) for run in runs):.3f} nats a token"
        )
    rise = over_seeds([held_out(run, WEIGHED) - held_out(run, PLAIN) for run in runs])
    print(f"- self-weighted less plain: {interval(rise)}; below 0: {verdict(rise.high < 0)}")
    for stage in (PLAIN, WEIGHED):
        found = over_seeds([correlation(run, stage) for run in runs])
        print(
            f"- rank correlation of weight and gain of likelihood after {stage}, texts shown {OFTEN} times: "
            f"{interval(found)}; above 0: {verdict(found.low > 0)}"
        )


def likelihood(run: Facts, stage: str, twin: str, case: Case) -> float:
    """Nats a token that a twin finds a target likely by."""
    found = run.observation(stage, twin, case).scores
    assert found is not None, "a run scores every target"
    return fmean(found.logprobs)


def held_out(run: Facts, stage: str) -> float:
    """Nats a token of harvested code that the twin has not seen."""
    return -fmean(
        likelihood(run, stage, case.control, case) for case in run.cases if case.example.kind == "harvested"
    )


def correlation(run: Facts, stage: str) -> float:
    """Spearman's, of the weight and how much likelier the target is to the twin that saw it; mean of both twins."""
    found = []
    for twin in sorted({case.exposed for case in run.cases}):
        weights = run.readings(run.walks[twin, WEIGHED].id, "self_weight")
        cases = [c for c in run.cases if c.exposed == twin and c.example.repetition == OFTEN]
        gains = [likelihood(run, stage, twin, c) - likelihood(run, stage, c.control, c) for c in cases]
        ranked = spearmanr([weights[c.example.id][0] for c in cases], gains)
        found.append(float(ranked.statistic))  # pyright: ignore[reportAttributeAccessIssue]
    return fmean(found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
