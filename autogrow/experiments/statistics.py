"""Means over seeds, and differences between conditions that were trained on the same seeds. Numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Metrics are computed in 32 bits: differences that vary by less, relative to the metric, do not vary."""


@dataclass(frozen=True)
class Spread:
    """A mean over seeds."""

    mean: float
    std: float | None
    """Of the sample (n - 1); None for one seed."""
    num_seeds: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class PairedDifference:
    """The mean over seeds of one condition minus another, and how sure that is."""

    mean: float
    standard_error: float | None
    """Of the mean; None for one seed."""
    p_value: float | None
    """Of a two-sided paired t-test; None where there is none."""
    num_seeds: int
    note: str = ""
    """Why there is no test."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of at least one value."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), std, len(values))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """`first` minus `second`, which hold the same seeds in the same order.

    The test is Student's for paired samples (`scipy.stats.ttest_rel`): with few seeds, it relies on differences that
    are about normally distributed.
    """
    from scipy import stats  # imported here: it takes half a second, and only the end of an experiment needs it

    differences = np.subtract(first, second)
    mean, number = float(differences.mean()), len(differences)
    if number == 1:
        return PairedDifference(mean, None, None, number, "one seed: no standard error, no test")
    if np.ptp(differences) <= ROUNDING * float(np.abs([first, second]).max()):
        return PairedDifference(mean, 0.0, None, number, "the same difference for every seed: no test")
    error = float(differences.std(ddof=1)) / sqrt(number)
    return PairedDifference(mean, error, float(stats.ttest_rel(first, second).pvalue), number)
