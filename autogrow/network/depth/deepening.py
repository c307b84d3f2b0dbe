"""Changing the number of blocks of stages: everything is made first, then put in place, and can be taken back."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from autogrow.errors import NetworkError
from autogrow.network.depth.block_copies import foreign_hook
from autogrow.network.depth.depth_structure import block_structure, own_groups, renamed, with_depth, with_widths_of
from autogrow.network.depth.new_blocks import BlockCall, fresh_block, identity_block, record_calls
from autogrow.network.depth.stages import StageDesign, StageDesigns
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.resizing.companions import take_after
from autogrow.network.resizing.probe import OUTPUT_TOLERANCE
from autogrow.network.resizing.tensor_change import is_only_channels_last
from autogrow.network.running.model_input import ModelInput, explained, run
from autogrow.network.running.undisturbed import undisturbed, undisturbed_training
from autogrow.network.structure.channel_groups import Structure


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
    removed: dict[str, nn.Module] = field(default_factory=dict)
    models: dict[str, nn.Parameter] = field(default_factory=dict)
    """For every new parameter the present one whose place in an optimizer it follows."""
    children: list[tuple[nn.Module, dict[str, nn.Module | None], dict[str, nn.Module | None]]] = field(
        default_factory=list
    )
    """Containers with their children before and after."""

    def commit(self) -> None:
        for container, _, after in self.children:
            _put(container, after)

    def retire(self) -> None:
        """Nothing is replaced by blocks that come or go."""

    def revert(self) -> None:
        """Put the children of before back, the same objects."""
        for container, before, _ in self.children:
            _put(container, before)

    @property
    def fresh_channels(self) -> dict[str, Tensor]:
        """Masks, by layer, of the channels of norms that have seen no data: all those of new blocks."""
        return {
            f"{prefix}.{name}" if name else prefix: torch.ones(len(mean), dtype=torch.bool)
            for prefix, block in self.added.items()
            for name, layer in block.named_modules()
            if isinstance(mean := layer._buffers.get("running_mean"), Tensor)
        }

    def tell(
        self, cohorts: Cohorts, optimizers: Sequence[OptimizerCohorts], *, begins_event: bool, grows: bool
    ) -> None:
        """Let the records and the optimizers of the network follow, once it has its new blocks.

        Args:
            cohorts: The network's record of ages.
            optimizers: All that look after the network.
            begins_event: Whether new blocks are of the next growth event, or of the one made last.
            grows: Whether there are new blocks whose age counts.

        Raises:
            NetworkError: New parameters that are trained would be in none of the optimizers.
        """
        cohorts.remove(name for name, _ in _tensors(self.removed))
        cohorts.commit({}, begins_event)
        cohorts.add(name for name, _ in _tensors(self.added))
        gone = [tensor for _, tensor in _tensors(self.removed) if isinstance(tensor, nn.Parameter)]
        new = {name: tensor for name, tensor in _tensors(self.added) if isinstance(tensor, nn.Parameter)}
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
            if mine:
                optimizer.add(mine, self.models)
            # A block is new as a whole: nothing in it connects old units with new ones.
            optimizer.commit([], {}, reset=False, grows=grows, ramp=False)


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
) -> DepthChange:
    """Make what the network needs to have `num_blocks` in these stages. Changes nothing.

    Args:
        model: The network, with its structure as it is now (`present`) and its stages (`known`).
        num_blocks: Blocks that stages are to have, by name; others stay as they are.
        generator: Where the weights of new blocks come from, on the CPU; a fresh one seeded with 0 if None.
        identity_on: A batch on which new blocks are to be the identity; None leaves them as they are initialized.

    Raises `NetworkError` where a new block cannot start as the identity.
    """
    generator = generator if generator is not None else torch.Generator().manual_seed(0)
    before = known.num_children(model)
    after = {**before, **{name: known.designs[name].num_children(number) for name, number in num_blocks.items()}}
    structure = with_depth(known.structure, known.designs, after)
    change = DepthChange(with_widths_of(structure, present, known.designs, before, after))
    deeper = [known.designs[name] for name in known.designs if after[name] > before[name]]
    last = {design.name: model.get_submodule(design.prefix(before[design.name] - 1)) for design in deeper}
    for name, block in last.items():
        if (where := foreign_hook(block)) is not None:
            raise NetworkError(
                f"stage {name!r}: its last block has a hook on {where!r}, which new ones would share or lack: remove "
                "it, and register it on all blocks afterwards"
            )
    calls = None if identity_on is None else record_calls(model, last, on_device_of(model, identity_on))
    maker = _BlockMaker(known.structure, change.structure, generator, calls)
    for name, design in known.designs.items():
        container = model.get_submodule(name)
        children = dict(container._modules)
        for place in range(after[name], before[name]):
            change.removed[design.prefix(place)] = container.get_submodule(design.key(place))
            del children[design.key(place)]
        for place in range(before[name], after[name]):
            block = maker.block(design, place, last[name])
            models = _models(design.prefix(place), block, last[name], container, model)
            for parameter_name, parameter in block.named_parameters(prefix=design.prefix(place)):
                take_after(parameter_name, parameter, models[parameter_name])
            change.models |= models
            change.added[design.prefix(place)] = children[design.key(place)] = block.train(container.training)
        if after[name] != before[name]:
            change.children.append((container, dict(container._modules), children))
    return change


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
            return draw()
        try:
            return identity_block(draw, [call.next() for call in self.calls[design.name]])
        except NetworkError as error:
            raise NetworkError(f"stage {design.name!r}: a new block {error}") from error

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
    """The outputs of a network before a change of its depth, to compare with those after it."""

    def __init__(self, model: nn.Module, example_input: ModelInput) -> None:
        self._model = model
        self._input = on_device_of(model, example_input)
        self._evaluated = self._outputs_evaluated()
        self._trained = self._outputs_trained()
        """None where train mode is random, or refuses the batch."""

    def check(self, stages: Iterable[str], exact: bool) -> None:
        """Raise `NetworkError` where outputs have another shape, or other values if they must be `exact`."""
        modes = {"eval": (self._evaluated, self._outputs_evaluated())}
        if exact and self._trained is not None:
            modes["train"] = (self._trained, self._outputs_trained() or [])
        what = "stage " + ", ".join(map(repr, stages))
        for mode, (before, after) in modes.items():
            if [tensor.shape for tensor in before] != [tensor.shape for tensor in after]:
                raise NetworkError(f"{what}: outputs take another shape in {mode} mode with more blocks")
            if exact and not (change := difference(before, after)) <= OUTPUT_TOLERANCE:
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
