"""Intervals and tests of a study. Confidence is 95 % and two-sided where nothing else is said."""

from memaudit.statistics.dose import Response, dose_response
from memaudit.statistics.intervals import (
    CONFIDENCE,
    UNBOUNDED,
    Interval,
    Rate,
    clopper_pearson,
    independent_difference,
    paired_difference,
    paired_mean,
    upper_bound,
    wilson,
)
from memaudit.statistics.multiplicity import benjamini_hochberg, holm
from memaudit.statistics.power import Comparison, PairedDifference, RateAgainstBound, Trend, zero_bound
from memaudit.statistics.resampling import cluster_difference, cluster_mean, cluster_ratio
from memaudit.statistics.seeds import (
    Estimate,
    difference_over_seeds,
    over_seeds,
    rate_over_seeds,
    slopes,
)
from memaudit.statistics.significance import mcnemar, sign_flip
from memaudit.statistics.survival import Curve, kaplan_meier

__all__ = [
    "CONFIDENCE",
    "UNBOUNDED",
    "Comparison",
    "Curve",
    "Estimate",
    "Interval",
    "PairedDifference",
    "Rate",
    "RateAgainstBound",
    "Response",
    "Trend",
    "benjamini_hochberg",
    "clopper_pearson",
    "cluster_difference",
    "cluster_mean",
    "cluster_ratio",
    "difference_over_seeds",
    "dose_response",
    "holm",
    "independent_difference",
    "kaplan_meier",
    "mcnemar",
    "over_seeds",
    "paired_difference",
    "paired_mean",
    "rate_over_seeds",
    "sign_flip",
    "slopes",
    "upper_bound",
    "wilson",
    "zero_bound",
]
