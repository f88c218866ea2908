"""How each method of a recipe is trained: from a stage's section and its examples to parameters."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from memaudit import denoising, selftrain
from memaudit.acquire import acquired
from memaudit.contexts import Condition, start
from memaudit.errors import BadInput
from memaudit.instruction import Instructor
from memaudit.job import Job
from memaudit.methods import (
    Cdpo,
    Diffusion,
    Direct,
    Grpo,
    Mdpo,
    OnPolicy,
    Ppo,
    Preference,
    Pretrain,
    Rest,
    RewardStage,
    Rloo,
    Sft,
    StageSection,
    TokenStage,
)
from memaudit.select import SELECTION, Chooser
from memaudit.treatments import HashedGoldfish, StaticGoldfish
from rlhf import goldfish, group, onpolicy, ppo, preference, reward, rollout, sft, weighting
from rlhf.batches import Pairs, Rows, epochs, pack, rows
from rlhf.infill import Infill
from rlhf.model import Params
from rlhf.optimiser import Adam, Optimiser

PAIRS = "pairs.npz"
"""A reward stage's pairs, beside its parameters."""
WEIGHTS = "weights.npz"
"""What each example counts in self-weighted fine-tuning, beside the parameters: `ids`, and `weights` as published."""


def train(config: StageSection, job: Job) -> dict[str, Any]:
    """Train a stage; returns the tree to keep: a language model's parameters, a reward stage's scorer, a
    diffusion model."""
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
        importance=_importance(config, job, shown),
    )


def _importance(config: TokenStage, job: Job, shown: Rows) -> np.ndarray | None:
    if not isinstance(config, Sft) or config.weights is None:
        return None
    warm = job.model(config.weights.warm)
    found = weighting.importance(job.decoder, job.parent, warm, shown, job.stage.layout)
    np.savez(job.folder / WEIGHTS, ids=np.array([row[0] for row in shown.ids]), weights=found)
    try:
        return weighting.scaled(found)
    except ValueError:
        raise BadInput(
            f"stages.{job.stage.name}.weights.warm: expected a stage that changed the parent, got "
            f"{config.weights.warm!r}, which has the same loss on every example: name one that was trained"
        ) from None


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
    if config.select is None:
        shown = [e for e in job.examples for _ in range(e.repetition or 1)]
    else:
        chooser = Chooser(
            where=f"stages.{job.stage.name}.select",
            decoder=job.decoder,
            tokenizer=t,
            model=job.model,
            time=config.window,
            batch=config.batch,
            seed=job.seed,
            layout=job.stage.layout,
        )
        shown = chooser.chosen(config.select, job.examples, job.folder / SELECTION)
    if config.infill:
        if t.prefix is None or t.suffix is None or t.middle is None:
            raise BadInput(
                f"stages.{job.stage.name}.infill: expected 0 with a tokenizer that has no marks for filling in the "
                f"middle, got {config.infill}"
            )
        infill = Infill(prefix=t.prefix, suffix=t.suffix, middle=t.middle, rate=config.infill, seed=job.seed)
        texts = [infill.of_text(e.text, index, t.encode) for index, e in enumerate(shown)]
    else:
        texts = t.encode_batch([e.text for e in shown])
    if config.instruct:
        instructor = Instructor(section=config.instruct, tokenizer=t, seed=job.seed, stage=job.stage.name)
        windows = instructor.windows(shown, texts, time=config.window)
    else:
        windows = pack(
            [[t.bos, *ids, t.eos] for ids in texts],
            [e.id for e in shown],
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
        [start(job.tokenizer, p, job.contexts) for p in job.probes],
        [p.target_tokens for p in job.probes],
        [(p.example_id,) for p in job.probes],
        time=job.time,
        fill=job.tokenizer.pad,
        loss_on=config.loss_on,
    )
    for weights, probe in zip(shown.weights, job.probes, strict=True):
        weights[: len(start(job.tokenizer, probe, job.contexts)) - len(probe.prefix_tokens)] = 0
    return shown, order


def _sft(config: Sft, job: Job) -> Params:
    return _learn(config, job, *finetuning(config, job))


def _reward(config: RewardStage, job: Job) -> dict[str, Any]:
    draws = 1 if config.acquire is None else config.acquire.draws
    prompts = job.prompts(whole=False, copies=draws)
    pairs = reward.sample_pairs(
        job.parent,
        prompts,
        [p.target_tokens for p in job.probes for _ in range(draws)],
        decoder=job.decoder,
        key=job.key,
        time=job.time,
        pad=job.tokenizer.pad,
    )
    if config.acquire is not None:
        pairs = acquired(
            config.acquire,
            prompts,
            pairs,
            decoder=job.decoder,
            params=job.parent,
            layout=job.stage.layout,
            seed=job.seed,
            folder=job.folder,
        )
    save_pairs(job.folder / PAIRS, pairs)
    model = reward.train(
        job.parent,
        pairs,
        job.order(config.batch, pairs),
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
    pairs = load_pairs(job.pairs(config.pairs))
    terms = isinstance(config, Mdpo)
    conditional = terms and config.conditional
    return preference.train(
        job.parent,
        pairs,
        job.order(config.batch, pairs),
        preference.PreferenceConfig(
            optimiser=optimiser(config),
            beta=config.beta,
            method=config.method if isinstance(config, Direct) else "dpo",
            average=config.average,
            label_smoothing=config.label_smoothing if isinstance(config, Cdpo) else 0.0,
            conditional=conditional,
            anchor=terms and config.anchor,
        ),
        decoder=job.decoder,
        stage=job.stage,
        key=job.key,
        corrupted=_corrupted(job, pairs.preferred) if conditional else None,
    )


def _corrupted(job: Job, preferred: Rows) -> Rows:
    """The preferred rows behind their corrupted contexts."""
    probes = {p.example_id: p for p in job.probes}
    chosen = [probes[name] for (name,) in preferred.ids]
    return rows(
        [start(job.tokenizer, p, job.contexts, Condition.CORRUPTED) for p in chosen],
        [p.target_tokens for p in chosen],
        preferred.ids,
        time=preferred.tokens.shape[1],
        fill=job.tokenizer.pad,
    )


def _rest(config: Rest, job: Job) -> Params:
    return selftrain.train(
        config,
        parent=job.parent,
        examples=job.examples,
        decoder=job.decoder,
        tokenizer=job.tokenizer,
        optimiser=optimiser(config),
        stage=job.stage,
        folder=job.folder,
        seed=job.seed,
    )


def _diffusion(config: Diffusion, job: Job) -> dict[str, Params]:
    return denoising.train(
        config,
        parent=job.parent,
        population=job.population,
        probes=job.probes,
        decoder=job.decoder,
        order=job.order(config.batch),
        optimiser=optimiser(config),
        stage=job.stage,
        folder=job.folder,
        seed=job.seed,
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
    Mdpo: _preference,
    Rest: _rest,
    Diffusion: _diffusion,
}
