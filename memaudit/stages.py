"""One stage of a recipe for one twin: its data, its training, what it leaves on disk."""

import dataclasses
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memaudit.cohorts import Population
from memaudit.errors import BadInput
from memaudit.ledger import Example, Probe
from memaudit.recipe import Ppo, Preference, Pretrain, Recipe, RewardStage, Sft, StageSection, cohort_of, uses
from rlhf import checkpoint, onpolicy, ppo, preference, reward, rollout, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs, pack, pad, rows, schedule
from rlhf.events import Hook
from rlhf.model import Decoder, Params, initialise, zero_head
from rlhf.optimiser import Adam, Optimiser
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer


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
        """Tokens of the longest row that shows an example: begin of text, prefix, target."""
        return 1 + max(len(p.prefix_tokens) + len(p.target_tokens) for p in self.population.probes)


def code_digest() -> str:
    """Hash of the source that trains, asks and compares: a stage that other code made or audited is another stage."""
    digest = sha256(jax.__version__.encode())
    for package in ("rlhf", "probes"):
        root = Path(str(resources.files(package)))
        for path in sorted(p for p in root.rglob("*") if p.suffix in (".py", ".scm", ".toml")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
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
        config.model_dump(exclude={"parent", "reward", "pairs"}),
        [keys[need] for need in (config.parent, *uses(recipe, stage)) if need],
        sha256(setting.population.tokenizer.dumps().encode()).hexdigest(),
        setting.time,
        [(e.id, e.text, e.repetition) for e in shown_to(setting, twin, stage)],
        [p.prefix for p in _probes(setting, twin, stage)],
    ]
    return f"{stage}-{sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]}"


def shown_to(setting: Setting, twin: str, stage: str) -> Sequence[Example]:
    """The examples that a twin sees in a stage."""
    cohort = cohort_of(setting.recipe, stage)
    if cohort is None:
        return setting.population.public
    return [e for e in setting.population.examples if e.cohort == cohort and e.half == twin]


def _probes(setting: Setting, twin: str, stage: str) -> list[Probe]:
    seen = {e.id for e in shown_to(setting, twin, stage)}
    return [p for p in setting.population.probes if p.example_id in seen]


def steps_of(setting: Setting, twin: str, stage: str) -> int:
    """Steps that a stage takes: as asked, or as many as show every example as often as it is to be shown."""
    config = setting.recipe.stages[stage]
    if isinstance(config, Pretrain):
        return config.steps
    showings = sum(e.repetition or 0 for e in shown_to(setting, twin, stage))
    return -(-showings // config.batch)


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished stage on disk."""

    folder: Path
    scalar: bool
    """The tree is a reward model: `model` and a scalar `head`."""

    @property
    def path(self) -> Path:
        """The directory of the parameters."""
        return self.folder / "params"

    def params(self, decoder: Decoder) -> Params:
        """The whole tree. Raises BadInput where the checkpoint is damaged or another's."""
        like = initialise(decoder, jax.random.key(0))
        if self.scalar:
            like = {"model": like, "head": zero_head(decoder.config.width)}
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


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One stage about to be trained for one twin."""

    setting: Setting
    stage: str
    folder: Path
    needed: Mapping[str, Result]
    """Results of the parent and of the stages it uses, by name."""
    parent: Params
    """The parameters it starts from."""
    seed: int
    examples: Sequence[Example]
    """What it shows."""
    probes: Sequence[Probe]
    """The probes of those examples; none for public ones."""
    hooks: Sequence[Hook]

    @property
    def decoder(self) -> Decoder:
        return self.setting.decoder

    @property
    def around(self) -> Stage:
        return Stage(name=self.stage, hooks=self.hooks)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.setting.population.tokenizer

    def order(self, batch: int) -> np.ndarray:
        """The order of showing the probes' examples, each as often as its stratum says."""
        times = {e.id: e.repetition or 0 for e in self.examples}
        return schedule([times[p.example_id] for p in self.probes], batch, self.seed)

    def prompts(self, *, whole: bool) -> Prompts:
        """The probes' prefixes as prompts, or the whole examples."""
        bos = self.tokenizer.bos
        sequences = [[bos, *p.prefix_tokens, *(p.target_tokens if whole else ())] for p in self.probes]
        tokens, lengths = pad(sequences, max(map(len, sequences)), self.tokenizer.pad)
        return Prompts(tokens=tokens, lengths=lengths, ids=tuple((p.example_id,) for p in self.probes))


def run_stage(
    setting: Setting, twin: str, stage: str, folder: Path, needed: Mapping[str, Result], hooks: Sequence[Hook]
) -> Result:
    """Train a stage into `folder`. `needed` has the results of its parent and of the stages it uses."""
    config = setting.recipe.stages[stage]
    # The same for both twins: they are to differ in what they see, not in luck.
    seed = random.Random(f"{setting.recipe.seed} {stage}").getrandbits(31)
    if config.parent:
        parent = needed[config.parent].language_model(setting.decoder)
    else:
        parent = initialise(setting.decoder, jax.random.key(seed))
    job = _Job(
        setting=setting,
        stage=stage,
        folder=folder,
        needed=needed,
        parent=parent,
        seed=seed,
        examples=shown_to(setting, twin, stage),
        probes=_probes(setting, twin, stage),
        hooks=hooks,
    )
    checkpoint.save(folder / "params", _TRAIN[type(config)](config, job))
    return Result(folder=folder, scalar=isinstance(config, RewardStage))


def _optimiser(config: StageSection) -> Optimiser:
    return Optimiser(
        learning_rate=config.learning_rate,
        warmup=config.warmup,
        final=getattr(config, "final", 0.0),
        adam=Adam(weight_decay=getattr(config, "weight_decay", 0.0)),
    )


def _pretrain(config: Pretrain, job: _Job) -> Params:
    bos, eos = job.tokenizer.bos, job.tokenizer.eos
    texts = job.tokenizer.encode_batch([e.text for e in job.examples])
    windows = pack([[bos, *ids, eos] for ids in texts], [e.id for e in job.examples], time=config.window)
    if not len(windows.tokens):
        raise BadInput(
            f"stages.{job.stage}.window: expected at most the public half's {sum(map(len, texts))} tokens, "
            f"got {config.window}: give more code or set it smaller"
        )
    order = epochs(len(windows.tokens), config.batch, config.steps, job.seed)
    return sft.train(
        job.parent,
        windows,
        order,
        _optimiser(config),
        decoder=job.decoder,
        stage=job.around,
    )


def _sft(config: Sft, job: _Job) -> Params:
    shown = rows(
        [[job.tokenizer.bos, *p.prefix_tokens] for p in job.probes],
        [p.target_tokens for p in job.probes],
        [(p.example_id,) for p in job.probes],
        time=job.setting.time,
        fill=job.tokenizer.pad,
    )
    return sft.train(
        job.parent,
        shown,
        job.order(config.batch),
        _optimiser(config),
        decoder=job.decoder,
        stage=job.around,
    )


def _reward(config: RewardStage, job: _Job) -> Params:
    pairs = reward.sample_pairs(
        job.parent,
        job.prompts(whole=False),
        [p.target_tokens for p in job.probes],
        decoder=job.decoder,
        key=jax.random.key(job.seed),
        time=job.setting.time,
        pad=job.tokenizer.pad,
    )
    _save_pairs(job.folder, pairs)
    model = reward.train(
        job.parent,
        pairs,
        job.order(config.batch),
        reward.RewardConfig(optimiser=_optimiser(config)),
        decoder=job.decoder,
        stage=job.around,
    )
    (job.folder / "scale.json").write_text(json.dumps({"mean": model.mean, "deviation": model.deviation}))
    return dict(model.scorer)


def _save_pairs(folder: Path, pairs: Pairs) -> None:
    np.savez(
        folder / "pairs.npz",
        ids=np.array([row[0] for row in pairs.preferred.ids]),
        preferred=pairs.preferred.tokens,
        preferred_weights=pairs.preferred.weights,
        rejected=pairs.rejected.tokens,
        rejected_weights=pairs.rejected.weights,
    )


def _load_pairs(folder: Path) -> Pairs:
    with np.load(folder / "pairs.npz") as data:
        ids = tuple((str(name),) for name in data["ids"])
        preferred, rejected = (
            Rows(tokens=data[side], weights=data[f"{side}_weights"], ids=ids)
            for side in ("preferred", "rejected")
        )
        return Pairs(preferred=preferred, rejected=rejected)


def _load_reward(result: Result, decoder: Decoder) -> reward.RewardModel:
    scale = json.loads((result.folder / "scale.json").read_text())
    return reward.RewardModel(
        decoder, result.params(decoder), mean=scale["mean"], deviation=scale["deviation"]
    )


def _ppo(config: Ppo, job: _Job) -> Params:
    return ppo.train(
        job.parent,
        # The whole example is the prompt, so that the probe asks for nothing that was not shown.
        job.prompts(whole=True),
        job.order(config.batch),
        _load_reward(job.needed[config.reward], job.decoder),
        ppo.PPOConfig(
            optimiser=dataclasses.replace(
                _optimiser(config), warmup=config.warmup * config.epochs * (config.batch // config.minibatch)
            ),
            sampling=rollout.Sampling(
                response=config.response, stop=config.stop, temperature=config.temperature
            ),
            passes=onpolicy.Passes(epochs=config.epochs, minibatch=config.minibatch),
            kl_coefficient=config.kl_coefficient,
            clip=config.clip,
            value_coefficient=config.value_coefficient,
            discount=config.discount,
            smoothing=config.smoothing,
        ),
        decoder=job.decoder,
        key=jax.random.key(job.seed),
        eos=job.tokenizer.eos,
        pad=job.tokenizer.pad,
        stage=job.around,
    )


def _preference(config: Preference, job: _Job) -> Params:
    return preference.train(
        job.parent,
        _load_pairs(job.needed[config.pairs].folder),
        job.order(config.batch),
        preference.PreferenceConfig(
            optimiser=_optimiser(config),
            beta=config.beta,
            method=config.method,
            average=config.average,
        ),
        decoder=job.decoder,
        stage=job.around,
    )


_TRAIN: dict[type, Callable[[Any, _Job], Params]] = {
    Pretrain: _pretrain,
    Sft: _sft,
    RewardStage: _reward,
    Ppo: _ppo,
    Preference: _preference,
}
