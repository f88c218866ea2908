"""Do the methods find the optimum where it is known? `python -m benchmarks.bandit`, with `--json` for the curves.

The task is a contextual bandit: a tiny decoder answers a prompt with one token, every token of its vocabulary is an
arm, and the score of an arm is in a table. The policy that is best under a KL to the reference has a closed form,

    pi*(y) = ref(y) exp(r(y) / beta) / Z,

and as the whole distribution can be read off the model, the distance from it needs no samples. Two methods are to
find another optimum, whose closed form is known as well: GRPO with the KL of its paper, which is the forward one, and
IPO, which follows the chance of being preferred instead of the reward.

The exit code is 0 even if a method ends farther off than the bar; those that do are named.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np

from rlhf import group, onpolicy, ppo, preference, rollout
from rlhf.batches import Pairs, Prompts, epochs, pad, rows
from rlhf.events import Hook, StageStarted, Updated
from rlhf.model import Decoder, Params, hidden_states, initialise, logits_of
from rlhf.optimiser import Optimiser
from rlhf.presets import ModelConfig
from rlhf.stage import Stage

ARMS = 12
COEFFICIENTS = (0.2, 0.5, 1.5)
BAR = 0.03
_PROMPTS = ([1], [2, 5], [3, 4, 6])
_END, _PAD = 1, 0  # arms like any other: an answer has one token whichever it is
_SHAPE = ModelConfig(vocabulary=ARMS, width=16, layers=1, heads=2, kv_heads=1, hidden=32, tied=False)


@dataclass(frozen=True, kw_only=True)
class Bandit:
    """The task. Tables are float64 ``[prompts, arms]``."""

    decoder: Decoder
    start: Params
    """The reference, from which every method starts."""
    prompts: Prompts
    scores: np.ndarray
    """What each arm is worth."""
    reference: np.ndarray
    """How likely the reference plays it."""

    def reward(self, tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The score of each row's answer: an `rlhf.rollout.Reward`. A prompt is told by its first token."""
        asked = np.searchsorted([prompt[0] for prompt in _PROMPTS], tokens[:, 0])
        said = np.take_along_axis(tokens, weights.argmax(axis=1)[:, None], axis=1)[:, 0]
        return self.scores[asked, said]


def bandit(seed: int = 0) -> Bandit:
    """A task whose reference is far from uniform, every arm of which has a chance nevertheless."""
    rng = np.random.default_rng(seed)
    decoder = Decoder(_SHAPE)
    fresh = jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed))
    width = _SHAPE.width
    start = {
        **fresh,
        "embed": rng.normal(0, 1, (ARMS, width)).astype(np.float32),
        "lm": rng.normal(0, 0.7 / np.sqrt(width), (ARMS, width)).astype(np.float32),
    }
    tokens, lengths = pad(_PROMPTS, max(map(len, _PROMPTS)), _PAD)
    prompts = Prompts(
        tokens=tokens, lengths=lengths, ids=tuple((f"prompt-{i}",) for i in range(len(_PROMPTS)))
    )
    return Bandit(
        decoder=decoder,
        start=start,
        prompts=prompts,
        scores=rng.normal(0, 1, (len(_PROMPTS), ARMS)).astype(np.float32).astype(np.float64),
        reference=distribution(decoder, start, prompts),
    )


@partial(jax.jit, static_argnames=("decoder",))
def _logits(params: Params, tokens: jax.Array, lengths: jax.Array, *, decoder: Decoder) -> jax.Array:
    hidden = hidden_states(decoder, params, tokens)
    return logits_of(decoder, params, hidden[np.arange(len(lengths)), lengths - 1])


def distribution(decoder: Decoder, params: Params, prompts: Prompts) -> np.ndarray:
    """How likely a model answers each prompt with each arm."""
    logits = _logits(params, prompts.tokens, prompts.lengths, decoder=decoder)
    return _normalised(np.asarray(logits, np.float64))


def _normalised(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


# --- optima


def reverse_optimum(reference: np.ndarray, scores: np.ndarray, beta: float) -> np.ndarray:
    """The policy with the largest mean score - beta KL(policy || reference)."""
    return _normalised(np.log(reference) + scores / beta)


def forward_optimum(reference: np.ndarray, scores: np.ndarray, beta: float) -> np.ndarray:
    """The policy with the largest mean score - beta KL(reference || policy): beta ref / (c - r) (arXiv 2007.12509)."""
    # The sum of beta ref / (c - r) falls in c, is at least 1 at the lower end and at most 1 at the upper one.
    low = (scores + beta * reference).max(axis=1, keepdims=True)
    high = scores.max(axis=1, keepdims=True) + beta
    for _ in range(100):
        middle = (low + high) / 2
        above = (beta * reference / (middle - scores)).sum(axis=1, keepdims=True) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return beta * reference / (high - scores)


def preferred(scores: np.ndarray) -> np.ndarray:
    """Bradley-Terry's chance that arm i is preferred to arm j, ``[prompts, arms, arms]``."""
    return 1 / (1 + np.exp(scores[:, None, :] - scores[:, :, None]))


def ipo_optimum(reference: np.ndarray, scores: np.ndarray, beta: float) -> np.ndarray:
    """ref exp(p / beta) / Z, p an arm's chance against one that the reference plays (arXiv 2310.12036)."""
    against = np.einsum("pij,pj->pi", preferred(scores), reference)
    return reverse_optimum(reference, against, beta)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Total variation, of the prompt where it is largest."""
    return float(0.5 * np.abs(one - other).sum(axis=1).max())


def divergence(policy: np.ndarray, reference: np.ndarray) -> float:
    """KL(policy || reference) in nats, mean over prompts."""
    ratio = np.log(np.maximum(policy, 1e-300)) - np.log(reference)
    return float((policy * ratio).sum(axis=1).mean())


# --- methods


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is learnt."""

    iterations: int = 300
    """Rollouts of a method that learns from its own answers."""
    answers: int = 960
    """Answers in each."""
    pairs: int = 1_000_000
    """Showings of pairs to a method that learns from those."""
    batch: int = 2048
    """Pairs in an update."""
    points: int = 12
    """Points of a curve, about."""


QUICK = Sizes(iterations=80, answers=480, pairs=150_000, batch=512, points=8)
SIZE = 8  # answers in a group
Train = Callable[[Bandit, float, Sizes, Stage], Params]
Optimum = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _sampled(sizes: Sizes) -> dict[str, Any]:
    return {
        "optimiser": Optimiser(learning_rate=1e-2, warmup=5),
        "sampling": rollout.Sampling(response=1, stop=False),
        "passes": onpolicy.Passes(epochs=2, minibatch=sizes.answers // 2),
    }


def _ppo(task: Bandit, beta: float, sizes: Sizes, stage: Stage) -> Params:
    config = ppo.PPOConfig(kl_coefficient=beta, **_sampled(sizes))
    order = epochs(len(_PROMPTS), sizes.answers, sizes.iterations, 0)
    return ppo.train(task.start, task.prompts, order, task.reward, config, **_around(task, stage))


def _group(config: Callable[..., Any], task: Bandit, beta: float, sizes: Sizes, stage: Stage) -> Params:
    made = config(kl_coefficient=beta, size=SIZE, **_sampled(sizes))
    order = epochs(len(_PROMPTS), sizes.answers // SIZE, sizes.iterations, 0)
    return group.train(task.start, task.prompts, order, task.reward, made, **_around(task, stage))


def _around(task: Bandit, stage: Stage) -> dict[str, Any]:
    return {"decoder": task.decoder, "key": jax.random.key(1), "eos": _END, "pad": _PAD, "stage": stage}


def _pairs(method: Any, task: Bandit, beta: float, sizes: Sizes, stage: Stage) -> Params:
    """Every ordered pair of arms, shown as often as it would be drawn from the reference and judged so.

    Each update's batch has all pairs in nearly these proportions, or the luck of the draw would hide the optimum.
    """
    chance = task.reference[:, :, None] * task.reference[:, None, :] * preferred(task.scores)
    chance *= 1 - np.eye(ARMS)
    shown = np.argwhere(chance > 0).tolist()
    asked, ids = [_PROMPTS[p] for p, _, _ in shown], [(f"pair-{p}-{i}-{j}",) for p, i, j in shown]
    made = partial(rows, asked, ids=ids, time=max(map(len, _PROMPTS)) + 1, fill=_PAD)
    pairs = Pairs(preferred=made([[i] for _, i, _ in shown]), rejected=made([[j] for _, _, j in shown]))
    steps = sizes.pairs // sizes.batch
    upto = np.cumsum(chance[chance > 0]) / chance.sum()
    evenly = np.searchsorted(upto, (np.arange(steps * sizes.batch) + 0.5) / (steps * sizes.batch))
    order = np.random.default_rng(0).permutation(evenly.reshape(sizes.batch, steps).T)
    config = preference.PreferenceConfig(
        optimiser=Optimiser(learning_rate=4e-3, warmup=5), beta=beta, method=method
    )
    return preference.train(task.start, pairs, order, config, decoder=task.decoder, stage=stage)


def _loss_kl(
    kl: Literal["corrected", "plain"], task: Bandit, beta: float, sizes: Sizes, stage: Stage
) -> Params:
    # The group's mean holds the answer itself, which makes advantages, but not the KL, smaller by (size - 1) / size.
    weight = beta * (SIZE - 1) / SIZE
    config = partial(group.GRPOConfig, kl=kl, normalise=False)
    return _group(config, task, weight, sizes, stage)


METHODS: dict[str, tuple[Train, Optimum]] = {
    "ppo": (_ppo, reverse_optimum),
    "grpo": (partial(_group, partial(group.GRPOConfig, kl="reward")), reverse_optimum),
    "grpo-corrected": (partial(_loss_kl, "corrected"), reverse_optimum),
    "grpo-plain": (partial(_loss_kl, "plain"), forward_optimum),
    "rloo": (partial(_group, group.RLOOConfig), reverse_optimum),
    "dpo": (partial(_pairs, "dpo"), reverse_optimum),
    "ipo": (partial(_pairs, "ipo"), ipo_optimum),
}


# --- curves


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one method came to its optimum at one coefficient."""

    method: str
    beta: float
    share: Sequence[float]
    """How much of the run was over at each point of the curve."""
    curve: Sequence[float]
    """Total variation from the method's optimum, of the worst prompt, at each."""
    kl: float
    """KL to the reference at the end, in nats."""
    kl_wanted: float
    """That of the optimum."""
    score: float
    """Mean score at the end."""
    score_wanted: float
    from_reverse: float
    """Total variation at the end from the optimum under the reverse KL, whichever the method's own is."""

    @property
    def name(self) -> str:
        """Method and coefficient."""
        return f"{self.method}/{self.beta:g}"

    @property
    def reached(self) -> bool:
        """Whether it ended within the bar of its optimum."""
        return self.curve[-1] <= BAR


class _Watch(Hook):
    """Reads the policy off at evenly spaced steps, the last one among them."""

    def __init__(self, task: Bandit, points: int) -> None:
        self._task, self._points = task, points
        self.share: list[float] = []
        self.seen: list[np.ndarray] = []

    def on_stage_started(self, event: StageStarted) -> None:
        self._due = {round(event.steps * (n + 1) / self._points) for n in range(self._points)}
        self._steps = event.steps

    def on_update(self, event: Updated) -> None:
        if event.step + 1 in self._due:
            self.share.append((event.step + 1) / self._steps)
            self.seen.append(distribution(self._task.decoder, event.model(), self._task.prompts))


def run(task: Bandit, method: str, beta: float, sizes: Sizes) -> Result:
    """Train by `method` from the reference, and hold it to its optimum."""
    train, optimum = METHODS[method]
    watch = _Watch(task, sizes.points)
    result = train(task, beta, sizes, Stage(name=method, hooks=[watch]))
    wanted = optimum(task.reference, task.scores, beta)
    ended = distribution(task.decoder, result, task.prompts)

    def score(policy: np.ndarray) -> float:
        return float((policy * task.scores).sum(axis=1).mean())

    return Result(
        method=method,
        beta=beta,
        share=[0.0, *watch.share],
        curve=[distance(policy, wanted) for policy in (task.reference, *watch.seen)],
        kl=divergence(ended, task.reference),
        kl_wanted=divergence(wanted, task.reference),
        score=score(ended),
        score_wanted=score(wanted),
        from_reverse=distance(ended, reverse_optimum(task.reference, task.scores, beta)),
    )


def results(methods: Sequence[str], betas: Sequence[float], sizes: Sizes, seed: int) -> Iterator[Result]:
    """Every method at every coefficient, on one task."""
    task = bandit(seed)
    for method in methods:
        for beta in betas:
            yield run(task, method, beta, sizes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the curves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bandit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--json", action="store_true", help="print distances by name, and the curves")
    parser.add_argument("--quick", action="store_true", help="shorter runs, which do not get as close")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--betas", nargs="+", type=float, default=COEFFICIENTS, metavar="BETA")
    parser.add_argument("--seed", type=int, default=0, help="of the task")
    for name, value in asdict(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, help=f"default {value}")
    given = parser.parse_args(arguments)
    asked = {name: value for name in asdict(Sizes()) if (value := getattr(given, name)) is not None}
    sizes = replace(QUICK if given.quick else Sizes(), **asked)
    found = results(given.only, given.betas, sizes, given.seed)
    if given.json:
        shown = list(found)
        distances = {one.name: one.curve[-1] for one in shown}
        missed = [one.name for one in shown if not one.reached]
        print(
            json.dumps(
                {"distances": distances, "bar": BAR, "missed": missed, "rows": [asdict(r) for r in shown]}
            )
        )
        return
    print(
        "total variation from the optimum (worst prompt) by share of the run; KL and score reached / at the optimum"
    )
    missed, heading = [], False
    for one in found:
        if not heading:
            shares = " ".join(f"{share:>5.0%}" for share in one.share)
            print(f"{'method/beta':<19} {shares} {'KL':>13} {'score':>13} {'TV from pi*':>11}")
            heading = True
        curve = " ".join(f"{value:5.3f}" for value in one.curve)
        kl, score = f"{one.kl:.3f}/{one.kl_wanted:.3f}", f"{one.score:.3f}/{one.score_wanted:.3f}"
        print(f"{one.name:<19} {curve} {kl:>13} {score:>13} {one.from_reverse:>11.3f}", flush=True)
        missed += [] if one.reached else [one.name]
    print(f"farther off than {BAR}: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
