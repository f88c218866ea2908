"""A stage with all instruments on it: it is trained, what it shows is written down, and what it made is asked.

What it needs is a population and the directories of the stages before it, and what it gives back is plain data for a
ledger; so it can be done in any process that sees the run's directory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from memaudit.auditor import Auditor
from memaudit.course import Leg
from memaudit.denoising import Continuation
from memaudit.errors import BadInput
from memaudit.extraction import Interrogation
from memaudit.methods import Diffusion
from memaudit.population import Population
from memaudit.progress import Progress, watched
from memaudit.readings import Reader
from memaudit.recipe import Recipe
from memaudit.records import Checkpoint, Finished, Observation, Reading, StageRecord
from memaudit.sample import drawn, rank
from memaudit.stages import Result, Setting, result_of, run_stage, seed_of, steps_of
from memaudit.timeline import Timeline
from rlhf.checkpoint import Saver, Unusable
from rlhf.events import Hook, StageStarted, Updated
from rlhf.mesh import Layout
from rlhf.metrics import MetricsFile, TensorBoard, tensorboard_installed
from rlhf.model import Decoder
from rlhf.presets import preset
from rlhf.sampling import Sampler

METRICS = "metrics.jsonl"
"""What a stage told of its updates, in its directory."""
STAGES = "stages"
"""The directory of the stages' own directories, in that of a run."""
Told: TypeAlias = Callable[[int], None]
"""Hears how many probes were answered since it last did."""


class _Steps(Hook):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.all = 0
        """Steps that the stage has in all, known when it has started."""

    def on_stage_started(self, event: StageStarted) -> None:
        self.all = event.steps
        if event.first:
            self._progress.say(f"goes on after step {event.first} of {event.steps}")
            self._progress.skip(event.first)

    def on_update(self, event: Updated) -> None:
        self._progress.advance(1)


def setting_of(recipe: Recipe, population: Population, folder: Path) -> Setting:
    """What the stages of a run in `folder` share."""
    decoder = Decoder(preset(recipe.model.preset, population.tokenizer.vocabulary), recipe.model.dtype)
    return Setting(recipe=recipe, population=population, decoder=decoder, folder=folder / STAGES)


@dataclass(frozen=True)
class Instruments:
    """What all stages of one run are watched and asked with."""

    setting: Setting

    @cached_property
    def interrogation(self) -> Interrogation:
        """All probes."""
        recipe, population = self.setting.recipe, self.setting.population
        return Interrogation(
            decoder=self.setting.decoder,
            tokenizer=population.tokenizer,
            levels=recipe.audit.levels,
            batch=min(recipe.audit.batch, len(population.probes)),
            examples={e.id: e for e in population.examples},
            probes=population.probes,
            context=1 + max(len(p.prefix_tokens) for p in population.probes),
            budget=max(len(p.target_tokens) for p in population.probes),
            samplers=tuple(Sampler(**s.model_dump()) for s in recipe.audit.samplers),
        )

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

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.setting)

    def result(self, stage: str, key: str) -> Result:
        """What a finished stage left. Raises BadInput where it is gone."""
        config = self.setting.recipe.stages[stage]
        result = result_of(config, self.setting.folder / key)
        if not result.path.is_dir():
            raise BadInput(
                f"{result.path}: expected the parameters of the finished stage {stage!r}, got nothing: "
                "put them back, or set --out to a new directory"
            )
        return result

    def saver(self, leg: Leg) -> Saver:
        """Where a leg keeps its state while it is trained."""
        return Saver(
            folder=self.setting.folder / leg.key / "state",
            every=self.setting.recipe.checkpoints.every,
            identity=leg.key,
        )

    def carry_out(self, leg: Leg, progress: Progress) -> Finished:
        """Train a leg, or go on with it, and ask what it made.

        Its state stays on disk; it is to be cleared when a ledger has what is returned.
        """
        setting, twin = self.setting, leg.twins[0]
        recipe, config = setting.recipe, setting.recipe.stages[leg.stage]
        needed = {name: self.result(name, key) for name, key in leg.needs.items()}
        folder = setting.folder / leg.key
        folder.mkdir(exist_ok=True)
        steps = steps_of(setting, twin, leg.stage)
        auditor, metrics = Auditor(folder / "exposures.jsonl"), MetricsFile(folder / METRICS)
        counted = _Steps(progress)
        hooks: list[Hook] = [auditor, metrics, counted]
        timeline = None
        # A hook is given the trunk alone, and what a diffusion model says takes its head as well.
        if self.passing is not None and not isinstance(config, Diffusion):
            timeline = Timeline(
                folder / "timeline.jsonl",
                self.passing,
                every=recipe.audit.every,
                layout=Layout(**recipe.devices.model_dump()),
            )
            hooks.append(timeline)
        if tensorboard_installed():
            hooks.append(TensorBoard(folder / "tensorboard"))
        with watched(progress, f"{leg.title}: training", steps) as seconds:
            try:
                result = run_stage(setting, twin, leg.stage, folder, needed, hooks, self.saver(leg))
            except Unusable as error:
                raise BadInput(" ".join(str(error).split())) from None
            trained = seconds()
        steps = counted.all  # fewer than reckoned where pairs were chosen that are shown seldom
        final = self._asked(leg, result, needed, steps, progress)
        return Finished(
            stage=StageRecord(
                id=leg.key,
                name=leg.stage,
                method=config.method,
                steps=steps,
                seconds=round(trained, 3),
                audit_seconds=final.seconds,
            ),
            exposures=auditor.exposures(),
            updates=metrics.read(),
            checkpoints=(*(timeline.checkpoints() if timeline else ()), final),
        )

    def _asked(
        self, leg: Leg, result: Result, needed: Mapping[str, Result], steps: int, progress: Progress
    ) -> Checkpoint:
        again = self.again.probes if self.again else ()
        total = len(self.interrogation.probes) + len(again)
        with watched(progress, f"{leg.title}: audit", total) as seconds:
            observe, readings = self._asking(leg, result, needed)
            told = progress.advance
            return Checkpoint(
                step=steps,
                path=str(result.path.relative_to(self.setting.folder.parent)),
                observations=tuple(observe(self.interrogation, told)),
                again=tuple(observe(self.again, told)) if self.again else (),
                readings=tuple(readings),
                seconds=round(seconds(), 3),
            )

    def _asking(
        self, leg: Leg, result: Result, needed: Mapping[str, Result]
    ) -> tuple[Callable[[Interrogation, Told], Iterator[Observation]], Iterator[Reading]]:
        """How what a leg made is asked, and what is read off it besides."""
        recipe, decoder = self.setting.recipe, self.setting.decoder
        config = recipe.stages[leg.stage]
        if isinstance(config, Diffusion):
            made = Continuation(
                config=config,
                decoder=decoder,
                parts=result.params(decoder),
                folder=result.folder,
                seed=seed_of(recipe, f"{leg.stage} samples"),
            )
            return made.observe, made.readings(self.interrogation, recipe.audit.samples)
        params = result.language_model(decoder)
        readings = self._reader.read(leg.twins[0], leg.stage, result, needed)
        return lambda asking, told: asking.observe(params, told), readings
