"""The distribution that is really drawn from: which tokens are kept, what they are given, and how often they come."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rlhf_oracles as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.sampling import Sampler, _by_mass, draw, truncate

VOCABULARY, ROWS = 11, 4
SAMPLERS = [
    Sampler(),
    Sampler(temperature=0.6),
    Sampler(top_k=1),
    Sampler(top_k=4),
    Sampler(top_k=VOCABULARY),
    Sampler(top_k=99, top_p=0.8),
    Sampler(top_p=0.3),
    Sampler(top_p=0.95, temperature=1.7),
    Sampler(top_k=5, top_p=0.7, temperature=0.8),
    Sampler(top_p=1e-6),
]

drawn = jax.jit(draw, static_argnums=2)
cut = jax.jit(truncate, static_argnums=1)


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


# Few different values, so that many are tied; and any but the smallest, which compiled code takes for zeros.
tied = st.sampled_from([-3.0, -1.0, -0.0, 0.0, 0.5, 2.0])
values = st.one_of(tied, st.floats(-20, 20, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30))
tables = st.lists(
    st.one_of(
        st.lists(tied, min_size=VOCABULARY, max_size=VOCABULARY),
        st.lists(values, min_size=VOCABULARY, max_size=VOCABULARY),
    ),
    min_size=ROWS,
    max_size=ROWS,
)


def on_the_edge(row: np.ndarray, sampler: Sampler) -> bool:
    """Whether float32 may see the mass of the first tokens on the other side of `top_p`."""
    kept = oracle.truncated_logprobs(row.tolist(), sampler.temperature, sampler.top_k, 1.0)
    mass = np.cumsum(np.sort(np.exp(kept))[::-1])
    return bool(np.any(np.abs(mass - sampler.top_p) < 1e-5))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@given(table=tables, seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_the_log_probability_is_that_of_the_truncated_distribution(
    sampler: Sampler, table: list[list[float]], seed: int
) -> None:
    """Kept tokens, and the renormalised log-probability of the drawn one, for ties and plain logits alike."""
    logits = np.array(table, np.float32)
    kept = np.asarray(cut(logits / np.float32(sampler.temperature), sampler))
    token, logprob = map(np.asarray, drawn(logits, keys(ROWS, seed), sampler))
    for row in range(ROWS):
        assert np.isfinite(kept[row]).any()
        assert np.isfinite(kept[row, token[row]])
        if sampler.top_p < 1 and on_the_edge(logits[row], sampler):
            continue
        # In float32, as tokens must be ranked by the numbers that there are.
        scaled = (logits[row] / np.float32(sampler.temperature)).tolist()
        expected = oracle.truncated_logprobs(scaled, 1.0, sampler.top_k, sampler.top_p)
        assert np.isfinite(kept[row]).tolist() == np.isfinite(expected).tolist()
        np.testing.assert_allclose(logprob[row], expected[token[row]], atol=2e-5)


def test_of_equal_tokens_the_lowest_ids_are_kept() -> None:
    flat = np.zeros((1, VOCABULARY), np.float32)
    for sampler, count in ((Sampler(top_k=3), 3), (Sampler(top_p=0.5), 6), (Sampler(top_k=5, top_p=0.5), 3)):
        kept = np.isfinite(np.asarray(cut(flat, sampler)))[0]
        assert kept.tolist() == [token < count for token in range(VOCABULARY)]


def test_both_zeros_are_equal() -> None:
    zeros = np.array([[-0.0, 0.0, -0.0, 0.0, -1.0]], np.float32)
    assert np.isfinite(np.asarray(cut(zeros, Sampler(top_k=1))))[0].tolist() == [True] + [False] * 4


@pytest.mark.parametrize("sampler", [Sampler(), Sampler(top_k=300), Sampler(top_k=10**6, top_p=1.0)])
def test_what_keeps_everything_changes_nothing(sampler: Sampler) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (3, 300)).astype(np.float32)
    assert np.asarray(cut(logits, sampler)).tobytes() == logits.tobytes()


@pytest.mark.parametrize(
    "sampler", [Sampler(), Sampler(temperature=0.5), Sampler(top_k=40), Sampler(top_p=0.8)], ids=repr
)
def test_tokens_come_as_often_as_they_should(sampler: Sampler) -> None:
    """Chi-square over 120000 draws; the vocabulary is no multiple of the blocks that the draw is made in."""
    size, count = 157, 120_000
    row = np.random.default_rng(1).normal(0, 1.5, size).astype(np.float32)
    logits = np.broadcast_to(row, (count, size))
    if sampler.truncates:  # once for all rows: they are equal
        kept = cut(row[None] / np.float32(sampler.temperature), sampler)
        logits, plain = np.broadcast_to(np.asarray(kept), (count, size)), Sampler()
    else:
        plain = sampler
    token, _ = drawn(logits, keys(count), plain)
    share = np.exp(oracle.truncated_logprobs(row.tolist(), sampler.temperature, sampler.top_k, sampler.top_p))
    seen = np.bincount(np.asarray(token), minlength=size)
    assert not seen[share == 0].any()
    wanted, seen = share[share > 0] * count, seen[share > 0]
    chi = float(np.sum((seen - wanted) ** 2 / wanted))
    freedom = len(wanted) - 1
    assert abs(chi - freedom) < 4.5 * np.sqrt(2 * freedom)


@given(
    mass=st.lists(st.sampled_from([0.0, 0.0, 1e-30, 1e-7, 0.3, 1.0]), min_size=13, max_size=13),
    uniform=st.tuples(*[st.floats(0, 1, width=32)] * 2),
)
@settings(max_examples=200, deadline=None)
def test_what_has_no_mass_is_never_drawn(mass: list[float], uniform: tuple[float, float]) -> None:
    """Not even by a number that is rounded up to 1."""
    found = jax.jit(_by_mass)(np.array([[*mass, 1.0, 0.0]], np.float32), np.array([uniform], np.float32))
    assert [*mass, 1.0, 0.0][int(found[0])] > 0


def test_temperature_zero_is_the_first_of_the_most_likely() -> None:
    logits = np.array([[0.0, 2.0, 2.0, -1.0], [5.0, 1.0, 1.0, 5.0]], np.float32)
    token, logprob = drawn(logits, keys(2), Sampler(temperature=0))
    assert np.asarray(token).tolist() == [1, 0]
    np.testing.assert_allclose(logprob, oracle.log_softmax(logits)[[0, 1], [1, 0]], atol=1e-6)


def test_a_row_is_drawn_with_its_own_key_alone() -> None:
    logits = jnp.asarray(np.random.default_rng(2).normal(0, 1, (64, 40)), jnp.float32)
    some = keys(64)
    token, _ = drawn(logits, some, Sampler())
    turned, _ = drawn(logits[::-1], some[::-1], Sampler())
    assert np.asarray(turned).tolist() == np.asarray(token)[::-1].tolist()
    alone, _ = drawn(logits[7:8], some[7:8], Sampler())
    assert int(alone[0]) == int(token[7])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -0.1}, r"`temperature` to be finite and not negative, got -0\.1: set 0"),
        ({"temperature": float("nan")}, "`temperature` to be finite and not negative, got nan"),
        ({"temperature": float("inf")}, "`temperature` to be finite and not negative, got inf"),
        ({"top_k": 0}, "`top_k` to be a whole number of at least 1, got 0: set None"),
        ({"top_k": 2.5}, r"`top_k` to be a whole number of at least 1, got 2\.5"),
        ({"top_p": 0.0}, r"`top_p` to be above 0 and at most 1, got 0\.0: set 1"),
        ({"top_p": 1.1}, r"`top_p` to be above 0 and at most 1, got 1\.1"),
        ({"temperature": 0, "top_k": 5}, "no truncation at temperature 0, got top_k=5"),
        ({"temperature": 0, "top_p": 0.9}, r"no truncation at temperature 0, got top_k=None, top_p=0\.9"),
    ],
)
def test_what_means_nothing_is_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler(**setting)  # pyright: ignore[reportArgumentType]


def test_a_sampler_is_a_static_argument() -> None:
    program = jax.jit(partial(draw), static_argnames="sampler")
    for _ in range(2):
        program(np.zeros((1, 5), np.float32), keys(1), sampler=Sampler(top_k=2))
    assert program._cache_size() == 1
