"""What the claims of the goldfish study have no measure for, read off its ledgers: `python bars.py runs/goldfish`.

The share of targets that was left out, the loss on texts a model has not seen, how well membership is told, and where
greedy decoding leaves a text that was shown 64 times.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

import jax.numpy as jnp

from memaudit.attacks import loss
from memaudit.cases import Case, Facts
from memaudit.ledger import LEDGER
from memaudit.roc import Area, area
from memaudit.statistics import Estimate, over_seeds
from memaudit.study.bars import interval, read, scores, verdict
from rlhf.goldfish import Hashed, keep
from rlhf.tokenizer import Tokenizer

ARMS = {
    "base": "sft",
    "hashed": "sft-hashed",
    "random": "sft-random",
    "static": "sft-static",
    "whole": "sft-whole",
}
"""Arm -> what its fine-tuning is called in the runs that all arms share."""
BEFORE = {"base": "pretrain", "whole": "pretrain-whole"}
OFTEN, ONCE = 64, 1
FEWEST, RISE, DROPPED, SLACK = 0.9, 0.15, 0.25, 0.02
"""The bars: least AUC, largest rise of the held-out loss (nats a token), share left out and how far it may be off."""


def main(folder: Path) -> None:
    """Print a Markdown table of the arms, and the verdict on each bar."""
    runs = [read(path) for path in sorted(folder.glob(f"*/{LEDGER}"))]
    areas = {arm: membership(runs, stage) for arm, stage in ARMS.items()}
    shares = {arm: [dropped(run, stage) for run in runs] for arm, stage in ARMS.items()}
    print(
        "| arm | targets learnt from | left out | held-out loss | rise over base | AUC | first tokens in a row |"
    )
    print("|---|---|---|---|---|---|---|")
    for arm, stage in ARMS.items():
        told = areas[arm].interval
        print(
            f"| {arm} | {fmean(learnt(run, stage) for run in runs):,.0f} | {fmean(shares[arm]):.4f} "
            f"| {fmean(held_out(run, stage) for run in runs):.3f} | {interval(rise(runs, arm, ARMS))} "
            f"| {told.value:.4f} ({told.low:.4f} to {told.high:.4f}) "
            f"| {fmean(n for run in runs for n in in_a_row(run, stage)):.1f} |"
        )
    pretrained = fmean(held_out(run, BEFORE["base"]) for run in runs)
    early = rise(runs, "whole", BEFORE)
    print(f"\nHeld-out loss after pretraining: {pretrained:.3f}; with the mask there, {interval(early)}.\n")
    print(f"- AUC under `hashed` >= {FEWEST}: {verdict(areas['hashed'].interval.low >= FEWEST)}")
    late = rise(runs, "hashed", ARMS)
    print(f"- held-out loss under `hashed` at most {RISE} above `base`: {verdict(late.high <= RISE)}")
    print(f"- the same after pretraining, of `whole`: {verdict(early.high <= RISE)}")
    off = max(abs(share - DROPPED) for arm, found in shares.items() if arm != "base" for share in found)
    print(f"- share left out within {DROPPED} +- {SLACK}: {verdict(off <= SLACK)} (at most {off:.4f} off)")
    print(
        "\nUnder `hashed`, of the texts that do not come out whole, the first token that greedy decoding misses:\n"
    )
    places = [place for run in runs for place in departures(run)]
    for name in ("the first left out", "a later one left out", "one that was learnt"):
        print(f"- {name}: {places.count(name)} of {len(places)}")


def of(run: Facts, times: int) -> Iterable[Case]:
    """The examples that were shown so often."""
    return (case for case in run.cases if case.example.repetition == times)


def held_out(run: Facts, stage: str) -> float:
    """Nats a token of harvested code that the twin has not seen, of the texts that the other was shown once."""
    unseen = [scores(run, stage, c.control, c) for c in of(run, ONCE) if c.example.kind == "harvested"]
    return -sum(sum(s.logprobs) for s in unseen) / sum(len(s.logprobs) for s in unseen)


def rise(runs: list[Facts], arm: str, stages: dict[str, str]) -> Estimate:
    """How much higher an arm's held-out loss is than that of the base arm."""
    return over_seeds([held_out(run, stages[arm]) - held_out(run, stages["base"]) for run in runs])


def membership(runs: list[Facts], stage: str) -> Area:
    """The loss attack on texts shown often: each is a member under one twin and a non-member under the other."""
    members, others, names = [], [], []
    for number, run in enumerate(runs):
        for case in of(run, OFTEN):
            members.append(loss(scores(run, stage, case.exposed, case)))
            others.append(loss(scores(run, stage, case.control, case)))
            names.append((number, case.example.id))
    return area(members, others, clusters=(names, names))


def updates(run: Facts, stage: str) -> list[dict[str, float]]:
    """The metrics of twin A's steps."""
    return [metrics for _, metrics in run.ledger.updates(run.walks["A", stage].id)]


def learnt(run: Facts, stage: str) -> float:
    """Targets whose loss was followed."""
    return sum(m["num_tokens"] for m in updates(run, stage))


def dropped(run: Facts, stage: str) -> float:
    """Share of the targets that were shown and left out."""
    found = updates(run, stage)
    shown = [m["num_tokens"] / (1 - m.get("drop_rate", 0.0)) for m in found]
    return 1 - learnt(run, stage) / sum(shown)


def in_a_row(run: Facts, stage: str) -> Iterable[int]:
    """Tokens of a target that greedy decoding has right before it leaves it."""
    for case in of(run, OFTEN):
        hits = scores(run, stage, case.exposed, case).argmax
        yield hits.index(False) if False in hits else len(hits)


def departures(run: Facts) -> Iterable[str]:
    """Which token greedy decoding misses first, of each text that does not come out whole."""
    for case in of(run, OFTEN):
        hits = scores(run, ARMS["hashed"], case.exposed, case).argmax
        if all(hits):
            continue
        row = [Tokenizer.bos, *case.probe.prefix_tokens, *case.probe.target_tokens]
        kept = keep(Hashed(), jnp.array([row], jnp.int32))[0, -len(hits) :].tolist()
        missed = hits.index(False)
        if kept[missed]:
            yield "one that was learnt"
        else:
            yield "the first left out" if kept.index(False) == missed else "a later one left out"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
