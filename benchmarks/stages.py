"""Every stage in small, with rows of its own: a few updates of a model that compiles in seconds."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from rlhf import fit, group, onpolicy, ppo, preference, reward, rollout, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs, pad, rows, take
from rlhf.lora import Lora
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Adam, Optimiser
from rlhf.presets import preset
from rlhf.stage import Stage

VOCABULARY, BATCH, TIME, PROMPT, RESPONSE, STEPS = 304, 16, 16, 8, 8, 3
PAD, BOS, EOS = 0, 1, 2

OPTIMISER = Optimiser(learning_rate=2e-3, warmup=2, adam=Adam(epsilon=1e-5))
"""With Adam's usual 1e-8 a gradient that is zero but for rounding becomes a step of full size: keys have biases, and
the softmax does not see them."""


def decoder_of(layers: int) -> Decoder:
    """Shaped like GLM-4: biases, shared keys and values, an output head of its own."""
    return Decoder(replace(preset("tiny-glm", VOCABULARY), layers=layers))


def parent(decoder: Decoder) -> Params:
    """Parameters to start from, large enough for every part to matter; NumPy, as from a checkpoint."""
    fresh = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))
    grown = {"embed": 5.0, "lm": 5.0, "kernel": 1.5}

    def grow(path: tuple[Any, ...], leaf: Any) -> np.ndarray:
        return np.asarray(leaf) * np.float32(grown.get(path[-1].key, 1.0))

    return jax.tree_util.tree_map_with_path(grow, fresh)


def _texts(seed: int) -> Rows:
    draw = np.random.default_rng(seed)
    starts = [[BOS, *draw.integers(3, VOCABULARY, i % 5).tolist()] for i in range(BATCH)]
    ends = [[*draw.integers(3, VOCABULARY, 2 + i % 8).tolist(), EOS] for i in range(BATCH)]
    return rows(starts, ends, [(f"row-{i}",) for i in range(BATCH)], time=TIME, fill=PAD)


def _order(batch: int = BATCH) -> np.ndarray:
    return epochs(BATCH, batch, STEPS, 0)


def _sft(decoder: Decoder, params: Params, stage: Stage, optimiser: Optimiser = OPTIMISER) -> Any:
    key = jax.random.key(1)
    return sft.train(params, _texts(0), _order(), optimiser, decoder=decoder, stage=stage, key=key)


def _accumulated(decoder: Decoder, params: Params, stage: Stage) -> Any:
    return _sft(decoder, params, stage, replace(OPTIMISER, accumulate=2))


def _packed(decoder: Decoder, params: Params, stage: Stage) -> Any:
    """Rows of two texts, each of which sees itself alone."""
    shown, order = _texts(0), _order()
    segments = np.repeat([[0] * 6 + [1] * 10], BATCH, axis=0).astype(np.int32)
    return fit.fit(
        {"model": params},
        lambda step: (take(shown, order[step])[0] | {"segments": segments}, shown.ids),
        loss=sft.CrossEntropy(decoder),
        optimiser=OPTIMISER,
        role="target",
        steps=STEPS,
        stage=stage,
    )["model"]


def _pairs() -> Pairs:
    good = _texts(0)
    worse = np.where(good.weights > 0, (good.tokens * 7 + 3) % VOCABULARY, good.tokens).astype(np.int32)
    return Pairs(preferred=good, rejected=replace(good, tokens=worse))


def _reward(decoder: Decoder, params: Params, stage: Stage) -> Any:
    config = reward.RewardConfig(optimiser=OPTIMISER, normalise="both")
    key = jax.random.key(1)
    return reward.train(params, _pairs(), _order(), config, decoder=decoder, stage=stage, key=key).scorer


def _preference(decoder: Decoder, params: Params, stage: Stage, *, method: Literal["dpo", "ipo"]) -> Any:
    config = preference.PreferenceConfig(optimiser=OPTIMISER, beta=0.1, method=method)
    return preference.train(
        params, _pairs(), _order(), config, decoder=decoder, stage=stage, key=jax.random.key(1)
    )


def _prompts() -> Prompts:
    draw = np.random.default_rng(3)
    tokens, lengths = pad(
        [[BOS, *draw.integers(3, VOCABULARY, i % PROMPT)] for i in range(BATCH)], PROMPT, PAD
    )
    return Prompts(tokens=tokens, lengths=lengths, ids=tuple((f"prompt-{i}",) for i in range(BATCH)))


def judge(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which share of an answer's tokens is even."""
    return ((tokens % 2 == 0) * weights).sum(axis=1) / weights.sum(axis=1)


def _on_policy(
    decoder: Decoder,
    params: Params,
    stage: Stage,
    *,
    train: Callable[..., Any],
    config: Callable[..., Any],
    prompts: int,
) -> Any:
    """Two epochs of two minibatches a step."""
    sampling = rollout.Sampling(response=RESPONSE, temperature=0.9)
    passes = onpolicy.Passes(epochs=2, minibatch=BATCH // 2)
    return train(
        params,
        _prompts(),
        _order(prompts),
        judge,
        config(optimiser=OPTIMISER, sampling=sampling, passes=passes, kl_coefficient=0.05),
        decoder=decoder,
        key=jax.random.key(7),
        eos=EOS,
        pad=PAD,
        stage=stage,
    )


Job = Callable[[Decoder, Params, Stage], Any]
"""(decoder, what to start from, stage) -> a tree of arrays."""
_ppo = partial(_on_policy, train=ppo.train, config=ppo.PPOConfig, prompts=BATCH)
_critic = partial(_on_policy, train=ppo.train, config=partial(ppo.PPOConfig, critic="model"), prompts=BATCH)
_grpo = partial(_on_policy, train=group.train, config=partial(group.GRPOConfig, size=4), prompts=BATCH // 4)
_rloo = partial(_on_policy, train=group.train, config=partial(group.RLOOConfig, size=4), prompts=BATCH // 4)
LORA = Lora(rank=8)
STAGES: dict[str, tuple[Job, Lora | None]] = {
    "sft": (_sft, None),
    "sft-accumulated": (_accumulated, None),
    "sft-packed": (_packed, None),
    "sft-lora": (_sft, LORA),
    "reward": (_reward, None),
    "dpo": (partial(_preference, method="dpo"), None),
    "ipo": (partial(_preference, method="ipo"), None),
    "ipo-lora": (partial(_preference, method="ipo"), LORA),
    "ppo": (_ppo, None),
    "ppo-critic": (_critic, None),
    "ppo-lora": (_ppo, LORA),
    "grpo": (_grpo, None),
    "rloo": (_rloo, None),
}
