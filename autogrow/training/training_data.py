"""What one run trains on and is read by: the splits, and how their numbers become a network's."""

from dataclasses import dataclass
from typing import Self

import torch

from autogrow.data.dataset import Dataset
from autogrow.data.preprocessing import Normalization, measure_normalization, measure_target_scale
from autogrow.data.splits import Examples, TrainSplit, ValidationSplit
from autogrow.training.batches import DeviceExamples
from autogrow.training.task import Task


@dataclass(frozen=True)
class TrainingData:
    """The examples of one run. Everything that is measured of them is measured on the training split alone."""

    task: Task
    train: TrainSplit
    validation: ValidationSplit | None
    normalization: Normalization
    augmentation: str = "none"
    target_scale: Normalization | None = None
    """Mean and standard deviation of every target of a regression; None: targets as they are."""
    num_outputs: int | None = None
    """Of the network; None: not known beyond the classes that occur."""

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        train: TrainSplit,
        validation: ValidationSplit | None,
        *,
        standardizes_targets: bool = True,
    ) -> Self:
        """Splits of a data set. Targets of a regression are standardized unless the caller wants them as they are."""
        is_scaled = standardizes_targets and dataset.task == "regression"
        scale = measure_target_scale(train) if is_scaled else None
        return cls(
            Task(dataset.task, scale.std if scale is not None else None),
            train,
            validation,
            measure_normalization(train),
            dataset.augmentation,
            scale,
            dataset.num_outputs,
        )

    def on(self, examples: Examples, device: torch.device) -> DeviceExamples:
        """Examples of these data as the network sees them."""
        return DeviceExamples(examples, self.normalization, device, self.target_scale)
