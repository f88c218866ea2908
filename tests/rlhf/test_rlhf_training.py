"""What a stage learns, and what it leaves as it was."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle

from rlhf.batches import Pairs, Prompts, Rows, pad, rows
from rlhf.fit import Adam
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params
from rlhf.reward import sample_pairs

PAD, BOS, EOS, TIME, PROMPT, BUDGET = 0, 1, 2, 16, 8, 8
IPO_TARGET = 1 / (2 * 0.25)
RUNS = ["memorised", "scored", "ipo_run", "ppo_run"]


def assert_same(found: Params, expected: Params) -> None:
    """Bit for bit."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert np.asarray(left).dtype == np.asarray(right).dtype == np.float32
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def differs(found: Params, other: Params) -> list[bool]:
    return [
        bool((np.asarray(left) != np.asarray(right)).any())
        for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(other), strict=True)
    ]


@pytest.mark.parametrize("name", RUNS)
def test_the_parent_survives_untouched(name: str, request: pytest.FixtureRequest) -> None:
    """It is the reference of what comes after it: no update may write into it or give its buffers away."""
    run = request.getfixturevalue(name)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(run.parent))
    assert_same(run.parent, run.parent_before)
    result = run.result.params if name == "scored" else run.result
    trunk = {key: leaf for key, leaf in result.items() if key != "head"}
    assert all(differs(trunk, run.parent_before))


@pytest.mark.parametrize("name", RUNS)
def test_a_stage_compiles_its_update_once(name: str, request: pytest.FixtureRequest) -> None:
    run = request.getfixturevalue(name)
    assert run.compiled <= 1
    assert len(run.metrics) >= 40


def test_sft_drives_the_loss_to_zero(memorised: Any) -> None:
    losses = [metrics["loss"] for metrics in memorised.metrics]
    assert losses[0] > 5
    assert losses[-1] < 0.01
    assert memorised.metrics[-1]["accuracy"] == 1


def test_the_first_loss_is_that_of_the_parent(
    memorised: Any, lesson_rows: Rows, model_logits: Callable[..., np.ndarray]
) -> None:
    """Nats per target token, prompts and pads left out."""
    every = model_logits(memorised.parent, lesson_rows.tokens)
    total, count, hits = oracle.cross_entropy(every, lesson_rows.tokens, lesson_rows.weights)
    assert memorised.metrics[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert memorised.metrics[0]["accuracy"] == pytest.approx(hits / count)


def test_an_update_follows_the_mean_over_what_was_shown(
    train_sft: Callable[..., Any], fresh: Params, lesson_rows: Rows
) -> None:
    """Four rows are the same lesson beside four rows that fill the shape as beside themselves once more."""
    order = np.tile(np.arange(8), (120, 1))
    first = []
    for beside in ([-1, -1, -1, -1], [0, 1, 2, 3]):
        order[0] = [0, 1, 2, 3, *beside]
        first.append(train_sft(fresh, lesson_rows, order=order).metrics[0])
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_greedy_decoding_gives_back_what_was_learnt(
    memorised: Any, decoder: Decoder, lesson: tuple[list[list[int]], list[list[int]]]
) -> None:
    """The end of text included; the fresh model knows none of it."""
    starts, ends = lesson
    tokens, lengths = pad(starts, PROMPT, PAD)
    keys = row_keys(jax.random.key(0), jnp.arange(len(starts)))

    def answers(params: Params) -> list[list[int]]:
        found = generate(
            params, tokens, lengths, keys, decoder=decoder, budget=BUDGET, temperature=0, eos=EOS, pad=PAD
        )
        return [
            row[:n].tolist()
            for row, n in zip(np.asarray(found.tokens), np.asarray(found.lengths), strict=True)
        ]

    assert answers(memorised.result) == ends
    assert not any(a == e for a, e in zip(answers(memorised.parent), ends, strict=True))


def test_the_same_run_again_gives_the_same_bits(
    memorised: Any, train_sft: Callable[..., Any], fresh: Params, lesson_rows: Rows
) -> None:
    again = train_sft(fresh, lesson_rows)
    assert_same(again.result, memorised.result)
    assert again.events == memorised.events
    assert again.compiled == 0


def test_numpy_parameters_serve_as_parent(
    memorised: Any, train_sft: Callable[..., Any], lesson_rows: Rows
) -> None:
    """As a checkpoint gives them: the run is the same, and the arrays are not written into."""
    loaded = jax.tree.map(np.array, memorised.parent)
    run = train_sft(loaded, lesson_rows)
    assert_same(run.result, memorised.result)
    assert_same(loaded, run.parent_before)


def test_the_reward_model_tells_preferred_from_rejected(scored: Any, preference_pairs: Pairs) -> None:
    assert scored.metrics[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)  # the head starts at zero
    assert scored.metrics[-1]["accuracy"] == 1
    assert scored.metrics[-1]["loss"] < 0.1
    preferred, rejected = (
        scored.result(side.tokens, side.weights)
        for side in (preference_pairs.preferred, preference_pairs.rejected)
    )
    assert preferred.min() > rejected.max()
    # Scores are in units of the rejected ones.
    assert rejected.mean() == pytest.approx(0, abs=1e-4)
    assert rejected.std() == pytest.approx(1, abs=1e-4)


def test_a_text_is_scored_at_its_own_last_token(scored: Any) -> None:
    """Also texts that were not in the lesson; what stands behind the end does not count."""
    middles = [np.random.default_rng(20 + n).integers(7, 23, n).tolist() for n in (1, 2, 3, 4, 5, 6, 7, 8)]

    def score(last: int, fill: int) -> np.ndarray:
        shown = rows([[BOS]] * 8, [[*m, last] for m in middles], [("x",)] * 8, time=TIME, fill=fill)
        return scored.result(shown.tokens, shown.weights)

    assert (score(5, PAD) > score(6, PAD)).all()
    np.testing.assert_allclose(score(5, 6), score(5, PAD), atol=1e-4)


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


def test_ipo_moves_every_margin_to_its_target_and_not_beyond(
    ipo_run: Any, preference_pairs: Pairs, model_logits: Callable[..., np.ndarray]
) -> None:
    """The margin of summed log-probabilities over the parent, recomputed pair by pair."""
    seen = [metrics["margin"] for metrics in ipo_run.metrics]
    assert seen[0] == pytest.approx(0, abs=1e-4)
    assert ipo_run.metrics[0]["loss"] == pytest.approx(IPO_TARGET**2, abs=1e-3)
    assert max(seen) < 1.5 * IPO_TARGET
    moved = {}
    for name in ("preferred", "rejected"):
        side = getattr(preference_pairs, name)
        new, old = (
            oracle.log_softmax(model_logits(params, side.tokens))
            for params in (ipo_run.result, ipo_run.parent)
        )
        moved[name] = np.array(
            [
                sum((new - old)[row, t - 1, text[t]] for t in range(1, TIME) if side.weights[row, t])
                for row, text in enumerate(side.tokens)
            ]
        )
    np.testing.assert_allclose(moved["preferred"] - moved["rejected"], IPO_TARGET, rtol=0.1)
    assert seen[-1] == pytest.approx(np.mean(moved["preferred"] - moved["rejected"]), rel=0.05)


def test_updates_are_adamw_with_their_schedule() -> None:
    """Warm-up, cosine end, decoupled decay and clipping by global norm, against loops over a toy tree."""
    adam = Adam(learning_rate=0.1, steps=12, warmup=3, final=0.25, weight_decay=0.05, clip=1.0)
    rng = np.random.default_rng(30)
    gradients = rng.normal(size=(12, 5)).astype(np.float32) * np.float32(3)
    gradients[4] /= 100  # below the clip
    weight = np.ones(5, np.float32)

    @jax.jit
    def run(weight: jax.Array, gradients: jax.Array) -> jax.Array:
        def step(carry: Any, gradient: jax.Array) -> Any:
            params, moments = carry
            change, moments = adam.transform().update({"w": gradient}, moments, params)
            params = jax.tree.map(lambda p, c: p + c, params, change)
            return (params, moments), params["w"]

        return jax.lax.scan(step, ({"w": weight}, adam.transform().init({"w": weight})), gradients)[1]

    found = np.asarray(run(weight, gradients))
    mean, square, expected = np.zeros(5), np.zeros(5), weight.astype(np.float64)
    for step, gradient in enumerate(gradients.astype(np.float64)):
        if step < 3:
            rate = 0.1 * (step + 1) / 3
        else:
            share = 0.5 * (1 + np.cos(np.pi * (step + 1 - 3) / (13 - 3)))
            rate = 0.1 * (0.25 + 0.75 * share)
        gradient = gradient / max(1.0, np.linalg.norm(gradient))
        mean, square = 0.9 * mean + 0.1 * gradient, 0.95 * square + 0.05 * gradient**2
        direction = (mean / (1 - 0.9 ** (step + 1))) / (np.sqrt(square / (1 - 0.95 ** (step + 1))) + 1e-8)
        expected = expected - rate * (direction + 0.05 * expected)
        np.testing.assert_allclose(found[step], expected, rtol=1e-4, atol=1e-5)
