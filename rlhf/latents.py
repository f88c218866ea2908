"""Short windows of tokens as points: principal components one way, the nearest known window the other.

A window of w tokens over a vocabulary of V is a vector of w V zeros and ones, and its latent the first few principal
components of that, each brought to variance 1 over the windows that were given. The way back is a look-up: the known
window whose latent is nearest. So a latent can say known windows only, and who tests whether a text comes out of a
model has to know the windows of texts that the model has not seen as well, or the look-up gives the answer away.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

_AT_ONCE = 1024  # latents compared with all known ones at a time


@dataclass(frozen=True, kw_only=True)
class Latents:
    """A map from windows to points, and the windows that points are read as."""

    table: np.ndarray
    """float32 ``[window, vocabulary, size]``: what each token at each place adds; 0 where no window had it there."""
    origin: np.ndarray
    """float32 ``[size]``: taken off."""
    windows: np.ndarray
    """int32 ``[known, window]``: those that points are read as, each once, in ascending order."""
    codes: np.ndarray
    """float32 ``[known, size]``: their points."""

    @classmethod
    def fit(cls, windows: np.ndarray, vocabulary: int, size: int) -> "Latents":
        """Of given `windows` (int ``[n, window]``, repeats count), which become the known ones."""
        if windows.ndim != 2 or not len(windows):
            raise ValueError(f"expected `windows` of shape [n, window], got {list(windows.shape)}")
        if windows.min() < 0 or windows.max() >= vocabulary:
            raise ValueError(
                f"expected tokens from 0 to {vocabulary - 1}, got {windows.min()} to {windows.max()}"
            )
        count, width = windows.shape
        # A column for each token that occurs at a place; all others would be 0.
        places = windows + vocabulary * np.arange(width)
        used, column = np.unique(places, return_inverse=True)
        row = np.repeat(np.arange(count), width)
        dense = sparse.csr_matrix(
            (np.ones(count * width), (row, column.reshape(-1))), shape=(count, len(used))
        )
        mean = np.asarray(dense.mean(axis=0)).reshape(-1)
        covariance = np.asarray((dense.T @ dense).todense()) / count - np.outer(mean, mean)
        largest = (max(len(used) - max(size, 1), 0), len(used) - 1)
        variances, axes = linalg.eigh(covariance, subset_by_index=largest)
        variances, axes = variances[::-1], axes[:, ::-1]
        directions = int((variances > 1e-9).sum())
        if not 1 <= size <= directions:
            raise ValueError(
                f"expected `size` from 1 to {directions}, as the windows differ in no more directions, got {size}"
            )
        # An axis may point either way; its largest entry says which.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(size)])
        axes = axes / np.sqrt(variances)
        table = np.zeros((width * vocabulary, size), np.float32)
        table[used] = axes
        table = table.reshape(width, vocabulary, size)
        origin = (mean @ axes).astype(np.float32)
        known = np.unique(windows, axis=0).astype(np.int32)
        return cls(table=table, origin=origin, windows=known, codes=_encoded(table, origin, known))

    @property
    def bound(self) -> float:
        """The largest magnitude of a number of a known window's latent."""
        return float(np.abs(self.codes).max())

    def encode(self, windows: np.ndarray) -> np.ndarray:
        """Latents float32 ``[..., size]`` of windows int ``[..., window]``, known or not."""
        return _encoded(self.table, self.origin, windows)

    def read(self, latents: np.ndarray) -> np.ndarray:
        """The nearest known windows, int32 ``[n, window]``, of latents ``[n, size]``; of equals the first."""
        lengths = np.square(self.codes).sum(axis=1)
        nearest = [
            np.argmin(lengths - 2 * latents[start : start + _AT_ONCE] @ self.codes.T, axis=1)
            for start in range(0, len(latents), _AT_ONCE)
        ]
        return self.windows[np.concatenate(nearest)]


def _encoded(table: np.ndarray, origin: np.ndarray, windows: np.ndarray) -> np.ndarray:
    return table[np.arange(table.shape[0]), windows].sum(axis=-2) - origin
