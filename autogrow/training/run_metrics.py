"""The metrics of one run: at samples and at its end, on the examples that its plan chose, and only where defined."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autogrow.data.splits import Examples
from autogrow.errors import TrainingDivergedError
from autogrow.policy.execution import Execution
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.batches import BatchOrder, BatchSource
from autogrow.training.evaluation import Metrics, evaluate, validation_problem
from autogrow.training.fixed_batch import FixedBatch
from autogrow.training.measuring import FIXED_BATCH, TIMED_BATCH, Measuring
from autogrow.training.training_data import TrainingData, refuse_unlearnable


@dataclass(frozen=True)
class RunMetrics:
    """What a run is measured on, and its metrics there."""

    data: TrainingData
    train: BatchSource
    validation: BatchSource | None
    plan: Measuring
    settings: TrainingSettings
    num_steps: int
    """Of the whole run; at full size, where its length is compute."""
    step_inputs: Tensor
    """As many training inputs as a step sees, on which memory is measured."""
    execution: Execution

    @classmethod
    def of_run(
        cls,
        data: TrainingData,
        settings: TrainingSettings,
        train: BatchSource,
        order: BatchOrder,
        seed: int,
        execution: Execution,
    ) -> "RunMetrics":
        """Metrics of a run on `train` in this order.

        Raises:
            DataError: The score is not defined on examples of which it would be read.
        """
        num_steps = settings.num_steps(order.steps_per_epoch)
        validation = data.on(data.validation, train.device) if data.validation else None
        plan = Measuring.plan(settings, num_steps, order.batch_size, train, validation, seed)
        step_inputs = train.batch(plan.first(order.batch_size))[0]
        metrics = cls(data, train, validation, plan, settings, num_steps, step_inputs, execution)
        metrics._refuse_unlearnable()
        return metrics

    @property
    def timed_inputs(self) -> Tensor:
        """Training inputs whose forward pass is timed."""
        return self.train.batch(self.plan.first(TIMED_BATCH))[0]

    def fixed_batch(self) -> FixedBatch:
        """The training examples on which everything about growing is measured."""
        inputs, targets = self.train.batch(self.plan.train_indices[:FIXED_BATCH])
        return FixedBatch(inputs, targets, self.data.task)

    def of_sample(self, model: nn.Module, step: int) -> tuple[Metrics, Metrics | None]:
        """Train and validation metrics after `step`, each on the examples that all samples of the run are of.

        Raises:
            TrainingDivergedError: One of them is NaN or infinite.
        """
        train, validation = self._evaluate(model, self.train, self.plan.train_indices), None
        if self.validation is not None:
            validation = self._evaluate(model, self.validation, self.plan.validation_indices)
        self._check_finite(train, step)
        if validation is not None and not validation.is_finite:
            raise TrainingDivergedError(f"{validation_problem(validation)}, at step {step} of {self.num_steps}")
        return train, validation

    def at_the_end(self, model: nn.Module) -> tuple[Metrics, Metrics | None]:
        """Metrics on all validation examples, and on as many training examples, so that the gap compares like with
        like. Validation metrics may be infinite; raises `TrainingDivergedError` where train metrics are."""
        train = self._evaluate(model, self.train, self.plan.matched_train_indices(self.validation))
        self._check_finite(train, self.num_steps)
        return train, self._evaluate(model, self.validation) if self.validation else None

    def _evaluate(self, model: nn.Module, examples: BatchSource, indices: Tensor | None = None) -> Metrics:
        return evaluate(self.data.task, model, examples, indices, self.execution)

    def _check_finite(self, train: Metrics, step: int) -> None:
        if not train.is_finite:
            raise TrainingDivergedError(
                f"the loss is {train.loss} at step {step} of {self.num_steps}; lower the learning rate "
                f"({self.settings.learning_rate:g}), training.learning_rate in a policy file"
            )

    def _refuse_unlearnable(self) -> None:
        """Wherever the score is going to be read, it must be defined: of all examples, and of those measured."""
        task, plan, validation = self.data.task, self.plan, self.data.validation
        matched = plan.matched_train_indices(self.validation)
        parts: list[tuple[Examples, tuple[Tensor, Tensor]]] = [(self.data.train, (matched, plan.train_indices))]
        if validation is not None and plan.validation_indices is not None:
            parts.append((validation, (torch.arange(len(validation)), plan.validation_indices)))
        for examples, (at_the_end, sampled) in parts:
            refuse_unlearnable(task, examples)
            refuse_unlearnable(task, examples, at_the_end, " that are read at the end")
            refuse_unlearnable(task, examples, sampled, " that samples are of")
