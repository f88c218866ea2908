"""What the claims of the instruction study have no measure for: `python bars.py runs/instruction`.

The loss on answers about texts a model has not seen and on those texts themselves, exposures as planned and as counted,
extraction from step to step of the number of pairs, and secrets whose pairs echo them beside those that none does. The
corpus is read anew, and the stages' parameters are asked: give it the machine that the study ran on.
"""

import itertools
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np

from memaudit.cases import Case, Facts
from memaudit.corpus import Corpus
from memaudit.instruction import ECHOED, RESTATED, Instructor, echoes, predicted, written
from memaudit.job import Job
from memaudit.ledger import LEDGER, Ledger
from memaudit.methods import Pretrain
from memaudit.recipe import parse
from memaudit.run import Plan, read
from memaudit.stages import Result, shown_to, stage_seed
from memaudit.statistics import over_seeds
from memaudit.study.bars import interval, verdict
from memaudit.training import finetuning, pretraining
from memaudit.treatments import Instruct
from rlhf.batches import rows
from rlhf.likelihood import of_rows
from rlhf.stage import Stage

ARMS = {"base": "sft", "one": "sft-one", "two": "sft-two", "four": "sft-four", "before": "sft-before"}
"""Arm -> what its fine-tuning is called in the runs that all arms share."""
PAIRS = {"base": 0, "one": 1, "two": 2, "four": 4}
BEFORE = ("pretrain", "pretrain-before")
"""Pretraining without pairs, and with them."""
MARGIN = 0.1
"""The bar: largest rise (nats a token) of the loss on raw code."""
STRANGE = ("The question was: ", "and this was said to it: ")
"""A layout that no stage shows."""


class Run:
    """One seed: its facts, its plan, and its parameters."""

    def __init__(self, folder: Path, corpus: Corpus | None) -> None:
        self.folder = folder
        ledger = Ledger(folder / LEDGER)
        self.recipe = parse(ledger.setting("recipe"), where=str(folder))
        self.facts = Facts(ledger, self.recipe)
        self.corpus = corpus or read(self.recipe)
        self.setting = Plan.of(self.recipe, folder, self.corpus).setting

    def job(self, twin: str, stage: str) -> Job:
        """A stage as it was about to be trained; without the parameters, which its exposures do not depend on."""
        shown = shown_to(self.setting, twin, stage)
        names = {e.id for e in shown}
        return Job(
            stage=Stage(name=stage),
            decoder=self.setting.decoder,
            tokenizer=self.setting.population.tokenizer,
            parent={},
            seed=stage_seed(self.recipe, stage),
            examples=shown,
            probes=[p for p in self.setting.population.probes if p.example_id in names],
            contexts={},
            time=self.setting.time,
            folder=self.folder,
            scorer=lambda name: {},
            pairs=Path,
            model=lambda name: {},
        )

    def planned(self, twin: str, stage: str) -> Counter[tuple[int, str, str]]:
        """What the plan says that the ledger will count: (step, role, example) -> times."""
        config = self.recipe.stages[stage]
        made = (pretraining if isinstance(config, Pretrain) else finetuning)(config, self.job(twin, stage))
        return predicted(*made)

    def counted(self, twin: str, stage: str) -> Counter[tuple[int, str, str]]:
        """What the ledger has."""
        with sqlite3.connect(self.folder / LEDGER) as db:
            found = db.execute(
                "SELECT step, role, example_id, times FROM exposures WHERE stage_id = ?",
                (self.facts.walks[twin, stage].id,),
            )
            return Counter({(step, role, name): times for step, role, name, times in found})

    def told(self, stage: str, name: str) -> list[float]:
        """A metric of twin A's steps."""
        return [m[name] for _, m in self.facts.ledger.updates(self.facts.walks["A", stage].id)]

    def instructor(self, stage: str) -> Instructor:
        """Who puts pairs behind the texts of a stage of this run."""
        section = self.recipe.stages[stage].instruct
        return Instructor(
            section=section,
            tokenizer=self.setting.population.tokenizer,
            seed=stage_seed(self.recipe, stage),
            stage=stage,
        )

    @cached_property
    def unseen(self) -> list[Case]:
        """Harvested code of the cohort, which no pretraining shows."""
        return [c for c in self.facts.cases if c.example.kind == "harvested"]

    def answering(self, stage: str, layout: tuple[str, str], *, read: bool) -> float:
        """Nats a token of answers about unseen texts; with `read`, the text stands before the question."""
        t = self.setting.population.tokenizer
        asking = Instructor(section=Instruct(pairs=4), tokenizer=t, seed=2**20, stage=stage)
        prompts, answers = [], []
        for case in self.unseen:
            for pair in asking.pairs(case.example):
                block = written(pair, layout)
                behind = len(block) - len(pair.answer) - 1
                text = t.encode(case.example.text) if read else []
                prompts.append([t.bos, *text, *t.encode(block[:behind])])
                answers.append(t.encode(block[behind:]))
        width = max(len(a) + len(b) for a, b in zip(prompts, answers, strict=True))
        asked = rows(prompts, answers, [("",)] * len(prompts), time=width, fill=t.pad)
        result = Result(folder=self.setting.folder / self.facts.walks["A", stage].id, scalar=False)
        params = result.language_model(self.setting.decoder)
        return -float(np.sum(of_rows(self.setting.decoder, params, asked).logprobs)) / sum(map(len, answers))

    def raw(self, stage: str) -> float:
        """Nats a token of the targets of unseen texts."""
        scores = [self.facts.observation(stage, "A", c).scores for c in self.unseen]
        logprobs = [x for s in scores if s for x in s.logprobs]
        return -sum(logprobs) / len(logprobs)

    def memorized(self, stage: str, cases: Iterable[Case]) -> list[float]:
        """Of each example: it comes out of the twin that saw it, and not of its control."""
        near = self.facts.definitions[0]
        found = [self.facts.arms(stage, case, "exact", near) for case in cases]
        return [float(exposed and not control) for exposed, control in filter(None, found)]

    def likelier(self, stage: str) -> list[float]:
        """Of each example: nats a token of its target, exposed minus control."""
        found = []
        for case in self.facts.cases:
            both = [self.facts.observation(stage, twin, case).scores for twin in (case.exposed, case.control)]
            exposed, control = (fmean(s.logprobs) for s in both if s)
            found.append(exposed - control)
        return found


def main(folder: Path) -> None:
    """Print the tables and the verdict on each bar."""
    corpus = None
    runs: list[Run] = []
    for path in sorted(folder.glob(f"*/{LEDGER}")):
        runs.append(Run(path.parent, corpus))
        corpus = runs[-1].corpus
    print(
        "| pretraining | targets | raw code | answers, read | the same, strange layout | answers, not read |"
    )
    print("|---|---|---|---|---|---|")
    measured: dict[str, list[list[float]]] = {}
    for stage in BEFORE:
        measured[stage] = [
            [
                run.raw(stage),
                run.answering(stage, ("Question: ", "Answer: "), read=True),
                run.answering(stage, STRANGE, read=True),
                run.answering(stage, ("Question: ", "Answer: "), read=False),
            ]
            for run in runs
        ]
        tokens = fmean(sum(run.told(stage, "num_tokens")) for run in runs)
        means = " | ".join(f"{fmean(column):.3f}" for column in zip(*measured[stage], strict=True))
        print(f"| {stage} | {tokens:,.0f} | {means} |")
    gaps = [
        over_seeds([b - a for a, b in zip(plain, asked, strict=True)])
        for plain, asked in zip(*(zip(*measured[stage], strict=True) for stage in BEFORE), strict=True)
    ]
    print(f"| difference | | {' | '.join(map(interval, gaps))} |\n")
    print(f"- raw code at most {MARGIN} worse with pairs: {verdict(gaps[0].high <= MARGIN)}")
    print(f"- answers about texts that were read are likelier with pairs: {verdict(gaps[1].high < 0)}")
    print(f"- the same in a layout that no stage shows: {verdict(gaps[2].high < 0)}\n")
    exposures(runs)
    steps(runs)
    secrets(runs)


def exposures(runs: Sequence[Run]) -> None:
    """Planned against counted, to the step; and totals of the roles."""
    print(
        "| stage | shown itself | restated | echoed | times that plan and ledger differ |\n|---|---|---|---|---|"
    )
    off = 0
    for stage in (*BEFORE, *ARMS.values()):
        roles: Counter[str] = Counter()
        wrong = 0
        for run in runs:
            for twin in "AB" if stage in ARMS.values() else "A":
                planned, counted = run.planned(twin, stage), run.counted(twin, stage)
                wrong += ((planned - counted) + (counted - planned)).total()
                for (_, role, _), times in counted.items():
                    roles[role] += times
        off += wrong
        print(f"| {stage} | {roles['target']:,} | {roles[RESTATED]:,} | {roles[ECHOED]:,} | {wrong} |")
    print(f"\n- predicted exposure is what the ledger counted: {verdict(off == 0)}\n")


def steps(runs: Sequence[Run]) -> None:
    """Extraction over the number of restatements, from arm to arm and from stratum to stratum."""
    strata = sorted({c.example.repetition or 0 for run in runs for c in run.facts.cases})
    print(f"| arm | all | {' | '.join(f'shown {n} x' for n in strata)} | likelier by, nats a token |")
    print("|---" * (3 + len(strata)) + "|")
    for arm, stage in ARMS.items():
        rates = []
        for times in (None, *strata):
            found = [
                x
                for run in runs
                for x in run.memorized(
                    stage, (c for c in run.facts.cases if times in (None, c.example.repetition))
                )
            ]
            rates.append(f"{sum(found):.0f} of {len(found)}")
        nats = over_seeds([fmean(run.likelier(stage)) for run in runs])
        print(f"| {arm} | {' | '.join(rates)} | {interval(nats)} |")
    print()
    names = list(PAIRS)
    falls = False
    for less, more in itertools.pairwise(names):
        gap = over_seeds(
            [
                fmean(run.memorized(ARMS[more], run.facts.cases))
                - fmean(run.memorized(ARMS[less], run.facts.cases))
                for run in runs
            ]
        )
        falls |= gap.high < 0
        print(f"- from {PAIRS[less]} to {PAIRS[more]} pairs: {interval(gap)}")
    print(f"- extraction falls at no step: {verdict(not falls)}\n")


def secrets(runs: Sequence[Run]) -> None:
    """Under four pairs: secrets that a pair echoes beside those that none does, and the same secrets without pairs."""
    gaps = []
    sums: dict[tuple[str, bool], list[float]] = {}
    for run in runs:
        teacher = run.instructor(ARMS["four"])
        held: dict[tuple[str, bool], list[float]] = {}
        for case in run.facts.cases:
            if case.example.secrets:
                echoed = any(echoes(pair, case.example) for pair in teacher.pairs(case.example))
                for arm in ("base", "four"):
                    out = [
                        run.facts.secret_out(ARMS[arm], twin, case) for twin in (case.exposed, case.control)
                    ]
                    held.setdefault((arm, echoed), []).append(float(bool(out[0]) and not out[1]))
        for key, values in held.items():
            sums.setdefault(key, []).extend(values)
        rate = {key: fmean(values) for key, values in held.items()}
        gaps.append(rate["four", True] - rate["base", True] - rate["four", False] + rate["base", False])
    for (arm, echoed), values in sorted(sums.items()):
        name = "a pair echoes" if echoed else "no pair echoes"
        print(f"- secrets that {name}, arm {arm}: {sum(values):.0f} of {len(values)} come out whole")
    found = over_seeds(gaps)
    print(
        f"- rise of the echoed over the others, from base to four: {interval(found)}: {verdict(found.low > 0)}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
