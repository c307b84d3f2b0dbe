"""How a user's numbers are kept: in 32 bits where that loses nothing a network could see, else in 64.

A network sees ``(x - mean) / std`` in 32 bits. Where values lie far from 0 relative to their spread (years, times,
pressures), or are very small, 32 bits would round them before the mean is subtracted; they are then stored in 64 and
standardized there.
"""

import math
from typing import Any

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array

FARTHEST_MEAN = 64.0
"""Standard deviations between mean and 0 up to which 32 bits are enough: what they round is then below 1e-5 of one."""
SMALLEST_SPREAD = 1e-30
"""Below it, numbers of 32 bits come to their end."""
LARGEST_ROUNDING = 1e-5
"""Share of a column's spread that 64 bits may round."""
_BLOCK_ROWS = 1024


def as_floats(array: Array, name: str, origin: str, like: "np.dtype[Any] | None" = None) -> Array:
    """The numbers as float32 or float64, contiguous; `like` another array where that one has decided.

    array: (N, columns, ...). Raises `DataError` for numbers that even 64 bits cannot tell apart.
    """
    if array.dtype.kind == "f" and array.dtype.itemsize > 8 or array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        _check_told_apart(array, name, origin)
    if like is None:
        like = np.dtype(np.float64 if _needs_64_bits(array) else np.float32)
    with np.errstate(over="ignore"):  # a number too large becomes infinite, and is reported as that
        return np.ascontiguousarray(array, dtype=like)


def num_constant_columns(array: Array) -> int:
    """Columns (or channels) in which all examples have the same value."""
    if not array.size:
        return 0
    columns = array.reshape(len(array), array.shape[1], -1)
    return sum(bool((columns[:, number] == columns[0, number, 0]).all()) for number in range(columns.shape[1]))


def _needs_64_bits(array: Array) -> bool:
    if array.dtype.kind not in "fiu" or array.dtype.itemsize < 4 or not array.size:
        return False
    mean, std = _mean_and_std(array)
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(((std > 0) & ((np.abs(mean) > FARTHEST_MEAN * std) | (std < SMALLEST_SPREAD))).any())


def _mean_and_std(array: Array) -> tuple[Array, Array]:
    """Of every column or channel in float64; few rows at a time, and from a shifted origin, so that nothing cancels."""
    columns = array.reshape(len(array), array.shape[1], -1)
    origin = columns[0, :, :1].astype(np.float64)
    count = len(array) * columns.shape[2]
    total, squares = np.zeros(len(origin)), np.zeros(len(origin))
    with np.errstate(invalid="ignore", over="ignore"):  # of values that are refused as not finite right after
        for start in range(0, len(array), _BLOCK_ROWS):
            block = columns[start : start + _BLOCK_ROWS].astype(np.float64) - origin
            total += block.sum(axis=(0, 2))
            squares += np.square(block).sum(axis=(0, 2))
        shifted = total / count
        return shifted + origin[:, 0], np.sqrt(np.maximum(squares / count - np.square(shifted), 0))


def _check_told_apart(array: Array, name: str, origin: str) -> None:
    columns = array.reshape(len(array), array.shape[1], -1)
    for number in range(columns.shape[1]):
        column = columns[:, number]
        if not column.size:
            continue
        smallest, largest = column.min().item(), column.max().item()  # whole numbers of Python have no limit
        spread, magnitude = largest - smallest, max(abs(smallest), abs(largest))
        if spread > 0 and math.isfinite(magnitude) and magnitude * 2.0**-53 > LARGEST_ROUNDING * spread:
            raise DataError(
                f"{origin}: {name} holds {smallest} to {largest} in column {number}, which 64-bit floats cannot tell "
                "apart: subtract an offset"
            )


def check_finite(array: Array, name: str, origin: str) -> None:
    """Raises `DataError` for NaN or infinite values, with the row of the first."""
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if not finite.all():
        row = np.unravel_index(int(np.argmin(finite)), array.shape)[0]
        raise DataError(
            f"{origin}: {name} holds {array.size - np.count_nonzero(finite)} NaN or infinite values as {array.dtype} "
            f"(first in row {row}): remove or replace them"
        )
