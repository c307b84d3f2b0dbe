"""Where the weights of new units stand: their fan-in (rows) and their fan-out (columns) in every tensor that changes.

A unit may have several channels in one tensor (a convolution in groups) and several entries per channel (a linear layer
behind a flattened convolution); it may be computed by several tensors and read by several (a residual stream). A block
shows all that one tensor holds of a group's new units as a matrix with a row per unit. Entries by which new units read
other new ones belong to no block.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.network.resizing.prepared_resizing import Resizing
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.channel_groups import Structure, TensorLayout
from autogrow.network.structure.layout import NEW, IntArray, Layout, dimension_size


@dataclass(frozen=True)
class WeightBlock:
    """The entries of one weight between a group's new units, along `dim`, and old units along `other_dim`."""

    name: str
    """Of the weight."""
    dim: int
    new: Tensor
    """Indices along `dim` of new units, (units, entries of one unit)."""
    old: Tensor
    """The same of the group's old units."""
    other_dim: int | None
    kept: Mapping[int, Tensor]
    """For each of the two dimensions that changes: the indices of its old units, of whatever group."""

    def read(self, tensor: Tensor) -> Tensor:
        """The new units' entries of a tensor of the resized weight's shape, as a matrix (units, features)."""
        return self._rows(tensor, self.new)

    def write(self, tensor: Tensor, rows: Tensor) -> None:
        """Put a matrix that `read` could have returned back in place."""
        part = self._old_part(tensor)
        shape = [self.new.numel(), *part.movedim(self.dim, 0).shape[1:]]
        values = rows.reshape(shape).movedim(0, self.dim).to(tensor)
        part = part.index_copy(self.dim, self.new.flatten().to(tensor.device), values)
        if self.other_dim is not None and self.other_dim in self.kept:
            tensor.index_copy_(self.other_dim, self.kept[self.other_dim].to(tensor.device), part)
        else:
            tensor.copy_(part)

    def usual_norm(self, tensor: Tensor) -> float:
        """Root mean square norm of a row over the group's old units; over the new ones, or 1, where those are zero."""
        for index in (self.old, self.new):
            usual = self._rows(tensor, index).float().square().sum(1).mean().sqrt()
            if usual > 0:
                return float(usual)
        return 1.0

    def _rows(self, tensor: Tensor, index: Tensor) -> Tensor:
        part = self._old_part(tensor).index_select(self.dim, index.flatten().to(tensor.device))
        return part.movedim(self.dim, 0).reshape(len(index), -1)

    def _old_part(self, tensor: Tensor) -> Tensor:
        if self.other_dim is not None and self.other_dim in self.kept:
            return tensor.index_select(self.other_dim, self.kept[self.other_dim].to(tensor.device))
        return tensor


@dataclass(frozen=True)
class UnitBlocks:
    """The blocks of one group's new units."""

    group: str
    num_units: int
    fan_in: tuple[WeightBlock, ...]
    """Of weights that compute the units from others. A weight that reads no units is one only where there are no
    others: an embedding, but not a depthwise convolution, which goes on from what those have computed."""
    fan_out: tuple[WeightBlock, ...]
    """Of weights that read the units."""


def find_unit_blocks(structure: Structure, resizing: Resizing) -> list[UnitBlocks]:
    """The new units of a resizing, by group in the network's order; `structure` is that before it."""
    fan_in: dict[str, list[WeightBlock]] = {}
    fan_out: dict[str, list[WeightBlock]] = {}
    added: dict[str, int] = {}
    for change in resizing.changes:
        layout = structure.tensors.get(change.name)
        if layout is None:
            continue
        for side, group, block in _blocks(change, layout, structure.widths):
            added[group] = len(block.new)
            if side == "in":
                fan_out.setdefault(group, []).append(block)
            elif layout.in_dim is not None:
                fan_in.setdefault(group, []).append(block)
    names = [name for name in structure.groups if name in added]
    return [UnitBlocks(name, added[name], tuple(fan_in.get(name, ())), tuple(fan_out.get(name, ()))) for name in names]


def added_units(structure: Structure, resizing: Resizing) -> dict[str, int]:
    """How many units each group of a resizing gets."""
    found: dict[str, int] = {}
    for change in resizing.changes:
        layout = structure.tensors.get(change.name)
        for dim, segments in layout.dims.items() if layout is not None else ():
            if dim in change.sources:
                entries = entries_by_group(segments, change.sources[dim].numpy(), structure.widths)
                found |= {group: len(new) for group, (new, _) in entries.items()}
    return found


def joint_new_entries(change: TensorChange, layout: TensorLayout) -> Tensor | None:
    """Mask, broadcast to the new shape, of entries by which new units read new ones; None where there are none."""
    if layout.in_dim not in change.sources or layout.out_dim not in change.sources:
        return None
    masks = []
    for dim in (layout.in_dim, layout.out_dim):
        shape = [-1 if other == dim else 1 for other in range(change.new.dim())]
        masks.append((change.sources[dim] == NEW).view(shape))
    return masks[0] & masks[1]


def _blocks(
    change: TensorChange, layout: TensorLayout, widths: Mapping[str, int]
) -> Iterator[tuple[Literal["in", "out"], str, WeightBlock]]:
    if not isinstance(change.new, nn.Parameter) or not change.new.is_floating_point():
        return
    sides: list[tuple[Literal["in", "out"], int | None, int | None]] = [
        ("in", layout.in_dim, layout.out_dim),
        ("out", layout.out_dim, layout.in_dim),
    ]
    kept = {
        dim: (change.sources[dim] != NEW).nonzero().flatten()
        for dim in (layout.in_dim, layout.out_dim)
        if dim is not None and dim in change.sources
    }
    for side, dim, other_dim in sides:
        if dim is not None and dim in kept:
            entries = entries_by_group(layout.dims[dim], change.sources[dim].numpy(), widths)
            for group, (new, old) in entries.items():
                indices = torch.from_numpy(new), torch.from_numpy(old)
                yield side, group, WeightBlock(change.name, dim, *indices, other_dim, kept)


def entries_by_group(
    layout: Layout, source: IntArray, widths: Mapping[str, int]
) -> dict[str, tuple[IntArray, IntArray]]:
    """For each group with new units in a dimension, the indices of new and of old entries: (units, entries of one).

    `source` is the old index of every new one, `NEW` for none; `widths` are those before. New units stand behind the
    old ones of their group, so an entry belongs to the segment of the last old entry before it.
    """
    ends = np.cumsum([segment.repeat * (widths[segment.group] if segment.group else 1) for segment in layout])
    owner = np.searchsorted(ends, np.maximum.accumulate(source), side="right")
    found: dict[str, list[tuple[IntArray, IntArray]]] = {}
    for number, segment in enumerate(layout):
        new = np.flatnonzero((owner == number) & (source == NEW))
        if segment.group is not None and len(new):
            old = np.flatnonzero((owner == number) & (source != NEW))
            parts = (new.reshape(-1, segment.repeat), old.reshape(-1, segment.repeat))
            found.setdefault(segment.group, []).append(parts)
    return {
        group: (np.concatenate([new for new, _ in parts], 1), np.concatenate([old for _, old in parts], 1))
        for group, parts in found.items()
    }


def group_entries(layout: Layout, group: str, widths: Mapping[str, int]) -> IntArray:
    """The indices, along a dimension, of the entries of one group's units."""
    owned = [np.full(dimension_size((segment,), widths), segment.group == group) for segment in layout]
    return np.flatnonzero(np.concatenate(owned))


def reading_dims(layout: TensorLayout) -> tuple[int, ...]:
    """The dimensions along which a weight reads units; all that hold units where it is used turned as well (tied)."""
    both = layout.in_dim is not None and layout.in_dim == layout.out_dim
    return tuple(dim for dim in layout.dims if both or dim == layout.in_dim)


def computing_dims(layout: TensorLayout) -> tuple[int, ...]:
    """The same of units that it computes."""
    both = layout.out_dim is not None and layout.in_dim == layout.out_dim
    return tuple(dim for dim in layout.dims if both or dim == layout.out_dim)


def unit_entries(layout: Layout, group: str, widths: Mapping[str, int]) -> IntArray:
    """The same by unit: (units, entries of one)."""
    ends = np.cumsum([dimension_size((segment,), widths) for segment in layout])
    parts = [
        np.arange(end - widths[group] * segment.repeat, end).reshape(widths[group], segment.repeat)
        for segment, end in zip(layout, ends, strict=True)
        if segment.group == group
    ]
    return np.concatenate(parts, 1) if parts else np.zeros((widths[group], 0), dtype=np.int64)
