"""Which growth event every entry was born in: the record behind ages, learning rates per cohort, ramps and freezing.

The entries present at the start are cohort 0; the entries that event number n adds are cohort n. An entry is new when
one of its coordinates is, and no event is older than the entries it adds to, so the cohort of an entry is the newest
among its coordinates: a cohort per index of every dimension that ever changed says it all, and takes next to no
memory. It also says which entries connect old units with new ones: those whose coordinates differ in age.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.structure.layout import NEW


@dataclass(frozen=True)
class Births:
    """The cohorts of one tensor's coordinates."""

    whole: int = 0
    """The cohort that the tensor itself was born in, and every index of a dimension that never changed."""
    dims: Mapping[int, Tensor] = field(default_factory=dict)
    """For every dimension that changed: the cohort of each of its indices (int16, on the CPU)."""

    def changed(self, change: TensorChange, newborn: int) -> "Births":
        """The same record after a change whose new indices are of the cohort `newborn`."""
        dims = dict(self.dims)
        for dim, source in change.sources.items():
            sources = source.cpu()
            present = dims.get(dim, torch.full((change.old.shape[dim],), self.whole, dtype=torch.int16))
            kept = present[sources.clamp(min=0)]
            dims[dim] = torch.where(sources == NEW, torch.tensor(newborn, dtype=torch.int16), kept)
        return Births(self.whole, dims)

    def newest(self) -> int:
        return max([self.whole, *(int(cohorts.max()) for cohorts in self.dims.values() if len(cohorts))])


BLOCK_ENTRIES = 2**16
"""Entries that a CPU treats at once, so that intermediate results stay in its cache."""


class CohortMap:
    """Spreads values per cohort over the entries of one tensor.

    A *class* is a cohort number, plus `num_cohorts` for an entry that connects old units with new ones: in the event
    of its cohort one of its coordinates was new and another old. A vector holds one coordinate, so none of its entries
    connects anything; a matrix of which one dimension ever changed has its other coordinate from the start.
    """

    def __init__(self, births: Births, shape: torch.Size, device: torch.device, num_cohorts: int) -> None:
        self.num_cohorts = num_cohorts
        self._shape = shape
        self._dims = sorted(births.dims)
        self._indices = [births.dims[dim].long().to(device) for dim in self._dims]
        grid = _class_grid(births.whole, len(self._dims), len(shape) > 1, num_cohorts)
        self._grid = grid.to(device)
        occupied = [births.dims[dim].unique().tolist() for dim in self._dims]
        self.classes = {int(grid[coordinates]) for coordinates in itertools.product(*occupied)}
        """The classes that the tensor holds."""
        self._row_cohorts = births.dims.get(0)
        self._gathers = device.type != "cpu" and bool(self._dims)
        self._index: Tensor | None = None

    @property
    def cohorts(self) -> set[int]:
        """The cohorts that the tensor holds."""
        return {number % self.num_cohorts for number in self.classes}

    def spread(self, table: Tensor) -> Tensor:
        """`table` (..., 2 * num_cohorts), a value per class, as (..., *shape), or smaller where it broadcasts."""
        if not self._gathers:
            return self._copied(table)
        if self._index is None:
            self._index = self._full_index()
        return table.index_select(-1, self._index).reshape(*table.shape[:-1], *self._shape)

    def blocks(self, table: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Rows (indices of dimension 0) that may be treated together, and what `spread` gives for them."""
        if self._gathers or self._shape.numel() <= BLOCK_ENTRIES:
            yield slice(None), self.spread(table)
            return
        by_row = self._by_row(table)
        for cohort, rows in self._runs():
            yield rows, by_row.narrow(table.dim() - 1, cohort, 1)

    def _runs(self) -> Iterator[tuple[int, slice]]:
        """Neighbouring rows of one cohort, no more than make a block; the number 0 stands for all cohorts if equal."""
        if self._row_cohorts is None:
            runs = [(0, self._shape[0])]
        else:
            cohorts, counts = self._row_cohorts.unique_consecutive(return_counts=True)
            runs = list(zip(cohorts.tolist(), counts.tolist(), strict=True))
        limit = max(1, BLOCK_ENTRIES // max(1, self._shape[1:].numel()))
        start = 0
        for cohort, count in runs:
            for first in range(start, start + count, limit):
                yield cohort, slice(first, min(first + limit, start + count))
            start += count

    def _copied(self, table: Tensor) -> Tensor:
        """`spread` by copying rows, which on a CPU is far faster than gathering entries."""
        by_row = self._by_row(table)
        return by_row if self._row_cohorts is None else by_row.index_select(table.dim() - 1, self._indices[0])

    def _by_row(self, table: Tensor) -> Tensor:
        """`spread` with an index for every cohort a row may be of (or one for all) in the place of rows."""
        lead = table.dim() - 1
        result = table[..., self._grid]
        sizes = [1] * len(self._shape)
        others = [axis for axis, dim in enumerate(self._dims) if dim > 0]
        for axis in reversed(others):
            result = result.index_select(lead + axis, self._indices[axis])
            sizes[self._dims[axis]] = self._shape[self._dims[axis]]
            if axis == others[-1]:
                trailing = self._shape[self._dims[axis] + 1 :]
                result = result.reshape(*result.shape, *(1 for _ in trailing)).expand(*result.shape, *trailing)
                sizes[self._dims[axis] + 1 :] = trailing
        if self._row_cohorts is not None:
            sizes[0] = self.num_cohorts
        return result.reshape(*table.shape[:-1], *sizes)

    def _full_index(self) -> Tensor:
        """The class of every entry (int32, flat), to gather with."""
        classes = torch.arange(2 * self.num_cohorts, dtype=torch.int32, device=self._grid.device)
        return self._copied(classes).expand(self._shape).reshape(-1)


def pieces(maps: Sequence[CohortMap], tables: Sequence[Tensor]) -> Iterator[tuple[list[int], slice, list[Tensor]]]:
    """What to treat in one call: the numbers of some tensors, the rows of them, and their tables, spread.

    A GPU wants few launches: everything at once. A CPU wants its caches: blocks that fit in them, one at a time, which
    also spares it the fresh pages that large intermediate results take (half of the time, when tried).
    """
    if any(found._gathers for found in maps):
        yield (
            list(range(len(maps))),
            slice(None),
            [each.spread(table) for each, table in zip(maps, tables, strict=True)],
        )
        return
    for number, (found, table) in enumerate(zip(maps, tables, strict=True)):
        for rows, values in found.blocks(table):
            yield [number], rows, [values]


class Cohorts:
    """Cohort numbers of the parameters and buffers of one network, by name.

    Containers are replaced and never changed in place, so that a reference to them is a snapshot.
    """

    def __init__(self) -> None:
        self.num_events = 0
        self._births: dict[str, Births] = {}

    def prepare(self, changes: Iterable[TensorChange], grows: bool) -> dict[str, Births]:
        """The records of changed tensors after a change; new entries belong to the next event if it grows."""
        newborn = self.num_events + int(grows)
        return {change.name: self._births.get(change.name, Births()).changed(change, newborn) for change in changes}

    def commit(self, prepared: Mapping[str, Births], grows: bool) -> None:
        self._births = {**self._births, **prepared}
        self.num_events += int(grows)

    def add(self, names: Iterable[str], cohort: int | None = None) -> None:
        """Record whole new tensors (of a new layer); they belong to the event made last unless `cohort` is given."""
        born = self.num_events if cohort is None else cohort
        self._births = {**self._births, **{name: Births(born) for name in names}}

    def remove(self, names: Iterable[str]) -> None:
        """Forget tensors that the network no longer has."""
        gone = set(names)
        self._births = {name: births for name, births in self._births.items() if name not in gone}

    def rename(self, names: Mapping[str, str]) -> None:
        """Follow tensors to other names (a new layer moves those behind it); all at once, so names may be swapped."""
        self._births = {names.get(name, name): births for name, births in self._births.items()}

    def map_of(self, name: str, tensor: Tensor) -> CohortMap:
        """What spreads values per cohort over the tensor of that name."""
        births = self._births.get(name, Births())
        return CohortMap(births, tensor.shape, tensor.device, self.num_events + 1)

    def of(self, name: str, tensor: Tensor) -> Tensor:
        """The cohort number (int16) of every entry of the tensor of that name."""
        numbers = torch.arange(self.num_events + 1, dtype=torch.int16, device=tensor.device)
        return self.map_of(name, tensor).spread(numbers.repeat(2)).expand(tensor.shape)

    def along(self, name: str, dim: int) -> Tensor | int:
        """The cohort of every index of a dimension (int16, on the CPU); one number where it never changed."""
        births = self._births.get(name, Births())
        return births.dims.get(dim, births.whole)

    def connections(self, name: str, tensor: Tensor) -> Tensor:
        """Which entries (bool) connect units of their own cohort with units older than it."""
        classes = torch.arange(2 * (self.num_events + 1), device=tensor.device)
        return self.map_of(name, tensor).spread(classes > self.num_events).expand(tensor.shape)

    def is_mixed(self, name: str) -> bool:
        """Whether the tensor holds entries born after the start."""
        return name in self._births and self._births[name].newest() > 0

    def snapshot(self) -> Callable[[], None]:
        """A function that puts everything back as it is now."""
        saved = dict(vars(self))
        return lambda: vars(self).update(saved)

    def state_dict(self) -> dict[str, Any]:
        tensors = {name: {"whole": births.whole, "dims": dict(births.dims)} for name, births in self._births.items()}
        return {"num_events": self.num_events, "tensors": tensors}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.num_events = int(state["num_events"])
        self._births = {
            name: Births(record["whole"], {dim: cohorts.cpu() for dim, cohorts in record["dims"].items()})
            for name, record in state["tensors"].items()
        }


def _class_grid(whole: int, num_dims: int, is_matrix: bool, num_cohorts: int) -> Tensor:
    """The class of an entry by the cohorts of its changing coordinates: shape (num_cohorts,) * num_dims."""
    axes = [
        torch.arange(num_cohorts).reshape([-1 if a == axis else 1 for a in range(num_dims)]) for axis in range(num_dims)
    ]
    shape = (num_cohorts,) * num_dims
    newest = torch.full(shape, whole)
    oldest = torch.full(shape, whole if num_dims < 2 else num_cohorts)
    for axis in axes:
        newest, oldest = torch.maximum(newest, axis), torch.minimum(oldest, axis)
    return newest + num_cohorts * (is_matrix & (oldest < newest))


def to_device(table: Tensor, device: torch.device) -> Tensor:
    """A small table on `device`. A plain copy to a GPU would make the host wait for everything queued there."""
    if device.type == "cuda" and table.device.type == "cpu":
        return table.pin_memory().to(device, non_blocking=True)
    return table.to(device)
