"""Which units a group has after a change, by their old numbers: `NEW` for those that are added."""

from collections.abc import Mapping, Sequence

import numpy as np

from autogrow.errors import NetworkError, unknown_name
from autogrow.network.structure.channel_groups import ChannelGroup, Structure
from autogrow.network.structure.layout import NEW, IntArray


def growable(structure: Structure, name: str) -> ChannelGroup:
    """The group of this name; `NetworkError` where there is none, or it is fixed."""
    if name in structure.fixed:
        raise NetworkError(f"group {name!r} cannot change: {structure.fixed[name].reason}")
    if name not in structure.groups:
        raise NetworkError(unknown_name("channel group", name, structure.groups))
    return structure.groups[name]


def more_units(structure: Structure, added_units: Mapping[str, int]) -> dict[str, IntArray]:
    """All units, and this number of new ones behind them (at least 1)."""
    units = {}
    for name, number in added_units.items():
        width = growable(structure, name).width
        if number < 1:
            raise NetworkError(f"group {name!r}: cannot add {number} units, at least 1")
        units[name] = np.concatenate([np.arange(width), np.full(number, NEW)])
    return units


def kept_units(structure: Structure, name: str, keep: IntArray | Sequence[int]) -> dict[str, IntArray]:
    """These units of one group, in this order."""
    width = growable(structure, name).width
    kept = np.asarray(keep, dtype=np.int64)
    if len(kept) == 0 or len(set(kept.tolist())) != len(kept) or kept.min() < 0 or kept.max() >= width:
        raise NetworkError(f"group {name!r}: units to keep are distinct numbers from 0 to {width - 1}, at least one")
    return {name: kept}


def fewer_units(structure: Structure, removed: Mapping[str, int | Sequence[int]]) -> dict[str, IntArray]:
    """All units of each group but those that are removed: the last ones, or those of the given numbers."""
    units: dict[str, IntArray] = {}
    for name, which in removed.items():
        width = growable(structure, name).width
        gone = range(width - which, width) if isinstance(which, int) else which
        if len(gone) == 0 or len(set(gone)) != len(gone) or not set(gone) < set(range(width)):
            raise NetworkError(
                f"group {name!r}: cannot remove {which if isinstance(which, int) else list(which)} of {width} units: "
                f"give a number from 1 to {width - 1}, or the distinct numbers of units, from 0 to {width - 1}, not all"
            )
        units[name] = np.setdiff1d(np.arange(width), np.asarray(gone, dtype=np.int64))
    return units


def first_units(structure: Structure, widths: Mapping[str, int]) -> dict[str, IntArray]:
    """The first units of each group, as many as it is to start with; groups that keep all are left out."""
    units: dict[str, IntArray] = {}
    for name, width in widths.items():
        present = growable(structure, name).width
        if not 1 <= width <= present:
            raise NetworkError(f"group {name!r} cannot start with {width} units, from 1 to {present}")
        if width < present:
            units[name] = np.arange(width)
    return units


def set_units(structure: Structure, widths: Mapping[str, int]) -> dict[str, IntArray]:
    """As many units as each group is to have, old ones first."""
    units = {}
    for name, width in widths.items():
        old = growable(structure, name).width
        if width < 1:
            raise NetworkError(f"group {name!r} cannot have {width} units, at least 1")
        units[name] = np.concatenate([np.arange(min(old, width)), np.full(max(0, width - old), NEW)])
    return units
