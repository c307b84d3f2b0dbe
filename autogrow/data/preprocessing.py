"""Normalization of inputs and of targets: measured here on the training split alone, applied where the tensors are."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autogrow.data.splits import TrainSplit
from autogrow.data.stable_random import IntArray
from autogrow.errors import DataError
from autogrow.reading.arrays import Array

MAX_MEASURED_EXAMPLES = 10_000
UINT8_SCALE = 255.0
SUMS_RESOLUTION = 1e-13
"""Of means of numbers of 64 bits, whose sums are rounded, too."""
_BLOCK_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``(x - mean) / std``: one value per channel for images (N, C, H, W), per feature for (N, features).

    uint8 inputs are divided by 255 first, so `mean` and `std` refer to inputs in [0, 1].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise DataError(f"normalization of {len(self.mean)} means and {len(self.std)} stds: give equally many")
        for mean, std in zip(self.mean, self.std, strict=True):
            if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
                raise DataError(f"normalization with mean {mean} and std {std}: give finite numbers and a std above 0")

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for JSON."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Normalization":
        """The inverse of `to_dict`. Raises `DataError` for a record of another form."""
        try:
            mean, std = (tuple(float(value) for value in record[name]) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"normalization record {record!r:.80}: give lists of numbers 'mean' and 'std'") from error
        return cls(mean=mean, std=std)


def standardize(array: Array, normalization: Normalization) -> Array:
    """``(x - mean) / std`` of (N, columns, ...) as float32, computed in float64."""
    shape = (1, -1) + (1,) * (array.ndim - 2)
    mean, std = np.reshape(normalization.mean, shape), np.reshape(normalization.std, shape)
    standardized = np.empty(array.shape, dtype=np.float32)
    for start in range(0, len(array), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        standardized[rows] = (array[rows] - mean) / std
    return standardized


def measure_target_scale(split: TrainSplit) -> Normalization:
    """Mean and standard deviation of every target of a regression, over all training examples."""
    return _measured(split.targets, np.arange(len(split)))


def measure_normalization(split: TrainSplit) -> Normalization:
    """Mean and standard deviation over at most 10,000 evenly spaced training examples (all, where there are fewer).

    uint8 inputs are scaled to [0, 1] first. A channel or feature that does not vary gets std 1, so that it becomes 0
    and not NaN. Whole numbers that a network embeds stay as they are: mean 0, std 1.
    """
    if split.inputs.dtype == np.int64 or split.streams:
        return Normalization(mean=(0.0,) * split.inputs.shape[1], std=(1.0,) * split.inputs.shape[1])
    num_measured = min(len(split), MAX_MEASURED_EXAMPLES)
    rows = np.linspace(0, len(split) - 1, num_measured).round().astype(np.int64)
    return _measured(split.inputs, rows)


def _measured(values: Array, rows: IntArray) -> Normalization:
    num_values = len(rows) * math.prod(values.shape[2:])  # of each channel or feature
    mean = sum(block.sum(axis=(0, 2)) for block in _blocks(values, rows)) / num_values
    squares = (np.square(block - mean[:, np.newaxis]).sum(axis=(0, 2)) for block in _blocks(values, rows))
    std = np.sqrt(sum(squares) / num_values)
    # A spread below the resolution of the numbers is rounding, not signal; dividing by it would only amplify that.
    resolution = SUMS_RESOLUTION if values.dtype == np.float64 else np.finfo(np.float32).eps
    std[std <= resolution * np.abs(mean)] = 1.0
    return Normalization(mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def _blocks(values: Array, rows: IntArray) -> Iterator[Array]:
    """The chosen rows as (block, channels or features, pixels or 1) float64, few rows at a time."""
    scale = UINT8_SCALE if values.dtype == np.uint8 else 1.0
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = values[rows[start : start + _BLOCK_ROWS]]
        yield block.reshape(len(block), block.shape[1], -1).astype(np.float64) / scale
