"""Where the units of channel groups are read off a network, and the columns that they have there."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autogrow.network.measuring.activations import channel_dim, holders
from autogrow.network.new_units.unit_blocks import reading_dims, unit_entries
from autogrow.network.running.layer_hooks import OnCall, hooked
from autogrow.network.shrinking.reads import OnRead, OnResult, Read, WatchingReads
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import dimension_size

Columns = Mapping[str, Tensor]
"""By group: where its units stand along a dimension, (units, columns of one)."""


@dataclass(frozen=True)
class Passing:
    """Activations on their way, with the units that they hold."""

    values: Tensor
    column_dim: int
    columns: Columns

    def rows(self, group: str) -> Tensor:
        """A group's units, (positions, units): examples, positions, and columns of one unit are all positions."""
        index = self.columns[group].to(self.values.device)
        chosen = self.values.detach().movedim(self.column_dim, -1)[..., index]
        return chosen.movedim(-2, -1).reshape(-1, len(index))


OnUnits = Callable[[Passing], Tensor | None]
"""Sees units where they are read, and may give other activations."""


def reader_weights(structure: Structure, groups: Iterable[str]) -> dict[tuple[str, int], Columns]:
    """The weights that read units of these groups: by name and dimension, the entries along it."""
    found: dict[tuple[str, int], Columns] = {}
    for name, layout in structure.tensors.items():
        for dim in reading_dims(layout):
            segments = layout.dims[dim]
            read = {segment.group for segment in segments}
            columns = {
                group: torch.from_numpy(unit_entries(segments, group, structure.widths))
                for group in groups
                if group in read
            }
            if columns:
                found[name, dim] = columns
    return found


class UnitPlaces:
    """The places at which the units of some groups are read, on one module.

    These are the inputs of what reads them. A group with a reader that is not seen there (`reads`) is read at the
    outputs of its norms, or of the layers that hold its units, where `activation_std` of whole groups is measured, too.

    Args:
        module: What will run.
        structure: Of that module.
        groups: Names of the groups.
        run: Runs the module once; which readers are seen is found out by it. Where it runs with gradients, readers
            within code that leaves them (and brings some of its own) are not.
    """

    def __init__(self, module: nn.Module, structure: Structure, groups: Iterable[str], run: Callable[[], Any]) -> None:
        self.module, self.structure = module, structure
        groups = list(groups)
        readers = reader_weights(structure, groups)
        seen: set[tuple[str, int]] = set()
        has_gradients = torch.is_grad_enabled()

        def on_read(read: Read) -> None:
            if torch.is_grad_enabled() or not has_gradients:
                seen.add((read.weight, read.dim))

        with WatchingReads(module, readers, on_read=on_read):
            run()
        of_group = {group: {place for place, columns in readers.items() if group in columns} for group in groups}
        self.read_groups = {group for group, places in of_group.items() if places and places <= seen}
        """Those whose units are read where they are used."""
        self._readers = {
            place: {group: index for group, index in columns.items() if group in self.read_groups}
            for place, columns in readers.items()
        }
        self._holders = self._find_holders([group for group in groups if group not in self.read_groups])

    def columns(self, read: Read) -> Columns:
        """Where units stand in the activations of a read."""
        width = read.values.shape[read.summed_dim]
        return {
            group: torch.cat([index + width * number for number in range(read.repeats)], 1)
            for group, index in self._readers[read.weight, read.dim].items()
        }

    @contextmanager
    def watched(self, on_units: OnUnits) -> Iterator[None]:
        """`on_units` sees all activations that hold units."""

        def on_read(read: Read) -> Tensor | None:
            columns = self.columns(read)
            return on_units(Passing(read.inputs, read.column_dim, columns)) if columns else None

        hooks = {layer: _on_output(layer, columns, on_units) for layer, columns in self._holders.items()}
        watching = WatchingReads(self.module, self._readers, on_read=on_read)
        with hooked(after=hooks), watching:
            yield

    def watching_reads(self, *, on_read: OnRead | None = None, on_result: OnResult | None = None) -> WatchingReads:
        """Reads of these units are seen, and what is computed by them."""
        return WatchingReads(self.module, self._readers, on_read=on_read, on_result=on_result)

    def _find_holders(self, groups: Iterable[str]) -> dict[nn.Module, "_OutputColumns"]:
        layers = dict(self.module.named_modules())
        found: dict[nn.Module, _OutputColumns] = {}
        for group in groups:
            for name in holders(self.structure, layers, group):
                index, size = _output_columns(self.structure, name, group)
                found.setdefault(layers[name], {})[group] = index, size
        return found


_OutputColumns = dict[str, tuple[Tensor, int]]
"""By group: the columns of its units in a layer's output, and how many columns that has."""


def _output_columns(structure: Structure, layer: str, group: str) -> tuple[Tensor, int]:
    widths = structure.widths
    for name, tensor in structure.tensors.items():
        for dim, segments in tensor.dims.items():
            if name.rpartition(".")[0] == layer and dim != tensor.in_dim:
                index = torch.from_numpy(unit_entries(segments, group, widths))
                if index.numel():
                    return index, dimension_size(segments, widths)
    return torch.arange(widths[group])[:, None], widths[group]  # a norm without tensors


def _on_output(layer: nn.Module, columns: _OutputColumns, on_units: OnUnits) -> OnCall:
    def on_call(inputs: Tensor, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor):
            return None
        dim = channel_dim(layer, output) % output.dim()
        fitting = {group: index for group, (index, size) in columns.items() if size == output.shape[dim]}
        return on_units(Passing(output, dim, fitting)) if fitting else None

    return on_call
