"""Floating point operations of a network, counted by PyTorch on a real forward and backward pass."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from autogrow.network.running.evaluating import evaluating
from autogrow.network.running.model_input import ModelInput, run

BACKWARD_OVER_FORWARD = 2.0
"""FLOPs of a backward pass relative to its forward pass, where they cannot be counted."""


def training_flops_per_example(model: nn.Module, batch: ModelInput) -> float:
    """FLOPs of one example's forward and backward pass (a multiplication and an addition are two).

    The count on `batch` is divided by its size. Matrix products and convolutions are counted; norms, activations and
    the optimizer are not (torch.utils.flop_counter). Gradients are left as they were.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    size = len(batch[0] if isinstance(batch, tuple) else batch)
    with evaluating(model), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        outputs = [leaf for leaf in tree_leaves(run(model, batch)) if isinstance(leaf, Tensor) and leaf.requires_grad]
        forward = counter.get_total_flops()
        try:
            if parameters and outputs:
                torch.autograd.grad([output.sum() for output in outputs], parameters, allow_unused=True)
        except RuntimeError:
            # PyTorch's counter cannot look into the backward pass of parametrized layers: the usual estimate stands in.
            return BACKWARD_OVER_FORWARD * float(forward) / size + float(forward) / size
    return float(counter.get_total_flops()) / size
