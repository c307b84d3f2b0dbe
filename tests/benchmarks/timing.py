"""Timing on a noisy machine: alternate what is compared, report medians and ranges, never a single run."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """Seconds of repeated runs of one thing."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median:.4g} s ({min(self.seconds):.4g} to {max(self.seconds):.4g}, n={len(self.seconds)})"


def measure(action: Callable[[], object], repeats: int) -> Measurement:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return Measurement(tuple(seconds))


def paired_ratio(first: Callable[[], object], second: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median, smallest and largest of first / second, timed A B A B; one pair before is not counted."""
    ratios = []
    for index in range(repeats + 1):
        pair = measure(first, 1).median / measure(second, 1).median
        if index:
            ratios.append(pair)
    return statistics.median(ratios), min(ratios), max(ratios)


def in_words(values: Sequence[float], decimals: int = 3) -> str:
    """Median and range."""
    middle, lowest, highest = (
        f"{value:.{decimals}f}" for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} ({lowest} to {highest}, n={len(values)})"


def measure_command(arguments: list[str], repeats: int) -> Measurement:
    """Wall seconds of a whole Python process."""
    return measure(lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True), repeats)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log(cost) over log(size), by least squares: 1 is proportional, 2 grows with the square."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
