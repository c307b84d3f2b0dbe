"""What one run trains on and is read by: the splits, and how their numbers become a network's."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from autogrow.data.dataset import Dataset
from autogrow.data.preprocessing import Normalization, measure_normalization, measure_target_scale
from autogrow.data.splits import Examples, TrainSplit, ValidationSplit
from autogrow.tasks import TASKS, Task
from autogrow.training.batches import BatchSource, DeviceExamples
from autogrow.training.token_windows import TokenWindows


@dataclass(frozen=True)
class TrainingData:
    """The examples of one run. Everything that is measured of them is measured on the training split alone."""

    task: Task
    train: TrainSplit
    validation: ValidationSplit | None
    normalization: Normalization
    augmentation: str = "none"
    target_scale: Normalization | None = None
    """Mean and standard deviation of every target, where they are standardized; None: targets as they are."""
    num_outputs: int | None = None
    """Of the network; None: not known beyond what the targets say."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        train: TrainSplit,
        validation: ValidationSplit | None,
        *,
        standardizes_targets: bool = True,
    ) -> Self:
        """Splits of a data set. A task that standardizes targets does so unless the caller wants them as they are."""
        task = TASKS[dataset.task]
        scale = measure_target_scale(train) if standardizes_targets and task.standardizes_targets else None
        return cls(
            task,
            train,
            validation,
            measure_normalization(train),
            dataset.augmentation,
            scale,
            dataset.num_outputs,
        )

    def on(self, examples: Examples, device: torch.device) -> BatchSource:
        """Examples of these data as the network sees them."""
        return on_device(examples, self.normalization, device, self.target_scale, self.num_outputs)


def on_device(
    examples: Examples,
    normalization: Normalization,
    device: torch.device,
    target_scale: Normalization | None,
    num_outputs: int | None,
) -> BatchSource:
    """One split as networks take it in batches."""
    if examples.streams:
        return TokenWindows(examples, device, num_outputs)
    return DeviceExamples(examples, normalization, device, target_scale)


def refuse_unlearnable(task: Task, examples: Examples, indices: Tensor | None = None, which: str = "") -> None:
    """Raise `DataError` for examples that there is nothing to learn of, or that have no score.

    Args:
        indices: Look at these examples alone, which the message calls `which`.
    """
    targets = examples.targets if indices is None else examples.targets[indices.cpu().numpy()]
    split = "validation" if isinstance(examples, ValidationSplit) else "training"
    task.refuse_unlearnable(targets, f"{split} examples{which}")
