"""One class for each example: cross-entropy, and the share of right answers."""

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.tasks.base import (
    EncodedTargets,
    StreamingScore,
    Task,
    WantedOutputs,
    distillation_of_classes,
    wrong_shape,
)
from autogrow.tasks.labels import (
    ClassName,
    IntArray,
    are_class_numbers,
    classes_of,
    is_one_hot,
    numbers_of,
    shown_classes,
)
from autogrow.tasks.registry import TASKS

if TYPE_CHECKING:
    from torch import Tensor

STANDARD_ERRORS = 2.0
"""By how many of its standard errors an accuracy has to be above chance."""


class Accuracy(StreamingScore):
    """The share of examples whose largest output is that of their class."""

    def __init__(self) -> None:
        self._num_right: Tensor | None = None
        self._num_examples = 0

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        right = (outputs.argmax(1) == targets).sum()
        self._num_right = right if self._num_right is None else self._num_right + right
        self._num_examples += len(targets)

    def compute(self) -> float:
        return float("nan") if self._num_right is None else int(self._num_right) / self._num_examples


class Classification(Task):
    """Targets are (N,) int64, the number of each example's class; outputs (B, classes) logits."""

    score_name, score_title = "accuracy", "accuracy"
    chance_answer = "always naming the largest class"
    counts_examples = True

    def recognizes(self, y_train: Array) -> bool:
        """Whole numbers, truth values and text, rows with a single one, and floats that can only be class numbers.

        The last are whole, at most 20 different ones, and each occurs five times: class numbers that became floats on
        their way (in a table with gaps, in a spreadsheet).
        """
        return y_train.dtype.kind != "f" or is_one_hot(y_train) or are_class_numbers(y_train)

    def encode(self, y_train: Array, y_test: Array | None, origin: str) -> EncodedTargets:
        classes, numbers = classes_of(y_train, origin)
        if y_test is None:
            return EncodedTargets(numbers, None, classes)
        width = y_train.shape[1] if is_one_hot(y_train) else None
        return EncodedTargets(numbers, numbers_of(y_test, "y_test", classes, width, origin), classes)

    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        for name, labels in (("y_train", y_train), ("y_test", y_test)):
            if labels is not None and labels.min() < 0:
                raise DataError(
                    f"{origin}: {name} holds the negative label {labels.min()}: classes are numbered from 0"
                )
        num_classes = _count_classes(y_train, origin)
        if y_test is not None and y_test.max() >= num_classes:
            raise DataError(
                f"{origin}: y_test holds class {y_test.max()}, y_train only 0..{num_classes - 1}: "
                "drop those test examples, or add training examples of that class"
            )
        return num_classes

    def class_names(self, num_outputs: int) -> tuple[ClassName, ...]:
        return tuple(range(num_outputs))

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        return f"{num_outputs} classes ({shown_classes(classes)})"

    def strata(self, targets: Array) -> IntArray:
        return np.asarray(targets)

    def chance_level(self, targets: Array) -> float | None:
        return float(np.bincount(np.asarray(targets)).max() / len(targets))

    def has_learned(self, value: float, chance_level: float | None, num_examples: int | None) -> bool:
        if chance_level is None:
            return True
        error = sqrt(chance_level * (1 - chance_level) / num_examples) if num_examples else 0.0
        return value > chance_level + STANDARD_ERRORS * error

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Cross-entropy in nats."""
        import torch.nn.functional as F

        if outputs.ndim != 2 or len(outputs) != len(targets):
            raise wrong_shape(outputs, f"({len(targets)}, classes)")
        return F.cross_entropy(outputs, targets)

    def distillation_loss(self, outputs: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
        return distillation_of_classes(outputs, taught, temperature)

    def new_score(self) -> StreamingScore:
        return Accuracy()

    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        return WantedOutputs(((len(targets), num_outputs),), f"a value for each of {num_outputs or 'the'} classes")

    def answers(self, outputs: "Tensor", classes: Sequence[ClassName]) -> Array:
        named: Array = np.asarray(classes)[outputs.argmax(1).cpu().numpy()]
        return named

    def probabilities(self, outputs: "Tensor") -> "Tensor":
        return outputs.softmax(1)


def _count_classes(labels: Array, origin: str) -> int:
    # np.unique and not np.bincount: a stray label of 10**9 must not cost memory.
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{origin}: no example of class {gaps[0]} in y_train: the labels must cover 0..{present[-1]}; "
            "renumber them without a gap"
        )
    if len(present) < 2:
        raise DataError(f"{origin}: y_train holds a single class, at least 2 are needed: check the data")
    return len(present)


TASKS.register("classification")(Classification())
