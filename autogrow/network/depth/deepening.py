"""Changing the number of blocks of stages: everything is made first, then put in place, and can be taken back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autogrow.errors import NetworkError
from autogrow.network.depth.block_copies import foreign_hook, share_configurations
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
from autogrow.network.depth.place_settings import Path, Undo, differing_settings, set_all, set_in, value_in
from autogrow.network.depth.stages import Row, StageDesign, StageDesigns
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.resizing.companions import take_after
from autogrow.network.resizing.probe import OUTPUT_TOLERANCE
from autogrow.network.resizing.tensor_change import is_only_channels_last
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput, explained, run
from autogrow.network.running.undisturbed import undisturbed, undisturbed_training
from autogrow.network.structure.channel_groups import Structure
from autogrow.policy.block_initializations import BlockInitialization
from autogrow.policy.depth import BlockState


@dataclass(frozen=True)
class Deepening:
    """What one event of depth growth did."""

    added_blocks: dict[str, int]
    parameters_before: int
    parameters_after: int
    seconds: float


@dataclass
class DepthChange:
    """A change of the number of blocks that has been computed and not yet made."""

    structure: Structure
    added: dict[str, nn.Module] = field(default_factory=dict)
    """New blocks by their dotted names."""
    copied: set[str] = field(default_factory=set)
    """Those of them that are copies of present blocks, with their weights."""
    moved: dict[str, tuple[str, nn.Module]] = field(default_factory=dict)
    """Present blocks that get another place, by their former names, with their new ones."""
    removed: dict[str, nn.Module] = field(default_factory=dict)
    models: dict[str, nn.Parameter] = field(default_factory=dict)
    """For every new parameter the present one whose place in an optimizer it follows; of a copy its original."""
    children: list[tuple[nn.Module, dict[str, nn.Module | None], dict[str, nn.Module | None]]] = field(
        default_factory=list
    )
    """Containers with their children before and after."""
    settings: list[Callable[[], Undo]] = field(default_factory=list)
    """What puts values in place that go by depth, and returns what puts back those of before."""
    undo: list[Undo] = field(default_factory=list)
    """What puts back those that were put in place."""

    def commit(self) -> None:
        for container, _, after in self.children:
            _put(container, after)
        self.undo = [put() for put in self.settings]

    def retire(self) -> None:
        """Nothing is replaced by blocks that come or go."""

    def revert(self) -> None:
        """Put the children of before back, the same objects, and their settings."""
        for undo in reversed(self.undo):
            undo()
        self.undo = []
        for container, before, _ in self.children:
            _put(container, before)

    @property
    def fresh_channels(self) -> dict[str, Tensor]:
        """Masks, by layer, of the channels of norms that have seen no data: all those of blocks drawn anew."""
        return {
            f"{prefix}.{name}" if name else prefix: torch.ones(len(mean), dtype=torch.bool)
            for prefix, block in self.added.items()
            if prefix not in self.copied
            for name, layer in block.named_modules()
            if isinstance(mean := layer._buffers.get("running_mean"), Tensor)
        }

    def tell(
        self,
        cohorts: Cohorts,
        optimizers: Sequence[OptimizerCohorts],
        *,
        begins_event: bool,
        grows: bool,
        optimizer_state: BlockState = "carried",
    ) -> None:
        """Let the records and the optimizers of the network follow, once it has its new blocks.

        Args:
            cohorts: The network's record of ages.
            optimizers: All that look after the network.
            begins_event: Whether new blocks are of the next growth event, or of the one made last.
            grows: Whether there are new blocks whose age counts.
            optimizer_state: Whether copies take over the state of their originals, start without, or all do.

        Raises:
            NetworkError: New parameters that are trained would be in none of the optimizers.
        """
        cohorts.remove(name for name, _ in _tensors(self.removed))
        cohorts.rename(self._new_names)
        cohorts.commit({}, begins_event)
        cohorts.add(name for name, _ in _tensors(self.added))
        gone = [tensor for _, tensor in _tensors(self.removed) if isinstance(tensor, nn.Parameter)]
        new = {name: tensor for name, tensor in _tensors(self.added) if isinstance(tensor, nn.Parameter)}
        copies = {name for name in new if any(name.startswith(f"{prefix}.") for prefix in self.copied)}
        held = {parameter for optimizer in optimizers for parameter in optimizer.parameters}
        for number, optimizer in enumerate(optimizers):
            # What none of them holds goes to the first, which has the words for it.
            mine = {
                name: parameter
                for name, parameter in new.items()
                if self.models[name] in optimizer.parameters or (number == 0 and self.models[name] not in held)
            }
            if gone:
                optimizer.remove(gone)
            optimizer.rename(self._new_names)
            if mine:
                optimizer.add(mine, self.models)
            carried = {mine[name]: self.models[name] for name in mine if name in copies}
            if optimizer_state == "carried":
                optimizer.carry_state(carried)
            # A block is new as a whole: nothing in it connects old units with new ones.
            optimizer.commit([], {}, reset=optimizer_state == "reset", grows=grows, ramp=False)

    @property
    def _new_names(self) -> dict[str, str]:
        """New names of the tensors of blocks that get another place."""
        return {
            f"{former}.{name}": f"{prefix}.{name}"
            for former, (prefix, block) in self.moved.items()
            for name, _ in [*block.named_parameters(), *block.named_buffers()]
        }


def _put(container: nn.Module, children: Mapping[str, nn.Module | None]) -> None:
    container._modules.clear()
    container._modules.update(children)


def _tensors(blocks: Mapping[str, nn.Module]) -> list[tuple[str, Tensor]]:
    return [
        (f"{prefix}.{name}", tensor)
        for prefix, block in blocks.items()
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]
    ]


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
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    before = known.num_children(model)
    after = {**before, **{name: known.designs[name].num_children(number) for name, number in num_blocks.items()}}
    rows = {name: design.row(before[name], after[name], initialization) for name, design in known.designs.items()}
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
    for place, source in enumerate(row):
        one, other = (place, place) if source is None else (design.original(source), design.original(place))
        if one != other and not _can_stand_for(known.structure, design, one, other):
            raise NetworkError(
                f"stage {design.name!r}: its blocks {design.keys[one]!r} and {design.keys[other]!r} are not alike, so "
                "that none can be copied to the other's place: draw new ones (initialization zero or random)"
            )


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
    return [types, sizes, [(name, tensor.dtype) for name, tensor in _tensors({"": block})]]


def _fill_row(change: DepthChange, maker: "_BlockMaker", design: StageDesign, row: Row, model: nn.Module) -> None:
    """Make what a stage needs to become `row`, and note it in `change`."""
    container = model.get_submodule(design.name)
    present = dict(container._modules)
    names = list(present)
    children: dict[str, nn.Module | None] = {}
    for place in range(len(row), len(names)):
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


class OutputComparison:
    """The outputs of a network before a change of its depth, to compare with those after it.

    Where they need not be `exact`, shapes are all that is compared, in eval mode alone.
    """

    def __init__(self, model: nn.Module, example_input: ModelInput, exact: bool) -> None:
        self._model = model
        self._exact = exact
        self._input = on_device_of(model, example_input)
        self._evaluated = self._outputs_evaluated()
        self._trained = self._outputs_trained() if exact else None
        """None where train mode is random, or refuses the batch."""

    def check(self, stages: Iterable[str]) -> None:
        """Raise `NetworkError` where outputs have another shape, or other values if they must be exact."""
        modes = {"eval": (self._evaluated, self._outputs_evaluated())}
        if self._trained is not None:
            modes["train"] = (self._trained, self._outputs_trained() or [])
        what = "stage " + ", ".join(map(repr, stages))
        for mode, (before, after) in modes.items():
            if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
                raise NetworkError(f"{what}: outputs take another shape in {mode} mode with more blocks")
            if self._exact and not (change := difference(before, after)) <= OUTPUT_TOLERANCE:
                raise NetworkError(f"{what}: outputs change by {change:.1e} in {mode} mode with more blocks")

    def _outputs_evaluated(self) -> list[Tensor]:
        with explained("the network fails at this depth"), undisturbed(self._model):
            return outputs_of(self._model, self._input)

    def _outputs_trained(self) -> list[Tensor] | None:
        with undisturbed_training(self._model):
            try:
                first, second = (outputs_of(self._model, self._input) for _ in range(2))
            except Exception:  # noqa: BLE001  batch norms refuse a batch of one, say
                return None
        return first if difference(first, second) <= OUTPUT_TOLERANCE else None


def outputs_of(model: nn.Module, example_input: ModelInput) -> list[Tensor]:
    leaves = tree_leaves(run(model, example_input))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Largest change between tensors of equal shapes, relative to the largest entry of each; NaN where one is."""
    changes = [
        (new - old).abs().max().double().cpu() / old.abs().max().double().cpu().clamp(min=torch.finfo(old.dtype).tiny)
        for old, new in zip(before, after, strict=True)
        if old.numel()
    ]
    return float(torch.stack(changes).max()) if changes else 0.0


def on_device_of(model: nn.Module, example_input: ModelInput) -> Any:
    """The input on the network's device, to which it may have moved since it was traced."""
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    return example_input if tensor is None else tree_map(lambda value: value.to(tensor.device), example_input)
