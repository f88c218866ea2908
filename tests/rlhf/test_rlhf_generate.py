"""Cached decoding against the full forward pass, and rows that do not know of one another."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from rlhf_listening import scores

from rlhf.batches import Prompts, pad
from rlhf.generate import Generation, bucket, decode, generate, row_keys
from rlhf.model import Decoder, Params, initialise
from rlhf.presets import preset
from rlhf.sampling import Sampler

PAD, EOS, BUDGET, VOCABULARY = 0, 2, 8, 300
Sample = Callable[..., Generation]


@pytest.fixture(scope="module")
def sample(decoder: Decoder) -> Sample:
    """`generate` as NumPy arrays, with one key per row from its number."""

    def run(
        params: Params,
        prompts: np.ndarray,
        lengths: np.ndarray,
        *,
        temperature: float,
        seed: int = 0,
        keys: jax.Array | None = None,
        eos: int | None = EOS,
        **settings: Any,
    ) -> Generation:
        if keys is None:
            keys = row_keys(jax.random.key(seed), jnp.arange(len(lengths)))
        found = generate(
            params,
            prompts,
            lengths,
            keys,
            decoder=decoder,
            budget=BUDGET,
            temperature=temperature,
            eos=eos,
            pad=PAD,
            **settings,
        )
        return Generation(*map(np.asarray, found))  # pyright: ignore[reportArgumentType]

    return run


def told(found: Generation) -> list[list[int]]:
    return [row[:length].tolist() for row, length in zip(found.tokens, found.lengths, strict=True)]


def assert_well_ended(found: Generation) -> None:
    """A row ends with its first end of text or at the budget, and behind it is nothing."""
    for tokens, logprobs, length in zip(found.tokens, found.logprobs, found.lengths, strict=True):
        ends = np.flatnonzero(tokens == EOS)
        assert length == (ends[0] + 1 if len(ends) else BUDGET)
        assert (tokens[length:] == PAD).all()
        assert (logprobs[length:] == 0).all()
        assert (logprobs[:length] < 0).all()


def test_greedy_decoding_is_the_argmax_of_the_full_pass(
    sample: Sample, decoder: Decoder, sharp: Params, prompts: Prompts, prompt_lists: list[list[int]]
) -> None:
    """Token by token, each row alone and unpadded in the plain decoder."""
    found = sample(sharp, prompts.tokens, prompts.lengths, temperature=0)
    assert_well_ended(found)
    for prompt, answer, logprobs in zip(prompt_lists, told(found), found.logprobs, strict=True):
        every = oracle.logits(sharp, decoder.config, [*prompt, *answer])
        for t, token in enumerate(answer):
            before = every[len(prompt) + t - 1]
            assert before[token] > before.max() - 1e-3
        expected = oracle.continuation_logprobs(every, prompt, answer)
        np.testing.assert_allclose(logprobs[: len(answer)], expected, atol=1e-3)
    assert len({tuple(answer) for answer in told(found)}) == len(prompt_lists)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_logprobs_are_those_of_the_full_pass_at_that_temperature(
    sample: Sample,
    model_logits: Callable[..., np.ndarray],
    sharp: Params,
    prompts: Prompts,
    prompt_lists: list[list[int]],
    temperature: float,
) -> None:
    """And the tokens are drawn from them: over many, log p + entropy is 0 in the mean."""
    gaps = []
    for seed in range(40):
        found = sample(sharp, prompts.tokens, prompts.lengths, temperature=temperature, seed=seed)
        assert_well_ended(found)
        joined = [p + a for p, a in zip(prompt_lists, told(found), strict=True)]
        every = model_logits(sharp, pad(joined, 16, PAD)[0])
        for row, (prompt, answer) in enumerate(zip(prompt_lists, told(found), strict=True)):
            expected = oracle.continuation_logprobs(every[row], prompt, answer, temperature)
            np.testing.assert_allclose(found.logprobs[row, : len(answer)], expected, atol=1e-3)
            before = oracle.log_softmax(every[row, len(prompt) - 1 : len(joined[row]) - 1] / temperature)
            gaps.extend(expected - np.sum(np.exp(before) * before, axis=-1))
    # Four standard errors; to sample at another of these temperatures moves the mean by ten times as much.
    assert len(gaps) > 2000
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(len(gaps))
    assert np.std(gaps) / np.sqrt(len(gaps)) < 0.05


def test_rows_end_with_the_end_of_text_or_with_the_budget(
    sample: Sample, parent: Params, prompts: Prompts
) -> None:
    """Both kinds of row side by side; without an end-of-text token every row has the whole budget."""
    ended = sample(parent, prompts.tokens, prompts.lengths, temperature=1.0)
    assert_well_ended(ended)
    assert len(set(ended.lengths.tolist())) > 2
    assert EOS in ended.tokens
    endless = sample(parent, prompts.tokens, prompts.lengths, temperature=1.0, eos=None)
    assert (endless.lengths == BUDGET).all()
    assert (endless.logprobs < 0).all()
    for short, length, whole in zip(ended.tokens, ended.lengths, endless.tokens, strict=True):
        assert short[:length].tolist() == whole[:length].tolist()
    behind = [row[n:] for row, n in zip(endless.tokens, ended.lengths, strict=True)]
    assert np.concatenate(behind).any()


def test_a_rows_sample_does_not_depend_on_its_batch(sample: Sample, sharp: Params, prompts: Prompts) -> None:
    """Other neighbours, another order: the same prompt with the same key says the same."""
    run = partial(sample, sharp, temperature=1.0)
    keys = row_keys(jax.random.key(0), jnp.arange(8))
    plain = run(prompts.tokens, prompts.lengths, keys=keys)

    order = np.array([6, 4, 2, 0, 7, 5, 3, 1])
    turned = run(prompts.tokens[order], prompts.lengths[order], keys=keys[order])
    assert told(turned) == [told(plain)[row] for row in order]

    strangers = np.random.default_rng(8).integers(3, VOCABULARY, prompts.tokens.shape).astype(np.int32)
    tokens, lengths = prompts.tokens.copy(), prompts.lengths.copy()
    tokens[::2], lengths[::2] = strangers[::2], 8
    mixed = run(tokens, lengths, keys=keys)
    assert told(mixed)[1::2] == told(plain)[1::2]
    assert told(mixed)[::2] != told(plain)[::2]

    again = run(prompts.tokens, prompts.lengths, keys=keys)
    assert told(again) == told(plain)
    other = run(prompts.tokens, prompts.lengths, seed=1)
    assert all(a != b for a, b in zip(told(other), told(plain), strict=True))


def test_equal_prompts_with_keys_of_their_own_differ(sample: Sample, sharp: Params, prompts: Prompts) -> None:
    same = np.repeat(prompts.tokens[1:2], 8, axis=0)
    found = sample(sharp, same, np.repeat(prompts.lengths[1:2], 8), temperature=1.0)
    assert len({tuple(row) for row in told(found)}) == 8


def test_every_step_draws_with_new_noise(sample: Sample, sharp: Params, prompts: Prompts) -> None:
    """Where all tokens are equally likely, the same noise twice would be the same token twice."""
    flat = {**sharp, "embed": np.zeros_like(sharp["embed"])}
    rows = told(sample(flat, prompts.tokens, prompts.lengths, temperature=1.0))
    assert sum(len(row) for row in rows) > 50
    assert all(len(set(row)) > len(row) // 2 for row in rows)


def test_pads_of_a_prompt_change_nothing(
    sample: Sample, sharp: Params, prompts: Prompts, prompt_lists: list[list[int]]
) -> None:
    """Neither what they hold nor how many there are."""
    plain = sample(sharp, prompts.tokens, prompts.lengths, temperature=0)
    inside = np.arange(prompts.tokens.shape[1]) < prompts.lengths[:, None]
    junk = np.where(inside, prompts.tokens, np.random.default_rng(9).integers(3, VOCABULARY, inside.shape))
    found = sample(sharp, junk.astype(np.int32), prompts.lengths, temperature=0)
    assert told(found) == told(plain)
    np.testing.assert_allclose(found.logprobs, plain.logprobs, atol=1e-5)
    wide, lengths = pad(prompt_lists, 13, PAD)
    found = sample(sharp, wide, lengths, temperature=0)
    assert told(found) == told(plain)
    np.testing.assert_allclose(found.logprobs, plain.logprobs, atol=1e-3)


def test_scores_of_a_given_text_are_those_of_the_plain_decoder(decoder: Decoder, sharp: Params) -> None:
    texts = [
        np.random.default_rng(n).integers(3, VOCABULARY, n).tolist() for n in (2, 16, 7, 9, 3, 12, 16, 5)
    ]
    for text in texts[::2]:  # let some texts hold tokens that are the argmax
        text[-1] = int(np.argmax(oracle.logits(sharp, decoder.config, text[:-1])[-1]))
    found = scores(decoder, sharp, pad(texts, 16, PAD)[0])
    for row, text in enumerate(texts):
        every = oracle.logits(sharp, decoder.config, text)
        expected = oracle.continuation_logprobs(every, text[:1], text[1:])
        np.testing.assert_allclose(np.asarray(found.logprobs)[row, : len(text) - 1], expected, atol=1e-3)
        best = [int(np.argmax(before)) == token for before, token in zip(every[:-1], text[1:], strict=True)]
        assert np.asarray(found.hit)[row, : len(text) - 1].tolist() == best
        assert best[-1] or row % 2


def test_a_tie_is_won_by_the_lowest_id(
    decoder: Decoder, sharp: Params, sample: Sample, prompts: Prompts
) -> None:
    """A model that finds every token equally likely: the greedy one is 0, in decoding and in scores."""
    flat = {**sharp, "embed": np.zeros_like(sharp["embed"])}
    assert not sample(flat, prompts.tokens, prompts.lengths, temperature=0).tokens.any()
    texts = np.tile(np.array([[1, 0, 1, 0] * 4], np.int32), (8, 1))
    found = scores(decoder, flat, texts)
    assert (np.asarray(found.hit) == (texts[:, 1:] == 0)).all()
    np.testing.assert_allclose(np.asarray(found.logprobs), -np.log(VOCABULARY), rtol=1e-5)


def test_the_bucket_is_the_least_that_holds_the_prompt() -> None:
    assert [bucket(n) for n in (1, 15, 16, 17, 32, 33, 1000)] == [16, 16, 16, 32, 32, 64, 1024]
    assert [bucket(n, (48, 12)) for n in (1, 12, 13, 48)] == [12, 12, 48, 48]
    with pytest.raises(ValueError, match=r"at most 48 tokens, the widest of `buckets`, got one of 49"):
        bucket(49, (48, 12))


def test_there_are_as_many_programs_as_buckets(decoder: Decoder, sharp: Params) -> None:
    """Whatever the widths that prompts come in, and however far the longest fills them."""
    rng = np.random.default_rng(10)
    known = decode._cache_size()
    for longest, width in ((3, 3), (9, 14), (16, 40), (17, 17), (30, 31), (32, 64), (5, 20)):
        texts = [rng.integers(3, VOCABULARY, n).tolist() for n in (longest, 1)]
        tokens, lengths = pad(texts, width, PAD)
        keys = row_keys(jax.random.key(0), jnp.arange(2))
        for given in (tokens, jnp.asarray(tokens)):
            generate(
                sharp,
                given,
                lengths,
                keys,
                decoder=decoder,
                budget=2,
                temperature=1.0,
                eos=EOS,
                pad=PAD,
            )
    assert decode._cache_size() == known + 2


def test_a_rows_sample_does_not_depend_on_its_bucket(sample: Sample, sharp: Params, prompts: Prompts) -> None:
    """The same noise and, but for rounding, the same log-probabilities."""
    plain = sample(sharp, prompts.tokens, prompts.lengths, temperature=1.0)
    for width in (8, 21):
        other = sample(sharp, prompts.tokens, prompts.lengths, temperature=1.0, buckets=(width,))
        assert told(other) == told(plain)
        np.testing.assert_allclose(other.logprobs, plain.logprobs, atol=1e-3)


def test_truncated_logprobs_are_those_of_what_was_drawn_from(
    sample: Sample, decoder: Decoder, sharp: Params, prompts: Prompts, prompt_lists: list[list[int]]
) -> None:
    """Renormalised over the kept tokens of the full pass; on the edge of `top_p` float32 may keep one more or less."""
    setting = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}
    found = sample(sharp, prompts.tokens, prompts.lengths, **setting)
    assert_well_ended(found)
    right = total = 0
    for row, (prompt, answer) in enumerate(zip(prompt_lists, told(found), strict=True)):
        every = oracle.logits(sharp, decoder.config, [*prompt, *answer])
        for t, token in enumerate(answer):
            expected = oracle.truncated_logprobs(every[len(prompt) + t - 1].tolist(), **setting)
            right += abs(found.logprobs[row, t] - expected[token]) < 1e-3
            total += 1
    assert right > 0.95 * total > 30


def test_the_loop_stops_when_every_row_has(sample: Sample, sharp: Params, prompts: Prompts) -> None:
    """Greedy, with the first answer's third token as the end of text, in eight rows that are all alike."""
    one = (np.repeat(prompts.tokens[2:3], 8, 0), np.repeat(prompts.lengths[2:3], 8))
    free = sample(sharp, *one, temperature=0, eos=None)
    assert free.steps == BUDGET
    end = int(free.tokens[0, 2])
    ended = sample(sharp, *one, temperature=0, eos=end)
    length = free.tokens[0].tolist().index(end) + 1
    assert ended.steps == length < BUDGET
    assert (ended.lengths == length).all()
    assert (ended.tokens[:, length:] == PAD).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_cache_does_not_pile_up_and_is_in_the_decoders_precision(decoder: Decoder, dtype: str) -> None:
    """The loop's own and, on a CPU, copies of the values while they are written: twice its size at most."""
    c, rows, budget = decoder.config, 32, 4096
    model = Decoder(c, dtype)  # pyright: ignore[reportArgumentType]
    params = jax.eval_shape(lambda: initialise(model, jax.random.key(0)))
    shapes = [jax.ShapeDtypeStruct(s, jnp.int32) for s in ((rows, 16), (rows,))]
    keys = jax.eval_shape(lambda: row_keys(jax.random.key(0), jnp.arange(rows)))
    lowered = decode.lower(
        params, *shapes, keys, decoder=model, budget=budget, sampler=Sampler(), eos=EOS, pad=PAD
    )
    shape = f"tensor<{rows}x{c.kv_heads}x{16 + budget - 1}x{c.head_size}x"
    assert shape + {"float32": "f32>", "bfloat16": "bf16>"}[dtype] in lowered.as_text()
    if dtype == "bfloat16":  # what the CPU's compiler makes of half precision is its own affair
        assert shape + "f32>" not in lowered.as_text()
        return
    cache = 2 * c.layers * rows * c.kv_heads * (16 + budget - 1) * c.head_size * 4
    needed = lowered.compile().memory_analysis().temp_size_in_bytes
    assert cache <= needed < 2.1 * cache


@pytest.mark.parametrize("shape", ["tiny", "tiny-glm"])
def test_cached_decoding_has_the_logits_of_the_full_pass(shape: str) -> None:
    """For biases, part of each head rotated, shared keys and an output head of its own too."""
    model = Decoder(preset(shape, VOCABULARY))
    fresh = initialise(model, jax.random.key(3))
    rng = np.random.default_rng(11)
    params = jax.tree.map(lambda x: x + rng.normal(0, 0.1, x.shape).astype(np.float32), fresh)
    texts = [rng.integers(3, VOCABULARY, n).tolist() for n in (1, 6, 11)]
    tokens, lengths = pad(texts, 11, PAD)
    keys = row_keys(jax.random.key(0), jnp.arange(3))
    found = generate(
        params, tokens, lengths, keys, decoder=model, budget=BUDGET, temperature=1.0, eos=None, pad=PAD
    )
    joined = [t + row.tolist() for t, row in zip(texts, np.asarray(found.tokens), strict=True)]
    known = np.asarray(scores(model, params, pad(joined, 19, PAD)[0]).logprobs)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(
            found.logprobs[row], known[row, length - 1 : length - 1 + BUDGET], atol=2e-4
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": [3, 0]}, "prompts of at least 1 token, got a length of 0: begin every prompt"),
        ({"lengths": [3, 5]}, "`lengths` of at most 4, the prompts' width, got 5"),
        ({"lengths": [3]}, r"`lengths` of shape \(batch,\) with at least one row, got \(2, 4\) and \(1,\)"),
        ({"keys": 3}, "one key for each of the 2 rows"),
        ({"budget": 0}, "`budget` to be at least 1, got 0"),
        ({"temperature": -1.0}, "`temperature` to be finite and not negative"),
        ({"top_p": 0.0}, "`top_p` to be above 0"),
        ({"buckets": (2,)}, "at most 2 tokens, the widest of `buckets`, got one of 4"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    decoder: Decoder, sharp: Params, change: dict[str, Any], message: str
) -> None:
    settings = {"budget": 2, "temperature": 1.0, "eos": EOS, "pad": PAD, "decoder": decoder} | change
    lengths = np.array(settings.pop("lengths", [3, 4]), np.int32)
    keys = row_keys(jax.random.key(0), jnp.arange(settings.pop("keys", 2)))
    with pytest.raises(ValueError, match=message):
        generate(sharp, np.ones((2, 4), np.int32), lengths, keys, **settings)
