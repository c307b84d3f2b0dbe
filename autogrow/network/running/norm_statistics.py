"""Mean and variance of norm channels that have seen no data yet."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from autogrow.network.running.evaluating import evaluating
from autogrow.network.running.layer_hooks import hooked
from autogrow.network.running.model_input import ModelInput, run


def measure_new_statistics(model: nn.Module, newborn: Mapping[str, Tensor], batch: ModelInput) -> None:
    """Give the new channels of norms the mean and variance of `batch`, in one pass; old channels keep theirs.

    `newborn` holds, by layer name, a mask of the channels to measure. Each norm is written before it is applied, so
    norms further down see inputs that are normalized already. Scripted norms take no hooks and keep what they have.
    """
    layers = dict(model.named_modules())
    writers = {layers[name]: _statistics_writer(layers[name], mask) for name, mask in newborn.items()}
    with hooked(before=writers), evaluating(model):
        run(model, batch)


def has_channels(values: Tensor, count: int) -> bool:
    """Whether a tensor has this many channels."""
    return values.dim() > 1 and values.shape[1] == count


def _statistics_writer(layer: nn.Module, mask: Tensor) -> Callable[[Tensor], None]:
    norm = cast(nn.BatchNorm2d, layer)

    def write(given: Tensor) -> None:
        if not has_channels(given, len(mask)):
            return
        values = given.float()
        dims = [dim for dim in range(values.dim()) if dim != 1]
        measured = ((norm.running_mean, values.mean(dims)), (norm.running_var, values.var(dims)))
        for statistic, value in measured:
            if statistic is not None and torch.isfinite(value).all():
                torch.where(mask.to(statistic.device), value.to(statistic), statistic, out=statistic)

    return write
