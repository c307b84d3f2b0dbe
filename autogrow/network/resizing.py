"""Changing the size of groups: first every new tensor is made, then all are put in place.

Widening and narrowing are one operation. For each group that changes, `units` lists where every unit of the resized
group comes from: an old unit, or nowhere (`layout.NEW`). Nothing is written until everything has been computed, so
a failure (no memory, say) leaves the network and the optimizer as they were.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from autogrow.network.channel_groups import Structure
from autogrow.network.initialization import Initialization, NewWeights
from autogrow.network.layers import LayerRule, Side, TensorRule, layer_rule, set_sizes, tensor_of
from autogrow.network.layout import NEW, IntArray, source_indices

Sources = dict[int, Tensor]
"""For each dimension that changes: the old index that each new index comes from, `NEW` for none."""


@dataclass(frozen=True)
class TensorChange:
    """One parameter or buffer on its way to a new size."""

    layer: nn.Module
    attribute: str
    name: str
    old: Tensor
    new: Tensor
    sources: Sources

    def carry(self, companion: Tensor, new_value: float) -> Tensor:
        """A tensor of the old shape (a moment, an age) brought to the new one; new entries hold `new_value`."""
        return resize_tensor(companion, self.sources, new_value)


@dataclass(frozen=True)
class Resizing:
    """A change of a whole network that has been computed and not yet made."""

    changes: tuple[TensorChange, ...]
    sizes: tuple[tuple[nn.Module, tuple[str, ...], int], ...]

    def commit(self) -> None:
        """Put the new tensors in place; parameters become new `nn.Parameter` objects without gradients."""
        for change in self.changes:
            if isinstance(change.old, nn.Parameter):
                setattr(change.layer, change.attribute, change.new)
            else:
                change.layer._buffers[change.attribute] = change.new
        for layer, names, size in self.sizes:
            set_sizes(layer, names, size)


def prepare_resizing(
    model: nn.Module,
    structure: Structure,
    units: Mapping[str, IntArray],
    initialization: Initialization | None = None,
    generator: torch.Generator | None = None,
    rescale: bool = False,
) -> Resizing:
    """Compute every tensor of the resized network.

    `initialization` and `generator` are needed where units are new. With `rescale`, weights whose fan-in shrinks are
    multiplied by sqrt(old fan-in / new fan-in), so that a narrowed fresh network has the variance its width asks for.
    """
    widths = {name: group.width for name, group in structure.groups.items()}
    widths |= {name: group.width for name, group in structure.fixed.items()}
    layers = dict(model.named_modules())
    indices: dict[str, dict[Side, IntArray]] = {}
    for (layer_name, side), layout in structure.layouts.items():
        if any(segment.group in units for segment in layout):
            indices.setdefault(layer_name, {})[side] = source_indices(layout, units, widths)
    changes: list[TensorChange] = []
    sizes: list[tuple[nn.Module, tuple[str, ...], int]] = []
    for layer_name, sides in indices.items():
        layer = layers[layer_name]
        rule = layer_rule(layer)
        assert isinstance(rule, LayerRule)
        for tensor_rule in rule.tensors:
            change = _change(layer_name, layer, tensor_rule, sides, initialization, generator, rescale)
            if change is not None:
                changes.append(change)
        for side, names in (("out", rule.out_sizes), ("in", rule.in_sizes)):
            if side in sides and names:
                sizes.append((layer, names, len(sides[side])))
    return Resizing(tuple(changes), tuple(sizes))


def resize_tensor(tensor: Tensor, sources: Sources, new_value: float) -> Tensor:
    """`tensor` with every dimension of `sources` gathered from its old indices; new entries hold `new_value`."""
    result = tensor
    for dim, source in sources.items():
        result = result.index_select(dim, source.clamp(min=0).to(tensor.device))
        new = (source == NEW).nonzero().flatten().to(tensor.device)
        if len(new):
            result.index_fill_(dim, new, new_value)
    return result


def _change(
    layer_name: str,
    layer: nn.Module,
    rule: TensorRule,
    sides: dict[Side, IntArray],
    initialization: Initialization | None,
    generator: torch.Generator | None,
    rescale: bool,
) -> TensorChange | None:
    old = tensor_of(layer, rule.name)
    sources: Sources = {}
    if rule.out_dim is not None and "out" in sides:
        sources[rule.out_dim] = torch.from_numpy(sides["out"])
    if rule.in_dim is not None and "in" in sides:
        sources[rule.in_dim] = torch.from_numpy(sides["in"])
    if old is None or not sources:
        return None
    with torch.no_grad():
        new = resize_tensor(old.detach(), sources, rule.fill or 0.0)
        if rescale and rule.in_dim in sources:
            new *= sqrt(old.shape[rule.in_dim] / new.shape[rule.in_dim])
        if rule.fill is None and any((source == NEW).any() for source in sources.values()):
            assert initialization is not None and generator is not None
            _fill_new_weights(new, rule, sources, initialization, generator)
        new = new.contiguous(memory_format=_memory_format(old))
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    return TensorChange(layer, rule.name, f"{layer_name}.{rule.name}" if layer_name else rule.name, old, new, sources)


def _fill_new_weights(
    weight: Tensor, rule: TensorRule, sources: Sources, initialization: Initialization, generator: torch.Generator
) -> None:
    """Write the fan-out of new inputs first and the fan-in of new units over it: new units read old and new inputs."""
    assert rule.out_dim is not None
    inputs = 1 if rule.in_dim is None else weight.shape[rule.in_dim]
    kernel = weight.numel() // (weight.shape[rule.out_dim] * inputs)
    fan_in, fan_out = inputs * kernel, weight.shape[rule.out_dim] * kernel
    for dim, draw in ((rule.in_dim, initialization.fan_out), (rule.out_dim, initialization.fan_in)):
        if dim is None or dim not in sources:
            continue
        new = (sources[dim] == NEW).nonzero().flatten()
        shape = list(weight.shape)
        shape[dim] = len(new)
        values = draw(NewWeights(tuple(shape), fan_in, fan_out), generator)
        weight.index_copy_(dim, new.to(weight.device), values.to(weight))


def _memory_format(tensor: Tensor) -> torch.memory_format:
    if tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
