"""Cross-entropy and the diffusion loss at equal exposure, twins and all: `python trial.py runs/mar [SEED ...]`.

For each seed a ledger in `runs/mar/SEED` with both stages under both twins: what was shown, one completion of each
probe (greedy; of the diffusion model the one without noise on the way back), the edit distance of eight samples, and
the loss. Then a Markdown table over the seeds. A seed whose ledger is whole is not run again.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

import jax
import jax.numpy as jnp
import numpy as np

from memaudit.auditor import Auditor
from memaudit.cases import Case, Facts
from memaudit.cohorts import TWINS, populate
from memaudit.extraction import observed
from memaudit.ledger import LEDGER, Ledger
from memaudit.recipe import Recipe, dumps, load, parse
from memaudit.records import Checkpoint, Example, Finished, Probe, Reading, StageRecord
from memaudit.roc import area
from memaudit.run import read
from memaudit.stages import stage_seed
from memaudit.statistics import Estimate, over_seeds
from memaudit.training import optimiser
from probes import levenshtein
from rlhf import diffusion, likelihood, sft
from rlhf.batches import Rows, rows, schedule
from rlhf.diffusion import Denoiser, Denoising, complete
from rlhf.generate import generate, row_keys
from rlhf.latents import Latents
from rlhf.model import Decoder, Params, hidden_states, initialise
from rlhf.optimiser import Adam, Parts
from rlhf.presets import preset
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

WINDOW, GIVEN, ASKED = 8, 4, 4
"""Bytes of a window, and how many windows of a text are given and asked for."""
SIZE, WIDTH, BLOCKS = 16, 128, 3
"""Numbers of a latent; the head's width and blocks."""
SAMPLES, DRAWS = 8, 32
"""Samples of each probe; draws of time and noise that a text's loss is the mean of."""
ARMS = ("ce", "diffusion")
PUBLIC = 1.0
"""Rows of public code, each shown once, for each row of the cohort."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a seed shows and asks."""

    recipe: Recipe
    tokenizer: Tokenizer
    decoder: Decoder
    examples: tuple[Example, ...]
    probes: tuple[Probe, ...]
    public: list[list[int]]
    """Stretches of public code, each of as many tokens as an example."""
    latents: Latents

    @property
    def time(self) -> int:
        """Tokens of a row."""
        return 1 + WINDOW * (GIVEN + ASKED)

    def text(self, probe: Probe) -> list[int]:
        """The tokens of an example's row."""
        return [self.tokenizer.bos, *probe.prefix_tokens, *probe.target_tokens]


def material(recipe: Recipe) -> Material:
    """Draw the cohort, cut every text to whole windows, and make latents of all windows there are."""
    population = populate(read(recipe), recipe)
    tokenizer = population.tokenizer
    examples, probes = [], []
    for example, probe in zip(population.examples, population.probes, strict=True):
        prefix, target = probe.prefix_tokens[-WINDOW * GIVEN :], probe.target_tokens[: WINDOW * ASKED]
        words = tokenizer.decode(prefix), tokenizer.decode(target)
        examples.append(replace(example, text="".join(words)))
        probes.append(
            replace(probe, prefix=words[0], target=words[1], prefix_tokens=prefix, target_tokens=target)
        )
    rng = np.random.default_rng(recipe.seed)
    size = WINDOW * (GIVEN + ASKED)
    encoded = [t for t in tokenizer.encode_batch([e.text for e in population.public]) if len(t) >= size]
    starts = [int(rng.integers(0, len(t) - size + 1)) for t in encoded]
    public = [t[start : start + size] for t, start in zip(encoded, starts, strict=True)]
    texts = [*public, *([*p.prefix_tokens, *p.target_tokens] for p in probes)]
    return Material(
        recipe=recipe,
        tokenizer=tokenizer,
        decoder=Decoder(preset(recipe.model.preset, tokenizer.vocabulary)),
        examples=tuple(examples),
        probes=tuple(probes),
        public=public,
        latents=Latents.fit(np.array(texts).reshape(-1, WINDOW), tokenizer.vocabulary, SIZE),
    )


def shown(made: Material, twin: str) -> tuple[Rows, np.ndarray]:
    """A twin's rows and the order of showing: its half as often as its strata say, among public rows shown once."""
    halves = {e.id: e for e in made.examples}
    own = [p for p in made.probes if halves[p.example_id].half == twin]
    times = [halves[p.example_id].repetition or 0 for p in own]
    public = made.public[: int(PUBLIC * sum(times))]
    texts = [made.text(p) for p in own] + [[made.tokenizer.bos, *t] for t in public]
    names = [(p.example_id,) for p in own] + [(f"public {i}",) for i in range(len(public))]
    found = rows(
        [t[:1] for t in texts], [t[1:] for t in texts], names, time=made.time, fill=made.tokenizer.pad
    )
    batch = made.recipe.stages["ce"].batch
    return found, schedule([*times, *[1] * len(public)], batch, stage_seed(made.recipe, "ce"))


def trained(made: Material, arm: str, twin: str, stage: Stage) -> Parts:
    """Follow one objective along a twin's rows."""
    found, order = shown(made, twin)
    seed = stage_seed(made.recipe, arm)
    begun = jax.jit(initialise, static_argnums=0)(made.decoder, jax.random.key(seed))
    learning = optimiser(made.recipe.stages[arm], adam=Adam())
    if arm == "ce":
        return {"model": sft.train(begun, found, order, learning, decoder=made.decoder, stage=stage)}
    loss = objective(made)
    head = diffusion.initialise(loss.denoiser, made.decoder.config.width, jax.random.key(seed))
    latents = made.latents.encode(windows(found.tokens))
    return diffusion.train(begun, head, found, latents, order, learning, loss=loss, stage=stage, seed=seed)


def objective(made: Material, draws: int = 4) -> Denoising:
    """The diffusion loss of windows."""
    return Denoising(made.decoder, Denoiser(size=SIZE, width=WIDTH, blocks=BLOCKS), WINDOW, draws)


def windows(tokens: np.ndarray) -> np.ndarray:
    """The windows of rows, ``[rows, windows, window]``."""
    return tokens[:, 1:].reshape(len(tokens), -1, WINDOW)


def said(made: Material, arm: str, parts: Parts) -> Callable[[int, float], list[str]]:
    """(number of a sample, temperature) -> a completion of every probe."""
    prompts = np.array([made.text(p)[: 1 + WINDOW * GIVEN] for p in made.probes], np.int32)
    key = jax.random.key(stage_seed(made.recipe, "ce") + 1)

    def ce(number: int, temperature: float) -> np.ndarray:
        return np.asarray(
            generate(
                parts["model"],
                prompts,
                np.full(len(prompts), prompts.shape[1], np.int32),
                row_keys(jax.random.fold_in(key, number), jnp.arange(len(prompts))),
                decoder=made.decoder,
                budget=WINDOW * ASKED,
                temperature=temperature,
                eos=None,
                pad=made.tokenizer.pad,
                buckets=(prompts.shape[1],),
            ).tokens
        )

    def denoised(number: int, temperature: float) -> np.ndarray:
        return complete(
            parts,
            prompts,
            ASKED,
            jax.random.fold_in(key, number),
            loss=objective(made),
            read=made.latents.read,
            bound=made.latents.bound,
            temperature=temperature,
        )

    ask = ce if arm == "ce" else denoised
    return lambda number, temperature: [made.tokenizer.decode(t) for t in ask(number, temperature).tolist()]


def lost(made: Material, arm: str, parts: Parts) -> np.ndarray:
    """The loss of each probe's target: nats a byte, or the squared error of the noise. Float64 ``[probes]``."""
    tokens = np.array([made.text(p) for p in made.probes], np.int32)
    if arm == "ce":
        found = logprobs(made.decoder, parts["model"], tokens)
        return -np.asarray(found, np.float64)[:, -WINDOW * ASKED :].mean(axis=1)
    loss = objective(made, DRAWS)
    found = jax.jit(Denoising.of_windows, static_argnums=0)(
        loss, parts, tokens, made.latents.encode(windows(tokens)), np.arange(len(tokens), dtype=np.uint32)
    )
    return np.asarray(found, np.float64)[:, GIVEN:].mean(axis=1)


@partial(jax.jit, static_argnums=0)
def logprobs(decoder: Decoder, params: Params, tokens: jax.Array) -> jax.Array:
    """Of every token but the first, ``[rows, time - 1]``."""
    hidden = hidden_states(decoder, params, tokens[:, :-1])
    return likelihood.of_targets(decoder, params, hidden, tokens[:, 1:]).logprobs


def readings(made: Material, arm: str, parts: Parts) -> Iterator[Reading]:
    """The loss of every probe, and how far its samples lie from its target, as a share of its length."""
    for probe, value in zip(made.probes, lost(made, arm, parts), strict=True):
        yield Reading(example_id=probe.example_id, quantity="loss", number=0, value=float(value))
    ask = said(made, arm, parts)
    for number in range(SAMPLES):
        for probe, text in zip(made.probes, ask(number, 1.0), strict=True):
            apart = levenshtein(text, probe.target) / max(len(text), len(probe.target))
            yield Reading(example_id=probe.example_id, quantity="sample", number=number, value=apart)


def carry_out(recipe: Recipe, folder: Path) -> None:
    """Train and ask both arms under both twins, and write the ledger."""
    made = material(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    by_id = {e.id: e for e in made.examples}
    with Ledger(folder / LEDGER) as ledger:
        if not ledger.count("probes"):
            ledger.add_examples(
                [*made.examples, *(public(made, i) for i in range(len(made.public)))],
                made.probes,
                {"recipe": dumps(recipe)},
            )
        for position, arm in enumerate(ARMS):
            for twin in TWINS:
                if f"{arm}-{twin}" in ledger.stages():
                    continue
                auditor = Auditor(folder / f"{arm}-{twin}.jsonl")
                began = monotonic()
                parts = trained(made, arm, twin, Stage(name=arm, hooks=[auditor]))
                seconds = monotonic() - began
                ask = said(made, arm, parts)
                observations = [
                    observed(probe, by_id[probe.example_id], ["exact"], text, ended=False, scores=None)
                    for probe, text in zip(made.probes, ask(SAMPLES, 0.0), strict=True)
                ]
                found = tuple(readings(made, arm, parts))
                asked = monotonic() - began - seconds
                steps = len(shown(made, twin)[1])
                record = StageRecord(
                    id=f"{arm}-{twin}",
                    name=arm,
                    method=arm,
                    steps=steps,
                    seconds=seconds,
                    audit_seconds=asked,
                )
                checkpoint = Checkpoint(
                    step=steps, path=None, seconds=asked, observations=observations, readings=found
                )
                ledger.add_stage(
                    Finished(
                        stage=record, exposures=auditor.exposures(), updates=(), checkpoints=(checkpoint,)
                    )
                )
                ledger.walk(twin, arm, record.id, position)
                print(f"{folder.name}: {arm}, twin {twin}: {seconds:.0f} s, asked {asked:.0f} s", flush=True)


def public(made: Material, number: int) -> Example:
    """A stretch of public code as the ledger knows it."""
    return Example(
        id=f"public {number}",
        kind="harvested",
        language="python",
        text=made.tokenizer.decode(made.public[number]),
        source="public",
        first_line=1,
        last_line=1,
    )


# --- what came of it


def table(runs: Sequence[Facts]) -> None:
    """Print what came out and what the losses say, by arm and showings."""
    print(
        "\n| arm | showings | one completion | samples | of them, controls | loss, exposed | control | left | AUC |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for arm in ARMS:
        for times in sorted({c.example.repetition or 0 for c in runs[0].cases}):
            some = [[c for c in run.cases if c.example.repetition == times] for run in runs]
            pairs = list(zip(runs, some, strict=True))
            mine, other = (
                [np.mean([loss(run, arm, c, exposed=exposed) for c in cases]) for run, cases in pairs]
                for exposed in (True, False)
            )
            left = over_seeds([a / b for a, b in zip(mine, other, strict=True)])
            print(
                f"| {arm} | {times} | {interval(over_seeds([one(run, arm, cases) for run, cases in pairs]))} "
                f"| {interval(sampled(pairs, arm, exposed=True))} | {interval(sampled(pairs, arm, exposed=False))} "
                f"| {np.mean(mine):.3f} | {np.mean(other):.3f} | {interval(left)} | {told(pairs, arm)} |"
            )
    print("\n| arm | seconds of training | of asking | rank correlation of loss and samples, all probes |")
    print("|---|---|---|---|")
    for arm in ARMS:
        records = [run.walks[twin, arm] for run in runs for twin in TWINS]
        trained, asked = (np.mean([getattr(r, n) for r in records]) for n in ("seconds", "audit_seconds"))
        print(
            f"| {arm} | {trained:.1f} | {asked:.1f} "
            f"| {interval(over_seeds([correlation(run, arm) for run in runs]))} |"
        )


def claims(runs: Sequence[Facts]) -> None:
    """Print what came of the claims: a difference over seeds, which holds if its interval is on the side expected."""

    def shown(times: int) -> list[tuple[Facts, list[Case]]]:
        return [(run, [c for c in run.cases if c.example.repetition == times]) for run in runs]

    def of(run: Facts, arm: str, cases: Sequence[Case], *, exposed: bool = True) -> float:
        return float(np.mean([hits(run, arm, c, exposed=exposed) for c in cases]))

    def auc(run: Facts, arm: str, cases: Sequence[Case]) -> float:
        sides = ([-loss(run, arm, c, exposed=exposed) for c in cases] for exposed in (True, False))
        return area(*sides).interval.value

    found = {
        "M2: samples at 256 showings, diffusion, exposed less control": [
            of(r, "diffusion", c) - of(r, "diffusion", c, exposed=False) for r, c in shown(256)
        ],
        "M3: one completion at 64 showings, ce less diffusion": [
            one(r, "ce", c) - one(r, "diffusion", c) for r, c in shown(64)
        ],
        "M3b: samples at 256 showings, ce less diffusion": [
            of(r, "ce", c) - of(r, "diffusion", c) for r, c in shown(256)
        ],
        "M4: size of the rank correlation, ce less diffusion": [
            abs(correlation(r, "ce")) - abs(correlation(r, "diffusion")) for r in runs
        ],
        "M5: AUC at 16 showings, ce less diffusion": [
            auc(r, "ce", c) - auc(r, "diffusion", c) for r, c in shown(16)
        ],
    }
    print("\n| claim | difference | p, above 0 | verdict |")
    print("|---|---|---|---|")
    for name, values in found.items():
        told = over_seeds(values)
        verdict = "holds" if told.low > 0 else "contradicted" if told.high < 0 else "not resolved"
        print(f"| {name} | {interval(told)} | {told.p_above:.2g} | {verdict} |")


Pairs = Sequence[tuple[Facts, Sequence[Case]]]


def one(run: Facts, arm: str, cases: Sequence[Case]) -> float:
    """Share whose one completion equals the target under the twin that saw it and not under the other."""
    equal = run.definitions[1]
    found = [run.arms(arm, c, "exact", equal) or (False, False) for c in cases]
    return float(np.mean([a and not b for a, b in found]))


def hits(run: Facts, arm: str, case: Case, *, exposed: bool) -> float:
    """Share of a probe's samples that equal its target."""
    twin = case.exposed if exposed else case.control
    return float(np.mean([v == 0 for v in run.readings(f"{arm}-{twin}", "sample")[case.example.id]]))


def sampled(pairs: Pairs, arm: str, *, exposed: bool) -> Estimate:
    """The same of all probes."""
    return over_seeds(
        [float(np.mean([hits(r, arm, c, exposed=exposed) for c in cases])) for r, cases in pairs]
    )


def loss(run: Facts, arm: str, case: Case, *, exposed: bool) -> float:
    """Of a probe's target, under the twin that saw it or the other."""
    twin = case.exposed if exposed else case.control
    return run.readings(f"{arm}-{twin}", "loss")[case.example.id][0]


def told(pairs: Pairs, arm: str) -> str:
    """How well the loss tells members: each text under the one twin and under the other."""
    members, others, names = [], [], []
    for number, (run, cases) in enumerate(pairs):
        for c in cases:
            members.append(-loss(run, arm, c, exposed=True))
            others.append(-loss(run, arm, c, exposed=False))
            names.append((number, c.example.id))
    found = area(members, others, clusters=(names, names)).interval
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def correlation(run: Facts, arm: str) -> float:
    """Spearman's, of the loss and of how many samples equal the target, over all texts under both twins."""
    pairs = [(c, exposed) for c in run.cases for exposed in (True, False)]
    values = [[of(run, arm, c, exposed=exposed) for c, exposed in pairs] for of in (loss, hits)]
    ranks = [ranked(np.array(v)) for v in values]
    return float(np.corrcoef(*ranks)[0, 1]) if np.ptp(ranks[1]) else 0.0


def ranked(values: np.ndarray) -> np.ndarray:
    """Ranks, those of equal values averaged."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[which]


def interval(found: Estimate) -> str:
    """With its 95 % interval, where seeds tell one."""
    bounds = "" if found.method == "unknown" else f" ({found.low:.3f} to {found.high:.3f})"
    return f"{found.value:.3f}{bounds}"


def main(folder: Path, seeds: Sequence[int]) -> None:
    """Run the seeds that are missing, and print the table."""
    for seed in seeds:
        carry_out(load(str(Path(__file__).with_name("recipe.toml")), [f"seed={seed}"]), folder / str(seed))
    runs = []
    for seed in seeds:
        ledger = Ledger(folder / str(seed) / LEDGER)
        runs.append(Facts(ledger, parse(ledger.setting("recipe"), where=str(seed))))
    table(runs)
    claims(runs)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(x) for x in sys.argv[2:]] or range(5))
