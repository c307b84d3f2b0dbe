"""Running a network to learn something about it, so that nothing of the run is left."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from autogrow.network.running.evaluating import evaluating


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; modes, buffers and random states are afterwards as they were before."""
    buffers = [
        (owner, name, buffer, buffer._version, buffer.clone())
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None
    ]
    try:
        with same_random_state(module), evaluating(module):
            yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, version, value in buffers:
                owner._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(value)


@contextmanager
def same_random_state(module: nn.Module) -> Iterator[None]:
    """Whatever draws from PyTorch's random states inside: afterwards they are as they were before."""
    devices = {tensor.device.index for tensor in module.parameters() if tensor.device.type == "cuda"}
    with torch.random.fork_rng(devices=[index for index in devices if index is not None]):
        yield
