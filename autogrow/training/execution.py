"""The precision and the memory layout that training runs in."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from autogrow.policy.execution import Execution


def autocast(execution: Execution, device: torch.device) -> AbstractContextManager[object]:
    """The precision that forward passes are to run in."""
    automatic = execution.precision == "auto" and _computes_in_bfloat16(device)
    if not automatic and execution.precision != "bfloat16":
        return nullcontext()
    # A weight is used once in a step, so a cache of cast weights saves nothing, and must not outlive a capture.
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def _computes_in_bfloat16(device: torch.device) -> bool:
    # From Ampere on; PyTorch emulates it on older GPUs, slower than float32.
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def channels_last(model: nn.Module) -> nn.Module:
    """The same model with the weights of 2-d convolutions stored channels last, as batches are."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return model
