"""What a stage learns, and what it leaves as it was."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle

from rlhf.batches import Rows, pad
from rlhf.generate import generate, row_keys
from rlhf.model import Decoder, Params

PAD, EOS, PROMPT, BUDGET = 0, 2, 8, 8
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
    result = run.result.scorer["model"] if name == "scored" else run.result
    trunk = result.get("policy", result)
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
    assert memorised.metrics[-1]["mean_token_accuracy"] == 1


def test_the_first_loss_is_that_of_the_parent(
    memorised: Any, lesson_rows: Rows, model_logits: Callable[..., np.ndarray]
) -> None:
    """Nats per target token, prompts and pads left out."""
    every = model_logits(memorised.parent, lesson_rows.tokens)
    total, count, hits = oracle.cross_entropy(every, lesson_rows.tokens, lesson_rows.weights)
    assert memorised.metrics[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert memorised.metrics[0]["mean_token_accuracy"] == pytest.approx(hits / count)


def test_an_update_follows_the_mean_over_what_was_shown(
    train_sft: Callable[..., Any], fresh: Params, lesson_rows: Rows
) -> None:
    """Four rows are the same lesson beside four rows that fill the shape as beside themselves once more."""
    order = np.tile(np.arange(8), (120, 1))
    first = []
    for beside in ([-1, -1, -1, -1], [0, 1, 2, 3]):
        order[0] = [0, 1, 2, 3, *beside]
        first.append(dict(train_sft(fresh, lesson_rows, order=order).metrics[0]))
    assert 2 * first[0].pop("num_tokens") == first[1].pop("num_tokens")
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
