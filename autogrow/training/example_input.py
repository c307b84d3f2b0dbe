"""A batch of noise with the shape of a data set's inputs, to trace and check a network with."""

import torch
from torch import Tensor

EXAMPLES = 2
"""Batch norms need more than one example."""


def example_input(input_shape: tuple[int, ...], device: torch.device, number: int = EXAMPLES) -> Tensor:
    """(number, *input_shape), always the same values."""
    return torch.randn((number, *input_shape), generator=torch.Generator().manual_seed(0)).to(device)
