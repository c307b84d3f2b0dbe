"""Which unit of which group every entry of a dimension belongs to, as a short list of segments.

A plain layer's dimension is one segment. A linear layer after a flattened convolution has one segment in which each
unit covers height x width neighbouring entries; a layer after a concatenation has one segment per part. New units
are therefore inserted where they belong, not appended at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEW = -1
"""Stands for an entry that has no source: a new one."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """A run of entries: all units of a group in order, `repeat` entries each, or `repeat` entries that never change."""

    group: str | None
    repeat: int


Layout = tuple[Segment, ...]


def find_layout(owners: list[str | None], units: IntArray, widths: Mapping[str, int]) -> Layout | str:
    """The segments of a dimension whose entry i belongs to unit ``units[i]`` of group ``owners[i]``.

    Returns in words what stands against it where the entries are not whole groups in order (a split or a shuffle).
    """
    segments: list[Segment] = []
    position = 0
    while position < len(owners):
        group = owners[position]
        if group is None:
            end = position
            while end < len(owners) and owners[end] is None:
                end += 1
            segments.append(Segment(None, end - position))
            position = end
            continue
        repeat = 1
        while position + repeat < len(owners) and owners[position + repeat] == group and units[position + repeat] == 0:
            repeat += 1
        end = position + repeat * widths[group]
        expected = np.repeat(np.arange(widths[group]), repeat)
        if owners[position:end] != [group] * len(expected) or not np.array_equal(units[position:end], expected):
            return f"a layer reads the units of group {group!r} in parts or out of order"
        segments.append(Segment(group, repeat))
        position = end
    return tuple(segments)


def source_indices(layout: Layout, units: Mapping[str, IntArray], widths: Mapping[str, int]) -> IntArray:
    """For every entry of the resized dimension, the entry of the old one that it comes from, or `NEW`.

    `units` says, for each group that changes, the old unit that each unit of the resized group comes from, or `NEW`;
    `widths` are the widths before.
    """
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
