"""Finding the channel groups of a plain module: the tensor dimensions that must change size together.

The dependency graph comes from torch-pruning (Fang et al. 2023, arXiv 2301.12900), traced from one example input and
read backwards: what must shrink together must also grow together. Only this file knows of torch-pruning; its result
is ours: groups, and a layout for every dimension. What cannot grow exactly is listed with the reason.
"""

import copy
import warnings
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.layers import Side, layer_rule, tensor_of
from autogrow.network.layout import IntArray, Layout, find_layout


@dataclass(frozen=True)
class Member:
    """A layer that belongs to a group: `out` holds its units, `in` reads them."""

    layer: str
    side: Side

    def __str__(self) -> str:
        return f"{self.layer} ({self.side})"


@dataclass(frozen=True)
class ChannelGroup:
    """Dimensions that change size together. `width` and `full_width` count units."""

    name: str
    width: int
    full_width: int
    members: tuple[Member, ...]


@dataclass(frozen=True)
class FixedGroup:
    """A group that is not widened, and why."""

    name: str
    width: int
    reason: str


@dataclass(frozen=True)
class Structure:
    """The growable groups of a network, those that are not, and the layout of every dimension that can change."""

    groups: dict[str, ChannelGroup]
    fixed: dict[str, FixedGroup]
    layouts: dict[tuple[str, Side], Layout]

    def without(self, reasons: dict[str, str]) -> "Structure":
        """The same structure with these groups fixed, for the reasons given."""
        groups = {name: group for name, group in self.groups.items() if name not in reasons}
        fixed = {name: FixedGroup(name, self.groups[name].width, reason) for name, reason in reasons.items()}
        return Structure(groups, {**self.fixed, **fixed}, self.layouts)


@dataclass
class _TracedGroup:
    """A group as traced: for every member, the positions along its dimension and the unit at each position."""

    name: str
    width: int
    positions: dict[Member, tuple[IntArray, IntArray]]
    reason: str | None = None


def find_structure(model: nn.Module, example_input: Tensor) -> Structure:
    """The channel groups of `model`, found from one pass over `example_input` (a batch). The model is left as it is.

    Raises `NetworkError` when the model cannot be run or traced.
    """
    traced = _trace_groups(model, example_input)
    layers = dict(model.named_modules())
    tied = _tied_layers(model)
    for group in traced:
        group.reason = group.reason or _reason_to_keep(group, layers, tied)
    layouts: dict[tuple[str, Side], Layout] = {}
    widths = {group.name: group.width for group in traced}
    for member in dict.fromkeys(member for group in traced for member in group.positions):
        sharing = [group for group in traced if member in group.positions]
        layer = layers[member.layer]
        if isinstance(layer_rule(layer), str) or _is_shared_slope(layer, sharing[0].positions[member][0]):
            continue
        layout = find_layout(*_owners(member, sharing, layer), widths)
        if isinstance(layout, str):
            for group in sharing:
                group.reason = group.reason or layout
        else:
            layouts[member.layer, member.side] = layout
    groups = {
        group.name: ChannelGroup(group.name, group.width, group.width, tuple(group.positions))
        for group in traced
        if group.reason is None
    }
    fixed = {group.name: FixedGroup(group.name, group.width, group.reason) for group in traced if group.reason}
    return Structure(groups, fixed, layouts)


def _trace_groups(model: nn.Module, example_input: Tensor) -> list[_TracedGroup]:
    # A copy is traced, because tracing needs gradients everywhere and eval mode, and leaves hooks behind if it fails.
    twin = copy.deepcopy(model).eval().requires_grad_(True)
    names = {module: name for name, module in twin.named_modules()}
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(twin, example_input, verbose=False)
            found = list(graph.get_all_groups())
        except Exception as error:
            message = " ".join(str(error).split())
            raise NetworkError(f"the network cannot be traced with an input of shape {tuple(example_input.shape)}: "
                               f"{type(error).__name__}: {message}") from error  # fmt: skip
    order = {name: index for index, name in enumerate(names.values())}
    groups = [_read_group(group, graph, names) for group in found]
    return sorted(groups, key=lambda group: order[group.name])


def _read_group(
    group: torch_pruning.Group, graph: torch_pruning.DependencyGraph, names: dict[nn.Module, str]
) -> _TracedGroup:
    """Translate one group of torch-pruning; it takes the name of its first layer in the network's order."""
    positions: dict[Member, tuple[IntArray, IntArray]] = {}
    reason = None
    for item in group:
        module = item.dep.target.module
        if isinstance(module, nn.Parameter):
            reason = f"parameter {item.dep.target.name!r} is used outside a layer"
        if module not in names:
            continue  # an operation such as an addition or a pooling: no tensors of its own
        side: Side = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        if _is_depthwise(module):
            side = "out"  # its inputs are its units
        member = Member(names[module], side)
        entry = (np.asarray(item.idxs, dtype=np.int64), np.asarray(item.root_idxs, dtype=np.int64))
        if member not in positions or len(entry[0]) > len(positions[member][0]):
            positions[member] = entry
    ordered = {name: index for index, name in enumerate(names.values())}
    positions = dict(sorted(positions.items(), key=lambda pair: (ordered[pair[0].layer], pair[0].side == "out")))
    name = next(member.layer for member in positions if member.side == "out")
    return _TracedGroup(name, len(group[0].idxs), positions, reason)


def _is_depthwise(module: nn.Module) -> bool:
    groups = getattr(module, "groups", 1)
    return isinstance(groups, int) and 1 < groups == getattr(module, "in_channels", None) == module.out_channels


def _is_shared_slope(layer: nn.Module, positions: IntArray) -> bool:
    """Whether one entry serves every unit, as in ``nn.PReLU()``: it does not change size."""
    return isinstance(layer, nn.PReLU) and layer.num_parameters == 1 and len(positions) > 1


def _tied_layers(model: nn.Module) -> set[str]:
    """Names of layers that share a parameter with another layer."""
    uses = Counter(id(parameter) for module in model.modules() for parameter in module._parameters.values())
    return {
        name
        for name, module in model.named_modules()
        if any(parameter is not None and uses[id(parameter)] > 1 for parameter in module._parameters.values())
    }


def _reason_to_keep(group: _TracedGroup, layers: dict[str, nn.Module], tied: set[str]) -> str | None:
    if not any(member.side == "in" for member in group.positions):
        return "it is the network's output"
    for member in group.positions:
        rule = layer_rule(layers[member.layer])
        if isinstance(rule, str):
            return f"layer {member.layer!r}: {rule}"
        if member.layer in tied:
            return f"layer {member.layer!r} shares its weight with another layer"
    return None


def _owners(member: Member, groups: list[_TracedGroup], layer: nn.Module) -> tuple[list[str | None], IntArray]:
    """For each position along the member's dimension, the group and the unit there."""
    rule = layer_rule(layer)
    assert not isinstance(rule, str)
    size = _dimension_size(layer, member.side)
    owners: list[str | None] = [None] * size
    units = np.zeros(size, dtype=np.int64)
    for group in groups:
        for position, unit in zip(*group.positions[member], strict=True):
            owners[position] = group.name
            units[position] = unit
    return owners, units


def _dimension_size(layer: nn.Module, side: Side) -> int:
    rule = layer_rule(layer)
    assert not isinstance(rule, str)
    for tensor_rule in rule.tensors:
        dim = tensor_rule.out_dim if side == "out" else tensor_rule.in_dim
        tensor = tensor_of(layer, tensor_rule.name)
        if dim is not None and tensor is not None:
            return tensor.shape[dim]
    # A norm without parameters or statistics has no tensor, only its number of features.
    return int(getattr(layer, (rule.out_sizes if side == "out" else rule.in_sizes)[0]))
