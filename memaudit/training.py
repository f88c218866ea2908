"""How each method of a recipe is trained: from a stage's section and its examples to parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from memaudit.errors import BadInput
from memaudit.instruction import Instructor
from memaudit.methods import (
    Cdpo,
    Direct,
    Grpo,
    HashedGoldfish,
    OnPolicy,
    Ppo,
    Preference,
    Pretrain,
    RewardStage,
    Rloo,
    Sft,
    StageSection,
    StaticGoldfish,
    TokenStage,
)
from memaudit.records import Example, Probe
from rlhf import goldfish, group, onpolicy, ppo, preference, reward, rollout, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs, pack, pad, rows, schedule
from rlhf.infill import Infill
from rlhf.model import Decoder, Params
from rlhf.optimiser import Adam, Optimiser
from rlhf.stage import Stage
from rlhf.tokenizer import Tokenizer

PAIRS = "pairs.npz"
"""A reward stage's pairs, beside its parameters."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One stage about to be trained for one twin."""

    stage: Stage
    """Its name, hooks, state and devices."""
    decoder: Decoder
    tokenizer: Tokenizer
    parent: Params
    """The parameters it starts from."""
    seed: int
    examples: Sequence[Example]
    """What it shows."""
    probes: Sequence[Probe]
    """The probes of those examples; none for public ones."""
    time: int
    """Tokens of the longest row that shows an example."""
    folder: Path
    """Where it leaves its files."""
    scorer: Callable[[str], Mapping[str, Any]]
    """Name of a reward stage that is done -> its scorer."""
    pairs: Callable[[str], Path]
    """Name of a reward stage that is done -> its pairs."""
    model: Callable[[str], Params]
    """Name of a stage that is done -> its language model."""

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

    @property
    def key(self) -> jax.Array:
        """What all that is random in the stage follows from."""
        return jax.random.key(self.seed)


def train(config: StageSection, job: Job) -> dict[str, Any]:
    """Train a stage; returns the tree to keep: a language model's parameters, or a reward stage's scorer."""
    return _TRAIN[type(config)](config, job)


def rows_of(config: StageSection) -> int:
    """Rows of the cohort that one step shows: those of its batch, or prompts where each is answered several times."""
    return config.batch // config.size if isinstance(config, Grpo | Rloo) else config.batch


def optimiser(config: StageSection, *, adam: Adam | None = None, updates: int = 1) -> Optimiser:
    """The optimiser that a section asks for; `updates` of it make one of the section's steps."""
    adam = adam or Adam()
    return Optimiser(
        learning_rate=config.learning_rate,
        warmup=config.warmup * updates,
        schedule=config.schedule,
        final=config.final,
        adam=replace(adam, weight_decay=config.weight_decay, clip=config.clip_norm),
        accumulate=config.accumulate,
    )


def _learn(config: TokenStage, job: Job, shown: Rows, order: np.ndarray) -> Params:
    return sft.train(
        job.parent,
        shown,
        order,
        optimiser(config),
        decoder=job.decoder,
        stage=job.stage,
        key=job.key,
        goldfish=_goldfish(config, job.seed),
    )


def _goldfish(config: TokenStage, seed: int) -> goldfish.Goldfish | None:
    asked = config.goldfish
    if asked is None:
        return None
    if isinstance(asked, HashedGoldfish):
        return goldfish.Hashed(every=asked.every, context=asked.context, seed=asked.seed)
    if isinstance(asked, StaticGoldfish):
        return goldfish.Static(every=asked.every)
    return goldfish.Random(every=asked.every, seed=seed)


def pretraining(config: Pretrain, job: Job) -> tuple[Rows, np.ndarray]:
    """The windows of a pretraining stage, and the order in which it shows them."""
    t = job.tokenizer
    if config.infill:
        if t.prefix is None or t.suffix is None or t.middle is None:
            raise BadInput(
                f"stages.{job.stage.name}.infill: expected 0 with a tokenizer that has no marks for filling in the "
                f"middle, got {config.infill}"
            )
        infill = Infill(prefix=t.prefix, suffix=t.suffix, middle=t.middle, rate=config.infill, seed=job.seed)
        texts = [infill.of_text(e.text, index, t.encode) for index, e in enumerate(job.examples)]
    else:
        texts = t.encode_batch([e.text for e in job.examples])
    if config.instruct:
        instructor = Instructor(section=config.instruct, tokenizer=t, seed=job.seed, stage=job.stage.name)
        windows = instructor.windows(job.examples, texts, time=config.window)
    else:
        windows = pack(
            [[t.bos, *ids, t.eos] for ids in texts],
            [e.id for e in job.examples],
            time=config.window,
            fill=t.pad,
        )
    return windows, epochs(len(windows.tokens), config.batch, config.steps, job.seed)


def _pretrain(config: Pretrain, job: Job) -> Params:
    return _learn(config, job, *pretraining(config, job))


def finetuning(config: Sft, job: Job) -> tuple[Rows, np.ndarray]:
    """The rows of a fine-tuning stage, and the order in which it shows them."""
    order = job.order(config.batch)
    if config.instruct:
        instructor = Instructor(
            section=config.instruct, tokenizer=job.tokenizer, seed=job.seed, stage=job.stage.name
        )
        return instructor.rows(job.examples, job.probes, time=job.time, loss_on=config.loss_on), order
    shown = rows(
        [[job.tokenizer.bos, *p.prefix_tokens] for p in job.probes],
        [p.target_tokens for p in job.probes],
        [(p.example_id,) for p in job.probes],
        time=job.time,
        fill=job.tokenizer.pad,
        loss_on=config.loss_on,
    )
    return shown, order


def _sft(config: Sft, job: Job) -> Params:
    return _learn(config, job, *finetuning(config, job))


def _reward(config: RewardStage, job: Job) -> dict[str, Any]:
    pairs = reward.sample_pairs(
        job.parent,
        job.prompts(whole=False),
        [p.target_tokens for p in job.probes],
        decoder=job.decoder,
        key=job.key,
        time=job.time,
        pad=job.tokenizer.pad,
    )
    save_pairs(job.folder / PAIRS, pairs)
    model = reward.train(
        job.parent,
        pairs,
        job.order(config.batch),
        reward.RewardConfig(optimiser=optimiser(config), centering=config.centering),
        decoder=job.decoder,
        stage=job.stage,
        key=job.key,
    )
    return dict(model.scorer)


def save_pairs(path: Path, pairs: Pairs) -> None:
    """Keep pairs in a file."""
    np.savez(
        path,
        ids=np.array([row[0] for row in pairs.preferred.ids]),
        preferred=pairs.preferred.tokens,
        preferred_weights=pairs.preferred.weights,
        rejected=pairs.rejected.tokens,
        rejected_weights=pairs.rejected.weights,
    )


def load_pairs(path: Path) -> Pairs:
    """The pairs of a file."""
    with np.load(path) as data:
        ids = tuple((str(name),) for name in data["ids"])
        preferred, rejected = (
            Rows(tokens=data[side], weights=data[f"{side}_weights"], ids=ids)
            for side in ("preferred", "rejected")
        )
        return Pairs(preferred=preferred, rejected=rejected)


def _on_policy(config: OnPolicy, job: Job) -> Params:
    scorer = job.scorer(config.reward)
    around = {
        "sampling": rollout.Sampling(
            response=config.response, stop=config.stop, temperature=config.temperature
        ),
        "passes": onpolicy.Passes(epochs=config.epochs, minibatch=config.minibatch),
        "optimiser": optimiser(
            config, adam=ppo.ADAM, updates=config.epochs * (config.batch // config.minibatch)
        ),
        "kl_coefficient": config.kl_coefficient,
    }
    asked = {
        # The whole example is the prompt, so that the probe asks for nothing that was not shown.
        "prompts": job.prompts(whole=True),
        "order": job.order(rows_of(config)),
        "reward": reward.RewardModel(job.decoder, scorer),
        "decoder": job.decoder,
        "key": job.key,
        "eos": job.tokenizer.eos,
        "pad": job.tokenizer.pad,
        "stage": job.stage,
    }
    if isinstance(config, Ppo):
        settings = ppo.PPOConfig(
            **around,
            kl_target=config.kl_target,
            kl_horizon=config.kl_horizon,
            score_clip=config.score_clip,
            missing_eos_score=config.missing_eos_score,
            missing_eos_penalty=config.missing_eos_penalty,
            whiten_rewards=config.whiten_rewards,
            critic=config.critic,
            clip=config.clip,
            value_clip=config.value_clip,
            value_coefficient=config.value_coefficient,
            discount=config.discount,
            smoothing=config.smoothing,
        )
        critic = asked["reward"].folded() if config.critic == "model" else None
        return ppo.train(job.parent, config=settings, critic=critic, **asked)
    compared = {"size": config.size, "clip_low": config.clip, "clip_high": config.clip}
    if isinstance(config, Grpo):
        settings = group.GRPOConfig(
            **around, **compared, normalise=config.normalise, aggregation=config.aggregation
        )
    else:
        settings = group.RLOOConfig(**around, **compared)
    return group.train(job.parent, config=settings, **asked)


def _preference(config: Preference, job: Job) -> Params:
    smoothing = config.label_smoothing if isinstance(config, Cdpo) else 0.0
    return preference.train(
        job.parent,
        load_pairs(job.pairs(config.pairs)),
        job.order(config.batch),
        preference.PreferenceConfig(
            optimiser=optimiser(config),
            beta=config.beta,
            method=config.method if isinstance(config, Direct) else "dpo",
            average=config.average,
            label_smoothing=smoothing,
        ),
        decoder=job.decoder,
        stage=job.stage,
        key=job.key,
    )


_TRAIN: dict[type, Callable[[Any, Job], dict[str, Any]]] = {
    Pretrain: _pretrain,
    Sft: _sft,
    RewardStage: _reward,
    Ppo: _on_policy,
    Grpo: _on_policy,
    Rloo: _on_policy,
    Direct: _preference,
    Cdpo: _preference,
}
