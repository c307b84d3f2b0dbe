"""Mean and variance of norm channels that have seen no data yet."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from autogrow.network.running.layer_hooks import hooked
from autogrow.network.running.model_input import ModelInput, explained, run
from autogrow.network.running.undisturbed import evaluating


def measure_new_statistics(model: nn.Module, newborn: Mapping[str, Tensor], batch: ModelInput) -> None:
    """Give the new channels of norms the mean and variance of `batch`, in one pass; old channels keep theirs.

    `newborn` holds, by layer name, a mask of the channels to measure. Each norm is written before it is applied, so
    norms further down see inputs that are normalized already. Scripted norms take no hooks and keep what they have.
    """
    layers = dict(model.named_modules())
    writers = {layers[name]: _statistics_writer(layers[name], mask) for name, mask in newborn.items()}
    with explained("the network fails on the calibration input"), hooked(before=writers), evaluating(model):
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
        mean = values.mean(dims, keepdim=True)
        # Tensor.var over channels takes ten times as long on a CPU. Of a single value it is 0 / 0 here too.
        var = (values - mean).square_().sum(dims) / (values.numel() / values.shape[1] - 1)
        mean = mean.flatten()
        for statistic, value in ((norm.running_mean, mean), (norm.running_var, var)):
            if statistic is not None:
                # Not finite are the variance of a single value, and whatever a network that diverges gives.
                is_measured = mask.to(statistic.device) & torch.isfinite(value).all()
                torch.where(is_measured, value.to(statistic), statistic, out=statistic)

    return write
