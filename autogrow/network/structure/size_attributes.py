"""Attributes of PyTorch's layers that state a number of units, such as `out_features`: they follow the tensors.

This table is the only place that names layer types, and only for these attributes; what a layer computes is seen in
its operations. Subclasses inherit their base's entry.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from autogrow.network.structure.unit_labels import DimLabels, IntArray, UnitLabels


@dataclass(frozen=True)
class SizeAttribute:
    """An attribute of a layer, and the units along the dimension that it counts."""

    layer: str
    name: str
    labels: IntArray
    divisor: int = 1
    """Entries of the dimension per one of what is counted (channels per group)."""
    index: int | None = None
    """Place within a tuple or list, as in `nn.Unflatten`."""


def size_attributes(name: str, layer: nn.Module, inputs: Any, output: Any, labels: UnitLabels) -> list[SizeAttribute]:
    """The attributes of one layer that has just been called with one tensor and has returned one."""
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return _recurrent(name, layer, labels)
    if not inputs or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
        return []
    if isinstance(layer, nn.Unflatten):
        return _unflatten(name, layer, output, labels)
    found = _counted(layer, inputs, output, labels)
    return [SizeAttribute(name, attribute, units, divisor) for attribute, units, divisor in found if units is not None]


def _counted(layer: nn.Module, inputs: Any, output: Tensor, labels: UnitLabels) -> list[tuple[str, DimLabels, int]]:
    """Attributes with the units that they count, and the entries per one of what is counted."""
    found: list[tuple[str, DimLabels, int]] = []
    if isinstance(layer, nn.Linear):
        rows, columns = _dims(layer._parameters.get("weight"), labels, 2)
        found = [("out_features", rows, 1), ("in_features", columns, 1)]
    elif isinstance(layer, nn.modules.conv._ConvNd):
        found = _convolution(layer, inputs, output, labels)
    elif isinstance(layer, nn.modules.batchnorm._NormBase):
        found = [("num_features", _channels(inputs[0], labels), 1)]
    elif isinstance(layer, nn.GroupNorm):
        channels = _channels(inputs[0], labels)
        found = [("num_channels", channels, 1)]
        if layer.num_groups > 1:
            found.append(("num_groups", channels, layer.num_channels // layer.num_groups))
    elif isinstance(layer, nn.PReLU) and layer.num_parameters > 1:
        found = [("num_parameters", _dims(layer.weight, labels, 1)[0], 1)]
    elif isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        found = [("embedding_dim", _dims(layer.weight, labels, 2)[1], 1)]
    return found


def _convolution(
    layer: nn.modules.conv._ConvNd, inputs: Any, output: Any, labels: UnitLabels
) -> list[tuple[str, DimLabels, int]]:
    read = labels.of(inputs[0]).dims[-len(layer.kernel_size) - 1]
    made = labels.of(output).dims[-len(layer.kernel_size) - 1]
    found = [("in_channels", read, 1), ("out_channels", made, 1)]
    owner = labels.owner(_dims(layer._parameters.get("weight"), labels, 2)[0 if layer.transposed else 1])
    groups_get_larger = owner is not None and "in" in labels.roles.get((owner.name, owner.dim), ())
    if layer.groups > 1 and not groups_get_larger:
        found.append(("groups", read, layer.in_channels // layer.groups))
    return found


def _recurrent(name: str, layer: nn.Module, labels: UnitLabels) -> list[SizeAttribute]:
    """Sizes of recurrent layers and cells; of several layers in one, all have the first one's hidden size."""
    suffix = "_l0" if isinstance(layer, nn.RNNBase) else ""
    gates, inputs = _dims(layer._parameters[f"weight_ih{suffix}"], labels, 2)
    count = 4 if isinstance(layer, nn.LSTM | nn.LSTMCell) else 3 if isinstance(layer, nn.GRU | nn.GRUCell) else 1
    projected, _ = _dims(layer._parameters.get(f"weight_hr{suffix}"), labels, 2)
    state = projected
    if gates is not None and projected is None:
        state = labels.couple(gates.reshape(count, -1))
    for weight in (tensor for key, tensor in layer._parameters.items() if key.startswith("weight_hh")):
        labels.relate(state, _dims(weight, labels, 2)[1])  # a first state of zeros does not tell what it is read by
    found = [("hidden_size", gates, count), ("input_size", inputs, 1), ("proj_size", projected, 1)]
    return [SizeAttribute(name, attribute, units, divisor) for attribute, units, divisor in found if units is not None]


def _unflatten(name: str, layer: nn.Unflatten, output: Tensor, labels: UnitLabels) -> list[SizeAttribute]:
    dims = labels.of(output).dims
    first = int(layer.dim) % (output.dim() - len(layer.unflattened_size) + 1)
    return [
        SizeAttribute(name, "unflattened_size", units, index=index)
        for index in range(len(layer.unflattened_size))
        if (units := dims[first + index]) is not None
    ]


def _channels(tensor: Tensor, labels: UnitLabels) -> DimLabels:
    return labels.of(tensor).dims[1] if tensor.dim() > 1 else None


def _dims(tensor: Tensor | None, labels: UnitLabels, count: int) -> tuple[DimLabels, ...]:
    return labels.of(tensor).dims[:count] if tensor is not None else (None,) * count


def resized(value: Any, attribute: SizeAttribute, size: int) -> Any:
    """The attribute's value, once its dimension has `size` entries."""
    counted = size // attribute.divisor
    if attribute.index is None:
        return counted
    entries = [*value[: attribute.index], counted, *value[attribute.index + 1 :]]
    return entries if isinstance(value, list) else tuple(entries)


def is_norm(layer: nn.Module) -> bool:
    """Whether a layer normalizes channels."""
    return isinstance(layer, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm)
