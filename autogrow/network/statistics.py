"""Readings of a network's activations, taken through hooks that are removed afterwards."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from autogrow.network.channel_groups import ChannelGroup
from autogrow.network.layers import LayerRule, layer_rule

Hook = Callable[[nn.Module, Any, Any], None]


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


def activation_std(model: nn.Module, groups: Iterable[ChannelGroup], batch: Tensor) -> dict[str, float]:
    """Standard deviation of each group's activations over `batch`, by group name.

    Measured over examples, positions and units at the outputs of the group's norms, or of the layers that hold its
    units where it has no norm, and averaged over those layers. He et al. (2016), figure 7, read their layer responses
    at the same place: after the norm, before the nonlinearity.
    """
    layers = dict(model.named_modules())
    readings: dict[str, list[float]] = {}
    handles = []
    try:
        for group in groups:
            holders = [layers[member.layer] for member in group.members if member.side == "out"]
            norms = [layer for layer in holders if cast(LayerRule, layer_rule(layer)).is_norm]
            for layer in norms or holders:
                handles.append(layer.register_forward_hook(_std_reader(readings.setdefault(group.name, []))))
        with evaluating(model):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {name: sum(values) / len(values) for name, values in readings.items()}


def _std_reader(into: list[float]) -> Hook:
    def read(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        into.append(float(output.float().std(correction=0)))

    return read


def measure_new_statistics(model: nn.Module, newborn: Mapping[str, Tensor], batch: Tensor) -> None:
    """Give the new channels of norms the mean and variance of `batch`, in one pass; old channels keep theirs.

    `newborn` holds, by layer name, a mask of the channels to measure. Each norm is written before it is applied, so
    norms further down see inputs that are normalized already.
    """
    layers = dict(model.named_modules())
    handles = []
    try:
        for name, mask in newborn.items():
            handles.append(layers[name].register_forward_pre_hook(_statistics_writer(mask)))
        with evaluating(model):
            model(batch)
    finally:
        for handle in handles:
            handle.remove()


def _statistics_writer(mask: Tensor) -> Callable[[nn.Module, Any], None]:
    def write(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        dims = [dim for dim in range(values.dim()) if dim != 1]
        norm = cast(nn.BatchNorm2d, layer)
        for statistic, measured in ((norm.running_mean, values.mean(dims)), (norm.running_var, values.var(dims))):
            if statistic is not None and torch.isfinite(measured).all():
                torch.where(mask.to(statistic.device), measured.to(statistic), statistic, out=statistic)

    return write
