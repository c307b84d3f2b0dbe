"""What a training step makes smaller: the task's loss, and whatever a recovery adds to it."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from autogrow.network.expandable import ExpandableNetwork
from autogrow.network.running.undisturbed import evaluating, undisturbed
from autogrow.network.shrinking.unit_places import Passing, UnitPlaces
from autogrow.tasks import Task

Forward = Callable[[Tensor], Tensor]


class StepLoss(Protocol):
    """The loss of one step, a scalar with gradients; `forward` is the network, or what it was compiled to."""

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor: ...


class TaskLoss:
    """The task's own."""

    def __init__(self, task: Task) -> None:
        self._task = task

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._task.loss(forward(inputs), targets)


class Distillation:
    """Part the task's loss, part the distance from what a teacher answers (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        teacher: Runs in eval mode, without gradients, on the device of the inputs; it is not changed.
        weight: Of the distance; the task's loss has the rest.
        temperature: By which outputs that are logits are divided.
    """

    def __init__(self, task: Task, teacher: nn.Module, weight: float, temperature: float) -> None:
        self._task, self._teacher = task, teacher
        self._weight, self._temperature = weight, temperature

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = forward(inputs)
        with evaluating(self._teacher), torch.no_grad():
            taught = self._teacher(inputs)
        distance = self._task.distillation_loss(outputs, taught, self._temperature)
        if self._weight == 1:
            return distance
        return self._weight * distance + (1 - self._weight) * self._task.loss(outputs, targets)


class PenalizedGains:
    """Another loss and an L1 penalty on gains of norms, which drives those of useless channels to zero.

    Args:
        gains: The parameters that gains are. They are read anew at every step, since growing replaces them.
    """

    def __init__(self, loss: StepLoss, gains: Callable[[], Sequence[Tensor]], penalty: float) -> None:
        self._loss, self._gains, self._penalty = loss, gains, penalty

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        loss = self._loss(forward, inputs, targets)
        sums = [gain.abs().sum() for gain in self._gains()]
        return loss + self._penalty * torch.stack(sums).sum() if sums else loss


class PenalizedActivations:
    """Another loss and an L1 penalty on what readers are given of every unit (thesis (E. Calli 2017), 2.8).

    Args:
        network: Whose units they are; its shape must not change between steps.
    """

    def __init__(self, loss: StepLoss, network: ExpandableNetwork, penalty: float) -> None:
        self._loss, self._network, self._penalty = loss, network, penalty
        self._places: UnitPlaces | None = None

    def __call__(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        sums: list[Tensor] = []

        def on_units(passing: Passing) -> None:
            rows = passing.values.movedim(passing.column_dim, -1).flatten(0, -2)
            for columns in passing.columns.values():
                index = columns.flatten().to(rows.device)
                sums.append(rows[:, index].abs().mean() * len(columns))

        with self._found_places(inputs).watched(on_units):
            loss = self._loss(forward, inputs, targets)
        return loss + self._penalty * torch.stack(sums).sum() if sums else loss

    def _found_places(self, inputs: Tensor) -> UnitPlaces:
        if self._places is None:
            module, structure = self._network.module, self._network.structure
            with undisturbed(module):
                self._places = UnitPlaces(module, structure, structure.groups, lambda: module(inputs))
        return self._places
