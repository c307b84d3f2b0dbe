"""Running a network to learn something about it, so that nothing of the run is left."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; every module's own mode is restored after."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


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
def undisturbed_training(model: nn.Module) -> Iterator[None]:
    """Train mode without consequences: modes, buffers and random states are put back after. No gradients inside.

    Nothing is warned of either (checkpointing does where there are no gradients): it is no training that runs.
    """
    # Norms write their statistics past the version counter, so every buffer is put back, changed or not.
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with undisturbed(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train()
        try:
            yield
        finally:
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def same_random_state(module: nn.Module) -> Iterator[None]:
    """Whatever draws from random states inside, PyTorch's or Python's or NumPy's: they are put back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=_cuda_devices(module)):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


@contextmanager
def same_random_numbers(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """The same random numbers inside at every call with this seed; random states are put back afterwards."""
    with same_random_state(module):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed devices that are not put back
        for device in _cuda_devices(module):
            torch.cuda.default_generators[device].manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        yield


def random_position() -> tuple[bytes, object, str]:
    """Where the random states of the CPU are: another value later means that numbers were drawn since."""
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())


def _cuda_devices(module: nn.Module) -> list[int]:
    if not torch.cuda.is_initialized():
        return []
    devices = {tensor.device.index for tensor in module.parameters() if tensor.device.type == "cuda"}
    return sorted(index for index in devices if index is not None)
