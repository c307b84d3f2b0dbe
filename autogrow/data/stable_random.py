"""Random orders and numbers that are the same under every version of numpy.

numpy promises the stream of a bit generator, but not that `Generator.permutation` and its like will go on using it in
the same way (NEP 19). Splits must not move when numpy is updated, so they are made from the raw bits.
"""

from typing import Any

import numpy as np

IntArray = np.ndarray[Any, np.dtype[np.int64]]


def permutation(size: int, *, seed: int) -> IntArray:
    """(size,) a uniformly random order of 0..size-1."""
    return np.argsort(_raw_bits(size, seed), kind="stable").astype(np.int64)


def uniform(size: int, *, seed: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """(size,) numbers uniform in [0, 1)."""
    return (_raw_bits(size, seed) >> np.uint64(11)).astype(np.float64) * np.float64(2.0**-53)


def _raw_bits(size: int, seed: int) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    return np.random.PCG64(seed).random_raw(size)
