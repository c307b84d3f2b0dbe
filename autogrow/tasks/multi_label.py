"""Any number of labels for each example: binary cross-entropy of each label, and micro-averaged F1.

F1 and not the mean average precision, because three counts say all of it: it is exact from batches of any size. An
average precision ranks the outputs of all examples, which would have to be kept, or put into bins and become an
estimate. Averaged over all decisions on labels ("micro") and not over labels, because a label that no example of a
small split has would otherwise decide. Both are usual: Tsoumakas and Katakis 2007 (Multi-label classification: an
overview, International Journal of Data Warehousing and Mining 3).
"""

from collections.abc import Sequence
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
from autogrow.tasks.labels import ClassName, IntArray, is_multi_hot
from autogrow.tasks.registry import TASKS

if TYPE_CHECKING:
    from torch import Tensor


class MicroF1(StreamingScore):
    """``2 TP / (2 TP + FP + FN)`` over all examples and labels; a label is given where its logit is above 0.

    Not defined where no example has a label and none is given.
    """

    def __init__(self) -> None:
        self._counts: Tensor | None = None
        """Labels that are given and right, given, and there: (3,) int64."""

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        import torch

        given, there = outputs > 0, targets > 0
        counts = torch.stack([(given & there).sum(), given.sum(), there.sum()])
        self._counts = counts if self._counts is None else self._counts + counts

    def compute(self) -> float:
        right, given, there = (0, 0, 0) if self._counts is None else self._counts.tolist()
        return 2 * right / (given + there) if given + there else float("nan")


class MultiLabel(Task):
    """Targets are (N, labels) float32 of zeros and ones, outputs (B, labels) logits."""

    score_name, score_title = "f1", "F1"
    undefined_for = "without a single label"
    chance_answer = "always giving the same labels"

    def encode(self, y_train: Array, y_test: Array | None, origin: str) -> EncodedTargets:
        return EncodedTargets(
            _zeros_and_ones(y_train, "y_train", origin),
            None if y_test is None else _zeros_and_ones(y_test, "y_test", origin),
        )

    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        return int(y_train.shape[1])

    def class_names(self, num_outputs: int) -> tuple[ClassName, ...]:
        return tuple(range(num_outputs))

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        return f"{num_outputs} labels, any number of them for each example"

    def strata(self, targets: Array) -> IntArray:
        """Examples belong to the rarest of their labels, so that no split goes without one; those of none together.

        The rarest is what is short first, as in Sechidis, Tsoumakas and Vlahavas 2011 (On the stratification of
        multi-label data, ECML PKDD), here decided once and not again after each example.
        """
        has = np.asarray(targets) > 0
        counts = np.where(has, has.sum(axis=0), len(has) + 1)
        rarest = np.where(has.any(axis=1), counts.argmin(axis=1), has.shape[1])
        return np.asarray(np.unique(rarest, return_inverse=True)[1].reshape(-1), dtype=np.int64)

    def chance_level(self, targets: Array) -> float | None:
        """The largest F1 of always giving the same labels: the commonest k, for the best k."""
        shares = np.sort(np.asarray(targets).mean(axis=0, dtype=np.float64))[::-1]
        given = np.arange(1, len(shares) + 1)
        return float((2 * shares.cumsum() / (given + shares.sum())).max())

    def refuse_unlearnable(self, targets: Array, examples: str) -> None:
        if not (targets > 0).any():
            raise DataError(
                f"none of {len(targets)} {examples} has a label: there is no F1 of them; check the data, or give more"
            )

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Binary cross-entropy in nats, the mean over examples and labels."""
        import torch.nn.functional as F

        if outputs.shape != targets.shape:
            raise wrong_shape(outputs, tuple(targets.shape))
        return F.binary_cross_entropy_with_logits(outputs, targets)

    def distillation_loss(self, outputs: "Tensor", taught: "Tensor", temperature: float) -> "Tensor":
        """Every label is a choice between two classes, whose logits differ by the output."""
        import torch

        own, others = (torch.stack([values, torch.zeros_like(values)], -1) for values in (outputs, taught))
        return distillation_of_classes(own, others, temperature)

    def new_score(self) -> StreamingScore:
        return MicroF1()

    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        width = num_outputs or targets.shape[1]
        return WantedOutputs(((len(targets), width),), f"a value for each of {width} labels")

    def answers(self, outputs: "Tensor", classes: Sequence[ClassName]) -> Array:
        """(N, labels) int64, 1 for each label that is given."""
        given: Array = (outputs > 0).long().cpu().numpy()
        return given

    def probabilities(self, outputs: "Tensor") -> "Tensor":
        return outputs.sigmoid()


def _zeros_and_ones(array: Array, name: str, origin: str) -> Array:
    """Labels as (N, labels) float32. Raises `DataError` for anything but zeros and ones."""
    if not is_multi_hot(array):
        held = f"{array.dtype} {array.shape}"
        if array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "buif":
            held = f"{array[(array != 0) & (array != 1)][0]}"
        raise DataError(
            f"{origin}: {name} holds {held}, and --task multi_label takes rows of zeros and ones, (N, labels), of 2 "
            "labels or more"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


TASKS.register("multi_label")(MultiLabel())
