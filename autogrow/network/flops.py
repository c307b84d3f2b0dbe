"""Floating point operations of a network, counted by PyTorch on a real forward and backward pass."""

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autogrow.network.statistics import evaluating


def training_flops_per_example(model: nn.Module, example_input: Tensor) -> float:
    """FLOPs of one example's forward and backward pass (a multiplication and an addition are two).

    `example_input` is a batch; the count is divided by its size. Matrix products and convolutions are counted;
    norms, activations and the optimizer are not (torch.utils.flop_counter). Gradients are left as they were.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with evaluating(model), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        output = model(example_input)
        if parameters:
            torch.autograd.grad(output.sum(), parameters, allow_unused=True)
    return float(counter.get_total_flops()) / len(example_input)
