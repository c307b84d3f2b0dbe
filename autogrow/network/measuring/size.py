"""How large a network is, as `SizeLimits` see it: parameters, training FLOPs, memory of a step, latency."""

import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.network.measuring.footprint import paired_milliseconds
from autogrow.network.running.model_input import ModelInput, explained, run
from autogrow.network.running.undisturbed import evaluating
from autogrow.policy.limits import NetworkSize, SizeLimits

LATENCY_ROUNDS = 7
"""Of forward passes, of which the median counts."""
BYTES_PER_PARAMETER = 3
"""Copies of every parameter, besides itself, in a training step: its gradient and two moments (Adam)."""


def measure_size(
    model: nn.Module, batch: ModelInput, limits: SizeLimits, timed: ModelInput | None = None
) -> NetworkSize:
    """The size of `model` on a batch; memory and latency only where `limits` asks for them, as they take a while.

    Args:
        timed: The batch whose forward pass is timed, where that is another.
    """
    return NetworkSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        flops=training_flops_per_example(model, batch) if limits.max_flops is not None else 0.0,
        memory_bytes=training_memory_bytes(model, batch) if limits.needs_memory else None,
        latency_ms=latency_ms(model, batch if timed is None else timed) if limits.needs_latency else None,
    )


def check_limits(model: nn.Module, batch: ModelInput, limits: SizeLimits) -> None:
    """Raises `NetworkError` if `model` is larger than `limits` allow, or cannot be measured."""
    if limits.is_set:
        with explained("the network's size cannot be measured"):
            exceeded = limits.exceeded(measure_size(model, batch, limits))
        if exceeded:
            raise NetworkError(f"the network would exceed {exceeded}; add less, or raise the limit")


def training_memory_bytes(model: nn.Module, batch: ModelInput) -> int:
    """Bytes of one training step: parameters, gradients, two moments, buffers, and what autograd keeps for backward.

    Every storage counts once. What operations need only while they run (a convolution's workspace) is not counted.
    """
    own = [*model.parameters(), *model.buffers()]
    storages = {tensor.untyped_storage().data_ptr() for tensor in own}
    kept = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal kept
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            storages.add(storage.data_ptr())
            alive.append(tensor)  # or its address could be taken by another
            kept += storage.nbytes()
        return tensor

    alive: list[Tensor] = []
    with evaluating(model), torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = run(model, batch)
    del outputs
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    return kept + sum(tensor.nbytes for tensor in own) + BYTES_PER_PARAMETER * trained


def latency_ms(model: nn.Module, batch: ModelInput) -> float:
    """Milliseconds of one forward pass in eval mode, as `footprint` measures it, in few rounds: growing asks often."""
    return paired_milliseconds([model], batch, most_rounds=LATENCY_ROUNDS)[0]
