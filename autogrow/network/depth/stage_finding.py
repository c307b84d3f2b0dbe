"""Finding the stages of a plain module by experiment: take blocks off a copy, add one, compare outputs.

Candidates are all ``nn.Sequential`` and ``nn.ModuleList`` containers, and modules of others' making that hold nothing
but children of one class with numbered names, as timm's RegNet has its stages. A child is a block that can be added
when it has layers of its own, shares no parameters, keeps the shape of what it is given, and a fresh copy of it can
start as the identity. The trailing children of a container that are such blocks are what can be taken off and put on.
"""

from collections import defaultdict
from collections.abc import Iterable
from re import match

import torch
from torch import nn

from autogrow.errors import NetworkError, one_line, unknown_name
from autogrow.network.depth.block_copies import foreign_part
from autogrow.network.depth.deepening import prepare_depth
from autogrow.network.depth.depth_structure import block_structure
from autogrow.network.depth.new_blocks import fresh_block, identity_block, record_calls
from autogrow.network.depth.place_settings import BlockCount, PlaceNumber, block_counts, place_numbers
from autogrow.network.depth.stages import StageDesign, StageDesigns, innermost_first, lies_within, overlap
from autogrow.network.resizing.probe import OUTPUT_TOLERANCE, wake
from autogrow.network.running.copying import copied
from autogrow.network.running.model_input import ModelInput
from autogrow.network.running.outputs import difference, on_device_of, outputs_of
from autogrow.network.running.undisturbed import undisturbed
from autogrow.network.structure.channel_groups import Structure


def find_stages(model: nn.Module, structure: Structure, example_input: ModelInput) -> StageDesigns:
    """All stages of at least two blocks, the innermost ones where they lie in each other. Changes nothing."""
    containers = _containers(model)
    likely = [
        name
        for name, container in containers.items()
        if len(container._modules) > 1 and _is_composite(_last(container))
    ]
    known = StageDesigns(structure, {})
    if not likely:
        return known
    trials = _StageTrials(model, structure, example_input)
    for name in innermost_first(likely):
        if not any(lies_within(found, name) for found in known.designs):
            try:
                design = trials.design(name, structure)
            except NetworkError:
                continue
            if design.full_blocks > 1:
                known = known.with_design(design)
    return known


def with_named_stages(
    known: StageDesigns, names: Iterable[str], model: nn.Module, structure: Structure, example_input: ModelInput
) -> StageDesigns:
    """The same with stages that a user names, in place of found ones that they contain or that contain them.

    Raises:
        NetworkError: No module has the name, or it is no stage, with the reason.
    """
    for name in names:
        if name in known.designs:
            continue
        containers = _containers(model)
        if name not in containers:
            layer = dict(model.named_modules()).get(name)
            if layer is None:
                raise NetworkError(unknown_name("stage", name, [*known.designs] or [*containers]))
            raise NetworkError(
                f"{name!r} is no stage: it is a {type(layer).__name__}, not an nn.Sequential, an nn.ModuleList, or a "
                "module of nothing but numbered blocks"
            )
        present = {stage.name: stage for stage in known.stages(model)}
        for other in known.designs:
            if overlap(name, other) and present[other].num_blocks != present[other].full_blocks:
                raise NetworkError(f"{name!r} cannot become a stage: {other!r} is one, and has changed its depth")
        known = known.with_design(_StageTrials(model, structure, example_input).design(name, known.structure))
    return known


def _containers(model: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in model.named_modules() if layer._modules and _is_container(layer)}


def _is_container(layer: nn.Module) -> bool:
    """Whether all that a module holds is a row of children; whether it runs them in turn is tried."""
    if isinstance(layer, nn.Sequential | nn.ModuleList):
        return True
    if isinstance(layer, torch.jit.ScriptModule) or len(layer._modules) < 2 or layer._parameters or layer._buffers:
        return False
    if len({type(child) for child in layer._modules.values()}) > 1:
        return False
    named = [match(r"(.*?)(\d+)$", key) for key in layer._modules]
    counted = [(found[1], int(found[2])) for found in named if found]
    return counted == [(counted[0][0], counted[0][1] + place) for place in range(len(named))] if counted else False


def _last(container: nn.Module) -> nn.Module:
    return next(reversed(list(container.children())))


def _is_composite(layer: nn.Module) -> bool:
    return any(list(child.parameters()) for child in layer.children())


class _StageTrials:
    """A copy of a network to experiment on, whose every weight passes something on."""

    def __init__(self, model: nn.Module, structure: Structure, example_input: ModelInput) -> None:
        self._model = model
        self._present = structure
        self._twin = copied(model)
        wake(self._twin)
        self._input = on_device_of(model, example_input)
        with undisturbed(self._twin):
            self._outputs = outputs_of(self._twin, self._input)
        blocks = {
            f"{name}.{key}" if name else key: child
            for name, container in _containers(self._twin).items()
            for key, child in container.named_children()
            if _is_composite(child) and not isinstance(child, torch.jit.ScriptModule)
        }
        self._calls = record_calls(self._twin, blocks, self._input)
        self._places: dict[int, list[str]] = defaultdict(list)
        """The names that every parameter and buffer has."""
        for name, tensor in [
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        ]:
            self._places[id(tensor)].append(name)

    def design(self, name: str, full: Structure) -> StageDesign:
        """The stage of this name; `full` is the structure with all blocks. Raises `NetworkError` where it is none."""
        keys = tuple(self._model.get_submodule(name)._modules)
        last = len(keys) - 1
        design = StageDesign(name, keys, last, {}, self._present.widths)
        num_fit = 0
        for place in reversed(range(len(keys))):
            problem = self._problem(design, place, full)
            if problem is not None and num_fit == 0:
                raise NetworkError(f"{name!r} is no stage: its last block {keys[last]!r} {problem}")
            if problem is not None:
                break
            num_fit += 1
        num_kept = max(1, len(keys) - num_fit)
        if not _is_composite(self._model.get_submodule(design.prefix(num_kept - 1))):
            num_kept += 1  # single layers lead the row: its first block is the first that could be added
        if where := foreign_part(self._model.get_submodule(design.prefix(last))):
            raise NetworkError(f"{name!r} is no stage: its last block {keys[last]!r} keeps parts of others ({where!r})")
        first = max(num_kept - 1, len(keys) - num_fit)  # the first block too, where it could be added again
        templates = {place: self._template(design, place) for place in {*range(first, len(keys)), last}}
        design = StageDesign(
            name, keys, num_kept, templates, self._present.widths, self._numbers(design), self._counts(design)
        )
        self._try_out(design, full)
        return design

    def _numbers(self, design: StageDesign) -> tuple[PlaceNumber, ...]:
        children = {place: self._model.get_submodule(design.prefix(place)) for place in range(len(design.keys))}
        return place_numbers({place: child for place, child in children.items() if _is_composite(child)})

    def _counts(self, design: StageDesign) -> tuple[BlockCount, ...]:
        number = len(design.keys)
        rows = [
            name
            for name, container in _containers(self._model).items()
            if len(container._modules) == number and _is_composite(_last(container)) and not overlap(name, design.name)
        ]
        return block_counts(self._model, design.name, number, len(rows))

    def _template(self, design: StageDesign, place: int) -> nn.Module:
        return copied(self._model.get_submodule(design.prefix(place))).cpu()

    def _problem(self, design: StageDesign, place: int, full: Structure) -> str | None:
        """Why the child at `place` is no block that could be added."""
        prefix = design.prefix(place)
        block = self._model.get_submodule(prefix)
        if not _is_composite(block) or isinstance(block, torch.jit.ScriptModule):
            return f"is a single layer ({type(block).__name__}), not a block of layers"
        for tensor in [*block.parameters(), *block.buffers()]:
            if not all(name.startswith(f"{prefix}.") for name in self._places[id(tensor)]):
                return "shares parameters with other layers"
        calls = self._calls.get(prefix, [])
        if not calls:
            return "is not called when the network runs"
        problem = next((call.problem for call in calls if call.problem is not None), None)
        if problem is not None:
            return problem
        try:
            layouts = block_structure(full, prefix, design.widths)
            template, generator = self._template(design, place), torch.Generator().manual_seed(0)
            device = next(block.parameters()).device
            identity_block(lambda: fresh_block(template, layouts, {}, generator).to(device), calls)
        except Exception as error:  # noqa: BLE001  whatever the user's code raises when it is copied or run alone
            return one_line(error)
        return None

    def _try_out(self, design: StageDesign, full: Structure) -> None:
        """Run the copy without the blocks that can be taken off, and with one more than it has."""
        known = StageDesigns(full, {design.name: design})
        for number, what in ((1, "without its later blocks"), (design.full_blocks + 1, "with one block more")):
            if number == design.full_blocks:
                continue
            try:
                change = prepare_depth(self._twin, self._present, known, {design.name: number}, None, self._input)
            except NetworkError:
                raise
            except Exception as error:  # whatever the user's code raises when its blocks are run alone
                raise NetworkError(f"{design.name!r} is no stage: {what} a block fails: {one_line(error)}") from error
            change.commit()
            try:
                called = record_calls(self._twin, change.added, self._input)
                with undisturbed(self._twin):
                    outputs = outputs_of(self._twin, self._input)
            except Exception as error:
                raise NetworkError(
                    f"{design.name!r} is no stage: {what} the network fails: {one_line(error)}"
                ) from error
            finally:
                change.revert()
            if [tensor.shape for tensor in outputs] != [tensor.shape for tensor in self._outputs]:
                raise NetworkError(f"{design.name!r} is no stage: {what} the outputs have another shape")
            if not all(called.values()):
                raise NetworkError(f"{design.name!r} is no stage: a block that is added is not called")
            if change.added and not difference(self._outputs, outputs) <= OUTPUT_TOLERANCE:
                raise NetworkError(f"{design.name!r} is no stage: its place in the row matters to other layers")
