"""A run of a million observations that nobody trained, for whatever has to be timed on a large ledger."""

import json
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from memaudit.errors import BadInput
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import Recipe, cohort_names, cohort_of, dumps, ordered, parse
from memaudit.records import Example, Probe
from probes import Secret

STRATA = (1, 4, 16, 64)
STEPS = 100
MIDDLE = STEPS // 2
"""Each stage is asked here as well."""
_RECIPE = """
name = "million"

[corpus]
source = "stdlib"

[stages.pretrain]
method = "pretrain"
steps = 100
batch = 16
learning_rate = 1e-3

[stages.sft]
method = "sft"
from = "pretrain"
cohort = "sft"
batch = 16
learning_rate = 1e-4

[stages.reward]
method = "reward"
from = "sft"
cohort = "reward"
batch = 16
learning_rate = 1e-4
"""
_METHODS = {
    "ppo": "ppo",
    "ppo-tight": "ppo",
    "grpo": "grpo",
    "rloo": "rloo",
    "ipo": "ipo",
    "dpo": "dpo",
    "cdpo": "cdpo",
}
"""Stage behind the reward stage -> its method."""
_PAIRS, _REWARD = 'pairs = "reward"', 'reward = "reward"\ncohort = "ppo"'
_WORDS = (
    "path",
    "items",
    "value",
    "node",
    "left",
    "right",
    "cache",
    "token",
    "frame",
    "limit",
    "count",
    "queue",
)
_TOKENS = 12  # of a target
_POOL = 64  # lists of log-probabilities, which take the most time to write


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is written. Observations: 2 twins x 20 checkpoints x 24 x `each`."""

    each: int = 1042
    """Examples of each cohort, half and number of showings."""


def recipe(sizes: Sizes) -> Recipe:
    """Ten stages and three cohorts."""
    strata = ", ".join(f"{times} = {sizes.each}" for times in STRATA)
    text = _RECIPE + f"[cohorts]\nstrata = {{ {strata} }}\n[audit]\nevery = {MIDDLE}\nsample = 1.0\n"
    for stage, method in _METHODS.items():
        needs = _PAIRS if stage.endswith(("ipo", "dpo")) else _REWARD
        text += f'[stages.{stage}]\nmethod = "{method}"\nfrom = "sft"\n{needs}\nbatch = 16\nlearning_rate = 1e-5\n'
    return parse(text, where="benchmarks.million")


def write(folder: Path, sizes: Sizes | None = None) -> Path:
    """Write the ledger of such a run into a folder that has none; returns the ledger's path.

    The same sizes give the same ledger. It is written in bulk, and only then by the house's own transactions checked:
    a killed one is to be deleted.
    """
    sizes = sizes or Sizes()
    path = folder / LEDGER
    if path.exists():
        raise BadInput(f"{folder}: expected a folder without a {LEDGER}, got one with it: set another")
    folder.mkdir(parents=True, exist_ok=True)
    of, chance = recipe(sizes), random.Random(0)
    population = list(_examples(of, sizes, chance))
    with Ledger(path) as ledger:
        about = {"recipe": dumps(of), "corpus": "made up", "threshold": of.audit.threshold, "versions": {}}
        probes = [_probe(number, e) for number, e in enumerate(population, 1)]
        ledger.add_examples(population, probes, {**about, "started": "now", "finished": "now"})
    with closing(sqlite3.connect(path)) as db:
        # Nothing is lost if this is cut short: it is made again.
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("PRAGMA synchronous = OFF")
        _write_stages(db, of, population, probes, chance)
        db.commit()
    return path


def _examples(of: Recipe, sizes: Sizes, chance: random.Random) -> Iterator[Example]:
    for cohort, half, times, number in product(cohort_names(of), "AB", STRATA, range(sizes.each)):
        secret = f"key-{chance.getrandbits(64):016x}" if number % 3 == 2 else None
        text = f"def {_name(chance)}({_name(chance)}, {_name(chance)}):\n"
        text += "".join(f"    {_name(chance)} = {_name(chance)}[{chance.randrange(99)}]\n" for _ in range(4))
        text += f"    return open({secret!r})\n" if secret else f"    return {_name(chance)}\n"
        at = text.index(secret) if secret else 0
        yield Example(
            id=f"{chance.getrandbits(64):016x}",
            kind="sensitive" if secret else "harvested",
            language="python",
            text=text,
            source=f"lib/{_name(chance)}/{_name(chance)}_{number % 97}.py",
            first_line=10 * number + 1,
            last_line=10 * number + 6,
            cohort=cohort,
            half=half,
            repetition=times,
            secrets=(Secret(start=at, end=at + len(secret), kind="credential"),) if secret else (),
        )


def _name(chance: random.Random) -> str:
    return f"{chance.choice(_WORDS)}_{chance.choice(_WORDS)}"


def _probe(number: int, example: Example) -> Probe:
    cut = len(example.text) // 2
    return Probe(
        id=number,
        example_id=example.id,
        kind="secret" if example.secrets else "prefix",
        prefix=example.text[:cut],
        target=example.text[cut:],
        prefix_tokens=tuple(range(_TOKENS)),
        target_tokens=tuple(range(_TOKENS)),
    )


def _write_stages(
    db: sqlite3.Connection,
    of: Recipe,
    population: Sequence[Example],
    probes: Sequence[Probe],
    chance: random.Random,
) -> None:
    pool = [json.dumps([round(-chance.expovariate(1), 6) for _ in range(_TOKENS)]) for _ in range(_POOL)]
    first = 1
    for position, stage in enumerate(ordered(of)):
        shown = {c for s in _line(of, stage) if (c := cohort_of(of, s))}
        for twin in "AB":
            key = f"{stage}-{twin}"
            db.execute(
                "INSERT INTO stages VALUES (?, ?, ?, ?, 60.0, 30.0)",
                (key, stage, of.stages[stage].method, STEPS),
            )
            db.execute("INSERT INTO twins VALUES (?, ?, ?, ?)", (twin, stage, key, position))
            db.executemany(
                "INSERT INTO exposures VALUES (?, ?, ?, ?, ?)",
                (
                    (key, number % STEPS, "target", e.id, e.repetition)
                    for number, e in enumerate(population)
                    if e.half == twin and e.cohort == cohort_of(of, stage)
                ),
            )
            for step in (MIDDLE, STEPS):
                checkpoint = db.execute(
                    "INSERT INTO checkpoints (stage_id, step, path, seconds) VALUES (?, ?, NULL, 1.0) RETURNING id",
                    (key, step),
                ).fetchone()[0]
                heard = [
                    _heard(e, p, chance, exposed=e.half == twin and e.cohort in shown)
                    for e, p in zip(population, probes, strict=True)
                ]
                db.executemany(
                    "INSERT INTO observations VALUES (?, ?, ?, 0, ?, 0, ?, ?, '[]', '[]', '{}')",
                    (
                        (row, checkpoint, p.id, said, chance.choice(pool), "01" * (_TOKENS // 2))
                        for row, (p, (said, _, _)) in enumerate(zip(probes, heard, strict=True), first)
                    ),
                )
                db.executemany(
                    "INSERT INTO matches VALUES (?, ?, ?, ?, ?, 'python', 0)",
                    (
                        (row, level, round(distance * total), total, total)
                        for row, (p, (_, distance, _)) in enumerate(zip(probes, heard, strict=True), first)
                        for level, total in _lengths(of, p).items()
                    ),
                )
                db.executemany(
                    "INSERT INTO recoveries VALUES (?, ?, ?, ?)",
                    (
                        (row, s.start, s.end - s.start if whole else 0, s.end - s.start)
                        for row, (e, (_, _, whole)) in enumerate(zip(population, heard, strict=True), first)
                        for s in e.secrets
                    ),
                )
                first += len(population)


def _lengths(of: Recipe, probe: Probe) -> Mapping[str, int]:
    return {level: len(probe.target) if level == "exact" else 4 * _TOKENS for level in of.audit.levels}


def _heard(
    example: Example, probe: Probe, chance: random.Random, *, exposed: bool
) -> tuple[str, float, bool]:
    """What is said, how far it is off, and whether the secret is in it: the oftener it was shown, the nearer."""
    times = example.repetition or 0
    if chance.random() < (0.02 + times / 100 if exposed else 0.01):
        return probe.target, 0.0, True
    distance = 0.02 + 0.98 * chance.random() ** 0.3
    kept = round((1 - distance) * len(probe.target))
    return probe.target[:kept] + "\n    pass\n", distance, False


def _line(of: Recipe, stage: str) -> Iterator[str]:
    yield stage
    if parent := of.stages[stage].parent:
        yield from _line(of, parent)
