"""p-values of many hypotheses, adjusted for their number. Compare the adjusted ones with the level itself."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that the chance of any false finding is kept (Holm 1979, Scandinavian Journal of Statistics 6, 65).

    With m hypotheses and p_(1) <= ... <= p_(m), the adjusted p_(i) is the maximum over j <= i of
    min(1, (m - j + 1) p_(j)). Holds whatever the dependence between them. For the few hypotheses that a study is
    about; where dozens are screened, `benjamini_hochberg` asks less.

    Args:
        p_values: Unadjusted, of all hypotheses that were tested, in any order.

    Returns:
        The adjusted ones, in the same order.

    Raises:
        ValueError: One is not between 0 and 1.
    """
    values, order = _ordered(p_values)
    stepped = np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order])
    return _back(stepped, order)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted so that the expected share of false ones among the findings is kept (Benjamini and Hochberg 1995).

    Journal of the Royal Statistical Society B 57, 289. With m hypotheses, the adjusted p_(i) is the minimum over
    j >= i of m p_(j) / j. Holds for independent tests and for those that go up together (Benjamini and Yekutieli
    2001); single findings are not protected, only the list as a whole.

    Args:
        p_values: Unadjusted, of all hypotheses that were tested, in any order.

    Returns:
        The adjusted ones, in the same order.

    Raises:
        ValueError: One is not between 0 and 1.
    """
    values, order = _ordered(p_values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    return _back(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ordered(p_values: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"expected p-values between 0 and 1, got {list(p_values)}")
    return values, np.argsort(values, kind="stable")


def _back(adjusted: NDArray[np.float64], order: NDArray[np.intp]) -> list[float]:
    found = np.empty_like(adjusted)
    found[order] = np.minimum(adjusted, 1.0)
    return found.tolist()
