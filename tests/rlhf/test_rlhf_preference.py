"""DPO, cDPO and IPO against loops, with log-probabilities from a NumPy softmax of the model's own logits."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from rlhf_listening import Recorder
from rlhf_pairs import BATCH, SIDES, halves, pair_batch

from rlhf import sft
from rlhf.batches import Pairs, Rows, epochs, rows
from rlhf.events import Hook, Updated
from rlhf.likelihood import of_rows
from rlhf.model import Decoder, Params, initialise
from rlhf.optimiser import Optimiser
from rlhf.preference import PreferenceConfig, PreferenceLoss, train
from rlhf.stage import Stage

BETA = 0.25
IPO_TARGET = 1 / (2 * BETA)
ATOL = 2e-3
few = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)
VARIANTS = [
    ("ipo", False, 0.0),
    ("ipo", True, 0.0),
    ("dpo", False, 0.0),
    ("dpo", True, 0.0),
    ("dpo", False, 0.2),
    ("dpo", True, 0.2),
]
every_variant = pytest.mark.parametrize(("method", "average", "smoothing"), VARIANTS)

_call = partial(jax.jit, static_argnums=0)(lambda loss, params, batch: loss({"model": params}, batch))


def side_rows(batch: dict[str, np.ndarray], side: str) -> Rows:
    ids = tuple((f"{side}-{i}",) for i in range(len(batch[side])))
    return Rows(tokens=batch[side], weights=batch[f"{side}_weights"], ids=ids)


def told(
    model_logits: Callable[..., np.ndarray], params: Params, batch: dict[str, np.ndarray], side: str
) -> list[list[float]]:
    """Of each row, the log-probability of each token that has weight."""
    every = model_logits(params, batch[side])
    return [
        oracle.told_logprobs(every[r], row.tolist(), batch[f"{side}_weights"][r].tolist())
        for r, row in enumerate(batch[side])
    ]


@every_variant
@few
@given(seed=seeds)
def test_losses(
    decoder: Decoder,
    sharp: Params,
    model_logits: Callable[..., np.ndarray],
    method: Any,
    average: bool,
    smoothing: float,
    seed: int,
) -> None:
    """In all options; the metrics are those of the sums in each of them."""
    batch = pair_batch(np.random.default_rng(seed))
    chosen, rejected = (told(model_logits, sharp, batch, side) for side in SIDES)
    references = list(zip(*(batch[f"{side}_reference"].tolist() for side in SIDES), strict=True))
    sums = oracle.preference(
        chosen,
        rejected,
        references,
        batch["real"].tolist(),
        method=method,
        beta=BETA,
        average=average,
        smoothing=smoothing,
    )
    total, count, metrics = _call(PreferenceLoss(decoder, method, BETA, average, smoothing), sharp, batch)
    assert float(total) == pytest.approx(sums.pop("loss"), rel=1e-4, abs=ATOL)
    assert float(count) == (wanted := sums.pop("count"))
    assert set(metrics) == set(sums)
    for name, value in sums.items():
        assert float(metrics[name][0]) == pytest.approx(value, rel=1e-4, abs=ATOL), name
        assert float(metrics[name][1]) == wanted


@every_variant
def test_at_the_parent_nothing_has_been_learnt(
    decoder: Decoder, sharp: Params, method: Any, average: bool, smoothing: float
) -> None:
    """DPO is log 2 there, with and without smoothing, and IPO the square of its whole target."""
    batch = pair_batch(np.random.default_rng(0))
    for side in SIDES:
        batch[f"{side}_reference"] = of_rows(decoder, sharp, side_rows(batch, side)).logprobs
    total, count, metrics = _call(PreferenceLoss(decoder, method, BETA, average, smoothing), sharp, batch)
    assert float(total / count) == pytest.approx(math.log(2) if method == "dpo" else IPO_TARGET**2, abs=1e-4)
    assert float(metrics["rewards/margins"][0]) == pytest.approx(0, abs=1e-4)


def test_the_reference_is_the_sum_of_what_has_weight(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray]
) -> None:
    """More rows than go in at once, and no multiple of it."""
    batches = [pair_batch(np.random.default_rng(seed)) for seed in range(9)]
    batch = {name: np.concatenate([b[name] for b in batches])[:67] for name in batches[0]}
    found = of_rows(decoder, sharp, side_rows(batch, "preferred")).logprobs
    wanted = [sum(row) for b in batches for row in told(model_logits, sharp, b, "preferred")][:67]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("method", "smoothing"), [("ipo", 0.0), ("dpo", 0.0), ("dpo", 0.2)])
def test_sums_do_not_depend_on_how_a_batch_is_divided(
    decoder: Decoder, sharp: Params, method: Any, smoothing: float
) -> None:
    batch = pair_batch(np.random.default_rng(3))
    loss = PreferenceLoss(decoder, method, BETA, False, smoothing)
    parts = [jax.tree.leaves(_call(loss, sharp, half)) for half in halves(batch)]
    for total, left, right in zip(jax.tree.leaves(_call(loss, sharp, batch)), *parts, strict=True):
        assert float(left + right) == pytest.approx(float(total), rel=1e-5, abs=1e-5)


def moved(
    model_logits: Callable[..., np.ndarray], new: Params, old: Params, pairs: Pairs
) -> dict[str, np.ndarray]:
    """By how much the log-probability of each side of each pair has changed."""
    changes = {}
    for name in SIDES:
        side = getattr(pairs, name)
        batch = {name: side.tokens, f"{name}_weights": side.weights}
        after, before = (told(model_logits, params, batch, name) for params in (new, old))
        changes[name] = np.array([sum(a) - sum(b) for a, b in zip(after, before, strict=True)])
    return changes


def test_ipo_moves_every_margin_to_its_target_and_not_beyond(
    ipo_run: Any, preference_pairs: Pairs, model_logits: Callable[..., np.ndarray]
) -> None:
    """The margin of summed log-probabilities over the parent, recomputed pair by pair."""
    seen = [metrics["rewards/margins"] / BETA for metrics in ipo_run.metrics]
    assert seen[0] == pytest.approx(0, abs=1e-4)
    assert ipo_run.metrics[0]["loss"] == pytest.approx(IPO_TARGET**2, abs=1e-3)
    assert max(seen) < 1.5 * IPO_TARGET
    changes = moved(model_logits, ipo_run.result, ipo_run.parent, preference_pairs)
    margins = changes["preferred"] - changes["rejected"]
    np.testing.assert_allclose(margins, IPO_TARGET, rtol=0.1)
    assert seen[-1] == pytest.approx(np.mean(margins), rel=0.05)


@pytest.mark.slow
def test_cdpo_moves_every_margin_to_the_log_odds_of_its_labels(
    decoder: Decoder, parent: Params, preference_pairs: Pairs, model_logits: Callable[..., np.ndarray]
) -> None:
    """Where its loss is least: h = log((1 - s) / s) / beta. Plain DPO has no such place."""
    metrics: list[dict[str, float]] = []

    class Recorder(Hook):
        def on_update(self, event: Updated) -> None:
            metrics.append(dict(event.metrics))

    result = train(
        parent,
        preference_pairs,
        epochs(BATCH, BATCH, 400, 0),
        PreferenceConfig(
            optimiser=Optimiser(learning_rate=2e-3, warmup=2), beta=1.0, method="dpo", label_smoothing=0.1
        ),
        decoder=decoder,
        stage=Stage(name="cdpo", hooks=[Recorder()]),
    )
    changes = moved(model_logits, result, parent, preference_pairs)
    np.testing.assert_allclose(changes["preferred"] - changes["rejected"], math.log(9), rtol=0.1)
    assert metrics[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert metrics[-1]["rewards/accuracies"] == 1
    least = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert metrics[-1]["loss"] == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "expected `beta` to be positive, got 0.0"),
        ({"method": "kto"}, "expected `method` to be ipo or dpo, got 'kto'"),
        (
            {"method": "dpo", "label_smoothing": 0.5},
            "expected `label_smoothing` to be at least 0 and below 0.5, got 0.5",
        ),
        ({"method": "ipo", "label_smoothing": 0.1}, "expected no `label_smoothing` with ipo"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PreferenceConfig(**{"optimiser": Optimiser(learning_rate=1e-3), "beta": 0.1, **options})


def with_corrupted(seed: int) -> dict[str, np.ndarray]:
    """A batch of pairs, with rows of another batch as the preferred ones behind corrupted conditions."""
    batch, other = (pair_batch(np.random.default_rng(s)) for s in (seed, seed + 1))
    return batch | {
        name.replace("preferred", "corrupted"): value
        for name, value in other.items()
        if name.startswith("preferred")
    }


TERMS = [(False, False), (True, False), (False, True), (True, True)]
every_term = pytest.mark.parametrize(("conditional", "anchor"), TERMS)


@every_term
def test_terms_of_mdpo(
    decoder: Decoder, sharp: Params, model_logits: Callable[..., np.ndarray], conditional: bool, anchor: bool
) -> None:
    batch = with_corrupted(11)
    sides = [told(model_logits, sharp, batch, side) for side in (*SIDES, "corrupted")]
    wanted = 0.0
    for row, real in enumerate(batch["real"].tolist()):
        references = [float(batch[f"{side}_reference"][row]) for side in (*SIDES, "corrupted")]
        good, bad, other = (side[row] for side in sides)
        wanted += real * oracle.mdpo(
            good, bad, other if conditional else None, references, beta=BETA, anchor=anchor
        )
    loss = PreferenceLoss(decoder, "dpo", BETA, conditional=conditional, anchor=anchor)
    total, count, metrics = _call(loss, sharp, batch)
    assert float(total) == pytest.approx(wanted, rel=1e-4, abs=ATOL)
    assert float(count) == batch["real"].sum()
    assert ("rewards/corrupted" in metrics) == conditional


@every_term
def test_each_term_of_mdpo_begins_at_log_2(
    decoder: Decoder, sharp: Params, conditional: bool, anchor: bool
) -> None:
    batch = with_corrupted(0)
    for side in (*SIDES, "corrupted"):
        batch[f"{side}_reference"] = of_rows(decoder, sharp, side_rows(batch, side)).logprobs
    total, count, _ = _call(
        PreferenceLoss(decoder, "dpo", BETA, conditional=conditional, anchor=anchor), sharp, batch
    )
    assert float(total / count) == pytest.approx((1 + conditional + anchor) * math.log(2), abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "ipo", "anchor": True}, "no `anchor` term with ipo"),
        ({"method": "ipo", "conditional": True}, "no `conditional` term with ipo"),
    ],
)
def test_terms_of_mdpo_belong_to_dpo(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PreferenceConfig(optimiser=Optimiser(learning_rate=0.1), beta=0.1, **settings)


@pytest.mark.parametrize("conditional", [True, False])
def test_corrupted_rows_are_there_where_they_are_learnt_from(
    decoder: Decoder, sharp: Params, conditional: bool
) -> None:
    batch = pair_batch(np.random.default_rng(0))
    good, bad = (side_rows(batch, side) for side in SIDES)
    config = PreferenceConfig(
        optimiser=Optimiser(learning_rate=0.1), beta=0.1, method="dpo", conditional=conditional
    )
    with pytest.raises(ValueError, match=f"expected {'rows' if conditional else 'no rows'} in `corrupted`"):
        train(
            sharp,
            Pairs(preferred=good, rejected=bad),
            np.zeros((1, 2), int),
            config,
            decoder=decoder,
            stage=Stage(name="s"),
            corrupted=None if conditional else good,
        )


def test_policy_and_parent_see_the_same_corruption_at_every_step(decoder: Decoder, sharp: Params) -> None:
    """In the authors' code each draws its own. Here a policy that stays its parent earns nothing, at any step."""
    good, bad, other = (
        side_rows(pair_batch(np.random.default_rng(s)), side) for s, side in enumerate((*SIDES, SIDES[0]))
    )
    config = PreferenceConfig(
        optimiser=Optimiser(learning_rate=1e-9), beta=BETA, method="dpo", conditional=True, anchor=True
    )
    recorder = Recorder()
    order = np.tile(np.arange(BATCH), (3, 1))
    pairs = Pairs(preferred=good, rejected=bad)
    train(
        sharp, pairs, order, config, decoder=decoder, stage=Stage(name="s", hooks=[recorder]), corrupted=other
    )
    updates = [event.metrics for event in recorder.events if isinstance(event, Updated)]
    assert len(updates) == 3
    for metrics in updates:
        assert metrics["rewards/corrupted"] == pytest.approx(0, abs=1e-4)
        assert metrics["loss"] == pytest.approx(3 * math.log(2), abs=1e-4)


LENGTH, COPIES, PAIRS, WRONG = 10, 200, 200, 2
"""Tokens to copy, updates in which that is learnt by halves, pairs, tokens that are drawn anew in a rejected copy."""


def copies(given: np.ndarray, said: np.ndarray) -> Rows:
    """Rows in which a context stands before a copy of it, of which the copy is the target."""
    prompts = [[1, *context, 2] for context in given.tolist()]
    names = [(str(i),) for i in range(len(prompts))]
    return rows(prompts, said.tolist(), names, time=2 * LENGTH + 2, fill=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_under_mdpo_the_chosen_texts_gain_and_hang_on_their_context_and_under_dpo_they_lose(
    decoder: Decoder, seed: int
) -> None:
    """arXiv 2406.11839 in small: the anchor holds chosen copies up, the conditional term ties them to the context."""
    rng = np.random.default_rng(seed)
    lesson, contexts = (rng.integers(3, 35, (count, LENGTH)) for count in (32 * COPIES, PAIRS))
    rejected = contexts.copy()
    for row in rejected:
        row[rng.choice(LENGTH, WRONG, replace=False)] = rng.integers(3, 35, WRONG)
    starts = rng.integers(LENGTH - 1, size=PAIRS)
    good, bad = copies(contexts, contexts), copies(contexts, rejected)
    corrupted = copies(np.stack([c[s : s + 2] for c, s in zip(contexts, starts, strict=True)]), contexts)
    parent = sft.train(
        jax.jit(initialise, static_argnums=0)(decoder, jax.random.key(seed)),
        copies(lesson, lesson),
        np.arange(32 * COPIES).reshape(COPIES, 32),
        Optimiser(learning_rate=3e-3, warmup=50, final=0.1),
        decoder=decoder,
        stage=Stage(name="sft"),
    )
    begun = of_rows(decoder, parent, good).logprobs

    def outcome(*, conditional: bool, anchor: bool) -> tuple[float, float]:
        """Nats that the chosen copies gain, and nats of them that are owed to the context."""
        config = PreferenceConfig(
            optimiser=Optimiser(learning_rate=1e-3, warmup=10),
            beta=0.1,
            method="dpo",
            conditional=conditional,
            anchor=anchor,
        )
        params = train(
            parent,
            Pairs(preferred=good, rejected=bad),
            epochs(PAIRS, 20, 100, seed),
            config,
            decoder=decoder,
            stage=Stage(name="preference"),
            corrupted=corrupted if conditional else None,
        )
        known, guessed = (of_rows(decoder, params, shown).logprobs for shown in (good, corrupted))
        return float((known - begun).mean()), float((known - guessed).mean())

    dpo, anchored, tied, both = (
        outcome(conditional=conditional, anchor=anchor)
        for conditional, anchor in ((False, False), (False, True), (True, False), (True, True))
    )
    assert dpo[0] < 0 < both[0]
    assert tied[0] < 0 < anchored[0]
    # How much more: 1.35 to 1.85 times in these seeds, so that a bar of 1.5 would hold in three of them.
    assert both[1] > dpo[1]
    assert tied[1] > anchored[1]
