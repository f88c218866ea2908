"""A whole run: the stages in order for both twins, each audited when it is done, all of it in one directory.

    runs/NAME/recipe.toml    the recipe, every default written out
              ledger.sqlite  what was shown, asked and answered
              stages/NAME-HASH/  parameters, metrics.jsonl, exposures.jsonl, tensorboard/ where that is installed,
                                 a reward stage's pairs, and, while it runs, its state
              findings.json  report.html  report.md

A stage that is in the ledger is done and is not run again; one that was killed goes on from its last state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import jax

import probes
from memaudit import corpus as corpora
from memaudit.auditor import Auditor
from memaudit.cohorts import TWINS, populate
from memaudit.documents import write_documents
from memaudit.errors import BadInput
from memaudit.extraction import Interrogation
from memaudit.findings import conclude
from memaudit.ledger import LEDGER, Ledger
from memaudit.progress import Progress, watched
from memaudit.readings import Reader
from memaudit.recipe import Recipe, dumps, ordered, uses
from memaudit.records import Checkpoint, StageRecord
from memaudit.sample import drawn, rank
from memaudit.stages import Result, Setting, key_of, run_stage, steps_of
from memaudit.timeline import Timeline
from memaudit.versions import versions
from reports import Findings
from rlhf.checkpoint import Saver, Unusable
from rlhf.events import Hook, StageStarted, Updated
from rlhf.mesh import Layout
from rlhf.metrics import MetricsFile, TensorBoard, tensorboard_installed
from rlhf.model import Decoder
from rlhf.presets import preset
from rlhf.sampling import Sampler

RECIPE = "recipe.toml"


class _Steps(Hook):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def on_stage_started(self, event: StageStarted) -> None:
        if event.first:
            self._progress.say(f"goes on after step {event.first} of {event.steps}")
            self._progress.skip(event.first)

    def on_update(self, event: Updated) -> None:
        self._progress.advance(1)


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """What the stages of one run have in common."""

    setting: Setting
    interrogation: Interrogation
    reader: Reader
    ledger: Ledger
    progress: Progress

    @cached_property
    def again(self) -> Interrogation | None:
        """A sample of the probes in another order and batch size, if any are to be asked twice."""
        asking, share = self.interrogation, self.setting.recipe.audit.twice
        probes = sorted((p for p in asking.probes if drawn(p.id, share)), key=lambda p: rank(p.id))
        return replace(asking, probes=probes, batch=-(-asking.batch // 2), scored=False) if probes else None

    @cached_property
    def passing(self) -> Interrogation | None:
        """The sample that is asked while a stage is trained, if one is: for its verdicts alone."""
        asking, audit = self.interrogation, self.setting.recipe.audit
        probes = [p for p in asking.probes if drawn(p.id, audit.sample)] if audit.every else []
        batch = min(asking.batch, len(probes))
        # Parsers of the other levels, and waiting for secrets, would take longer than the model does.
        plain = {name: replace(example, secrets=()) for name, example in asking.examples.items()}
        less = {"closing": audit.threshold, "scored": False, "samplers": (), "levels": ("exact",)}
        return replace(asking, probes=probes, batch=batch, examples=plain, **less) if probes else None


def run(recipe: Recipe, folder: Path, progress: Progress) -> Findings:
    """Run a recipe into `folder`, or go on with the run that is there; returns the findings it wrote.

    Raises BadInput, with nothing written, if the folder holds anything else or the corpus does not suffice.
    """
    _check_folder(folder, recipe)
    _check_devices(recipe)
    progress.say("reading the corpus")
    corpus = corpora.load(
        recipe.corpus.source,
        recipe.corpus.path or None,
        exclude=recipe.corpus.exclude,
        smallest=recipe.corpus.smallest,
        largest=recipe.corpus.largest,
    )
    progress.say(f"{corpus.description}; drawing cohorts")
    population = populate(corpus, recipe)
    progress.say(f"{len(population.public)} public examples, {len(population.examples)} in cohorts")
    for language in sorted({e.language for e in population.examples}):
        if probes.lexer(language) == "generic":
            progress.say(
                f"{language}: not a language that is known, so a generic lexer; "
                "layout, code and renamed are one level"
            )
    decoder = Decoder(preset(recipe.model.preset, population.tokenizer.vocabulary), recipe.model.dtype)
    setting = Setting(recipe=recipe, population=population, decoder=decoder, folder=folder / "stages")
    interrogation = Interrogation(
        decoder=decoder,
        tokenizer=population.tokenizer,
        levels=recipe.audit.levels,
        batch=min(recipe.audit.batch, len(population.probes)),
        examples={e.id: e for e in population.examples},
        probes=population.probes,
        context=1 + max(len(p.prefix_tokens) for p in population.probes),
        budget=max(len(p.target_tokens) for p in population.probes),
        samplers=tuple(Sampler(**s.model_dump()) for s in recipe.audit.samplers),
    )

    # The recipe first: it is by its recipe that a directory is known to hold this run.
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(dumps(recipe), encoding="utf-8")
    setting.folder.mkdir(exist_ok=True)
    with Ledger(folder / LEDGER) as ledger:
        if not ledger.count("examples"):
            ledger.add_examples(
                (*population.public, *population.examples),
                population.probes,
                {
                    "recipe": dumps(recipe),
                    "corpus": corpus.description,
                    "threshold": recipe.audit.threshold,
                    "versions": versions(),
                    "started": datetime.now(UTC).isoformat(timespec="seconds"),
                    "finished": None,
                },
            )
        elif {e.id for e in ledger.examples()} != {e.id for e in population.examples}:
            raise BadInput(
                f"{folder}: expected the corpus that the run was started with, got another: its code has changed "
                "since. Set --out to a new directory"
            )
        _walk(
            _Walk(
                setting=setting,
                interrogation=interrogation,
                reader=Reader(setting),
                ledger=ledger,
                progress=progress,
            )
        )
        ledger.settle({"finished": datetime.now(UTC).isoformat(timespec="seconds")})
        findings = conclude(ledger, recipe)
    write_documents(findings, folder)
    return findings


def _check_folder(folder: Path, recipe: Recipe) -> None:
    if not folder.exists() or not any(folder.iterdir() if folder.is_dir() else [folder]):
        return
    written = folder / RECIPE
    if not folder.is_dir() or not written.is_file():
        raise BadInput(
            f"{folder}: expected a new or empty directory or one that holds a run, got other files: set --out"
        )
    if written.read_text(encoding="utf-8") != dumps(recipe):
        raise BadInput(
            f"{folder}: expected no run or one of this very recipe, got a run of another recipe: "
            "set --out to another directory, or `name` in the recipe"
        )


def _check_devices(recipe: Recipe) -> None:
    wanted, found = Layout(**recipe.devices.model_dump()).devices, len(jax.devices())
    if wanted > found:
        raise BadInput(
            f"devices: expected data * fsdp * tensor of at most {found}, the number of devices there are "
            f"({jax.devices()[0].device_kind}), got {wanted}: set them smaller"
        )


def _walk(walk: _Walk) -> None:
    recipe = walk.setting.recipe
    keys: dict[str, dict[str, str]] = {twin: {} for twin in TWINS}
    results: dict[str, dict[str, Result]] = {twin: {} for twin in TWINS}
    for position, stage in enumerate(ordered(recipe)):
        for twin in TWINS:
            key = key_of(walk.setting, twin, stage, keys[twin])
            # What shows both twins the same is one stage, run once.
            twice = key in [keys[other].get(stage) for other in TWINS]
            keys[twin][stage] = key
            results[twin][stage] = (
                results[TWINS[0]][stage] if twice else _stage(walk, twin, stage, key, results[twin])
            )
            walk.ledger.walk(twin, stage, key, position)


def _stage(walk: _Walk, twin: str, stage: str, key: str, needed: Mapping[str, Result]) -> Result:
    setting, recipe = walk.setting, walk.setting.recipe
    config = recipe.stages[stage]
    folder = setting.folder / key
    title = stage if config.method == "pretrain" else f"{stage}, twin {twin}"
    saver = Saver(folder=folder / "state", every=recipe.checkpoints.every, identity=key)
    if walk.ledger.has_stage(key):
        saver.clear()  # A run may have been killed before it did.
        result = Result(folder=folder, scalar=config.method == "reward")
        if not result.path.is_dir():
            raise BadInput(
                f"{result.path}: expected the parameters of the finished stage {stage!r}, got nothing: "
                "put them back, or set --out to a new directory"
            )
        walk.progress.say(f"{title}: already done")
        return result

    folder.mkdir(exist_ok=True)
    steps = steps_of(setting, twin, stage)
    auditor, metrics = Auditor(folder / "exposures.jsonl"), MetricsFile(folder / "metrics.jsonl")
    hooks: list[Hook] = [auditor, metrics, _Steps(walk.progress)]
    timeline = None
    if walk.passing is not None:
        timeline = Timeline(
            folder / "timeline.jsonl",
            walk.passing,
            every=recipe.audit.every,
            layout=Layout(**recipe.devices.model_dump()),
        )
        hooks.append(timeline)
    if tensorboard_installed():
        hooks.append(TensorBoard(folder / "tensorboard"))
    inputs = {name: needed[name] for name in (config.parent, *uses(recipe, stage)) if name}
    with watched(walk.progress, f"{title}: training", steps) as seconds:
        try:
            result = run_stage(setting, twin, stage, folder, inputs, hooks, saver)
        except Unusable as error:
            raise BadInput(" ".join(str(error).split())) from None
        trained = seconds()
    again = walk.again.probes if walk.again else ()
    with watched(walk.progress, f"{title}: audit", len(walk.interrogation.probes) + len(again)) as seconds:
        params = result.language_model(setting.decoder)
        told = walk.progress.advance
        final = Checkpoint(
            step=steps,
            path=str(result.path.relative_to(setting.folder.parent)),
            observations=list(walk.interrogation.observe(params, told)),
            again=list(walk.again.observe(params, told)) if walk.again else (),
            readings=list(walk.reader.read(twin, stage, result, inputs)),
            seconds=round(seconds(), 3),
        )
    walk.ledger.add_stage(
        StageRecord(
            id=key,
            name=stage,
            method=config.method,
            steps=steps,
            seconds=round(trained, 3),
            audit_seconds=final.seconds,
        ),
        exposures=auditor.exposures(),
        updates=metrics.read(),
        checkpoints=[*(timeline.checkpoints() if timeline else ()), final],
    )
    saver.clear()
    return result
