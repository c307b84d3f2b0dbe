"""Training steps: which batch, which learning rate, forward, backward, update. Nothing here waits for the device."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.policy.execution import Execution
from autogrow.tasks import Task
from autogrow.training.augmentation import Augmentation
from autogrow.training.batches import BatchOrder, BatchSource
from autogrow.training.captured_step import CapturedStep, recorder_for
from autogrow.training.execution import autocast
from autogrow.training.optimizers import clip_gradients, set_learning_rate
from autogrow.training.step_loss import StepLoss, TaskLoss


class Steps:
    """Takes the steps of one run, on its own network or on copies of it.

    Args:
        examples: What is trained on.
        augmentation: None leaves images as they are.
        learning_rate: Of a step's number, counted from 0 over the whole run.
        max_gradient_norm: To which larger gradients are scaled down; None leaves them as they are.
        loss: What a step makes smaller; None: the task's loss.
    """

    def __init__(
        self,
        task: Task,
        examples: BatchSource,
        order: BatchOrder,
        augmentation: Augmentation | None,
        learning_rate: Callable[[int], float],
        execution: Execution,
        max_gradient_norm: float | None = None,
        loss: StepLoss | None = None,
    ) -> None:
        self._loss = TaskLoss(task) if loss is None else loss
        self._examples = examples
        self._order = order
        self._augmentation = augmentation
        self._learning_rate = learning_rate
        self._execution = execution
        self._max_gradient_norm = max_gradient_norm
        self._recorder = recorder_for(examples.device) if execution.cuda_graphs else None
        self.captured: CapturedStep | None = None
        """What replays steps that were recorded; None where steps are taken one operation after the other."""
        self._control: OptimizerCohorts | None = None
        self._forward: Callable[[Tensor], Tensor] | None = None
        self._events = 0
        """Growth events when it was compiled."""

    @property
    def are_captured(self) -> bool:
        """Whether steps can be captured, so that the optimizer must keep everything on the device."""
        return self._recorder is not None

    def take(self, network: ExpandableNetwork, optimizer: Optimizer, step: int) -> None:
        """The step of that number of the run itself."""
        control = network.attach(optimizer)
        if control is not self._control:
            self._control = control
            self.captured = CapturedStep(self._compute, control, self._recorder) if self._recorder else None
        set_learning_rate(optimizer, self._learning_rate(step))
        if self._forward is None or (self._execution.compile and self._events != network.cohorts.num_events):
            self._forward, self._events = self._callable(network.module), network.cohorts.num_events
        (self.captured or self._compute)(*self.batch(step))

    def take_on_copy(self, model: nn.Module, optimizer: Optimizer, step: int) -> None:
        """The same step on a copy of the network, as it is."""
        set_learning_rate(optimizer, self._learning_rate(step))
        self._train(model, optimizer, *self.batch(step))

    def _callable(self, module: nn.Module) -> Callable[[Tensor], Tensor]:
        if not self._execution.compile:
            return module
        torch.compiler.reset()  # what was compiled for another shape would only be in the way
        return torch.compile(module)

    def batch(self, step: int) -> tuple[Tensor, Tensor | None]:
        """The numbers of the step's examples, and the draws for their augmentation."""
        return self._order.indices(step), None if self._augmentation is None else self._order.draws(step)

    def _compute(self, indices: Tensor, draws: Tensor | None) -> None:
        assert self._control is not None and self._forward is not None
        with self._control.without_held_gradients():
            self._train(self._forward, self._control.optimizer, indices, draws)

    def _train(
        self, forward: Callable[[Tensor], Tensor], optimizer: Optimizer, indices: Tensor, draws: Tensor | None
    ) -> None:
        if self._augmentation is None or draws is None:
            inputs, targets = self._examples.batch(indices)
        else:
            inputs, targets = self._examples.augmented(indices, draws, self._augmentation)
        optimizer.zero_grad(set_to_none=True)
        with autocast(self._execution, self._examples.device):
            loss = self._loss(forward, inputs, targets)
        torch.autograd.backward(loss)
        if self._max_gradient_norm is not None:
            clip_gradients(optimizer, self._max_gradient_norm)
        optimizer.step()
