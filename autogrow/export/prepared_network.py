"""A trained network that takes what a user has and returns what a user means: the preprocessing is part of it.

It is an ordinary module of a few tensor operations around the plain network, which stays as it was trained: it can be
called, moved, compiled and exported like any other.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.data.arrays import LAYOUTS
from autogrow.data.preprocessing import UINT8_SCALE, Normalization
from autogrow.errors import DataError, NetworkError
from autogrow.network.running.undisturbed import evaluating
from autogrow.reading.arrays import Array
from autogrow.reading.number_precision import check_finite
from autogrow.tasks import TASKS, Task
from autogrow.tasks.labels import ClassName
from autogrow.training.batches import EVALUATION_BATCH


class PreparedNetwork(nn.Module):
    """The plain `network` between the steps from a user's numbers to its own, and back.

    Args:
        network: Takes standardized float32 inputs, (N, features) or (N, C, H, W).
        normalization: Of the inputs.
        target_scale: Of the targets, where they were standardized.
        input_shape: Of one example as the network takes it.
        layout: How a user's inputs lie.
        task: What it was trained for.
        classes: Names of the outputs; empty where they are no classes.
        takes_bytes: Whether it was trained on uint8 inputs, which are divided by 255. Inputs of floating-point numbers
            are then taken to lie between 0 and 1. None: not known, as of networks saved before it was recorded.
        num_tokens: Of the vocabulary, where the network reads text; such a one takes windows of any length up to
            `input_shape`.
    """

    mean: Tensor
    std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        normalization: Normalization,
        target_scale: Normalization | None,
        *,
        input_shape: tuple[int, ...],
        layout: str,
        task: Task,
        classes: tuple[ClassName, ...],
        takes_bytes: bool | None,
        num_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.input_shape = input_shape
        self.layout = layout
        self.task = task
        self.classes = classes
        self.takes_bytes = takes_bytes
        self.num_tokens = num_tokens
        self._is_scaled = target_scale is not None
        shape = (1, -1) + (1,) * (len(input_shape) - 1)
        # In 64 bits: what lies far from 0 relative to its spread would be rounded away before the mean is subtracted.
        self.register_buffer("mean", torch.tensor(normalization.mean, dtype=torch.float64).view(shape))
        self.register_buffer("std", torch.tensor(normalization.std, dtype=torch.float64).view(shape))
        scale = target_scale or Normalization(mean=(0.0,), std=(1.0,))
        self.register_buffer("target_mean", torch.tensor(scale.mean, dtype=torch.float64))
        self.register_buffer("target_std", torch.tensor(scale.std, dtype=torch.float64))

    @classmethod
    def of(cls, network: nn.Module, config: Mapping[str, Any], origin: str) -> Self:
        """Around a network that was read with its configuration. Raises `NetworkError` (naming `origin`)."""
        shape, outputs = tuple(config["input_shape"]), config["num_outputs"]
        task = TASKS[config["task"]]
        classes = tuple(config.get("classes") or task.class_names(outputs))
        layout = config.get("layout") or _plain_layout(shape)
        try:
            normalization = Normalization.from_dict(config["preprocessing"])
            record = config.get("target_scale")
            target_scale = None if record is None else Normalization.from_dict(record)
        except DataError as error:
            raise NetworkError(f"{origin}: {error}: restore it from a copy") from error
        fits = (
            len(normalization.mean) == shape[0]
            and layout in LAYOUTS
            and len(classes) == len(task.class_names(outputs))
            and (target_scale is None or len(target_scale.mean) == outputs)
        )
        if not fits:
            raise NetworkError(f"{origin}: preprocessing, layout, classes or targets do not fit the network's shape: "
                               "restore it from a copy")  # fmt: skip
        return cls(
            network,
            normalization,
            target_scale,
            input_shape=shape,
            layout=layout,
            task=task,
            classes=classes,
            takes_bytes=config.get("takes_bytes"),
            num_tokens=outputs if config.get("tokens") is not None else None,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (N, classes), or values (N, width) float64 in the user's unit.

        Where the task is to give inputs back, these as they were given: in their layout and unit, float64.

        inputs: Numbers of any type as they lie in the user's file: (N, features), (N, H, W), (N, C, H, W) or
        (N, H, W, C).
        """
        if self.layout == "grey_images":
            inputs = inputs.unsqueeze(1)
        elif self.layout == "channels_last":
            inputs = inputs.permute(0, 3, 1, 2)
        if self.task.embeds_inputs:
            return self.task.in_rows(self.network(inputs.long()))
        is_bytes = inputs.dtype == torch.uint8 or self.takes_bytes and not inputs.is_floating_point()
        scale = UINT8_SCALE if is_bytes and self.takes_bytes is not False else 1.0
        outputs: Tensor = self.network(((inputs.to(self.mean.dtype) / scale - self.mean) / self.std).float())
        outputs = self.task.in_rows(outputs)
        if self.task.targets_are_inputs:
            standardized = outputs.reshape(outputs.shape[0], *self.input_shape).to(self.mean.dtype)
            return self._as_given((standardized * self.std + self.mean) * scale)
        return outputs.to(self.target_std.dtype) * self.target_std + self.target_mean if self._is_scaled else outputs

    def _as_given(self, images: Tensor) -> Tensor:
        """Examples as the network takes them in the layout of the user's own."""
        if self.layout == "grey_images":
            return images.squeeze(1)
        return images.permute(0, 2, 3, 1) if self.layout == "channels_last" else images

    def predict(self, inputs: Any, *, probabilities: bool = False) -> Array:
        """What the network makes of examples: names of classes, (N,), or values in the user's unit, (N,) or (N, width).

        Where the task is to give inputs back, float64 of the inputs' own shape and unit; what was given as whole
        numbers of 0 to 255 is neither rounded nor cut off there.

        Args:
            inputs: An array, a tensor or nested lists, in the layout of the data that it was trained on.
            probabilities: (N, classes) of every class, in the order of `classes`, and not the likeliest one's name.

        Raises `DataError` for inputs of another shape or kind.
        """
        array = self._checked(inputs)
        device = self.mean.device
        with evaluating(self), torch.inference_mode():
            parts = [
                self(torch.from_numpy(array[start : start + EVALUATION_BATCH]).to(device)).double()
                for start in range(0, len(array), EVALUATION_BATCH)
            ]
            outputs = torch.cat(parts)
            if probabilities:
                of_classes: Array = self.task.probabilities(outputs).cpu().numpy()
                return of_classes
            return self.task.answers(outputs, self.classes)

    def _checked(self, inputs: Any) -> Array:
        """The inputs as an array that `forward` reads as it should. Raises `DataError`."""
        try:
            array = np.asarray(inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs)
        except ValueError as error:
            raise DataError("inputs are lists of different lengths: give every example the same shape") from error
        if array.dtype.kind in "US" and self.num_tokens is not None:
            raise DataError("inputs hold text: autogrow.predict_text reads it, or give whole numbers, the tokens")
        if array.dtype.kind not in "buif":
            raise DataError(f"inputs hold {array.dtype}, not numbers: convert them to integers or floats")
        wanted = _in_layout(self.input_shape, self.layout)
        is_shorter = self.num_tokens is not None and array.ndim == 2 and 0 < array.shape[1] <= wanted[0]
        if (array.shape[1:] != wanted and not is_shorter) or not len(array):
            one = ", a single example: put it into a list" if array.shape == wanted else ""
            raise DataError(f"inputs have shape {array.shape}{one}: give (N, {', '.join(map(str, wanted))})")
        check_finite(array, "inputs", "predict")
        if self.task.embeds_inputs:
            if array.dtype.kind not in "iu" or array.min() < 0:
                raise DataError(f"inputs hold {array.dtype} from {array.min()}: give whole numbers from 0")
            if self.num_tokens is not None and array.max() >= self.num_tokens:
                raise DataError(f"inputs hold token {array.max()}, the network reads 0 to {self.num_tokens - 1}")
            return np.array(array, dtype=np.int64)
        if self.takes_bytes:
            limit = 1 if array.dtype.kind == "f" else int(UINT8_SCALE)
            if array.min() < 0 or array.max() > limit:
                raise DataError(
                    f"inputs from {array.min()} to {array.max()}, but the network was trained on bytes: give whole "
                    "numbers of 0 to 255, or floats of 0 to 1"
                )
            return np.array(array, dtype=np.float64 if array.dtype.kind == "f" else np.uint8)
        return np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float64)


def _plain_layout(input_shape: tuple[int, ...]) -> str:
    return "features" if len(input_shape) == 1 else "channels_first"


def _in_layout(input_shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """The shape of one example as a user has it."""
    if layout == "grey_images":
        return input_shape[1:]
    return (*input_shape[1:], input_shape[0]) if layout == "channels_last" else input_shape
