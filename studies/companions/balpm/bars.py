"""What the claims of the BAL-PM study have no measure for, read off its ledgers: `python bars.py runs/balpm`.

Examples are told apart by whether any pair of theirs was labelled, as the ledger's exposures say.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.spatial.distance import cdist

from memaudit.acquire import ACQUIRED
from memaudit.cases import Case, Facts
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import parse
from memaudit.stages import Result
from memaudit.statistics import Estimate, over_seeds
from rlhf.acquisition import nearest
from rlhf.model import Decoder
from rlhf.presets import preset

ARMS = {
    "random": "",
    "random, twice the labels": "-double",
    "bald": "-bald",
    "powerbald": "-power",
    "balpm": "-balpm",
}
"""Arm -> what the names of its stages end in, in the runs that all arms share."""
TWINS = ("A", "B")
NEIGHBOUR = 13
"""The k of outlier ranks, for all arms."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One seed's run."""

    facts: Facts
    folder: Path

    def labelled(self, stage: str) -> set[str]:
        """The examples that a stage showed to the twin they are of."""
        return {name for name, _, where, *_ in self.facts.ledger.shown() if where == stage}

    def cases(self, stage: str, *, labelled: bool) -> list[Case]:
        """The examples of which some pair was labelled, or of which none was."""
        shown = self.labelled(stage)
        return [case for case in self.facts.cases if (case.example.id in shown) == labelled]

    def nats(self, stage: str, case: Case) -> float:
        """How much likelier a target is to the twin that was to see it, nats a token."""
        exposed, control = (
            self.facts.observation(stage, twin, case).scores for twin in (case.exposed, case.control)
        )
        assert exposed is not None
        assert control is not None
        return fmean(exposed.logprobs) - fmean(control.logprobs)

    def out(self, stage: str, case: Case) -> float:
        """Whether it comes out of the twin that was to see it and not of its control, as a near copy."""
        arms = self.facts.arms(stage, case, "exact", self.facts.definitions[0])
        assert arms is not None
        return float(arms[0] and not arms[1])

    def how(self, stage: str, twin: str) -> dict[str, np.ndarray]:
        """How a reward stage chose."""
        with np.load(self.folder / "stages" / self.facts.walks[twin, stage].id / ACQUIRED) as data:
            return dict(data)

    def prompts(self, stage: str) -> float:
        """Distinct prompts that were labelled, of a twin."""
        return fmean(len(set(how["ids"][how["pairs"]])) for how in (self.how(stage, t) for t in TWINS))

    def outliers(self, stage: str) -> float:
        """Mean rank of the labelled prompts by the distance to their neighbour in the whole pool: 0 to 1."""
        ranks = []
        for how in (self.how(stage, twin) for twin in TWINS):
            radius = nearest(cdist(how["prompts"], how["prompts"]), NEIGHBOUR)
            ranks.append(np.argsort(np.argsort(radius, kind="stable"))[how["pairs"]] / (len(radius) - 1))
        return float(np.concatenate(ranks).mean())


@cache
def likelihood(run: Run, stage: str) -> float:
    """Log-probability (nats) that the reward models give to a pair of the half that they were not shown."""
    recipe = run.facts.recipe
    decoder = Decoder(preset(recipe.model.preset, recipe.tokenizer.vocabulary))
    found = []
    for twin in TWINS:
        record = run.facts.walks[twin, stage]
        # The readings are scaled to deviation 1; the pairs were learnt without.
        tree = Result(folder=run.folder / "stages" / record.id, scalar=True).params(decoder)
        preferred, rejected = (
            run.facts.readings(record.id, f"{side}_reward") for side in ("preferred", "rejected")
        )
        for case in run.facts.cases:
            name = case.example.id
            if case.control == twin:
                lead = (preferred[name][0] - rejected[name][0]) / float(tree["scale"]["gain"])
                found.append(-np.logaddexp(0.0, -lead))
    return fmean(found)


def mean(run: Run, stage: str, cases: list[Case], of: Callable[[Run, str, Case], float]) -> float:
    """A quantity over examples."""
    return fmean(of(run, stage, case) for case in cases)


def spared(run: Run, stage: str, of: Callable[[Run, str, Case], float]) -> float:
    """By how much a quantity is larger of labelled examples than of the others."""
    return mean(run, stage, run.cases(stage, labelled=True), of) - mean(
        run, stage, run.cases(stage, labelled=False), of
    )


def told(found: Estimate, digits: int = 3) -> str:
    """With its 95 % interval, where seeds tell one."""
    if found.method == "unknown":
        return f"{found.value:+.{digits}f}"
    return f"{found.value:+.{digits}f} ({found.low:+.{digits}f} to {found.high:+.{digits}f})"


def main(folder: Path) -> None:
    """Print Markdown tables: the reward models, and what was memorized of labelled and other examples."""
    runs = []
    for path in sorted(folder.glob(f"*/{LEDGER}")):
        ledger = Ledger(path)
        recipe = parse(ledger.setting("recipe"), where=str(path))
        runs.append(Run(facts=Facts(ledger, recipe), folder=path.parent))
    print("| arm | labels | log-likelihood of unseen pairs | prompts labelled, of 48 | outlier rank |")
    print("|---|---|---|---|---|")
    for arm, end in ARMS.items():
        stage = f"reward{end}"
        labels = fmean(len(run.how(stage, twin)["pairs"]) for run in runs for twin in TWINS)
        print(
            f"| {arm} | {labels:.0f} | {told(over_seeds([likelihood(run, stage) for run in runs]))} "
            f"| {fmean(run.prompts(stage) for run in runs):.1f} | {fmean(run.outliers(stage) for run in runs):.3f} |"
        )
    print("\n| arm | after | nats a token, labelled | others | difference | out, labelled | others |")
    print("|---|---|---|---|---|---|---|")
    for arm, end in ARMS.items():
        for method in ("reward", "ipo"):
            stage = f"{method}{end}"
            sides = [[(run, run.cases(stage, labelled=side)) for run in runs] for side in (True, False)]
            nats = [over_seeds([mean(r, stage, c, Run.nats) for r, c in side]) for side in sides]
            out = [
                f"{sum(r.out(stage, case) for r, c in side for case in c):.0f} of {sum(len(c) for _, c in side)}"
                for side in sides
            ]
            difference = over_seeds([spared(run, stage, Run.nats) for run in runs])
            print(
                f"| {arm} | {method} | {told(nats[0])} | {told(nats[1])} | {told(difference)} | {out[0]} | {out[1]} |"
            )

    def beside(end: str, than: str, of: Callable[[Run, str], float]) -> Estimate:
        return over_seeds([of(run, end) - of(run, than) for run in runs])

    def each(run: Run, end: str) -> float:
        return mean(run, f"ipo{end}", run.cases(f"ipo{end}", labelled=True), Run.nats)

    print("\nBAL-PM less random, at as many labels:\n")
    print(
        f"- log-likelihood of unseen pairs: {told(beside('-balpm', '', lambda r, e: likelihood(r, f'reward{e}')))}"
    )
    print(f"- prompts labelled: {told(beside('-balpm', '', lambda r, e: r.prompts(f'reward{e}')), 1)}")
    print(f"- outlier rank: {told(beside('-balpm', '', lambda r, e: r.outliers(f'reward{e}')))}")
    print(f"- nats a token of labelled examples after IPO: {told(beside('-balpm', '', each))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
