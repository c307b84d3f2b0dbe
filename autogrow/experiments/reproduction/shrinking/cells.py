"""Cells of tables over paired seeds: a mean with its standard error, and a difference with its own."""

import statistics
from collections.abc import Sequence
from math import sqrt

from autogrow.experiments.statistics import PairedDifference, paired_difference
from autogrow.metrics.numbers import MISSING

SECURE = 2.0
"""Standard errors above which a mean difference is called one."""
Values = Sequence[float | None]
"""By seed; None where a run has diverged."""


def mean_cell(values: Values, digits: int) -> str:
    """The mean of those that there are, with its standard error, and of how many where some are missing."""
    found = [value for value in values if value is not None]
    if not found:
        return MISSING
    cell = f"{statistics.mean(found):.{digits}f}"
    if len(found) > 1:
        cell += f" ({statistics.stdev(found) / sqrt(len(found)):.{digits}f})"
    return cell if len(found) == len(values) else f"{cell} of {len(found)}"


def difference(values: Values, others: Values) -> PairedDifference | None:
    """Over the seeds that both have; None where there are none."""
    pairs = [(one, other) for one, other in zip(values, others, strict=True) if one is not None and other is not None]
    return paired_difference(*zip(*pairs, strict=True)) if pairs else None


def difference_cell(values: Values, others: Values, digits: int) -> str:
    found = difference(values, others)
    if found is None:
        return MISSING
    error = "" if found.standard_error is None else f" ({found.standard_error:.{digits}f})"
    return f"{found.mean:+.{digits}f}{error}"


def is_secure(found: PairedDifference | None) -> bool:
    """Whether a difference is more than two standard errors of three seeds or more, as `autogrow compare` asks too."""
    if found is None or found.standard_error is None or found.num_seeds < 3:
        return False
    return abs(found.mean) > SECURE * found.standard_error


def units_cell(widths: Sequence[Sequence[int]]) -> str:
    """The mean over seeds of every layer's units."""
    return ", ".join(f"{statistics.mean(of_layer):.3g}" for of_layer in zip(*widths, strict=True))
