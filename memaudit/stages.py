"""One stage of a recipe for one twin: its data, its training, what it leaves on disk."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jax

from memaudit.contexts import Context, corruptible
from memaudit.denoising import denoiser, fresh
from memaudit.errors import BadInput
from memaudit.job import Job
from memaudit.methods import Diffusion, Pretrain, Rest, RewardStage, StageSection
from memaudit.population import Population
from memaudit.recipe import Recipe, acquisition_of, cohort_of, context_of, uses
from memaudit.records import Example, Probe
from memaudit.references import references, replaced
from memaudit.training import PAIRS, rows_of, train
from rlhf import checkpoint, diffusion
from rlhf.checkpoint import Saver
from rlhf.diffusion import Denoiser
from rlhf.events import Hook
from rlhf.lora import Lora
from rlhf.mesh import Layout
from rlhf.model import Decoder, Params, initialise, zero_head
from rlhf.reward import unit_scale
from rlhf.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all stages of a run share."""

    recipe: Recipe
    population: Population
    decoder: Decoder
    folder: Path
    """Where the stages' directories lie."""

    @property
    def time(self) -> int:
        """Tokens of the longest row that shows an example or asks for it: begin of text, prefix, target."""
        asked = self.population.probes
        shown = map(self.population.as_shown, asked)
        return 1 + max(len(p.prefix_tokens) + len(p.target_tokens) for p in (*asked, *shown))

    def contexts(self, stage: str) -> dict[str, Context]:
        """Example id -> what a stage shows it behind; empty where it shows examples behind nothing."""
        recipe, longest = self.recipe, context_of(self.recipe, stage)
        if not longest:
            return {}
        return {
            name: corruptible(tokens[-longest:], name, recipe.seed)
            for name, tokens in self.population.contexts.items()
        }


_ASKING = (
    "training.py",
    "job.py",
    "contexts.py",
    "denoising.py",
    "select.py",
    "acquire.py",
    "instruction.py",
    "quizzes.py",
    "quizzing.py",
    "selftrain.py",
    "solving.py",
    "programs.py",
    "sandbox.py",
    "cell.py",
    "instruments.py",
    "extraction.py",
    "timeline.py",
    "readings.py",
)


@cache
def code_digest() -> str:
    """Hash of the source that trains, asks and compares: a stage that other code made or audited is another stage."""
    digest = sha256(jax.__version__.encode())
    roots = {package: Path(str(resources.files(package))) for package in ("rlhf", "probes", "memaudit")}
    files = [p for name in ("rlhf", "probes") for p in roots[name].rglob("*")]
    files += [roots["memaudit"] / name for name in _ASKING]
    for path in sorted(p for p in files if p.suffix in (".py", ".scm", ".toml")):
        root = next(root for root in roots.values() if path.is_relative_to(root))
        digest.update(path.relative_to(root.parent).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def key_of(setting: Setting, twin: str, stage: str, keys: Mapping[str, str]) -> str:
    """The stage's id: its name and the hash of all that determines its result.

    `keys` has the ids of the stages it needs. What a twin sees is part of the hash, and its name is not: a stage
    that shows both twins the same, such as pretraining, is one stage.
    """
    recipe = setting.recipe
    config = recipe.stages[stage]
    parts: list[Any] = [
        code_digest(),
        recipe.seed,
        recipe.model.model_dump(),
        recipe.devices.model_dump(),
        _without_names(config),
        [keys[need] for need in (config.parent, *uses(recipe, stage)) if need],
        sha256(setting.population.tokenizer.dumps().encode()).hexdigest(),
        setting.time,
        [(e.id, e.text, e.repetition) for e in shown_to(setting, twin, stage)],
        [p.prefix for p in _probes(setting, twin, stage)],
        # Every checkpoint is asked all of them.
        [(name, q.item.question, q.item.options) for name, q in setting.population.questions.items()],
        # Pairs of the examples that the twin does not see have theirs as well.
        list(setting.population.contexts.items()) if context_of(recipe, stage) else None,
        # What is read as a known window depends on all texts whose windows are known.
        _known(setting.population) if isinstance(config, Diffusion) else None,
    ]
    return f"{stage}-{sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"


def _known(population: Population) -> list[Any]:
    shown = [population.as_shown(p) for p in population.probes]
    return [
        [e.text for e in population.public],
        [(p.prefix_tokens, p.target_tokens) for p in (*population.probes, *shown)],
    ]


def _without_names(config: StageSection) -> dict[str, Any]:
    """A stage's settings but for those that name other stages, which are known by their keys."""
    return replaced(config.model_dump(by_alias=True), {at.path: None for at in references(type(config))})


def shown_to(setting: Setting, twin: str, stage: str) -> Sequence[Example]:
    """The examples that a twin sees in a stage, or that are offered to it where it selects."""
    cohort = cohort_of(setting.recipe, stage)
    own = [e for e in setting.population.examples if cohort and e.cohort == cohort and e.half == twin]
    return [*setting.population.public, *own] if isinstance(setting.recipe.stages[stage], Pretrain) else own


def _probes(setting: Setting, twin: str, stage: str) -> list[Probe]:
    seen = {e.id for e in shown_to(setting, twin, stage)}
    return [setting.population.as_shown(p) for p in setting.population.probes if p.example_id in seen]


def steps_of(setting: Setting, twin: str, stage: str) -> int:
    """Steps that a stage takes: as asked, or as many as show every example as often as it is to be shown.

    Where pairs are still to be chosen, the most that it can take: the examples that are shown most often may be.
    """
    config = setting.recipe.stages[stage]
    if isinstance(config, Pretrain):
        return config.steps
    if isinstance(config, Rest):
        return config.rounds * config.steps
    times = [e.repetition or 0 for e in shown_to(setting, twin, stage)]
    if asked := acquisition_of(setting.recipe, stage):
        times = sorted(times * asked.draws, reverse=True)[: asked.labels]
    return -(-sum(times) // rows_of(config))


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished stage on disk."""

    folder: Path
    scalar: bool
    """The tree is a reward model: `model`, a scalar `head` and its `scale`."""
    denoiser: Denoiser | None = None
    """The tree is a diffusion model: `model` and a `head` of this shape."""

    @property
    def path(self) -> Path:
        """The directory of the parameters."""
        return self.folder / "params"

    def params(self, decoder: Decoder) -> Params:
        """The whole tree. Raises BadInput where the checkpoint is damaged or another's."""
        like = jax.eval_shape(lambda key: initialise(decoder, key), jax.random.key(0))
        if self.scalar:
            like = {"model": like, "head": zero_head(decoder.config.width), "scale": unit_scale()}
        if self.denoiser is not None:
            shape, width = self.denoiser, decoder.config.width
            head = jax.eval_shape(lambda key: diffusion.initialise(shape, width, key), jax.random.key(0))
            like = {"model": like, "head": head}
        try:
            return checkpoint.load(self.path, like)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise BadInput(
                f"{self.path}: expected the checkpoint of a finished stage, got: {reason}: "
                "put it back, or set --out to a new directory"
            ) from None

    def language_model(self, decoder: Decoder) -> Params:
        """The part that writes text.

        A reward model emits none. Its trunk still has the language head it was started with, tied to the
        embedding, and whoever holds its weights can read through it; so does the audit.
        """
        params = self.params(decoder)
        return params["model"] if self.scalar else params


def result_of(config: StageSection, folder: Path) -> Result:
    """What a stage with these settings leaves in its directory."""
    shape = denoiser(config) if isinstance(config, Diffusion) else None
    return Result(folder=folder, scalar=isinstance(config, RewardStage), denoiser=shape)


def seed_of(recipe: Recipe, name: str) -> int:
    """The seed of a stage, or of anything else that has a name in a run.

    The same for both twins: they are to differ in what they see, not in luck.
    """
    return random.Random(f"{recipe.seed} {name}").getrandbits(31)


def stage_seed(recipe: Recipe, stage: str) -> int:
    """The seed of a stage's training: its own, or that of the stage whose randomness it shares."""
    return seed_of(recipe, recipe.stages[stage].randomness or stage)


def run_stage(
    setting: Setting,
    twin: str,
    stage: str,
    folder: Path,
    needed: Mapping[str, Result],
    hooks: Sequence[Hook],
    saver: Saver,
) -> Result:
    """Train a stage into `folder`, or go on with it. `needed` has the results of its parent and of what it uses."""
    config = setting.recipe.stages[stage]
    seed = stage_seed(setting.recipe, stage)
    if isinstance(config, Diffusion):
        before = needed[config.parent].params(setting.decoder) if config.parent else None
        parent = before or fresh(config, setting.decoder, seed)
    elif config.parent:
        parent = needed[config.parent].language_model(setting.decoder)
    else:
        parent = initialise(setting.decoder, jax.random.key(seed))
    lora = config.lora
    result = result_of(config, folder)
    around = Stage(
        name=stage,
        hooks=hooks,
        saver=saver,
        layout=Layout(**setting.recipe.devices.model_dump()),
        lora=None if lora is None else Lora(rank=lora.rank, alpha=lora.alpha, targets=tuple(lora.targets)),
    )
    job = Job(
        stage=around,
        decoder=setting.decoder,
        tokenizer=setting.population.tokenizer,
        parent=parent,
        seed=seed,
        examples=shown_to(setting, twin, stage),
        population=setting.population,
        probes=_probes(setting, twin, stage),
        contexts=setting.contexts(stage),
        time=setting.time + context_of(setting.recipe, stage),
        folder=folder,
        scorer=lambda name: needed[name].params(setting.decoder),
        pairs=lambda name: needed[name].folder / PAIRS,
        model=lambda name: needed[name].language_model(setting.decoder),
    )
    tree = train(config, job)
    # What a run left here that was killed before it could note that the stage is done.
    checkpoint.remove(result.path)
    checkpoint.save(result.path, tree)
    return result
