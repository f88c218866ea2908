"""One small model, and one training run of each kind, shared by all tests of the pipeline.

A compilation costs seconds and a step costs milliseconds: so every run of a kind has the same shapes and the same
schedule, and tests that need another run of the kind ask for its `train_...` fixture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import pytest
from rlhf_listening import Recorder

from rlhf import onpolicy, ppo, preference, reward, rollout, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs, pad, rows
from rlhf.checkpoint import Saver
from rlhf.events import Event, Hook, Updated
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser, update
from rlhf.presets import preset
from rlhf.stage import Stage

VOCABULARY = 300
PAD, BOS, EOS = 0, 1, 2
BATCH, TIME, PROMPT, RESPONSE = 8, 16, 8, 8


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished training run."""

    result: Any
    """What `train` returned."""
    events: Sequence[Event]
    parent: Params
    """What it was given."""
    parent_before: Params
    """A copy of that, made before."""
    compiled: int
    """How many programs the run added to the cache of `update`."""

    @property
    def metrics(self) -> list[Mapping[str, float]]:
        """Of each update."""
        return [event.metrics for event in self.events if isinstance(event, Updated)]


def programs(jitted: Any) -> int:
    """How many programs a jitted function has compiled so far."""
    return jitted._cache_size()


def watch(params: Params, train: Callable[[Hook], Any]) -> Run:
    """Run `train`, which is to pass the hook on, and note what it does to what it was given."""
    recorder, before, known = Recorder(), jax.tree.map(np.array, params), programs(update)
    result = train(recorder)
    return Run(
        result=result,
        events=recorder.events,
        parent=params,
        parent_before=before,
        compiled=programs(update) - known,
    )


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return Decoder(preset("tiny", VOCABULARY))


@pytest.fixture(scope="session")
def fresh(decoder: Decoder) -> Params:
    return jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(0))


@pytest.fixture(scope="session")
def sharp(fresh: Params) -> Params:
    """Parameters whose every part matters: fresh ones are so small that a wrong mask hardly moves a logit."""
    rng = np.random.default_rng(1)

    def sharpen(path: tuple[Any, ...], leaf: jax.Array) -> np.ndarray:
        name = path[-1].key
        if name == "scale":
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return np.asarray(leaf) * np.float32({"embed": 20.0, "kernel": 2.0}[name])

    return jax.tree_util.tree_map_with_path(sharpen, fresh)


@pytest.fixture(scope="session")
def sharp_actor(sharp: Params) -> dict[str, Params]:
    """`sharp` as a policy with a scalar head."""
    rng = np.random.default_rng(2)
    kernel = rng.normal(0, 0.2, sharp["embed"].shape[1]).astype(np.float32)
    return {"policy": sharp, "head": {"kernel": kernel, "bias": np.float32(0.1)}}


@pytest.fixture(scope="session")
def model_logits(decoder: Decoder) -> Callable[[Params, np.ndarray], np.ndarray]:
    """The model's own full forward pass, ``[batch, time, vocabulary]``."""

    @jax.jit
    def run(params: Params, tokens: jax.Array) -> Any:
        hidden = decoder.apply({"params": params}, tokens)[0]
        return decoder.apply({"params": params}, hidden, method="logits")

    return lambda params, tokens: np.asarray(run(params, tokens))


@pytest.fixture(scope="session")
def prompt_lists() -> list[list[int]]:
    """Prompts of different lengths, the shortest and the longest that fit among them."""
    rng = np.random.default_rng(3)
    return [[BOS, *rng.integers(3, VOCABULARY, n - 1).tolist()] for n in (1, 8, 5, 2, 7, 3, 8, 4)]


@pytest.fixture(scope="session")
def prompts(prompt_lists: list[list[int]]) -> Prompts:
    tokens, lengths = pad(prompt_lists, PROMPT, PAD)
    return Prompts(tokens=tokens, lengths=lengths, ids=tuple((f"prompt-{i}",) for i in range(len(lengths))))


@pytest.fixture(scope="session")
def lesson() -> tuple[list[list[int]], list[list[int]]]:
    """Eight prompts and what is to follow each, the end of text included."""
    rng = np.random.default_rng(4)
    starts = [[BOS, 10 + i, *rng.integers(3, VOCABULARY, i % 4).tolist()] for i in range(BATCH)]
    ends = [[*rng.integers(3, VOCABULARY, 3 + i % 5).tolist(), EOS] for i in range(BATCH)]
    return starts, ends


@pytest.fixture(scope="session")
def lesson_rows(lesson: tuple[list[list[int]], list[list[int]]]) -> Rows:
    return rows(*lesson, [(f"lesson-{i}",) for i in range(BATCH)], time=TIME, fill=PAD)


SUPERVISED = Optimiser(learning_rate=2e-2, warmup=5, final=0.1)
SUPERVISED_STEPS = 120


@pytest.fixture(scope="session")
def train_sft(decoder: Decoder) -> Callable[..., Run]:
    """SFT on `shown`, in epochs or along an order of as many steps."""

    def train(
        params: Params, shown: Rows, hooks: Sequence[Hook] = (), order: np.ndarray | None = None
    ) -> Run:
        along = epochs(len(shown.tokens), BATCH, SUPERVISED_STEPS, 0) if order is None else order
        assert along.shape == (SUPERVISED_STEPS, BATCH)
        return watch(
            params,
            lambda hook: sft.train(
                params,
                shown,
                along,
                SUPERVISED,
                decoder=decoder,
                stage=Stage(name="sft", hooks=[*hooks, hook]),
            ),
        )

    return train


@pytest.fixture(scope="session")
def memorised(train_sft: Callable[..., Run], fresh: Params, lesson_rows: Rows) -> Run:
    """Trained on the lesson until it is known by heart."""
    return train_sft(fresh, lesson_rows)


@pytest.fixture(scope="session")
def parent(train_sft: Callable[..., Run], fresh: Params) -> Params:
    """A model that writes some twenty different tokens and then, sooner or later, the end of text."""
    rng = np.random.default_rng(5)
    texts = [[*rng.integers(3, 23, int(rng.integers(2, 14))).tolist(), EOS] for _ in range(64)]
    shown = rows([[BOS]] * 64, texts, [(str(i),) for i in range(64)], time=TIME, fill=PAD)
    return train_sft(fresh, shown).result


@pytest.fixture(scope="session")
def preference_pairs(lesson: tuple[list[list[int]], list[list[int]]]) -> Pairs:
    """Alike but for this: the preferred continuation ends with token 5, the rejected one with token 6."""
    starts, _ = lesson
    rng = np.random.default_rng(6)
    middles = [rng.integers(7, 23, 2 + i % 4).tolist() for i in range(BATCH)]
    ids = [(f"pair-{i}",) for i in range(BATCH)]
    return Pairs(
        preferred=rows(starts, [[*m, 5] for m in middles], ids, time=TIME, fill=PAD),
        rejected=rows(starts, [[*m, 6] for m in middles], ids, time=TIME, fill=PAD),
    )


@pytest.fixture(scope="session")
def train_reward(decoder: Decoder) -> Callable[[Params, Pairs], Run]:
    def train(params: Params, pairs: Pairs) -> Run:
        config = reward.RewardConfig(optimiser=Optimiser(learning_rate=5e-3, warmup=2))
        order = epochs(BATCH, BATCH, 40, 0)
        return watch(
            params,
            lambda hook: reward.train(
                params,
                pairs,
                order,
                config,
                decoder=decoder,
                stage=Stage(name="reward", hooks=[hook]),
                key=jax.random.key(8),
            ),
        )

    return train


@pytest.fixture(scope="session")
def scored(train_reward: Callable[..., Run], parent: Params, preference_pairs: Pairs) -> Run:
    """A reward model fitted on the pairs."""
    return train_reward(parent, preference_pairs)


IPO_BETA = 0.25


@pytest.fixture(scope="session")
def train_ipo(decoder: Decoder) -> Callable[[Params, Pairs], Run]:
    def train(params: Params, pairs: Pairs) -> Run:
        config = preference.PreferenceConfig(optimiser=Optimiser(learning_rate=2e-3, warmup=2), beta=IPO_BETA)
        order = epochs(BATCH, BATCH, 80, 0)
        return watch(
            params,
            lambda hook: preference.train(
                params, pairs, order, config, decoder=decoder, stage=Stage(name="ipo", hooks=[hook])
            ),
        )

    return train


@pytest.fixture(scope="session")
def ipo_run(train_ipo: Callable[..., Run], parent: Params, preference_pairs: Pairs) -> Run:
    return train_ipo(parent, preference_pairs)


PPO_STEPS, PPO_BATCH = 40, 16
TEMPERATURE = 0.7


@pytest.fixture(scope="session")
def train_ppo(decoder: Decoder, prompts: Prompts) -> Callable[..., Run]:
    """PPO with two epochs of two minibatches, in passes over the prompts or along an order. `saver` is the stage's,
    `start` what a critic of its own starts from, and `changes` are of the configuration."""

    def train(
        params: Params,
        judge: Callable[[np.ndarray, np.ndarray], Any],
        kl_coefficient: float,
        hooks: Sequence[Hook] = (),
        order: np.ndarray | None = None,
        saver: Saver | None = None,
        start: Mapping[str, Params] | None = None,
        **changes: Any,
    ) -> Run:
        along = epochs(len(prompts.tokens), PPO_BATCH, PPO_STEPS, 0) if order is None else order
        assert along.shape[1] == PPO_BATCH
        config = ppo.PPOConfig(
            optimiser=Optimiser(learning_rate=2e-3, warmup=4, adam=ppo.ADAM),
            sampling=rollout.Sampling(response=RESPONSE, temperature=TEMPERATURE),
            passes=onpolicy.Passes(epochs=2, minibatch=8),
            kl_coefficient=kl_coefficient,
        )
        return watch(
            params,
            lambda hook: ppo.train(
                params,
                prompts,
                along,
                judge,
                replace(config, **changes),
                decoder=decoder,
                key=jax.random.key(7),
                eos=EOS,
                pad=PAD,
                stage=Stage(name="ppo", hooks=[*hooks, hook], saver=saver),
                critic=start,
            ),
        )

    return train


@pytest.fixture(scope="session")
def judge() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A reward in plain Python: which share of the answer's tokens lies in 3..7."""

    def share(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        scores = []
        for row, weight in zip(tokens.tolist(), weights.tolist(), strict=True):
            answer = [token for token, inside in zip(row, weight, strict=True) if inside]
            scores.append(sum(3 <= token <= 7 for token in answer) / len(answer))
        return np.array(scores)

    return share


@pytest.fixture(scope="session")
def ppo_run(
    train_ppo: Callable[..., Run], parent: Params, judge: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Run:
    """PPO towards low tokens, on a loose leash."""
    return train_ppo(parent, judge, 0.01)
