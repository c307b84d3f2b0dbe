"""Finding the channel groups of a plain module: the tensor dimensions that must change size together.

A trace says which unit stands at every entry of every parameter. Units that stand in the same dimensions form a group;
where a dimension holds whole groups in order, its layout says where new units belong. What cannot grow is listed with
the reason. The dependency between dimensions is that of Fang et al. 2023 (arXiv 2301.12900), read backwards: what must
shrink together must also grow together.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from autogrow.network.structure.layout import NOBODY, IntArray, Layout, find_layout
from autogrow.network.structure.size_attributes import SizeAttribute
from autogrow.network.structure.tracing import Trace
from autogrow.network.structure.unfit_tensors import unfit_groups
from autogrow.network.structure.unit_labels import CONSTANT, ParameterDim

Side = Literal["out", "in"]
"""out: the dimension holds a group's units; in: it reads them."""


@dataclass(frozen=True)
class Member:
    """A layer that belongs to a group: `out` holds its units, `in` reads them."""

    layer: str
    side: Side

    def __str__(self) -> str:
        return f"{self.layer} ({self.side})"


@dataclass(frozen=True)
class ChannelGroup:
    """Dimensions that change size together. `width` and `full_width` count units.

    A unit is what can be added at once: mostly one channel, but one channel for each group of a convolution in groups.
    """

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
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class TensorLayout:
    """How one parameter or buffer changes size: a layout per dimension that can, and what its new entries hold."""

    dims: Mapping[int, Layout]
    out_dim: int | None = None
    """The dimension of units that a weight computes; None for gains, biases and statistics."""
    in_dim: int | None = None
    """The dimension of units that a weight reads."""
    fill: float | None = None
    """Value of new entries where neither is set; None draws from the old ones."""


@dataclass(frozen=True)
class AttributeLayout:
    """A layer's attribute that counts the entries of a dimension."""

    attribute: SizeAttribute
    layout: Layout


@dataclass(frozen=True)
class Structure:
    """The growable groups of a network, those that are not, and the layout of everything that can change."""

    groups: dict[str, ChannelGroup]
    fixed: dict[str, FixedGroup]
    tensors: dict[str, TensorLayout]
    attributes: tuple[AttributeLayout, ...]
    choices: dict[int, frozenset[str]] = field(default_factory=dict)
    """Operations that left something open, with the groups it was about."""
    norm_of: Mapping[str, str] = field(default_factory=dict)
    """Weights whose outputs go to one batch norm and nowhere else, with the name of that layer."""

    @property
    def widths(self) -> dict[str, int]:
        """Of all groups, the fixed ones included."""
        growable = {name: group.width for name, group in self.groups.items()}
        return growable | {name: group.width for name, group in self.fixed.items()}

    def without(self, reasons: Mapping[str, str]) -> "Structure":
        """The same structure with these groups fixed, for the reasons given."""
        groups = {name: group for name, group in self.groups.items() if name not in reasons}
        fixed = {
            name: FixedGroup(name, self.groups[name].width, reason, self.groups[name].members)
            for name, reason in reasons.items()
        }
        return replace(self, groups=groups, fixed={**self.fixed, **fixed})

    def settled(self) -> "Structure":
        """The same structure with the present widths as the full ones."""
        return replace(
            self, groups={name: replace(group, full_width=group.width) for name, group in self.groups.items()}
        )

    def with_widths(self, widths: Mapping[str, int]) -> "Structure":
        groups = {name: replace(group, width=widths.get(name, group.width)) for name, group in self.groups.items()}
        return replace(self, groups=groups)


def find_structure(model: nn.Module, trace: Trace) -> Structure:
    """The groups and layouts that a trace of `model` shows."""
    found = _find_groups(model, trace)
    layouts: dict[tuple[str, int], Layout] = {}
    problems = dict(found.problems)
    for entry in found.dims:
        layout = found.layout(entry.labels)
        if layout is None:
            for name in found.names_at(entry.labels):
                problems.setdefault(name, f"{entry.name!r} holds its units in parts or out of order")
        elif any(segment.group for segment in layout):
            layouts[entry.name, entry.dim] = layout
    attributes = tuple(
        AttributeLayout(attribute, layout)
        for attribute in trace.attributes
        if (layout := found.layout(attribute.labels)) is not None and any(segment.group for segment in layout)
    )
    members = _members(model, trace, found)
    groups = {
        name: ChannelGroup(name, width, width, tuple(members.get(name, ()))) for name, width in found.widths.items()
    }
    # A part that no pass has used may read any group, as an auxiliary head does that only training runs. Where train
    # mode could not be looked at, nobody knows which, so nothing may grow.
    if trace.training_problem and trace.unused:
        names = ", ".join(sorted(map(repr, trace.unused))[:3])
        why = f"train mode fails with the example input ({trace.training_problem}) and may be what uses {names}"
        problems = {name: problems.get(name, why) for name in groups}
    choices = {number: frozenset(found.names_at(labels)) for number, labels in trace.choices.items()}
    tensors = _tensor_layouts(trace, layouts)
    problems = unfit_groups(model, {name: tensor.dims for name, tensor in tensors.items()}) | problems
    structure = Structure(groups, {}, tensors, attributes, choices, trace.norm_of).without(problems)
    return replace(structure, fixed=structure.fixed | _unfollowed(model, trace, found))


@dataclass(frozen=True)
class _Groups:
    """Which group every unit belongs to, and its rank there."""

    dims: list[ParameterDim]
    """The dimensions of parameters and buffers that hold or read units."""
    units: IntArray
    """The unit of every label."""
    group_of_unit: IntArray
    rank_of_unit: IntArray
    is_fixed: NDArray[np.bool_]
    names: list[str]
    widths: dict[str, int]
    problems: dict[str, str]
    reasons: dict[int, str]
    """By unit, for those that cannot be added to."""

    def names_at(self, labels: IntArray) -> list[str]:
        """The groups that have units among these labels."""
        numbers = np.unique(self.group_of_unit[self.units[labels[labels != CONSTANT]]])
        return [self.names[number] for number in numbers if number != NOBODY]

    def layout(self, labels: IntArray) -> Layout | None:
        units = self.units[labels]
        owners = np.where((labels == CONSTANT) | self.is_fixed[units], NOBODY, self.group_of_unit[units])
        return find_layout(owners, self.rank_of_unit[units], self.names, self.widths)


def _find_groups(model: nn.Module, trace: Trace) -> _Groups:
    units, reasons = trace.labels.units()
    computed = _computed_units(trace, units)
    dims = [entry for entry in trace.labels.parameter_dims if computed[units[entry.labels]].any()]
    is_fixed = np.zeros(len(computed), dtype=bool)
    is_fixed[list(reasons)] = True
    group_of_unit, rank_of_unit, num_groups = _group_units(dims, units, computed, is_fixed)
    # Groups are named after layers that compute their units: a reader may read several groups.
    holders = [entry for entry in dims if _holds(trace.labels.roles.get((entry.name, entry.dim), ()))]
    names = _group_names(holders, units, group_of_unit, num_groups, _layer_order(model))
    widths = {name: int((group_of_unit == number).sum()) for number, name in enumerate(names)}
    problems = {names[group_of_unit[unit]]: why for unit, why in reasons.items() if group_of_unit[unit] != NOBODY}
    found = _Groups(dims, units, group_of_unit, rank_of_unit, is_fixed, names, widths, problems, reasons)
    for entry in holders:
        for name in found.names_at(entry.labels):
            if widths[name] == 1 and entry.size > 1:
                why = f"its {entry.size} channels can only be added all at once: a shuffle or split ties them together"
                problems.setdefault(name, why)
    return found


def _holds(roles: Collection[str]) -> bool:
    """Whether a dimension holds units; a weight that is tied to the one that reads it does both."""
    return "out" in roles or "in" not in roles


def _computed_units(trace: Trace, units: IntArray) -> NDArray[np.bool_]:
    """Mask of the units that some weight computes. All others, such as rows of a kernel, are nobody's."""
    computed = np.zeros(units.max(initial=0) + 1, dtype=bool)
    for entry in trace.labels.parameter_dims:
        if "out" in trace.labels.roles.get((entry.name, entry.dim), ()):
            computed[units[entry.labels]] = True
    return computed


def _group_units(
    dims: list[ParameterDim], units: IntArray, computed: NDArray[np.bool_], is_fixed: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, int]:
    """Group and rank within it of every unit: units that stand equally often in the same dimensions form a group."""
    # A set of (dimension, how often) would be a Python object for every unit. A sum of random 64-bit codes stands for
    # the set: one vector operation per dimension, and different sets have the same sum once in 2^64.
    random = np.random.default_rng(0)
    signature = np.zeros(units.max(initial=0) + 1, dtype=np.uint64)
    # Units that cannot be added to are groups of their own, or they would fix the others of their dimension with them.
    signature[is_fixed] = 1
    first_seen = np.full(len(signature), -1, dtype=np.int64)
    seen = 0
    for entry in dims:
        here = units[entry.labels]
        found, first, count = np.unique(here[computed[here]], return_index=True, return_counts=True)
        code = random.integers(1, 2**63, dtype=np.uint64)
        signature[found] += code * count.astype(np.uint64)  # a sum of random codes: equal only for equal dimensions
        # Ranks follow the first dimension that holds the units, so that the layouts of most dimensions are plain runs.
        fresh = found[np.argsort(first)]
        fresh = fresh[first_seen[fresh] < 0]
        first_seen[fresh] = np.arange(seen, seen + len(fresh))
        seen += len(fresh)
    order = np.argsort(first_seen)[len(first_seen) - seen :]
    group_of_unit = np.full(len(signature), NOBODY, dtype=np.int64)
    rank_of_unit = np.zeros(len(signature), dtype=np.int64)
    numbers: dict[int, int] = {}
    sizes: Counter[int] = Counter()
    for unit in order:
        number = numbers.setdefault(int(signature[unit]), len(numbers))
        group_of_unit[unit], rank_of_unit[unit] = number, sizes[number]
        sizes[number] += 1
    return group_of_unit, rank_of_unit, len(numbers)


def _layer_order(model: nn.Module) -> dict[str, int]:
    return {name: index for index, (name, _) in enumerate(model.named_modules())}


def _group_names(
    dims: list[ParameterDim], units: IntArray, group_of_unit: IntArray, num_groups: int, order: Mapping[str, int]
) -> list[str]:
    """A group takes the name of the first layer that holds its units; of a part of it where it shares the layer."""
    names: dict[int, str] = {}
    parts: dict[int, str] = {}
    for entry in dims:
        layer = entry.name.rpartition(".")[0]
        layer = layer if layer in order and layer else entry.name
        owners = group_of_unit[units[entry.labels]]
        for number in np.unique(owners[owners != NOBODY]):
            where = np.flatnonzero(owners == number)
            if len(where) == len(owners) and layer not in names.values():
                names.setdefault(int(number), layer)
            parts.setdefault(int(number), f"{layer}[{where[0]}:{where[-1] + 1}]")
    taken: Counter[str] = Counter()
    result = []
    for number in range(num_groups):
        name = names.get(number, parts[number])
        taken[name] += 1
        result.append(name if taken[name] == 1 else f"{name}#{taken[name]}")
    return result


def _unfollowed(model: nn.Module, trace: Trace, found: _Groups) -> dict[str, FixedGroup]:
    """Entries for parameters of more than one dimension none of whose units belongs to a group, by their layer."""
    in_groups = {entry.name for entry in found.dims if (found.group_of_unit[found.units[entry.labels]] != NOBODY).any()}
    entries: dict[str, FixedGroup] = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or name in in_groups:
            continue
        layer = name.rpartition(".")[0]
        title = layer if layer and layer not in found.widths and layer not in entries else name
        reason = _why_unfollowed(trace, found, name)
        entries[title] = FixedGroup(title, parameter.shape[0], reason, (Member(layer or name, "out"),))
    return entries


def _why_unfollowed(trace: Trace, found: _Groups, name: str) -> str:
    if name in trace.unused:
        unused = "no pass uses it, in eval or in train mode"
        return f"{unused}; train mode fails: {trace.training_problem}" if trace.training_problem else unused
    dims = [entry for entry in trace.labels.parameter_dims if entry.name == name]
    for entry in dims:
        reason = next((found.reasons[unit] for unit in found.units[entry.labels] if unit in found.reasons), None)
        if reason is not None:
            return reason
    owned = {dim.start for dim in dims}
    readers = [
        reader
        for tracked, reader in trace.labels.readers
        if any((owner := trace.labels.owner(labels)) is not None and owner.start in owned for labels in tracked.dims)
    ]
    return f"{readers[-1]} takes it whole, and no rule says which of its entries are units" if readers else (
        "it is used in a way that no rule says which of its entries are units"
    )  # fmt: skip


def _tensor_layouts(trace: Trace, layouts: Mapping[tuple[str, int], Layout]) -> dict[str, TensorLayout]:
    tensors: dict[str, TensorLayout] = {}
    with_role: dict[tuple[str, str], int] = {}
    for (name, dim), roles in trace.labels.roles.items():
        for role in roles:
            with_role.setdefault((name, role), dim)
    by_name: dict[str, dict[int, Layout]] = {}
    for (name, dim), layout in layouts.items():
        by_name.setdefault(name, {})[dim] = layout
    for name, dims in by_name.items():
        out_dim, in_dim = with_role.get((name, "out")), with_role.get((name, "in"))
        tensors[name] = TensorLayout(dims, out_dim, in_dim, trace.labels.fills.get(name))
    return tensors


def _members(model: nn.Module, trace: Trace, found: _Groups) -> dict[str, dict[Member, None]]:
    """The layers of every group, in the network's order."""
    order = _layer_order(model)
    entries: list[tuple[str, Side, IntArray]] = []
    for entry in found.dims:
        layer = entry.name.rpartition(".")[0]
        roles = trace.labels.roles.get((entry.name, entry.dim), ())
        entries.append(
            (layer if layer in order and layer else entry.name, "in" if "in" in roles else "out", entry.labels)
        )
    for attribute in trace.attributes:
        if attribute.name in ("num_features", "num_channels"):  # norms that have no tensors are members too
            entries.append((attribute.layer, "out", attribute.labels))
    entries.sort(key=lambda entry: (order.get(entry[0], len(order)), entry[1] == "out"))
    members: dict[str, dict[Member, None]] = {}
    for layer, side, labels in entries:
        for name in found.names_at(labels):
            members.setdefault(name, {})[Member(layer, side)] = None
    return members
