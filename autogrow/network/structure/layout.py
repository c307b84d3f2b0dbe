"""Which unit of which group every entry of a dimension belongs to, as a short list of segments.

A plain layer's dimension is one segment. A linear layer after a flattened convolution has one segment in which each
unit covers height x width neighbouring entries; a layer after a concatenation has one segment per part, and a
convolution in groups one per group. New units are therefore inserted where they belong, not appended at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEW = -1
"""Stands for an entry that has no source: a new one."""

NOBODY = -1
"""Stands for the group of an entry that never changes."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """A run of entries: all units of a group in order, `repeat` entries each, or `repeat` entries that never change."""

    group: str | None
    repeat: int


Layout = tuple[Segment, ...]


def find_layout(groups: IntArray, units: IntArray, names: list[str], widths: Mapping[str, int]) -> Layout | None:
    """The segments of a dimension whose entry i belongs to unit ``units[i]`` of group ``names[groups[i]]``.

    None where the entries are not whole groups in order.
    """
    segments: list[Segment] = []
    position = 0
    # Ends of runs of the same group, and of the same unit within it
    group_ends = np.append(np.flatnonzero(np.diff(groups)) + 1, len(groups))
    unit_ends = np.append(np.flatnonzero(np.diff(groups) | np.diff(units)) + 1, len(groups))
    while position < len(groups):
        if groups[position] == NOBODY:
            end = int(group_ends[np.searchsorted(group_ends, position, side="right")])
            segments.append(Segment(None, end - position))
            position = end
            continue
        name = names[groups[position]]
        repeat = int(unit_ends[np.searchsorted(unit_ends, position, side="right")]) - position
        if widths[name] == 1:
            repeat = int(group_ends[np.searchsorted(group_ends, position, side="right")]) - position
        end = position + repeat * widths[name]
        expected = np.repeat(np.arange(widths[name]), repeat)
        whole = end <= len(groups) and (groups[position:end] == groups[position]).all()
        if not whole or not np.array_equal(units[position:end], expected):
            return None
        segments.append(Segment(name, repeat))
        position = end
    return tuple(segments)


def source_indices(layout: Layout, units: Mapping[str, IntArray], widths: Mapping[str, int]) -> IntArray:
    """For every entry of the resized dimension, the entry of the old one that it comes from, or `NEW`.

    `units` says, for each group that changes, the old unit that each unit of the resized group comes from, or `NEW`;
    `widths` are the widths before.
    """
    # `offset` runs over the old dimension: segments before this one, at their old widths.
    parts: list[IntArray] = []
    offset = 0
    for segment in layout:
        width = 1 if segment.group is None else widths[segment.group]
        length = width * segment.repeat
        if segment.group is None or segment.group not in units:
            parts.append(np.arange(offset, offset + length))
        else:
            source = np.repeat(units[segment.group], segment.repeat)
            within = np.tile(np.arange(segment.repeat), len(units[segment.group]))
            parts.append(np.where(source == NEW, NEW, offset + source * segment.repeat + within))
        offset += length
    return np.concatenate(parts)


def dimension_size(layout: Layout, widths: Mapping[str, int]) -> int:
    """Entries of the dimension when its groups have these widths."""
    return sum(segment.repeat * (1 if segment.group is None else widths[segment.group]) for segment in layout)
