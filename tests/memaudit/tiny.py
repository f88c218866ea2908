"""A recipe that runs in seconds, and what its run leaves."""

import sysconfig
from dataclasses import dataclass
from pathlib import Path

from memaudit.recipe import Recipe, parse
from memaudit.run import run
from reports import Findings

TINY = f"""
name = "tiny"
seed = 3

[corpus]
source = "directory"
path = "{Path(sysconfig.get_paths()["stdlib"]) / "asyncio"}"
smallest = 200

[tokenizer]
vocabulary = 400

[model]
preset = "tiny"

[cohorts]
strata = {{ 1 = 2, 3 = 2 }}
sensitive = 0.5
shortest = 40
longest = 160
overlap = 0.6

[audit]
batch = 8
evidence = 5
references = 3
samples = 3
every = 2
sample = 0.3

[stages.pretrain]
method = "pretrain"
steps = 20
batch = 4
window = 32
learning_rate = 3e-3
warmup = 1

[stages.sft]
method = "sft"
from = "pretrain"
cohort = "sft"
batch = 4
learning_rate = 3e-3
warmup = 1

[stages.reward]
method = "reward"
from = "sft"
cohort = "reward"
batch = 4
learning_rate = 1e-3
warmup = 1

[stages.ppo]
method = "ppo"
from = "sft"
reward = "reward"
cohort = "ppo"
batch = 4
minibatch = 4
epochs = 1
response = 6
learning_rate = 1e-3
warmup = 0

[stages.ipo]
method = "ipo"
from = "sft"
pairs = "reward"
batch = 4
learning_rate = 1e-3
warmup = 1
"""


class Quiet:
    """Hears a run's progress and keeps it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun: list[tuple[str, int]] = []
        self.done = 0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def begin(self, title: str, total: int) -> None:
        self.begun.append((title, total))

    def skip(self, count: int) -> None:
        self.done += count

    def advance(self, count: int) -> None:
        self.done += count

    def end(self, outcome: str) -> None:
        self.lines.append(outcome)


@dataclass(frozen=True)
class Walked:
    """A finished run."""

    recipe: Recipe
    folder: Path
    findings: Findings
    progress: Quiet


def walk(folder: Path, *changes: str) -> Walked:
    recipe = parse(TINY, where="tiny", changes=changes)
    progress = Quiet()
    return Walked(recipe, folder, run(recipe, folder, progress), progress)
