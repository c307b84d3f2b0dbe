"""The image that was read, given back, as autoencoders learn to: mean squared error per value, and R².

Both are of images as networks read them, every channel standardized: a loss of 1 is about that of an answer with one
grey for everything. R² counts all values together and has the mean image to compare with, as a regression's has the
mean target.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.tasks.base import Task, WantedOutputs, wrong_shape
from autogrow.tasks.labels import ClassName
from autogrow.tasks.registry import TASKS
from autogrow.tasks.regression import RSquared

if TYPE_CHECKING:
    from torch import Tensor


RECONSTRUCTION = "reconstruction"
"""The task's name."""


class ReconstructionRSquared(RSquared):
    """R² with every value of an image as a target of its own."""

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        super().update(as_images(outputs, targets).flatten(1), targets.flatten(1))


class Reconstruction(Task):
    """Inputs and targets are the same (B, C, H, W) images; outputs are (B, C, H, W) or, in a row, (B, C * H * W)."""

    score_name, score_title = "reconstruction_r2", "reconstruction R²"
    targets_are_inputs = True
    undefined_for = "that are one and the same image"
    chance_answer = "always answering the mean image"

    def count_outputs(self, y_train: Array, y_test: Array | None, origin: str) -> int:
        """The numbers of an image."""
        self.refuse_inputs(y_train.shape[1:], origin)
        return math.prod(y_train.shape[1:])

    def refuse_inputs(self, input_shape: Sequence[int], origin: str) -> None:
        if len(input_shape) != 3:
            raise DataError(
                f"{origin}: --task {RECONSTRUCTION} gives images back, and an example of shape {tuple(input_shape)} is "
                "none: give (N, H, W), (N, C, H, W) or (N, H, W, C), or another task"
            )

    def describe(self, num_outputs: int, classes: Sequence[ClassName]) -> str:
        return f"the image itself, {num_outputs} values; losses are per value, in standard deviations squared"

    def has_learned(self, value: float, chance_level: float | None, num_examples: int | None) -> bool:
        return value > 0

    def refuse_unlearnable(self, targets: Array, examples: str) -> None:
        if any(not np.array_equal(image, targets[0]) for image in targets):
            return
        if len(targets) == 1:
            one = examples.replace("examples", "example")
            raise DataError(f"there is only one {one}: R² needs two different images, give more")
        raise DataError(f"all {len(targets)} {examples} are the same image: nothing to learn; check the data")

    def loss(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """Mean squared error over examples and values, of standardized channels."""
        import torch.nn.functional as F

        return F.mse_loss(as_images(outputs, targets), targets)

    def new_score(self) -> RSquared:
        return ReconstructionRSquared()

    def wanted_outputs(self, targets: "Tensor", num_outputs: int | None) -> WantedOutputs:
        image = tuple(targets.shape)
        number = math.prod(image[1:])
        return WantedOutputs(
            (image, (image[0], number)), f"an image like the one that was read, or its {number} values"
        )


def as_images(outputs: "Tensor", targets: "Tensor") -> "Tensor":
    """Outputs for images (B, C, H, W) in their shape. Raises `NetworkError` where they are no such images."""
    if outputs.shape not in (targets.shape, targets.flatten(1).shape):
        raise wrong_shape(outputs, tuple(targets.shape))
    return outputs.reshape(targets.shape)


TASKS.register(RECONSTRUCTION)(Reconstruction())
