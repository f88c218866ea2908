"""The loss against loops; the loop on fixed rows: what it tells, what hooks see of gradients, how many programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf import sft
from rlhf.batches import Rows, pack
from rlhf.events import Hook, Traced, Updated
from rlhf.lora import Lora, attach, merge
from rlhf.model import Decoder, Params
from rlhf.optimiser import Adam, Optimiser, update
from rlhf.sft import CrossEntropy
from rlhf.stage import Stage

ORDER = np.array([[0, 1, 2, 3, 4, 5, 6, 7], [7, 6, 5, 4, 3, 2, 1, -1]])
SLOW = Optimiser(learning_rate=1e-3, schedule="linear", adam=Adam(clip=0.01))
LORA = Lora(rank=2, alpha=4.0, targets=("q", "down"))


class Listener(Hook):
    """Keeps metrics and models."""

    def __init__(self) -> None:
        self.updates: list[Updated] = []
        self.models: list[Params] = []

    def on_update(self, event: Updated) -> None:
        self.updates.append(event)
        self.models.append(jax.tree.map(np.array, event.model()))


def whole_gradient(parts: Mapping[str, Any], gradient: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
    return {"gradient": gradient, "parts": parts, "tokens": batch["tokens"]}


class Tracer(Listener):
    """Sees the gradient as it is."""

    traced = staticmethod(whole_gradient)

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Traced] = []

    def on_traced(self, event: Traced) -> None:
        self.seen.append(event)


def train(
    decoder: Decoder,
    params: Params,
    shown: Rows,
    hooks: Sequence[Hook],
    order: np.ndarray = ORDER,
    lora: Lora | None = None,
) -> Params:
    stage = Stage(name="sft", hooks=hooks, lora=lora)
    return sft.train(params, shown, order, SLOW, decoder=decoder, stage=stage, key=jax.random.key(3))


def mean_loss(loss: CrossEntropy, params: Any, tokens: Any, weights: Any) -> Any:
    total, count, _ = loss({"model": params}, {"tokens": tokens, "weights": weights})
    return total / count


_mean_loss = jax.jit(mean_loss, static_argnums=0)
_gradient = jax.jit(jax.grad(mean_loss, argnums=1), static_argnums=0)


def at(shown: Rows, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and weights; -1 is a row without."""
    return shown.tokens[index], shown.weights[index] * (index >= 0)[:, None].astype(np.float32)


def assert_close(found: Any, wanted: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(wanted))
    assert largest > 0
    for left, right in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(np.asarray(left) / largest, np.asarray(right) / largest, atol=1e-5)


@pytest.fixture(scope="module")
def traced(decoder: Decoder, sharp: Params, lesson_rows: Rows) -> Tracer:
    hook = Tracer()
    train(decoder, sharp, lesson_rows, [hook])
    return hook


def test_a_hook_sees_the_gradient_of_the_mean_before_clipping(
    traced: Tracer, decoder: Decoder, sharp: Params, lesson_rows: Rows
) -> None:
    """In each step with respect to the parameters that the step before left; filler rows do not count."""
    assert [(event.step, event.update) for event in traced.seen] == [(0, 0), (1, 0)]
    for event, before, index in zip(traced.seen, [sharp, traced.models[0]], ORDER, strict=True):
        wanted = _gradient(CrossEntropy(decoder), before, *at(lesson_rows, index))
        assert_close(event.value["gradient"], {"model": wanted})
        assert event.value["tokens"].tolist() == lesson_rows.tokens[index].tolist()
        for told, known in zip(*map(jax.tree.leaves, (event.value["parts"], {"model": before})), strict=True):
            np.testing.assert_array_equal(told, known)
    norm = np.sqrt(sum(np.sum(np.square(x)) for x in jax.tree.leaves(traced.seen[0].value["gradient"])))
    assert traced.updates[0].metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
    assert norm > 0.01  # clipped, and seen whole


def test_with_adapters_the_gradient_is_theirs(decoder: Decoder, sharp: Params, lesson_rows: Rows) -> None:
    hook = Tracer()
    train(decoder, sharp, lesson_rows, [hook], ORDER[:1], LORA)
    adapters = attach(sharp, LORA, jax.random.fold_in(jax.random.key(3), 0))
    shown = at(lesson_rows, ORDER[0])
    wanted = jax.jit(jax.grad(lambda a: mean_loss(CrossEntropy(decoder), merge(sharp, a, LORA), *shown)))(
        adapters
    )
    [event] = hook.seen
    assert_close(event.value["gradient"], {"model": wanted})
    assert jax.tree.structure(event.value["parts"]) == jax.tree.structure({"model": sharp})


def test_without_such_hooks_nothing_is_compiled_besides(
    traced: Tracer, decoder: Decoder, sharp: Params, lesson_rows: Rows
) -> None:
    """One program with the hook's own half and one without, whatever else listens and however long a stage is."""
    known = update._cache_size()  # pyright: ignore[reportFunctionMemberAccess]
    result = train(decoder, sharp, lesson_rows, [])
    assert update._cache_size() == known + 1  # pyright: ignore[reportFunctionMemberAccess]
    listener = Listener()
    train(decoder, sharp, lesson_rows, [listener], np.tile(ORDER, (3, 1)))
    train(decoder, sharp, lesson_rows, [Listener(), listener], ORDER[:1])
    assert update._cache_size() == known + 1  # pyright: ignore[reportFunctionMemberAccess]
    for left, right in zip(*map(jax.tree.leaves, (result, traced.models[-1])), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_metrics_have_the_names_of_the_field(traced: Tracer, lesson_rows: Rows) -> None:
    for event, index in zip(traced.updates, ORDER, strict=True):
        assert event.metrics.keys() == {
            "loss",
            "mean_token_accuracy",
            "grad_norm",
            "learning_rate",
            "num_tokens",
        }
        assert all(type(value) is float for value in event.metrics.values())
        assert event.metrics["num_tokens"] == lesson_rows.weights[index[index >= 0]].sum()
    assert [event.metrics["learning_rate"] for event in traced.updates] == pytest.approx([2e-3 / 3, 1e-3 / 3])


def test_packed_rows_train_under_masks(decoder: Decoder, sharp: Params) -> None:
    """The first loss is that of the texts; which rows they share makes no difference to it."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 300, n).tolist() for n in (16, 9, 7, 5, 11, 8, 8, 4, 12, 3, 13)]
    packed = pack(texts, [str(i) for i in range(len(texts))], time=16)
    order = np.full((1, 8), -1)
    order[0, : len(packed.tokens)] = np.arange(len(packed.tokens))
    hook = Listener()
    train(decoder, sharp, packed, [hook], order)
    tokens = np.zeros((len(texts), 16), np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
        weights[row, 1 : len(text)] = 1
    wanted = float(_mean_loss(CrossEntropy(decoder), sharp, tokens, weights))
    assert hook.updates[0].metrics["loss"] == pytest.approx(wanted, rel=1e-5)
    assert hook.updates[0].metrics["num_tokens"] == sum(len(text) - 1 for text in texts)


_call = jax.jit(CrossEntropy.__call__, static_argnums=0)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_loss_is_that_of_loops(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray], seed: int
) -> None:
    """With weights of 0, of 1 and between, and a row without any."""
    rng = np.random.default_rng(seed)
    weights = rng.choice([0.0, 0.25, 1.0], (8, 16)).astype(np.float32)
    weights[rng.integers(8)] = 0
    tokens = rng.integers(0, decoder.config.vocabulary, (8, 16)).astype(np.int32)
    total, count, metrics = _call(
        CrossEntropy(decoder), {"model": sharp}, {"tokens": tokens, "weights": weights}
    )
    wanted = oracle.cross_entropy(model_logits(sharp, tokens), tokens, weights)
    assert float(total) == pytest.approx(wanted[0], rel=1e-4)
    assert float(count) == pytest.approx(wanted[1])
    assert [float(x) for x in metrics["mean_token_accuracy"]] == pytest.approx([wanted[2], wanted[1]])
    assert float(metrics["num_tokens"]) == pytest.approx(wanted[1])
