"""Logistic regression on one variable by penalised likelihood, finite where maximum likelihood is not."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit

_STEPS = 200
_LONGEST = 4.0  # log-odds, of one step
_TOLERANCE = 1e-9

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Line:
    """log-odds = intercept + slope x, of each of some fits."""

    intercept: _Floats
    """``[fits]``"""
    slope: _Floats
    """``[fits]``"""
    covariance: _Floats
    """``[fits, 2, 2]``: the inverse of Fisher's information at the estimate, in the order intercept, slope."""


def firth(x: _Floats, events: _Floats, totals: _Floats) -> Line:
    """Fit each row by itself: the maximum of log L(beta) + log det I(beta) / 2.

    Firth 1993 (Biometrika 80, 27), with Jeffreys' prior as the penalty; Heinze and Schemper 2002
    (doi:10.1002/sim.1047) for logistic regression. Takes away the bias of first order, and stays finite under
    separation, where all below some x have no event and all above it have one. The slope is then drawn towards 0: it
    is as steep as so many items can show, not as steep as it may be. The modified score of a group with p = expit(x
    beta) is events - total p + total h (1/2 - p), h the leverage of one item.

    Args:
        x: Of each group, at least two different ones: ``[groups]``.
        events: ``[fits, groups]``
        totals: ``[fits, groups]``, of which two with different x at least are not 0.
    """
    centre, scale = x.mean(), x.std()
    at = (x - centre) / scale
    beta = np.zeros((len(events), 2))
    now = _penalised(beta, at, events, totals)
    for _ in range(_STEPS):
        step = _step(beta, at, events, totals)
        size = np.abs(step).max(axis=1, keepdims=True)
        if size.max() < _TOLERANCE:
            break
        step *= np.minimum(1.0, _LONGEST / np.maximum(size, _TOLERANCE))
        new = _penalised(beta + step, at, events, totals)
        for _ in range(30):
            worse = new < now - 1e-10 * (1 + np.abs(now))
            if not worse.any():
                break
            step[worse] /= 2
            new = _penalised(beta + step, at, events, totals)
        beta, now = beta + step, new
    inverse = np.linalg.inv(_information(beta, at, totals)).astype(np.float64)
    # Back from the scaled x: slope = s / scale, intercept = i - s centre / scale.
    back = np.array([[1.0, -centre / scale], [0.0, 1 / scale]])
    fitted = beta @ back.T
    return Line(intercept=fitted[:, 0], slope=fitted[:, 1], covariance=back @ inverse @ back.T)


def _information(beta: _Floats, at: _Floats, totals: _Floats) -> _Floats:
    weight = totals * _variance(beta, at)
    design = np.stack([np.ones_like(at), at])
    return np.einsum("fg,ag,bg->fab", weight, design, design)


def _variance(beta: _Floats, at: _Floats) -> _Floats:
    """p (1 - p), without loss where p is next to 1."""
    line = beta[:, :1] + beta[:, 1:] * at
    return expit(line) * expit(-line)


def _penalised(beta: _Floats, at: _Floats, events: _Floats, totals: _Floats) -> _Floats:
    line = beta[:, :1] + beta[:, 1:] * at
    likelihood = (events * log_expit(line) + (totals - events) * log_expit(-line)).sum(axis=1)
    determinant = np.linalg.det(_information(beta, at, totals))
    return likelihood + np.log(np.maximum(determinant, 1e-300)) / 2


def _step(beta: _Floats, at: _Floats, events: _Floats, totals: _Floats) -> _Floats:
    inverse = np.linalg.inv(_information(beta, at, totals))
    design = np.stack([np.ones_like(at), at])
    chance = expit(beta[:, :1] + beta[:, 1:] * at)
    leverage = _variance(beta, at) * np.einsum("ag,fab,bg->fg", design, inverse, design)
    score = events - totals * chance + totals * leverage * (0.5 - chance)
    return np.einsum("fab,bg,fg->fa", inverse, design, score)
