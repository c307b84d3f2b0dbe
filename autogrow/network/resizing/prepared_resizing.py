"""Changing the size of groups: first every new tensor is made, then all are put in place.

Widening and narrowing are one operation. For each group that changes, `units` lists where every unit of the resized
group comes from: an old unit, or nowhere (`layout.NEW`). Nothing is written until everything has been computed, and
what was written can be taken back, so a failure (no memory, say) leaves the network and the optimizer as they were.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autogrow.network.resizing.companions import check_can_follow, retire, successor
from autogrow.network.resizing.initialization import Initializer, NewWeights, UnitCopies
from autogrow.network.resizing.tensor_change import (
    Sources,
    TensorChange,
    TensorPlaces,
    find_places,
    is_channels_last,
    is_only_channels_last,
    resize_tensor,
)
from autogrow.network.resizing.variance_transfer import with_rescaled_readers
from autogrow.network.structure.channel_groups import Structure, TensorLayout
from autogrow.network.structure.held_tensors import Place
from autogrow.network.structure.layout import NEW, IntArray, Layout, dimension_size, source_indices
from autogrow.network.structure.size_attributes import resized


@dataclass(frozen=True)
class Widening:
    """What one widening did."""

    added_units: dict[str, int]
    parameters_before: int
    parameters_after: int
    seconds: float


@dataclass(frozen=True)
class AttributeChange:
    """A setting of a layer that follows its tensors, such as `out_features` or a norm's eps."""

    layer: nn.Module
    name: str
    old: Any
    new: Any


@dataclass(frozen=True)
class Resizing:
    """A change of a whole network that has been computed and not yet made."""

    changes: tuple[TensorChange, ...]
    attributes: tuple[AttributeChange, ...] = ()
    fresh_channels: Mapping[str, Tensor] = field(default_factory=dict)
    """Masks, by layer, of the channels of norms that have seen no data: new ones that are no copies of old ones."""

    def commit(self) -> None:
        """Put the new tensors in place; parameters become new `nn.Parameter` objects, see `companions`."""
        for change in self.changes:
            change.put(change.new)
        for attribute in self.attributes:
            setattr(attribute.layer, attribute.name, attribute.new)

    def retire(self) -> None:
        """Let the old parameters refuse gradients, once nothing can be taken back any more."""
        retire((change.name, change.old) for change in self.changes)

    def revert(self) -> None:
        """Put the old tensors back, the same objects as before."""
        for change in self.changes:
            change.put(change.old)
        # Backwards, since an attribute that is a tuple has changed once for each of its places.
        for attribute in reversed(self.attributes):
            setattr(attribute.layer, attribute.name, attribute.old)


@dataclass(frozen=True)
class _Plan:
    """What all tensors of one resizing have in common."""

    units: Mapping[str, IntArray]
    widths: Mapping[str, int]
    places: TensorPlaces
    initializer: Initializer | None = None
    generator: torch.Generator | None = None
    copies: Mapping[str, UnitCopies] = field(default_factory=dict)
    rescale: bool = False

    sources: dict[Layout, Tensor] = field(default_factory=dict)
    """For layouts met so far, the old entry that each new one comes from; many tensors share one."""

    def sources_of(self, layout: Layout) -> Tensor:
        if layout not in self.sources:
            self.sources[layout] = torch.from_numpy(source_indices(layout, self.units, self.widths))
        return self.sources[layout]

    @property
    def new_widths(self) -> dict[str, int]:
        return {**self.widths, **{name: len(source) for name, source in self.units.items()}}


def prepare_resizing(
    model: nn.Module,
    structure: Structure,
    units: Mapping[str, IntArray],
    initializer: Initializer | None = None,
    generator: torch.Generator | None = None,
    rescale: bool = False,
    keep_old: bool = False,
    places: TensorPlaces | None = None,
) -> Resizing:
    """Compute every tensor of the resized network.

    `initializer` and `generator` are needed where units are new; with `keep_old` it may not touch old weights (they
    are frozen). With `rescale`, weights whose fan-in shrinks are
    multiplied by sqrt(old fan-in / new fan-in), so that a narrowed fresh network has the variance its width asks for.
    `places` spares looking them up again, for a network whose resizings have all been taken back.
    """
    copies = initializer.copies(units, generator) if initializer is not None and generator is not None else {}
    places = find_places(model) if places is None else places
    plan = _Plan(units, structure.widths, places, initializer, generator, copies, rescale)
    changes: list[TensorChange] = []
    for name, layout in structure.tensors.items():
        if name in places.held and _touched(layout, units):
            changes.append(_change(name, tuple(places.held[name]), layout, plan))
    new_eps: dict[str, float] = {}
    if initializer is not None and initializer.rescales_readers and not keep_old:
        changes, new_eps = with_rescaled_readers(model, structure, changes, places.held)
        # Rescaling replaces tensors that do not change their size, so these have not been checked yet.
        for change in changes:
            check_can_follow(change.name, change.old, places.obstacles)
    attributes = [*_sizes(structure, plan), *_norm_settings(model, new_eps)]
    return Resizing(tuple(changes), tuple(attributes), _fresh_channels(structure, plan))


def _sizes(structure: Structure, plan: _Plan) -> Iterator[AttributeChange]:
    sizes: dict[tuple[str, str], Any] = {}  # places of one tuple are changed one after the other
    for entry in structure.attributes:
        attribute, layer = entry.attribute, plan.places.layers.get(entry.attribute.layer)
        if layer is not None and any(segment.group in plan.units for segment in entry.layout):
            key = (attribute.layer, attribute.name)
            old = sizes.get(key, getattr(layer, attribute.name))
            sizes[key] = resized(old, attribute, dimension_size(entry.layout, plan.new_widths))
            yield AttributeChange(layer, attribute.name, old, sizes[key])


def _norm_settings(model: nn.Module, new_eps: Mapping[str, float]) -> Iterator[AttributeChange]:
    for name, eps in new_eps.items():
        norm = model.get_submodule(name)
        yield AttributeChange(norm, "eps", norm.eps, eps)


def _fresh_channels(structure: Structure, plan: _Plan) -> dict[str, Tensor]:
    fresh: dict[str, IntArray] = {}
    for name, source in plan.units.items():
        # What a norm has measured of a unit is true of its copies too, so they are not fresh.
        origin = source[plan.copies[name].source] if name in plan.copies else source
        fresh[name] = np.where((source == NEW) & (origin == NEW), NEW, 0)
    masks = {}
    for tensor, layout in structure.tensors.items():
        layer, _, attribute = tensor.rpartition(".")
        # One of a norm's two statistics is enough to find it by.
        if attribute == "running_mean" and any(segment.group in fresh for segment in layout.dims.get(0, ())):
            masks[layer] = torch.from_numpy(source_indices(layout.dims[0], fresh, plan.widths) == NEW)
    return masks


def _touched(layout: TensorLayout, units: Mapping[str, IntArray]) -> bool:
    return any(segment.group in units for dim in layout.dims.values() for segment in dim)


def _change(name: str, owners: tuple[Place, ...], layout: TensorLayout, plan: _Plan) -> TensorChange:
    module, attribute = owners[0]
    old: Tensor = getattr(module, attribute)
    check_can_follow(name, old, plan.places.obstacles)
    sources = {
        dim: plan.sources_of(segments)
        for dim, segments in layout.dims.items()
        if any(segment.group in plan.units for segment in segments)
    }
    with torch.no_grad():
        new = resize_tensor(old.detach(), sources, 0.0)
        # Weights drawn for many inputs are too small for few: their variance goes with 1 / fan-in.
        if plan.rescale and layout.in_dim is not None and layout.in_dim in sources:
            new *= sqrt(old.shape[layout.in_dim] / new.shape[layout.in_dim])
        if any((source == NEW).any() for source in sources.values()):
            if layout.in_dim is None and layout.out_dim is None:
                assert plan.generator is not None
                _fill_vector(new, layout.fill, sources, plan.generator)
            else:
                _fill_weight(new, layout, sources, plan)
        # Copies come last, since what they copy may itself have been drawn just now (the second of a pair copies the
        # first).
        for dim, segments in layout.dims.items():
            if dim in sources and dim != layout.in_dim:
                new = _copy_units(new, dim, segments, plan)
        new = new.contiguous(memory_format=_memory_format(old, plan.places.has_channels_last))
    return TensorChange(name, owners, old, successor(name, old, new, sources), sources)


def _fill_vector(new: Tensor, fill: float | None, sources: Sources, generator: torch.Generator) -> None:
    """Entries of gains, biases and the like: a value that an operation fixes, or values that old ones have.

    Biases that are all alike make units alike: with one input, all new ones would bend at the same place.
    """
    for dim, source in sources.items():
        index = (source == NEW).nonzero().flatten().to(new.device)
        if len(index) == 0:
            continue
        if fill is not None or not new.is_floating_point():
            new.index_fill_(dim, index, fill or 0.0)
        else:
            kept = (source != NEW).nonzero().flatten()
            drawn = kept[torch.randint(len(kept), (len(index),), generator=generator)]
            new.index_copy_(dim, index, new.index_select(dim, drawn.to(new.device)))


def _fill_weight(weight: Tensor, layout: TensorLayout, sources: Sources, plan: _Plan) -> None:
    """Write the fan-out of new inputs first and the fan-in of new units over it: new units read old and new inputs."""
    assert plan.initializer is not None and plan.generator is not None
    inputs = 1 if layout.in_dim is None else weight.shape[layout.in_dim]
    outputs = 1 if layout.out_dim is None else weight.shape[layout.out_dim]
    kernel = weight.numel() // (inputs * outputs)
    fan_in, fan_out = inputs * kernel, outputs * kernel
    if layout.in_dim == layout.out_dim:  # read transposed by what follows: a row both computes a unit and reads it
        fan_in = fan_out = weight.numel() // inputs
    for dim, draw in ((layout.in_dim, plan.initializer.fan_out), (layout.out_dim, plan.initializer.fan_in)):
        if dim is None or dim not in sources:
            continue
        new = (sources[dim] == NEW).nonzero().flatten()
        shape = list(weight.shape)
        shape[dim] = len(new)
        values = draw(NewWeights(tuple(shape), fan_in, fan_out), plan.generator)
        weight.index_copy_(dim, new.to(weight.device), values.to(weight))
        if dim == layout.in_dim:
            _read_copies(weight, dim, layout.dims[dim], plan)


def _copy_units(tensor: Tensor, dim: int, segments: Layout, plan: _Plan) -> Tensor:
    """Make the units of `copies` compute the same as their sources."""
    copied = {segment.group for segment in segments if segment.group} & plan.copies.keys()
    if not copied:
        return tensor
    sources = {name: plan.copies[name].source for name in copied}
    index = torch.from_numpy(source_indices(segments, sources, plan.new_widths))
    return tensor.index_select(dim, index.to(tensor.device))


def _read_copies(weight: Tensor, dim: int, segments: Layout, plan: _Plan) -> None:
    """Give copies the reading weights of their sources, times a factor, plus noise that cancels over the copies."""
    for segment_index, segment in enumerate(segments):
        copies = plan.copies.get(segment.group or "")
        if copies is None:
            continue
        start = dimension_size(segments[:segment_index], plan.new_widths)
        length = dimension_size((segment,), plan.new_widths)
        block = weight.narrow(dim, start, length)
        index = torch.from_numpy(source_indices((segment,), {segment.group: copies.source}, plan.new_widths))  # type: ignore[dict-item]
        factor = torch.from_numpy(np.repeat(copies.factor, segment.repeat)).to(weight)
        shape = [-1 if other == dim else 1 for other in range(weight.dim())]
        read = block.index_select(dim, index.to(weight.device)) * factor.view(shape)
        if copies.noise and plan.generator is not None:
            read += _cancelling_noise(read, dim, index, plan.generator) * copies.noise
        block.copy_(read)


def _cancelling_noise(weight: Tensor, dim: int, source: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the size of `weight` whose sum over the entries of `dim` with the same source is zero."""
    source = source.to(weight.device)
    noise = torch.randn(weight.shape, generator=generator).to(weight) * weight.square().mean().sqrt()
    counts = torch.bincount(source, minlength=weight.shape[dim]).clamp(min=1).to(weight)
    sums = torch.zeros_like(weight).index_add_(dim, source, noise)
    shape = [-1 if other == dim else 1 for other in range(weight.dim())]
    centred: Tensor = noise - (sums / counts.view(shape)).index_select(dim, source)
    return centred


def _memory_format(tensor: Tensor, has_channels_last: bool) -> torch.memory_format:
    """The format of a tensor before it is resized; one of a single channel has both, and does as the others do."""
    is_ambiguous = tensor.is_contiguous() and tensor.dim() == 4 and is_channels_last(tensor)
    if is_only_channels_last(tensor) or (is_ambiguous and has_channels_last):
        return torch.channels_last
    return torch.contiguous_format
