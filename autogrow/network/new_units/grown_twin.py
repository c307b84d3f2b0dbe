"""A copy of a network that has grown already, to try values of new units on. The network itself is not touched.

Gradients are read in eval mode, without dropout and with the running statistics of old norm channels. New norm channels
have seen nothing yet: they are normalized with the mean and variance of the batch itself, as in training.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.growable import GrowableNetwork, LossOf
from autogrow.network.new_units.unit_blocks import added_units, find_unit_blocks, joint_new_entries
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.prepared_resizing import Resizing, prepare_resizing
from autogrow.network.running.copying import copied
from autogrow.network.running.layer_hooks import hooked
from autogrow.network.running.model_input import ModelInput
from autogrow.network.running.norm_statistics import has_channels, measure_new_statistics
from autogrow.network.running.undisturbed import same_random_state, undisturbed
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import NEW
from autogrow.policy.initializations import ZeroFanOut


class GrownTwin:
    """The copy: `module` at the new size with the values of `resizing`, its tensors by name, and the new units."""

    def __init__(self, network: GrowableNetwork, resizing: Resizing) -> None:
        structure = network.structure
        self.module = copied(network.module)
        _resize(self.module, structure, resizing)
        self.tensors: dict[str, Tensor] = dict([*self.module.named_parameters(), *self.module.named_buffers()])
        for parameter in self.module.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        self.groups = find_unit_blocks(structure, resizing)
        self._resizing = resizing
        self._layouts = structure.tensors
        with torch.no_grad():
            for change in resizing.changes:
                self.tensors[change.name].copy_(change.new)

    @torch.no_grad()
    def separate_new_units(self) -> None:
        """Let new units read old ones only, so that the gradient of one group's units says nothing of another's."""
        for change in self._resizing.changes:
            mask = joint_new_entries(change, self._layouts[change.name]) if change.name in self._layouts else None
            if mask is not None:
                tensor = self.tensors[change.name]
                tensor.masked_fill_(mask.to(tensor.device), 0.0)

    def gradients(self, loss: LossOf, names: Iterable[str]) -> dict[str, Tensor]:
        """The gradient of the loss with respect to these tensors; zero where the loss does not depend on one."""
        wanted = {name: self.tensors[name] for name in names}
        if not wanted:
            return {}
        with self._batch_statistics(), self.differentiable(wanted):
            found = torch.autograd.grad(scalar(loss(self.module)), list(wanted.values()), allow_unused=True)
        return {
            name: torch.zeros_like(tensor) if gradient is None else gradient
            for (name, tensor), gradient in zip(wanted.items(), found, strict=True)
        }

    @contextmanager
    def differentiable(self, names: Iterable[str]) -> Iterator[None]:
        """Eval mode, with gradients of these tensors and no others."""
        wanted = [self.tensors[name] for name in names]
        for tensor in wanted:
            tensor.requires_grad_(True)
        try:
            with undisturbed(self.module), torch.enable_grad():
                yield
        finally:
            for tensor in wanted:
                tensor.requires_grad_(False)

    def loss(self, loss: LossOf) -> float:
        """The loss, in eval mode."""
        with undisturbed(self.module):
            return float(scalar(loss(self.module), with_gradient=False))

    def measure_statistics(self, batch: ModelInput | None) -> None:
        """Give new norm channels what they will have after growing: the statistics of `batch`, or 0 and 1."""
        if batch is not None:
            with same_random_state(self.module):
                measure_new_statistics(self.module, self._resizing.fresh_channels, batch)

    def _batch_statistics(self) -> AbstractContextManager[None]:
        layers = dict(self.module.named_modules())
        fresh = self._resizing.fresh_channels
        return hooked(before={layers[name]: _batch_normalizer(layers[name], mask) for name, mask in fresh.items()})


def scalar(value: Tensor, with_gradient: bool = True) -> Tensor:
    """The value of a loss; raises `NetworkError` for one that is no scalar, or has no gradient where it must."""
    lacks_gradient = with_gradient and not value.requires_grad
    if value.numel() != 1 or lacks_gradient:
        raise NetworkError(
            f"the loss gave a tensor of shape {tuple(value.shape)}{' without gradients' if lacks_gradient else ''}; "
            "give a function from a module to a scalar that depends on the module's parameters"
        )
    return value.sum()


def _resize(module: nn.Module, structure: Structure, resizing: Resizing) -> None:
    """Bring a copy of the module to the size that a resizing of the original leads to; values come later."""
    units = {
        name: np.concatenate([np.arange(structure.groups[name].width), np.full(number, NEW)])
        for name, number in added_units(structure, resizing).items()
    }
    prepare_resizing(module, structure, units, make_initializer(ZeroFanOut()), torch.Generator()).commit()


def _batch_normalizer(layer: nn.Module, mask: Tensor) -> Callable[[Tensor], Tensor | None]:
    """Makes a norm in eval mode treat the channels of `mask` as in training.

    Gradients go through the mean, so that a unit gets no credit for what is the same in all examples, but not through
    the variance, which would take away all credit for the direction that the unit has already.
    """
    norm = cast(nn.BatchNorm2d, layer)

    def normalize(values: Tensor) -> Tensor | None:
        if norm.running_mean is None or norm.running_var is None or not has_channels(values, len(mask)):
            return None
        dims = [dim for dim in range(values.dim()) if dim != 1]
        mean = values.float().mean(dims)
        shape = [-1 if dim == 1 else 1 for dim in range(values.dim())]
        variance = (values.detach() - mean.detach().view(shape)).square().mean(dims)  # var() takes far longer on a CPU
        scale = ((norm.running_var + norm.eps) / (variance + norm.eps)).sqrt()
        is_new = mask.to(values.device)
        # What the norm, with its own statistics, turns into (values - mean) / sqrt(variance + eps)
        factor = torch.where(is_new, scale, 1.0).view(shape)
        summand = torch.where(is_new, norm.running_mean - mean * scale, 0.0).view(shape)
        return (values * factor + summand).to(values.dtype)

    return normalize
