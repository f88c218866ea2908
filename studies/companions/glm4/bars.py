"""What the claims of the glm4 study have no measure for, read off its ledgers: `python bars.py runs/glm4`.

The shapes' sizes, the loss on texts a model has not seen and on those of SFT that it has, what each stage took, and
what came out by showings.
"""

import sys
from pathlib import Path
from statistics import fmean

from memaudit.cases import Case, Facts
from memaudit.ledger import LEDGER
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval, read, scores
from rlhf.presets import parameters, preset

ARMS = ("base", "plain")


def main(folder: Path) -> None:
    """Print Markdown tables."""
    runs = {arm: [read(path) for path in sorted(folder.glob(f"{arm}-*/{LEDGER}"))] for arm in ARMS}
    print(
        "| arm | preset | parameters | stage | steps | seconds of training | held-out loss | loss of what was shown |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for arm, found in runs.items():
        name = found[0].recipe.model.preset
        size = parameters(preset(name, found[0].recipe.tokenizer.vocabulary))
        for stage in found[0].stages:
            losses, own = (over_seeds([of(run, stage) for run in found]) for of in (held_out, known))
            steps = found[0].walks["A", stage].steps
            seconds = fmean(run.walks[twin, stage].seconds for run in found for twin in "AB")
            print(
                f"| {arm} | {name} | {size:,} | {stage} | {steps} | {seconds:.1f} "
                f"| {interval(losses, '.3f')} | {interval(own, '.3f')} |"
            )
    print("\nHeld-out loss of `base` less that of `plain`, nats a token:\n")
    for stage in runs["plain"][0].stages:
        pairs = zip(runs["base"], runs["plain"], strict=True)
        apart = over_seeds([held_out(one, stage) - held_out(other, stage) for one, other in pairs])
        print(f"- after {stage}: {interval(apart, '+.3f')}")
    print("\n| arm | stage | cohort | showings | memorized | of |")
    print("|---|---|---|---|---|---|")
    for arm, found in runs.items():
        for stage in found[0].stages:
            for cohort, times, _ in found[0].groups():
                if times is None or times == 1:
                    continue
                out = [came_out(run, stage, case) for run in found for case in shown(run, cohort, times)]
                if any(out):
                    print(f"| {arm} | {stage} | {cohort} | {times} | {sum(out)} | {len(out)} |")


def shown(run: Facts, cohort: str, times: int) -> list[Case]:
    """A cohort's examples that are shown so often."""
    return [c for c in run.cases if c.example.cohort == cohort and c.example.repetition == times]


def came_out(run: Facts, stage: str, case: Case) -> bool:
    """Whether the twin that was to see it says it, and the other does not."""
    exposed, control = run.arms(stage, case, "exact", run.definitions[0]) or (False, False)
    return exposed and not control


def held_out(run: Facts, stage: str) -> float:
    """Nats a token of harvested code that a twin has not seen, of all cohorts."""
    found = [scores(run, stage, case.control, case) for case in run.cases if case.example.kind == "harvested"]
    return -sum(sum(s.logprobs) for s in found) / sum(len(s.logprobs) for s in found)


def known(run: Facts, stage: str) -> float:
    """Nats a token of what SFT showed 16 times or more, of the twin that saw it."""
    often = [c for times in (16, 24, 32) for c in shown(run, "sft", times)]
    found = [scores(run, stage, case.exposed, case) for case in often]
    return -sum(sum(s.logprobs) for s in found) / sum(len(s.logprobs) for s in found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
