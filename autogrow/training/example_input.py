"""A batch with the shape of a data set's inputs, to trace and check a network with."""

from typing import Protocol

import torch
from torch import Tensor

from autogrow.tasks import TASKS

EXAMPLES = 2
"""Batch norms need more than one example."""


class Described(Protocol):
    """A data set, or the record of a network that was trained on one."""

    @property
    def task(self) -> str: ...

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def num_outputs(self) -> int: ...


def example_of(data: Described, device: torch.device, number: int = EXAMPLES) -> Tensor:
    """(number, *input_shape) as networks for these data take it, always the same values."""
    return TASKS[data.task].example_input(data.input_shape, data.num_outputs, number).to(device)


def example_input(input_shape: tuple[int, ...], device: torch.device, number: int = EXAMPLES) -> Tensor:
    """(number, *input_shape) of noise, always the same values: of inputs that are standardized, whatever the task."""
    return torch.randn((number, *input_shape), generator=torch.Generator().manual_seed(0)).to(device)
