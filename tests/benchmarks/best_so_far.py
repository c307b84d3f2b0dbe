"""Curves of a search: the best score that it had found by when, and when it first reached a level.

A score is better the higher it is: an accuracy, or minus a loss.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

NEVER = math.inf
"""The time at which a level is reached that is not. It is later than any other, in medians and ratios too."""

Curve = tuple[tuple[float, float], ...]
"""Seconds and score of every improvement, both rising."""


def best_so_far(trials: Iterable[tuple[float, float]], until_seconds: float) -> Curve:
    """The improvements among trials, given as (seconds at which one ended, score) in any order.

    What ended after `until_seconds` does not count.
    """
    curve: list[tuple[float, float]] = []
    for seconds, score in sorted(trials):
        if seconds <= until_seconds and (not curve or score > curve[-1][1]):
            if curve and curve[-1][0] == seconds:
                curve.pop()
            curve.append((seconds, score))
    return tuple(curve)


def best_by(curve: Curve, seconds: float) -> float:
    """The best score by that time; minus infinity before the first trial had ended."""
    return max((score for reached, score in curve if reached <= seconds), default=-math.inf)


def time_to_reach(curve: Curve, level: float) -> float:
    """When the curve first was at `level` or above, in seconds; `NEVER` where it was not."""
    return next((seconds for seconds, score in curve if score >= level), NEVER)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median and range, for tables."""
    middle, low, high = (_shown(value, digits) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def _shown(value: float, digits: int) -> str:
    return "never" if value == NEVER else f"{value:.{digits}f}"
