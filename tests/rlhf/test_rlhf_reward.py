"""The reward model's loss against loops, its scale, and what it learns."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from rlhf_pairs import BATCH, SIDES, TIME, halves, pair_batch

from rlhf import checkpoint, reward
from rlhf.batches import Pairs, Prompts, Rows, rows
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params, zero_head
from rlhf.optimiser import Optimiser
from rlhf.reward import BradleyTerry, RewardConfig, RewardModel, sample_pairs, scale_to, train, unit_scale
from rlhf.stage import Stage

PAD, BOS = 0, 1
ATOL = 2e-3
few = settings(max_examples=15)
seeds = st.integers(0, 2**32 - 1)

_call = partial(jax.jit, static_argnums=0)(lambda loss, parts, batch: loss(parts, batch))


@pytest.fixture(scope="module")
def scorer(sharp_actor: dict[str, Params]) -> dict[str, Params]:
    return {"model": sharp_actor["policy"], "head": sharp_actor["head"]}


@pytest.fixture(scope="module")
def raw_scores(
    decoder: Decoder, scorer: dict[str, Params]
) -> Callable[[np.ndarray, np.ndarray], list[float]]:
    """The scalar at each row's own last weighted token, by the plain decoder and a NumPy head."""
    forward = jax.jit(lambda params, tokens: decoder.apply({"params": params}, tokens)[0])  # pyright: ignore

    def run(tokens: np.ndarray, weights: np.ndarray) -> list[float]:
        hidden = oracle.wide(jax.device_get(forward(scorer["model"], tokens)))
        every = hidden @ oracle.wide(scorer["head"]["kernel"]) + float(scorer["head"]["bias"])
        last = [max([t for t in range(TIME) if row[t]], default=0) for row in weights]
        return [float(every[row, t]) for row, t in enumerate(last)]

    return run


@pytest.mark.parametrize("centering", [0.0, 0.3])
@pytest.mark.parametrize("with_margins", [False, True])
@few
@given(seed=seeds)
def test_bradley_terry(
    decoder: Decoder,
    scorer: dict[str, Params],
    raw_scores: Callable[..., list[float]],
    with_margins: bool,
    centering: float,
    seed: int,
) -> None:
    """Each row is scored at its own last token; rows that fill the shape count nothing."""
    rng = np.random.default_rng(seed)
    batch = pair_batch(rng)
    margins = rng.normal(0, 2, BATCH).astype(np.float32) if with_margins else None
    chosen, rejected = (raw_scores(batch[side], batch[f"{side}_weights"]) for side in SIDES)
    sums = oracle.bradley_terry(
        chosen, rejected, list(batch["real"]), None if margins is None else margins.tolist(), centering
    )
    shown = batch if margins is None else batch | {"margin": margins}
    total, count, metrics = _call(BradleyTerry(decoder, centering), scorer, shown)
    assert float(total) == pytest.approx(sums["loss"], rel=1e-4, abs=ATOL)
    assert float(count) == sums["count"]
    assert [float(x) for x in metrics["accuracy"]] == [sums["accuracy"], sums["count"]]
    assert float(metrics["margin"][0]) == pytest.approx(sums["margin"], abs=ATOL)
    assert float(metrics["mean_reward"][0]) == pytest.approx(sums["mean_reward"], abs=ATOL)
    assert float(metrics["mean_reward"][1]) == 2 * sums["count"]
    assert set(metrics) == {"accuracy", "margin", "mean_reward"}


@few
@given(seed=seeds, shift=st.floats(-5, 5))
def test_pairs_say_nothing_of_where_zero_lies(
    decoder: Decoder, scorer: dict[str, Params], seed: int, shift: float
) -> None:
    """Neither the loss nor its gradient knows of a shift of all scores; with centering both do."""
    batch = pair_batch(np.random.default_rng(seed))
    head = scorer["head"]
    shifted = {**scorer, "head": {**head, "bias": np.float32(head["bias"] + np.float32(shift))}}
    plain = BradleyTerry(decoder)
    assert float(_call(plain, scorer, batch)[0]) == pytest.approx(
        float(_call(plain, shifted, batch)[0]), rel=1e-4, abs=1e-4
    )
    centred = BradleyTerry(decoder, 0.3)
    before, total = (float(_call(centred, s, batch)[2]["mean_reward"][0]) for s in (scorer, shifted))
    assert total - before == pytest.approx(2 * shift * batch["real"].sum(), abs=1e-3)


def test_sums_do_not_depend_on_how_a_batch_is_divided(decoder: Decoder, scorer: dict[str, Params]) -> None:
    batch = pair_batch(np.random.default_rng(3))
    loss = BradleyTerry(decoder)
    parts = [jax.tree.leaves(_call(loss, scorer, half)) for half in halves(batch)]
    for total, left, right in zip(jax.tree.leaves(_call(loss, scorer, batch)), *parts, strict=True):
        assert float(left + right) == pytest.approx(float(total), rel=1e-5)


@given(
    seed=seeds,
    mean=st.floats(-3, 3),
    deviation=st.floats(0.1, 3),
    size=st.floats(0.01, 100),
    offset=st.floats(-10, 10),
)
def test_the_scale_gives_mean_and_deviation_asked_for(
    seed: int, mean: float, deviation: float, size: float, offset: float
) -> None:
    """gain = target deviation / deviation, bias = target mean - gain * mean (the notes' detail 11)."""
    raw = (np.random.default_rng(seed).normal(size=50) * size + offset * size).astype(np.float32)
    scale = scale_to(raw, mean, deviation)
    gain, bias = float(scale["gain"]), float(scale["bias"])
    assert gain == pytest.approx(deviation / oracle.wide(raw).std(), rel=1e-5)
    assert bias == pytest.approx(mean - gain * oracle.wide(raw).mean(), abs=1e-4)
    scaled = gain * oracle.wide(raw) + bias
    assert scaled.mean() == pytest.approx(mean, abs=1e-3)
    assert scaled.std() == pytest.approx(deviation, rel=1e-4)


def test_scores_that_are_all_alike_are_shifted_only() -> None:
    scale = scale_to(np.full(7, 3.5, np.float32), 1.0, 2.0)
    assert (float(scale["gain"]), float(scale["bias"])) == (1.0, -2.5)


def test_a_reward_is_made_of_decoder_and_tree_alone(
    decoder: Decoder,
    scorer: dict[str, Params],
    fresh: Params,
    raw_scores: Callable[..., list[float]],
    tmp_path: Path,
) -> None:
    """Written and read back, it scores the same bits; gain and bias are arrays like the others."""
    batch = pair_batch(np.random.default_rng(4))
    tokens, weights = batch["preferred"], batch["preferred_weights"]
    tree = {**scorer, "scale": {"gain": np.float32(0.25), "bias": np.float32(-1.5)}}
    found = RewardModel(decoder, tree)(tokens, weights)
    assert found.shape == (BATCH,)
    assert found.dtype == np.float32
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, 0.25 * np.array(raw_scores(tokens, weights)) - 1.5, atol=1e-3)

    folded = RewardModel(decoder, tree).folded()
    assert set(folded) == {"model", "head"}
    again = RewardModel(decoder, {**folded, "scale": unit_scale()})
    np.testing.assert_allclose(again(tokens, weights), found, rtol=1e-5, atol=1e-5)

    checkpoint.save(tmp_path / "scorer", tree)
    like = {"model": fresh, "head": zero_head(decoder.config.width), "scale": unit_scale()}
    again = RewardModel(decoder, checkpoint.load(tmp_path / "scorer", like))
    assert again(tokens, weights).tobytes() == found.tobytes()


def test_a_tree_without_its_scale_is_no_reward(decoder: Decoder, scorer: dict[str, Params]) -> None:
    with pytest.raises(ValueError, match="expected a scorer of model, head and scale, got head, model"):
        RewardModel(decoder, scorer)


def _untrained(decoder: Decoder, parent: Params, pairs: Pairs, seed: int, **options: Any) -> RewardModel:
    samples = options.pop("samples", None)
    return train(
        parent,
        pairs,
        np.zeros((0, BATCH), int),
        RewardConfig(optimiser=Optimiser(learning_rate=1e-3), **options),
        decoder=decoder,
        stage=Stage(name="reward"),
        key=jax.random.key(seed),
        samples=samples,
    )


def test_the_head_starts_at_random_and_by_the_key(
    decoder: Decoder, sharp: Params, preference_pairs: Pairs
) -> None:
    """Normal(0, 1 / sqrt(width + 1)) (arXiv 1909.08593); the trunk starts as the parent."""
    many = [_untrained(decoder, sharp, preference_pairs, s, normalise="none").scorer for s in range(12)]
    kernels = np.stack([m["head"]["kernel"] for m in many])
    assert kernels.std() == pytest.approx((decoder.config.width + 1) ** -0.5, rel=0.1)
    assert abs(kernels.mean()) < 0.02
    assert len(np.unique(kernels)) == kernels.size
    assert {float(m["head"]["bias"]) for m in many} == {0.0}
    again = _untrained(decoder, sharp, preference_pairs, 0, normalise="none").scorer
    assert again["head"]["kernel"].tobytes() == many[0]["head"]["kernel"].tobytes()
    for left, right in zip(jax.tree.leaves(many[0]["model"]), jax.tree.leaves(sharp), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def test_the_scale_is_measured_on_the_parents_own_texts(
    decoder: Decoder, sharp: Params, preference_pairs: Pairs
) -> None:
    """On the rejected ones, or on `samples`; to the mean and deviation asked for."""
    batch = pair_batch(np.random.default_rng(9))
    other = Rows(tokens=batch["preferred"], weights=batch["preferred_weights"], ids=(("x",),) * BATCH)
    wanted = {"target_mean": 0.5, "target_deviation": 2.0}
    for own, samples in ((preference_pairs.rejected, None), (other, other)):
        scores = _untrained(decoder, sharp, preference_pairs, 0, samples=samples, **wanted)(
            own.tokens, own.weights
        )
        assert scores.mean() == pytest.approx(0.5, abs=1e-4)
        assert scores.std() == pytest.approx(2, abs=1e-4)


def test_the_fresh_head_can_be_stretched_before_the_first_step(
    decoder: Decoder, sharp: Params, preference_pairs: Pairs
) -> None:
    """Then the loss itself sees scores of deviation 1, and the scale at the end has nothing left to do."""
    plain = _untrained(decoder, sharp, preference_pairs, 0, normalise="after").scorer
    both = _untrained(decoder, sharp, preference_pairs, 0, normalise="both").scorer
    np.testing.assert_allclose(
        both["head"]["kernel"], plain["scale"]["gain"] * plain["head"]["kernel"], rtol=1e-5
    )
    assert float(both["head"]["bias"]) == pytest.approx(float(plain["scale"]["bias"]), abs=1e-5)
    assert abs(float(plain["scale"]["gain"]) - 1) > 0.1
    assert float(both["scale"]["gain"]) == pytest.approx(1, abs=1e-4)
    assert float(both["scale"]["bias"]) == pytest.approx(0, abs=1e-4)
    raw = _untrained(decoder, sharp, preference_pairs, 0, normalise="none").scorer
    assert (float(raw["scale"]["gain"]), float(raw["scale"]["bias"])) == (1, 0)


def test_it_learns_to_tell_preferred_from_rejected(scored: Any, preference_pairs: Pairs) -> None:
    assert scored.metrics[0]["loss"] > 0.3
    assert scored.metrics[-1]["accuracy"] == 1
    assert scored.metrics[-1]["loss"] < 0.1
    sides = (preference_pairs.preferred, preference_pairs.rejected)
    preferred, rejected = (scored.result(side.tokens, side.weights) for side in sides)
    assert preferred.min() > rejected.max()
    # Scores are in units of the rejected ones.
    assert rejected.mean() == pytest.approx(0, abs=1e-4)
    assert rejected.std() == pytest.approx(1, abs=1e-4)


def test_a_text_is_scored_at_its_own_last_token(scored: Any) -> None:
    """Also texts that were not in the lesson; what stands behind the end does not count."""
    middles = [np.random.default_rng(20 + n).integers(7, 23, n).tolist() for n in (2, 3, 4, 5, 6, 7, 8, 9)]

    def score(last: int, fill: int) -> np.ndarray:
        shown = rows([[BOS]] * 8, [[*m, last] for m in middles], [("x",)] * 8, time=TIME, fill=fill)
        return scored.result(shown.tokens, shown.weights)

    assert np.median(score(5, PAD) - score(6, PAD)) > 1
    np.testing.assert_allclose(score(5, 6), score(5, PAD), atol=1e-4)


def test_margins_reach_the_loss_of_their_own_pairs(
    decoder: Decoder, parent: Params, preference_pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop is handed, step by step; -1 stands for no pair."""
    margins, order = (
        np.linspace(-3, 3, BATCH),
        np.array([[3, 1, 0, 2, 7, 6, 5, 4], [4, 0, 6, 2, 1, 3, 5, -1]]),
    )
    seen: list[Any] = []

    def fit(parts: Any, shown: Any, **_: Any) -> Any:
        seen.extend(shown(step) for step in range(len(order)))
        return parts

    monkeypatch.setattr(reward, "fit", fit)
    config = RewardConfig(optimiser=Optimiser(learning_rate=1e-3), normalise="none")
    for wins_by in (margins, None):
        train(
            parent,
            preference_pairs,
            order,
            config,
            decoder=decoder,
            stage=Stage(name="reward"),
            key=jax.random.key(8),
            margins=wins_by,
        )
    for step, (batch, ids) in enumerate(seen[:2]):
        real = order[step][order[step] >= 0]
        assert ids == tuple((f"pair-{i}",) for i in real)
        assert batch["margin"].dtype == np.float32
        np.testing.assert_allclose(batch["margin"][: len(real)], margins[real], rtol=1e-6)
        np.testing.assert_array_equal(batch["preferred"], preference_pairs.preferred.tokens[order[step]])
        np.testing.assert_array_equal(batch["rejected"], preference_pairs.rejected.tokens[order[step]])
        assert batch["real"].tolist() == [1.0] * len(real) + [0.0] * (BATCH - len(real))
    assert all("margin" not in batch for batch, _ in seen[2:])


def test_sampled_pairs_differ_in_nothing_but_the_text(
    decoder: Decoder, parent: Params, prompts: Prompts, prompt_lists: list[list[int]]
) -> None:
    """Same prompts, same lengths, same examples; the rejected text is what the parent says at temperature 1."""
    truths = [list(range(100, 100 + n)) for n in (1, 8, 5, 2, 7, 3, 8, 4)]
    key = jax.random.key(5)
    pairs = sample_pairs(parent, prompts, truths, decoder=decoder, key=key, time=TIME, pad=PAD)
    keys = row_keys(key, jnp.arange(8))
    said = generate(
        parent,
        prompts.tokens,
        prompts.lengths,
        keys,
        decoder=decoder,
        budget=8,
        temperature=1.0,
        eos=None,
        pad=PAD,
    )
    assert pairs.preferred.ids == pairs.rejected.ids == prompts.ids
    assert pairs.preferred.weights.tolist() == pairs.rejected.weights.tolist()
    for row, (prompt, truth) in enumerate(zip(prompt_lists, truths, strict=True)):
        rest = [PAD] * (TIME - len(prompt) - len(truth))
        weak = np.asarray(said.tokens)[row, : len(truth)].tolist()
        assert pairs.preferred.tokens[row].tolist() == [*prompt, *truth, *rest]
        assert pairs.rejected.tokens[row].tolist() == [*prompt, *weak, *rest]
        assert pairs.preferred.weights[row].tolist() == [0] * len(prompt) + [1] * len(truth) + [0] * len(rest)
    assert not np.isin(pairs.rejected.tokens, np.arange(100, 108))[pairs.rejected.weights > 0].any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"centering": -0.1}, "expected `centering` to be 0 or more, got -0.1"),
        ({"target_deviation": 0.0}, "expected `target_deviation` to be positive, got 0.0"),
        ({"normalise": "before"}, "expected `normalise` to be none, after or both, got 'before'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RewardConfig(optimiser=Optimiser(learning_rate=1e-3), **options)


def test_margins_of_other_pairs_are_refused(
    decoder: Decoder, parent: Params, preference_pairs: Pairs
) -> None:
    with pytest.raises(ValueError, match=r"expected one margin a pair, \(8,\), got \(3,\)"):
        train(
            parent,
            preference_pairs,
            np.zeros((1, BATCH), int),
            RewardConfig(optimiser=Optimiser(learning_rate=1e-3)),
            decoder=decoder,
            stage=Stage(name="reward"),
            key=jax.random.key(0),
            margins=np.zeros(3),
        )
