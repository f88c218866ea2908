"""Adapters against explicit products, and that every stage learns with them and leaves its base alone."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from rlhf_pairs import BATCH, SIDES

from rlhf import onpolicy, ppo, preference, reward, rollout, sft
from rlhf.batches import Pairs, Prompts, Rows, epochs
from rlhf.checkpoint import Saver, flatten
from rlhf.events import Hook, Updated
from rlhf.likelihood import of_rows
from rlhf.lora import Lora, attach, merge
from rlhf.model import Decoder, Params, random_head
from rlhf.optimiser import Optimiser, Parts, prepare, whole
from rlhf.stage import Stage

LORA = Lora(rank=4, alpha=8.0)
EVERY = {"q", "k", "v", "o", "gate", "up", "down"}
RATE = Optimiser(learning_rate=2e-2, warmup=2)
few = settings(max_examples=15)


def random_adapters(params: Params, lora: Lora, seed: int) -> Params:
    """Such as training leaves: B is not zero any more."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: attach(params, lora, key), jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(x.dtype), shapes)


def bits(tree: Any) -> dict[str, bytes]:
    return {name: np.asarray(leaf).tobytes() for name, leaf in flatten(tree).items()}


def changed(found: Any, before: Any) -> set[str]:
    """Names of the arrays that are not bit for bit what they were."""
    new, old = bits(found), bits(before)
    assert new.keys() == old.keys()
    return {name for name in new if new[name] != old[name]}


def kernels(targets: set[str], params: Params) -> set[str]:
    return {
        name for name in flatten(params) if name.split("/")[-2:][0] in targets and name.endswith("kernel")
    }


def test_fresh_adapters_change_nothing(
    sharp: Params, model_logits: Callable[..., np.ndarray], lesson_rows: Rows
) -> None:
    """Not one bit: W + s A 0 is W."""
    merged = merge(sharp, attach(sharp, LORA, jax.random.key(0)), LORA)
    assert not changed(merged, sharp)
    found, wanted = (model_logits(params, lesson_rows.tokens) for params in (merged, sharp))
    assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("targets", [("q",), ("v", "down"), tuple(EVERY)])
def test_only_the_targets_get_adapters(sharp: Params, targets: tuple[str, ...]) -> None:
    lora = Lora(rank=3, targets=targets)
    adapters = flatten(attach(sharp, lora, jax.random.key(1)))
    wanted = {name.removesuffix("/kernel") for name in kernels(set(targets), sharp)}
    assert {name[:-2] for name in adapters} == wanted
    assert len(wanted) == 2 * len(targets)  # two blocks
    base = flatten(sharp)
    for name in wanted:
        inputs, outputs = base[f"{name}/kernel"].shape
        a, b = np.asarray(adapters[f"{name}/a"]), np.asarray(adapters[f"{name}/b"])
        assert (a.shape, b.shape) == ((inputs, 3), (3, outputs))
        assert (a.dtype, b.dtype) == (np.float32, np.float32)
        assert not b.any()
        assert 0.5 < np.abs(a).max() * inputs**0.5 <= 1
        assert abs(a.mean()) < 0.2 * inputs**-0.5
    drawn = [np.asarray(adapters[f"{name}/a"]).tobytes() for name in wanted]
    assert len(set(drawn)) == len(drawn)


def test_adapters_follow_from_the_key(sharp: Params) -> None:
    first, again, other = (attach(sharp, LORA, jax.random.key(k)) for k in (1, 1, 2))
    assert not changed(first, again)
    assert changed(first, other) == {name for name in flatten(first) if name.endswith("/a")}


@few
@given(
    seed=st.integers(0, 2**31 - 1),
    rank=st.sampled_from([1, 2, 5]),
    alpha=st.floats(0.1, 64),
    targets=st.sets(st.sampled_from(sorted(EVERY)), min_size=1),
)
def test_merging_adds_the_product(
    sharp: Params, seed: int, rank: int, alpha: float, targets: set[str]
) -> None:
    """W + (alpha / rank) A B in float64, entry by entry of the targets; the rest is the base's own arrays."""
    lora = Lora(rank=rank, alpha=alpha, targets=tuple(targets))
    adapters = random_adapters(sharp, lora, seed)
    merged, base, low = flatten(merge(sharp, adapters, lora)), flatten(sharp), flatten(adapters)
    assert merged.keys() == base.keys()
    for name, leaf in merged.items():
        owner = name.rsplit("/", 1)[0]
        if f"{owner}/a" not in low or not name.endswith("kernel"):
            assert leaf is base[name]
            continue
        product = oracle.wide(low[f"{owner}/a"]) @ oracle.wide(low[f"{owner}/b"])
        wanted = oracle.wide(base[name]) + alpha / rank * product
        np.testing.assert_allclose(leaf, wanted, rtol=1e-4, atol=1e-4 * max(1, alpha))
    assert {name.rsplit("/", 2)[-2] for name in low} == targets


@given(seed=st.integers(0, 2**31 - 1), rank=st.sampled_from([1, 3]), alpha=st.floats(0.5, 8))
@few
def test_gradients_of_the_adapters(seed: int, rank: int, alpha: float) -> None:
    """dA = s G B' and dB = s A' G, G the gradient of the merged W; here of the squared errors of x W."""
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=(6, 4)), rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    base = {"block": {"q": {"kernel": w.astype(np.float32), "bias": np.zeros(5, np.float32)}}}
    lora = Lora(rank=rank, alpha=alpha, targets=("q",))
    adapters = random_adapters(base, lora, seed)

    def loss(adapters: Params) -> jax.Array:
        error = x.astype(np.float32) @ merge(base, adapters, lora)["block"]["q"]["kernel"] - y
        return (error**2).sum()

    found = jax.grad(loss)(adapters)["block"]["q"]
    a, b = (oracle.wide(adapters["block"]["q"][name]) for name in "ab")
    s = alpha / rank
    gradient = 2 * x.T @ (x @ (w + s * a @ b) - y)
    np.testing.assert_allclose(found["a"], s * gradient @ b.T, rtol=1e-3, atol=1e-3 * s * s)
    np.testing.assert_allclose(found["b"], s * a.T @ gradient, rtol=1e-3, atol=1e-3 * s * s)


def test_gradients_of_a_model_reach_the_adapters_and_nothing_else(sharp: Params) -> None:
    """The same two products in every kernel of a model, whatever gradient the merged one has."""
    rng, adapters = np.random.default_rng(3), random_adapters(sharp, LORA, 3)
    gradient = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), sharp)
    found = jax.vjp(lambda low: merge(sharp, low, LORA), adapters)[1](gradient)[0]
    low, of_low, of_merged = flatten(adapters), flatten(found), flatten(gradient)
    assert of_low.keys() == low.keys()
    for name in kernels(EVERY, sharp):
        owner = name.removesuffix("/kernel")
        a, b = oracle.wide(low[f"{owner}/a"]), oracle.wide(low[f"{owner}/b"])
        g = oracle.wide(of_merged[name])
        np.testing.assert_allclose(of_low[f"{owner}/a"], 2 * g @ b.T, atol=1e-4)  # alpha / rank = 2
        np.testing.assert_allclose(of_low[f"{owner}/b"], 2 * a.T @ g, atol=1e-4)


@pytest.mark.parametrize(
    ("targets", "unknown"),
    [(("q", "query"), "query"), (("embed",), "embed"), (("norm", "v"), "norm"), (("block_0",), "block_0")],
)
def test_unknown_targets_are_refused(sharp: Params, targets: tuple[str, ...], unknown: str) -> None:
    """Also beside known ones: half of what was asked for is not what was asked for."""
    message = f"expected `targets` out of down, gate, k, o, q, up, v, got {unknown}"
    with pytest.raises(ValueError, match=message):
        attach(sharp, Lora(targets=targets), jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "expected `rank` to be positive, got 0"),
        ({"alpha": 0.0}, "expected `alpha` to be positive, got 0.0"),
        ({"targets": "qkv"}, "expected `targets` to be names of products, got 'qkv'"),
        ({"targets": ()}, r"expected `targets` to be names of products, got \(\)"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Lora(**options)


def test_targets_may_come_as_a_list() -> None:
    """As they do from a file: what jit keys its programs by has to be hashable."""
    lora = Lora(targets=["q", "v"])  # pyright: ignore[reportArgumentType]
    assert hash(lora) == hash(Lora(targets=("q", "v")))


def test_policy_and_critic_get_adapters_of_their_own_and_the_head_none(sharp: Params) -> None:
    head = random_head(32, jax.random.key(2))
    parts: Parts = {"policy": sharp, "head": head, "critic": sharp}
    state, frozen = prepare(parts, RATE, LORA, jax.random.key(3))
    assert set(state.parts) == {"policy", "head", "critic"}
    assert set(frozen) == {"policy", "critic"}
    assert frozen["policy"] is sharp  # the reference: no copy of it is made
    assert not changed(state.parts["head"], head)
    policy, critic = state.parts["policy"], state.parts["critic"]
    assert kernels(EVERY, sharp) == {f"{name[:-2]}/kernel" for name in flatten(policy)}
    assert changed(policy, critic) == {n for n in flatten(policy) if n.endswith("/a")}
    assert not changed(whole(state.parts, frozen, LORA), parts)


class Recorder(Hook):
    def __init__(self) -> None:
        self.metrics: list[Mapping[str, float]] = []

    def on_update(self, event: Updated) -> None:
        self.metrics.append(event.metrics)

    def of(self, name: str) -> list[float]:
        return [metrics[name] for metrics in self.metrics]


def stage(recorder: Recorder, **options: Any) -> Stage:
    return Stage(name="adapted", hooks=[recorder], lora=LORA, **options)


def test_sft_learns_and_keeps_adapters_alone(
    decoder: Decoder, parent: Params, lesson_rows: Rows, tmp_path: Path
) -> None:
    """The checkpoint holds adapters and their moments; base and merged adapters are the result."""
    recorder, key, before = Recorder(), jax.random.key(4), jax.tree.map(np.array, parent)
    saver = Saver(folder=tmp_path, every=100, identity="here")
    result = sft.train(
        parent,
        lesson_rows,
        epochs(BATCH, BATCH, 60, 0),
        RATE,
        decoder=decoder,
        stage=stage(recorder, saver=saver),
        key=key,
    )
    losses = recorder.of("loss")
    assert losses[-1] < losses[0] - 2
    assert not changed(parent, before)
    assert changed(result, parent) == kernels(EVERY, parent)

    start, _ = prepare({"model": parent}, RATE, LORA, key)
    kept = saver.latest(start)
    assert kept is not None
    assert {name.rsplit("/", 1)[1] for name in flatten(kept[1].parts)} == {"a", "b"}
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (kept[1], parent)]
    # 2 blocks, rank 4: q and o 2 (32 + 32), k and v 2 (32 + 16), three of (32 + 64); twice more for the moments.
    assert sizes[0] == 3 * 2 * 4 * (2 * 64 + 2 * 48 + 3 * 96) + 1
    assert sizes[0] < sizes[1]
    again = merge(parent, jax.tree.map(jax.numpy.asarray, kept[1].parts["model"]), LORA)
    assert not changed(again, result)


def test_a_reward_model_learns_and_its_head_is_trained_along(
    decoder: Decoder, parent: Params, preference_pairs: Pairs
) -> None:
    recorder, before = Recorder(), jax.tree.map(np.array, parent)
    config = reward.RewardConfig(optimiser=RATE)
    run = partial(
        reward.train, parent, preference_pairs, config=config, decoder=decoder, key=jax.random.key(8)
    )
    start = run(order=np.zeros((0, BATCH), int), stage=stage(Recorder()))
    model = run(order=epochs(BATCH, BATCH, 40, 0), stage=stage(recorder))
    assert recorder.of("accuracy")[-1] == 1
    assert recorder.of("loss")[-1] < 0.5 * recorder.of("loss")[0]
    assert not changed(parent, before)
    assert not changed(start.scorer["model"], parent)
    assert changed(model.scorer["model"], parent) == kernels(EVERY, parent)
    assert "kernel" in changed(model.scorer["head"], start.scorer["head"])
    preferred, rejected = (model(s.tokens, s.weights) for s in (getattr(preference_pairs, n) for n in SIDES))
    assert preferred.min() > rejected.max()


@pytest.mark.slow
def test_dpo_learns_and_its_reference_is_the_base(
    decoder: Decoder, parent: Params, preference_pairs: Pairs
) -> None:
    recorder, before = Recorder(), jax.tree.map(np.array, parent)
    result = preference.train(
        parent,
        preference_pairs,
        epochs(BATCH, BATCH, 40, 0),
        preference.PreferenceConfig(optimiser=RATE, beta=0.1, method="dpo"),
        decoder=decoder,
        stage=stage(recorder),
        key=jax.random.key(5),
    )
    assert recorder.of("loss")[0] == pytest.approx(np.log(2), abs=1e-5)
    margins = recorder.of("rewards/margins")
    assert margins[0] == pytest.approx(0, abs=1e-4)
    assert margins[-1] > 0.2
    assert recorder.of("rewards/accuracies")[-1] == 1
    assert not changed(parent, before)
    assert changed(result, parent) == kernels(EVERY, parent)
    chosen, rejected = (
        of_rows(decoder, result, side).logprobs - of_rows(decoder, parent, side).logprobs
        for side in (preference_pairs.preferred, preference_pairs.rejected)
    )
    assert 0.1 * np.mean(chosen - rejected) == pytest.approx(margins[-1], rel=0.1)


@pytest.mark.slow
def test_ppo_learns_and_its_reference_is_the_base(
    decoder: Decoder,
    parent: Params,
    prompts: Prompts,
    judge: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    recorder, before = Recorder(), jax.tree.map(np.array, parent)
    result = ppo.train(
        parent,
        prompts,
        epochs(len(prompts.tokens), 16, 30, 0),
        judge,
        ppo.PPOConfig(
            optimiser=Optimiser(learning_rate=1e-2, warmup=4, adam=ppo.ADAM),
            sampling=rollout.Sampling(response=8, temperature=0.7),
            passes=onpolicy.Passes(epochs=2, minibatch=8),
            kl_coefficient=0.01,
        ),
        decoder=decoder,
        key=jax.random.key(7),
        eos=2,
        pad=0,
        stage=stage(recorder),
    )
    assert recorder.of("objective/kl")[0] == pytest.approx(0, abs=1e-4)
    assert recorder.of("objective/kl")[-1] > 0.1
    scores = recorder.of("objective/scores")
    assert np.mean(scores[-5:]) > np.mean(scores[:5]) + 0.2
    assert not changed(parent, before)
    assert changed(result, parent) == kernels(EVERY, parent)
