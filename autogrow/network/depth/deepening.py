"""Makes what a change of the number of blocks of stages needs: new blocks, and where all of them come to stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from autogrow.errors import NetworkError
from autogrow.network.depth.block_copies import foreign_hook, share_configurations
from autogrow.network.depth.depth_change import DepthChange, tensors_of
from autogrow.network.depth.depth_structure import (
    are_alike,
    block_structure,
    is_part,
    own_groups,
    renamed,
    with_depth,
    with_widths_of,
)
from autogrow.network.depth.new_blocks import BlockCall, fresh_block, identity_block, record_calls
from autogrow.network.depth.place_settings import Path, differing_settings, set_all, set_in, value_in
from autogrow.network.depth.stages import Row, StageDesign, StageDesigns
from autogrow.network.resizing.companions import take_after
from autogrow.network.resizing.tensor_change import is_only_channels_last
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput
from autogrow.network.running.outputs import on_device_of
from autogrow.network.structure.channel_groups import Structure
from autogrow.policy.block_initializations import BlockInitialization


def prepare_depth(
    model: nn.Module,
    present: Structure,
    known: StageDesigns,
    num_blocks: Mapping[str, int],
    generator: torch.Generator | None = None,
    identity_on: ModelInput | None = None,
    initialization: BlockInitialization | None = None,
) -> DepthChange:
    """Make what the network needs to have `num_blocks` in these stages. Changes nothing.

    Args:
        model: The network, with its structure as it is now (`present`) and its stages (`known`).
        num_blocks: Blocks that stages are to have, by name; others stay as they are.
        generator: Where the weights of new blocks come from, on the CPU; a fresh one seeded with 0 if None.
        identity_on: A batch on which blocks drawn anew are to be the identity; None leaves them as they are drawn.
        initialization: Says where new blocks come and what they are copies of; None draws them, at the end.

    Raises `NetworkError` where a new block cannot start as the identity, or cannot be a copy.
    """
    before = known.num_children(model)
    after = {**before, **{name: known.designs[name].num_children(number) for name, number in num_blocks.items()}}
    rows = {name: design.row(before[name], after[name], initialization) for name, design in known.designs.items()}
    return _prepare_rows(model, present, known, rows, generator, identity_on)


def prepare_removal(
    model: nn.Module, present: Structure, known: StageDesigns, kept_blocks: Mapping[str, Sequence[int]]
) -> DepthChange:
    """The same for stages that keep only these blocks, by number, in their order.

    Raises `NetworkError` where one that stays cannot take the place of one that goes.
    """
    rows: dict[str, Row] = {name: tuple(range(number)) for name, number in known.num_children(model).items()}
    rows |= {name: known.designs[name].row_of(blocks) for name, blocks in kept_blocks.items()}
    return _prepare_rows(model, present, known, rows)


def removable_blocks(model: nn.Module, known: StageDesigns) -> dict[str, list[bool]]:
    """For every block of every stage whether it can be removed alone."""
    found = {}
    for stage in known.stages(model):
        design, blocks = known.designs[stage.name], range(stage.num_blocks)
        rows = [design.row_of([other for other in blocks if other != block]) for block in blocks]
        found[stage.name] = [len(blocks) > 1 and _misfit(known, design, row) is None for row in rows]
    return found


def _prepare_rows(
    model: nn.Module,
    present: Structure,
    known: StageDesigns,
    rows: Mapping[str, Row],
    generator: torch.Generator | None = None,
    identity_on: ModelInput | None = None,
) -> DepthChange:
    """Make what the network needs to have these rows."""
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    before, after = known.num_children(model), {name: len(row) for name, row in rows.items()}
    for name, design in known.designs.items():
        _check_row(known, design, rows[name], model)
    structure = with_depth(known.structure, known.designs, after)
    change = DepthChange(with_widths_of(structure, present, known.designs, rows))
    last = {
        name: model.get_submodule(design.prefix(before[name] - 1))
        for name, design in known.designs.items()
        if None in rows[name]
    }
    calls = None if identity_on is None else record_calls(model, last, on_device_of(model, identity_on))
    maker = _BlockMaker(known.structure, change.structure, generator, calls)
    for name, design in known.designs.items():
        if after[name] != before[name]:
            _fill_row(change, maker, design, rows[name], model)
    return change


def _check_row(known: StageDesigns, design: StageDesign, row: Row, model: nn.Module) -> None:
    """Raise `NetworkError` where what stands in a row after a change cannot stand there."""
    present = [source for source in row if source is not None]
    originals = {source for source in present if present.count(source) > 1}
    if None in row:
        originals.add(max(present))
    for place in originals:
        if (where := foreign_hook(model.get_submodule(design.prefix(place)))) is not None:
            which = "its last block" if place == max(present) else f"its block {design.key(place)!r}"
            raise NetworkError(
                f"stage {design.name!r}: {which} has a hook on {where!r}, which new ones would share or lack: remove "
                "it, and register it on all blocks afterwards"
            )
    misfit = _misfit(known, design, row)
    if misfit is not None:
        names = " and ".join(repr(design.keys[place]) for place in misfit)
        removes = len(row) < len(model.get_submodule(design.name)._modules)
        raise NetworkError(
            f"stage {design.name!r}: its blocks {names} are not alike, so that none can "
            + (
                "take the other's place: remove blocks from the end"
                if removes
                else "be copied to the other's place: draw new ones (initialization zero or random)"
            )
        )


def _misfit(known: StageDesigns, design: StageDesign, row: Row) -> tuple[int, int] | None:
    """Two places of the author's of which the block of the first cannot stand in the second, as a row has it."""
    for place, source in enumerate(row):
        one, other = (place, place) if source is None else (design.original(source), design.original(place))
        if one != other and not _can_stand_for(known.structure, design, one, other):
            return one, other
    return None


def _can_stand_for(full: Structure, design: StageDesign, one: int, other: int) -> bool:
    if not {one, other} <= design.templates.keys():
        return False
    kinds = [_kinds(full, design, place) for place in (one, other)]
    return kinds[0] == kinds[1] and are_alike(full, design.prefix(one), design.prefix(other))


def _kinds(full: Structure, design: StageDesign, place: int) -> list[Any]:
    """The types of layers, and the formats and sizes of tensors, widths of groups aside: those may have changed."""
    block, prefix = design.templates[place], design.prefix(place)
    sizes = []
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        layout = full.tensors.get(f"{prefix}.{name}")
        sizes.append([size for dim, size in enumerate(tensor.shape) if layout is None or dim not in layout.dims])
    types = [(name, type(layer)) for name, layer in block.named_modules()]
    return [types, sizes, [(name, tensor.dtype) for name, tensor in tensors_of({"": block})]]


def _fill_row(change: DepthChange, maker: "_BlockMaker", design: StageDesign, row: Row, model: nn.Module) -> None:
    """Make what a stage needs to become `row`, and note it in `change`."""
    container = model.get_submodule(design.name)
    present = dict(container._modules)
    names = list(present)
    children: dict[str, nn.Module | None] = {}
    for place in range(len(names)):
        if place in row:
            continue
        change.removed[design.prefix(place)] = container.get_submodule(names[place])
    seen: set[int] = set()
    for place, source in enumerate(row):
        prefix = design.prefix(place)
        original = container.get_submodule(names[len(names) - 1 if source is None else source])
        settings = maker.settings(design, place, source)
        if source is not None and source not in seen:
            seen.add(source)
            children[design.key(place)] = present[names[source]]
            if source != place:
                change.moved[design.prefix(source)] = (prefix, original)
                change.settings += [partial(set_in, original, path, value) for path, value in settings.items()]
            continue
        block = maker.block(design, place, original) if source is None else copied(original)
        if source is not None:
            set_all(block, settings)
        share_configurations(block, original, model)
        models = _models(prefix, block, original, container, model)
        for parameter_name, parameter in block.named_parameters(prefix=prefix):
            take_after(parameter_name, parameter, models[parameter_name])
        change.models |= models
        change.added[prefix] = children[design.key(place)] = (
            block.train(container.training) if source is None else block
        )
        if source is not None:
            change.copied.add(prefix)
    change.children.append((container, present, children))
    change.settings += [partial(count.set_in, model, len(row)) for count in design.counts]


@dataclass(frozen=True)
class _BlockMaker:
    """What the new blocks of one change have in common."""

    full: Structure
    """The structure with all blocks that the network's author wrote."""
    wanted: Structure
    """The structure after the change."""
    generator: torch.Generator
    calls: Mapping[str, Sequence[BlockCall]] | None
    """By stage the calls of its present last block, after which new ones are the identity; None where they are not."""

    def block(self, design: StageDesign, place: int, before: nn.Module) -> nn.Module:
        """The block for one place of a stage, fit to follow the block `before`."""

        def draw() -> nn.Module:
            block = self._drawn(design, place)
            _adapt(block, before)
            return block

        if self.calls is None:
            block = draw()
        else:
            try:
                block = identity_block(lambda: self._in_place_of(before, draw(), design), self._next_calls(design))
            except NetworkError as error:
                raise NetworkError(f"stage {design.name!r}: a new block {error}") from error
        set_all(block, self.settings(design, place, None))
        return block

    def _next_calls(self, design: StageDesign) -> list[BlockCall]:
        return [call.next() for call in (self.calls or {})[design.name]]

    def _in_place_of(self, before: nn.Module, block: nn.Module, design: StageDesign) -> nn.Module:
        """The block with the place of the one before it: to be tried where there is room in a cache for that alone."""
        for number in design.numbers:
            if (value := value_in(before, number.path)) is not None:
                set_in(block, number.path, value)
        return block

    def settings(self, design: StageDesign, place: int, source: int | None) -> dict[Path, Any]:
        """What a block that comes to `place` (from `source`, where it stands now or is copied) has to keep there."""
        found: dict[Path, Any] = {}
        here, there = design.original(place), place if source is None else design.original(source)
        if source is not None and source != place and here != there:
            prefix = design.prefix(here)
            sizes = frozenset(
                (entry.attribute.layer[len(prefix) + 1 :], entry.attribute.name)
                for entry in self.full.attributes
                if is_part(entry.attribute.layer, prefix)
            )
            found = differing_settings(design.templates[there], design.templates[here], sizes)
        if source != place:
            found |= {number.path: place + number.offset for number in design.numbers}
        return found

    def _drawn(self, design: StageDesign, place: int) -> nn.Module:
        original = design.original(place)
        old, new = design.prefix(original), design.prefix(place)
        own, widths = own_groups(self.full, old), self.wanted.widths
        names = {group: renamed(group, old, new) if group in own else group for group in self.full.widths}
        known = {group: widths[name] for group, name in names.items() if name in widths}
        layouts = block_structure(self.full, old, design.widths)
        return fresh_block(design.templates[original], layouts, known, self.generator)


@torch.no_grad()
def _adapt(block: nn.Module, before: nn.Module) -> None:
    """Bring a new block to the device, the number formats and the memory formats of the one before it."""
    present = dict([*before.named_parameters(), *before.named_buffers()])
    anywhere = next(before.parameters())
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        like = present.get(name, tensor)
        layout = torch.channels_last if is_only_channels_last(like) else torch.preserve_format
        tensor.data = tensor.data.to(device=anywhere.device, dtype=like.dtype, memory_format=layout)


def _models(
    prefix: str, block: nn.Module, before: nn.Module, container: nn.Module, model: nn.Module
) -> dict[str, nn.Parameter]:
    """For each parameter of a new block the present one that is most like it, whose optimizer settings it takes.

    That is the parameter of the same name in the block before. Where there is none it is the nearest one that has the
    same attribute name and number of dimensions, by which settings (weight decay, say) usually differ.
    """
    alike = dict(before.named_parameters())
    pool = [*reversed(alike.items()), *container.named_parameters(), *model.named_parameters()]
    models = {}
    for name, parameter in block.named_parameters():
        scores = [
            (
                other.requires_grad >= parameter.requires_grad,
                other.dim() == parameter.dim(),
                other_name.rpartition(".")[2] == name.rpartition(".")[2],
            )
            for other_name, other in pool
        ]
        models[f"{prefix}.{name}"] = alike[name] if name in alike else pool[scores.index(max(scores))][1]
    return models
