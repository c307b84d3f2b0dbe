"""Reading a network's metrics: a batch at a time, so that outputs of all examples never lie in memory together."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.execution import Execution
from autogrow.tasks import Task
from autogrow.training.batches import BatchSource
from autogrow.training.execution import autocast


@dataclass(frozen=True)
class Metrics:
    """Loss and score on some examples: which score it is, and what the loss is in, says the task."""

    loss: float
    """Of a task that standardizes its targets in the user's unit, squared."""
    score: float
    undefined: str | None = None
    """Why one of them is NaN, in words, where that is no fault of the network."""
    standardized_loss: float | None = None
    """The loss as it is trained on, where targets are standardized."""

    @property
    def has_finite_loss(self) -> bool:
        """Whether the loss is a number, and the one that is trained on, too: it has 32 bits, and overflows first."""
        return math.isfinite(self.loss) and math.isfinite(self.standardized_loss or 0.0)

    @property
    def is_finite(self) -> bool:
        return self.has_finite_loss and math.isfinite(self.score)


def validation_problem(validation: Metrics) -> str:
    """What is wrong where only validation metrics are NaN or infinite, in words."""
    return (
        f"the validation loss is {validation.loss}, though the train loss is finite: look for inputs or targets of "
        "validation examples that are far out of range"
    )


class _Mean:
    """A mean over examples of means over batches, in 64 bits on the device.

    A mean of 32 bits times a number of examples is exact in 64: of a single batch it comes back as it was.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_examples = 0

    def update(self, mean: Tensor, num_examples: int) -> None:
        part = mean.double() * num_examples
        self._sum = part if self._sum is None else self._sum + part
        self._num_examples += num_examples

    def compute(self) -> float:
        return math.nan if self._sum is None else float(self._sum) / self._num_examples


def evaluate(
    task: Task,
    model: nn.Module,
    examples: BatchSource,
    indices: Tensor | None = None,
    execution: Execution = Execution(precision="float32"),
) -> Metrics:
    """Metrics in eval mode, without augmentation, on all examples or those at `indices`, (number,) int64.

    Waits for the device once, at the end.
    """
    if indices is None:
        indices = torch.arange(len(examples), device=examples.device)
    score, loss, loss_in_units = task.new_score(), _Mean(), _Mean()
    units = examples.target_units
    with evaluating(model), torch.inference_mode(), autocast(execution, examples.device):
        for part in torch.split(indices, examples.evaluation_batch):
            inputs, targets = examples.batch(part)
            outputs = model(inputs).float()
            score.update(outputs, targets)
            loss.update(task.loss(outputs, targets), len(part))
            if units is not None:
                loss_in_units.update(task.loss(outputs.double() * units, targets.double() * units), len(part))
        if units is None:
            return Metrics(loss.compute(), score.compute())
        return Metrics(loss_in_units.compute(), score.compute(), standardized_loss=loss.compute())
