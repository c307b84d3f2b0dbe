"""Numbers for each example: mean squared error, and R²."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.reading.number_precision import as_floats
from autogrow.tasks.base import EncodedTargets, StreamingScore, Task, WantedOutputs, wrong_shape
from autogrow.tasks.labels import ClassName
from autogrow.tasks.registry import TASKS

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = float(np.finfo(np.float64).tiny)


class RSquared(StreamingScore):
    """1 minus the share of the targets' variance that is left, all outputs together, as they are trained on.

    Of one example, or of equal targets, it is not defined. Means and squared deviations of batches are merged as in
    Chan, Golub and LeVeque 1983 (Algorithms for computing the sample variance, The American Statistician 37): sums of
    squares, of targets far from 0, would cancel.
    """

    def __init__(self) -> None:
        self._num_examples = 0
        self._first: Tensor
        self._mean: Tensor
        self._deviations: Tensor
        self._residuals: Tensor
        self._are_equal: Tensor

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        targets, number = targets.double(), len(targets)
        residuals = (in_columns(outputs, targets).double() - targets).square().sum()
        mean = targets.mean(0)
        deviations = (targets - mean).square().sum()
        if not self._num_examples:
            self._first, self._mean, self._deviations, self._residuals = targets[0], mean, deviations, residuals
            self._are_equal = (targets == targets[0]).all()
            self._num_examples = number
            return
        total = self._num_examples + number
        apart = mean - self._mean
        self._deviations = self._deviations + deviations + apart.square().sum() * (self._num_examples * number / total)
        self._mean = self._mean + apart * (number / total)
        self._residuals = self._residuals + residuals
        self._are_equal = self._are_equal & (targets == self._first).all()
        self._num_examples = total

    def compute(self) -> float:
        # What is left of the spread of equal targets is rounding.
        if not self._num_examples or bool(self._are_equal):
            return float("nan")
        return float(1 - self._residuals / self._deviations.clamp(min=_SMALLEST))


class Regression(Task):
    """Targets are (N, width) floats, outputs (B, width) or, of a single target, (B,)."""

    score_name, score_title = "r2", "R²"
    standardizes_targets = True
    undefined_for = "with one and the same target"
    chance_answer = "always answering the mean"
    mlp_options = MappingProxyType({"hidden": (500,), "batch_norm": False})
    """The thesis' single hidden layer of 500 units, without norm."""

    def recognizes(self, y_train: Array) -> bool:
        return y_train.dtype.kind == "f"

    def encode(self, y_train: Array, y_test: Array | None, origin: str) -> EncodedTargets:
        if y_train.dtype.kind in "US":
            raise DataError(
                f"{origin}: y_train holds text, which is no target of a regression: leave out --task regression"
            )
        y_train = as_floats(_columns(y_train, "y_train", origin), "y_train", origin)
        if y_test is None:
            return EncodedTargets(y_train, None)
        return EncodedTargets(y_train, as_floats(_columns(y_test, "y_test", origin), "y_test", origin, y_train.dtype))

    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        return int(y_train.shape[1])

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        return f"{num_outputs} target{'s' if num_outputs > 1 else ''}"

    def has_learned(self, value: float, chance_level: float | None, num_examples: int | None) -> bool:
        return value > 0

    def refuse_unlearnable(self, targets: Array, examples: str) -> None:
        if not bool((targets == targets[0]).all()):
            return
        if len(targets) == 1:
            one = examples.replace("examples", "example")
            raise DataError(f"there is only one {one}: R² needs two with different targets, give more")
        values = ", ".join(f"{value:g}" for value in targets[0].flatten().tolist()[:3])
        raise DataError(f"the target is {values} in all {len(targets)} {examples}: nothing to regress; check the data")

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Mean squared error over examples and targets."""
        import torch.nn.functional as F

        return F.mse_loss(in_columns(outputs, targets), targets)

    def new_score(self) -> StreamingScore:
        return RSquared()

    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        count, width = len(targets), num_outputs or targets.shape[1]
        if width == 1:
            return WantedOutputs(((count, 1), (count,)), f"a value for each of {count} examples")
        return WantedOutputs(((count, width),), f"a value for each of {width} targets")

    def in_rows(self, outputs: "Tensor") -> "Tensor":
        return outputs.unsqueeze(1) if outputs.ndim == 1 else outputs

    def answers(self, outputs: "Tensor", classes: Sequence[ClassName]) -> Array:
        values: Array = outputs.cpu().numpy()
        return values[:, 0] if values.shape[1] == 1 else values


def in_columns(outputs: "Tensor", targets: "Tensor") -> "Tensor":
    """Outputs as (B, width); those of a single target may lack the second axis. Raises `NetworkError` otherwise."""
    if outputs.ndim == 1 and targets.shape == (len(outputs), 1):
        return outputs.unsqueeze(1)
    if outputs.shape != targets.shape:
        raise wrong_shape(outputs, tuple(targets.shape))
    return outputs


def _columns(array: Array, name: str, origin: str) -> Array:
    """Targets as (N, width)."""
    if array.dtype.kind in "US":
        raise DataError(f"{origin}: {name} holds text, which is no target of a regression")
    if array.ndim not in (1, 2):
        raise DataError(f"{origin}: {name} has shape {array.shape}: targets are (N,) or (N, width)")
    return array[:, np.newaxis] if array.ndim == 1 else array


TASKS.register("regression")(Regression())
