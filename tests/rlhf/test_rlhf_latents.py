"""Windows as points: principal components against a dense decomposition, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.latents import Latents

VOCABULARY = 11


def drawn(seed: int, count: int = 300, window: int = 4) -> np.ndarray:
    """Windows of unequally frequent tokens, in which neighbours hang together; tokens 9 and 10 never occur."""
    rng = np.random.default_rng(seed)
    windows = rng.choice(9, size=(count, window), p=np.arange(9, 0, -1) / 45)
    windows[:, 1] = np.where(rng.random(count) < 0.5, windows[:, 0], windows[:, 1])
    return windows


def one_hot(windows: np.ndarray) -> np.ndarray:
    return np.eye(VOCABULARY)[windows].reshape(len(windows), -1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_latents_are_the_first_principal_components_of_zeros_and_ones(seed: int, size: int) -> None:
    """Up to the way that an axis points, each brought to variance 1."""
    windows = drawn(seed)
    found = Latents.fit(windows, VOCABULARY, size).encode(windows)
    centred = one_hot(windows) - one_hot(windows).mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :size] * np.sqrt(len(windows))
    assert (np.diff(values[: size + 1]) < -1e-6).all()  # else axes of equal variance could be turned
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found, signs * expected, atol=2e-3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.var(axis=0), 1, atol=1e-3)


@given(st.integers(0, 2**32 - 1))
def test_a_known_window_is_read_back_from_its_own_point_and_from_near_it(seed: int) -> None:
    windows = drawn(seed)
    latents = Latents.fit(windows, VOCABULARY, 12)
    assert (latents.read(latents.encode(windows)) == windows).all()
    apart = latents.codes[:, None] - latents.codes
    least = np.sqrt(np.square(apart).sum(axis=-1) + 1e9 * np.eye(len(apart))).min()
    push = np.random.default_rng(seed).normal(size=latents.codes.shape)
    push *= 0.45 * least / np.linalg.norm(push, axis=1, keepdims=True)
    assert (latents.read(latents.codes + push) == latents.windows).all()


def test_each_window_is_known_once_and_repeats_count_for_the_axes_alone() -> None:
    windows = drawn(0)
    latents, often = (
        Latents.fit(w, VOCABULARY, 6) for w in (windows, np.concatenate([windows, windows[:50]]))
    )
    assert (latents.windows == np.unique(windows, axis=0)).all()
    assert (latents.windows == often.windows).all()
    assert np.abs(latents.codes - often.codes).max() > 1e-3
    assert latents.bound == np.abs(latents.codes).max()


def test_the_same_windows_give_the_same_points_in_whatever_order() -> None:
    windows = drawn(1)
    one, other = (Latents.fit(w, VOCABULARY, 6) for w in (windows, windows[::-1]))
    np.testing.assert_allclose(one.codes, other.codes, atol=1e-4)
    again = Latents.fit(windows, VOCABULARY, 6)
    assert (one.codes == again.codes).all()
    for axis in one.table.reshape(-1, 6).T:
        assert axis[np.abs(axis).argmax()] > 0


def test_a_window_of_a_token_that_was_never_there_is_read_as_one_that_was() -> None:
    latents = Latents.fit(drawn(2), VOCABULARY, 6)
    strange = latents.encode(np.full((1, 4), 10))
    assert np.isfinite(strange).all()
    assert latents.read(strange)[0].tolist() in latents.windows.tolist()


@pytest.mark.parametrize(
    ("windows", "size", "said"),
    [
        (np.zeros((0, 4), int), 2, r"shape \[n, window\], got \[0, 4\]"),
        (np.zeros(4, int), 2, r"got \[4\]"),
        (np.full((3, 4), 11), 2, "tokens from 0 to 10, got 11 to 11"),
        (np.full((3, 4), -1), 2, "got -1 to -1"),
        (drawn(0), 0, "`size` from 1 to"),
        (
            np.array([[1, 2], [1, 3], [1, 4]]),
            3,
            "from 1 to 2, as the windows differ in no more directions, got 3",
        ),
    ],
)
def test_what_has_no_components_is_refused(windows: np.ndarray, size: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Latents.fit(windows, VOCABULARY, size)
