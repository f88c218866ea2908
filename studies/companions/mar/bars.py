"""What the claims of the diffusion study have no measure for, read off its ledgers: `python bars.py runs/mar`.

How often samples equal the target, what the losses say of that, and how well they tell who was shown a text.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from scipy.stats import spearmanr

from memaudit.cases import Case, Facts
from memaudit.denoising import PARTS
from memaudit.ledger import LEDGER
from memaudit.roc import area
from memaudit.statistics import Interval, over_seeds
from memaudit.study.bars import interval, read, scores

STAGES = ("ce", "diffusion")
STRATA = (1, 16, 64, 256)

Of = Callable[[Facts, str, Case, str], float]
"""(run, stage, case, twin) -> a number."""


def main(folder: Path) -> None:
    """Print what came out and what the losses say, by stage and showings, and what came of the claims."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    print(
        "| stage | showings | one completion | samples | controls' samples | loss, exposed | control | left | AUC |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for stage in STAGES:
        for times in STRATA:
            mine, other = ([mean(run, stage, times, lost, exposed=e) for run in runs] for e in (True, False))
            left = over_seeds([a / b for a, b in zip(mine, other, strict=True)])
            print(
                f"| {stage} | {times} | {told(runs, lambda r, s=stage, t=times: one(r, s, t))} "
                f"| {told(runs, lambda r, s=stage, t=times: mean(r, s, t, hits))} "
                f"| {told(runs, lambda r, s=stage, t=times: mean(r, s, t, hits, exposed=False))} "
                f"| {fmean(mine):.3f} | {fmean(other):.3f} | {interval(left, '.3f')} "
                f"| {membership(runs, stage, times)} |"
            )
    print("\n| stage | seconds of training | of asking | rank correlation of loss and samples |")
    print("|---|---|---|---|")
    for stage in STAGES:
        records = [run.walks[twin, stage] for run in runs for twin in ("A", "B")]
        trained, asked = (fmean(getattr(r, n) for r in records) for n in ("seconds", "audit_seconds"))
        print(
            f"| {stage} | {trained:.1f} | {asked:.1f} | {told(runs, lambda r, s=stage: correlation(r, s))} |"
        )
    drawn = told(runs, lambda r: correlation(r, "ce", eight))
    print(
        f"\nOf `ce` with eight samples drawn by the chances, as ties bring a correlation nearer 0: {drawn}."
    )
    print("\n| showings | AUC of the diffusion loss by eighth of the time, from signal to noise |")
    print("|---|---|")
    for times in STRATA:
        parts = [auc(runs, "diffusion", times, at(part)) for part in range(PARTS)]
        print(f"| {times} | {', '.join(f'{found.value:.2f}' for found in parts)} |")
    print("\n| claim | difference | p, above 0 | verdict |")
    print("|---|---|---|---|")
    for name, of in CLAIMS.items():
        found = over_seeds([of(run) for run in runs])
        verdict = "holds" if found.low > 0 else "contradicted" if found.high < 0 else "not resolved"
        if name in NO_BAR:
            verdict = "a difference" if found.low > 0 or found.high < 0 else "no difference seen"
        print(f"| {name} | {interval(found)} | {found.p_above:.2g} | {verdict} |")


def told(runs: Iterable[Facts], of: Callable[[Facts], float]) -> str:
    """A number of each run, with its interval over them."""
    return interval(over_seeds([of(run) for run in runs]), ".3f")


def cases(run: Facts, times: int) -> list[Case]:
    """The texts that were shown so often."""
    return [c for c in run.cases if c.example.repetition == times]


def mean(run: Facts, stage: str, times: int, of: Of, *, exposed: bool = True) -> float:
    """Over them, under the twin that saw each or under the other."""
    return fmean(of(run, stage, c, c.exposed if exposed else c.control) for c in cases(run, times))


def one(run: Facts, stage: str, times: int) -> float:
    """Share whose one completion equals the target under the twin that saw it and not under the other."""
    found = [run.arms(stage, c, "exact", run.definitions[1]) or (False, False) for c in cases(run, times)]
    return fmean(a and not b for a, b in found)


def hits(run: Facts, stage: str, case: Case, twin: str) -> float:
    """Share of samples that say the target: of tokens the chance of it, of windows what eight of them did."""
    if stage == "ce":
        return math.exp(next(iter(scores(run, stage, twin, case).sampled.values())))
    return fmean(run.readings(run.walks[twin, stage].id, "sampled_hits")[case.example.id])


def eight(run: Facts, stage: str, case: Case, twin: str) -> float:
    """The same of eight samples that are drawn by the chance."""
    rng = np.random.default_rng([run.recipe.seed, case.probe.id, "AB".index(twin)])
    return rng.binomial(8, hits(run, stage, case, twin)) / 8


def lost(run: Facts, stage: str, case: Case, twin: str) -> float:
    """The loss of a target: nats a byte, or the squared error of the noise over the whole time."""
    if stage == "ce":
        return -fmean(scores(run, stage, twin, case).logprobs)
    return fmean(run.readings(run.walks[twin, stage].id, "denoising_loss")[case.example.id])


def at(part: int) -> Of:
    """The same in one part of the time."""

    def of(run: Facts, stage: str, case: Case, twin: str) -> float:
        return run.readings(run.walks[twin, stage].id, "denoising_loss")[case.example.id][part]

    return of


def auc(runs: Sequence[Facts], stage: str, times: int, of: Of = lost) -> Interval:
    """How well a loss tells members: each text under the one twin and under the other."""
    members, others, names = [], [], []
    for number, run in enumerate(runs):
        for c in cases(run, times):
            members.append(-of(run, stage, c, c.exposed))
            others.append(-of(run, stage, c, c.control))
            names.append((number, c.example.id))
    return area(members, others, clusters=(names, names)).interval


def membership(runs: Sequence[Facts], stage: str, times: int) -> str:
    """The same as text."""
    found = auc(runs, stage, times)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def correlation(run: Facts, stage: str, said: Of = hits) -> float:
    """Spearman's, of the loss and of samples that say the target, over all texts under both twins."""
    pairs = [(c, twin) for c in run.cases for twin in ("A", "B")]
    values = [[of(run, stage, c, twin) for c, twin in pairs] for of in (lost, said)]
    return float(spearmanr(*values)[0]) if np.ptp(values[1]) else 0.0  # pyright: ignore[reportArgumentType]


CLAIMS: dict[str, Callable[[Facts], float]] = {
    "M2: samples at 256 showings, diffusion, exposed less control": lambda r: (
        mean(r, "diffusion", 256, hits) - mean(r, "diffusion", 256, hits, exposed=False)
    ),
    "M3b: samples at 256 showings, ce less diffusion": lambda r: (
        mean(r, "ce", 256, hits) - mean(r, "diffusion", 256, hits)
    ),
    "M4: size of the rank correlation, ce less diffusion": lambda r: (
        abs(correlation(r, "ce")) - abs(correlation(r, "diffusion"))
    ),
    "M5: AUC at 16 showings, ce less diffusion": lambda r: (
        auc([r], "ce", 16).value - auc([r], "diffusion", 16).value
    ),
}
NO_BAR = [name for name in CLAIMS if name.startswith("M3b")]
"""Where either way is a finding."""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
