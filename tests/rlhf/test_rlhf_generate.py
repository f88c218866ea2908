"""Cached decoding against the full forward pass, and rows that do not know of one another."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle

from rlhf.batches import Prompts, pad
from rlhf.generate import Generation, generate, row_keys, score
from rlhf.model import Decoder, Params

PAD, EOS, BUDGET, VOCABULARY = 0, 2, 8, 300
Sampler = Callable[..., Generation]


@pytest.fixture(scope="module")
def sample(decoder: Decoder) -> Sampler:
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
    sample: Sampler, decoder: Decoder, sharp: Params, prompts: Prompts, prompt_lists: list[list[int]]
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
    sample: Sampler,
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
    sample: Sampler, parent: Params, prompts: Prompts
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


def test_a_rows_sample_does_not_depend_on_its_batch(sample: Sampler, sharp: Params, prompts: Prompts) -> None:
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


def test_equal_prompts_with_keys_of_their_own_differ(
    sample: Sampler, sharp: Params, prompts: Prompts
) -> None:
    same = np.repeat(prompts.tokens[1:2], 8, axis=0)
    found = sample(sharp, same, np.repeat(prompts.lengths[1:2], 8), temperature=1.0)
    assert len({tuple(row) for row in told(found)}) == 8


def test_every_step_draws_with_new_noise(sample: Sampler, sharp: Params, prompts: Prompts) -> None:
    """Where all tokens are equally likely, the same noise twice would be the same token twice."""
    flat = {**sharp, "embed": np.zeros_like(sharp["embed"])}
    rows = told(sample(flat, prompts.tokens, prompts.lengths, temperature=1.0))
    assert sum(len(row) for row in rows) > 50
    assert all(len(set(row)) > len(row) // 2 for row in rows)


def test_pads_of_a_prompt_change_nothing(
    sample: Sampler, sharp: Params, prompts: Prompts, prompt_lists: list[list[int]]
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
    found = score(sharp, pad(texts, 16, PAD)[0], decoder=decoder)
    for row, text in enumerate(texts):
        every = oracle.logits(sharp, decoder.config, text)
        expected = oracle.continuation_logprobs(every, text[:1], text[1:])
        np.testing.assert_allclose(np.asarray(found.logprobs)[row, : len(text) - 1], expected, atol=1e-3)
        best = [int(np.argmax(before)) == token for before, token in zip(every[:-1], text[1:], strict=True)]
        assert np.asarray(found.argmax)[row, : len(text) - 1].tolist() == best
        assert best[-1] or row % 2


def test_a_tie_is_won_by_the_lowest_id(
    decoder: Decoder, sharp: Params, sample: Sampler, prompts: Prompts
) -> None:
    """A model that finds every token equally likely: the greedy one is 0, in decoding and in scores."""
    flat = {**sharp, "embed": np.zeros_like(sharp["embed"])}
    assert not sample(flat, prompts.tokens, prompts.lengths, temperature=0).tokens.any()
    texts = np.tile(np.array([[1, 0, 1, 0] * 4], np.int32), (8, 1))
    found = score(flat, texts, decoder=decoder)
    assert (np.asarray(found.argmax) == (texts[:, 1:] == 0)).all()
    np.testing.assert_allclose(np.asarray(found.logprobs), -np.log(VOCABULARY), rtol=1e-5)
