"""`ExpandableNetwork`: a plain module that can be widened and narrowed, and that stays plain."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError, unknown_name
from autogrow.network.channel_groups import ChannelGroup, FixedGroup, Structure, find_structure
from autogrow.network.cohorts import Cohorts
from autogrow.network.initialization import INITIALIZERS
from autogrow.network.layers import LayerRule, layer_rule
from autogrow.network.layout import NEW, IntArray
from autogrow.network.optimizer_cohorts import OptimizerCohorts
from autogrow.network.resizing import Resizing, prepare_resizing
from autogrow.network.statistics import evaluating, measure_new_statistics

OUTPUT_TOLERANCE = 1e-5
"""Largest change of an output, relative to the largest output, at which a group counts as growing exactly."""

ASLEEP = 1e-2
"""Share of a fresh layer's usual weight below which a layer passes on too little to judge what lies before it."""


@dataclass(frozen=True)
class Widening:
    """What one widening did."""

    added_units: dict[str, int]
    parameters_before: int
    parameters_after: int
    seconds: float


class ExpandableNetwork:
    """Finds the channel groups of any plain module and changes their width.

    `module` is the module that was given, changed in place: its parameters are replaced by larger ones, its layer
    types are not. It can be called, exported, compiled and saved as usual.

    Args:
        model: The network at full width. It is changed in place by `widen` and `narrow`.
        example_input: A batch (at least 2 examples where the network has batch norms) to trace with.
        verify: Widen a copy and compare outputs, so that a group which cannot grow exactly is listed in `fixed`
            instead of growing wrong.

    Raises:
        NetworkError: The model cannot be run or traced with this input.
    """

    def __init__(self, model: nn.Module, example_input: Tensor, *, verify: bool = True) -> None:
        self.module = model
        self.cohorts = Cohorts()
        self._structure = find_structure(model, example_input)
        if verify:
            self._structure = self._structure.without(_inexact_groups(model, self._structure, example_input))
        self._attached: dict[int, OptimizerCohorts] = {}

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups that can be widened, in the network's order."""
        return tuple(self._structure.groups.values())

    @property
    def fixed(self) -> tuple[FixedGroup, ...]:
        """The groups that cannot, each with its reason."""
        return tuple(self._structure.fixed.values())

    @property
    def widths(self) -> dict[str, int]:
        return {group.name: group.width for group in self.groups}

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

    def attach(self, optimizer: Optimizer) -> OptimizerCohorts:
        """Keep `optimizer` right while this network changes shape; attaching twice gives the same object.

        Widening attaches the optimizer it is given, so this is only needed to freeze, or to restore a saved state.
        """
        if id(optimizer) not in self._attached:
            self._attached[id(optimizer)] = OptimizerCohorts(optimizer, self.module, self.cohorts)
        return self._attached[id(optimizer)]

    def detach(self, optimizer: Optimizer) -> None:
        """Look after `optimizer` no longer; it is a stock one again."""
        if id(optimizer) in self._attached:
            self._attached.pop(id(optimizer)).detach()

    def widen(
        self,
        group: ChannelGroup | str,
        num_units: int,
        *,
        initialization: str = "zero_fan_out",
        optimizer: Optimizer | None = None,
        generator: torch.Generator | None = None,
        calibration_input: Tensor | None = None,
    ) -> Widening:
        """Add `num_units` to one group; see `widen_groups`."""
        name = group if isinstance(group, str) else group.name
        return self.widen_groups(
            {name: num_units},
            initialization=initialization,
            optimizer=optimizer,
            generator=generator,
            calibration_input=calibration_input,
        )

    def widen_groups(
        self,
        added_units: Mapping[str, int],
        *,
        initialization: str = "zero_fan_out",
        optimizer: Optimizer | None = None,
        optimizer_state: str = "carry",
        generator: torch.Generator | None = None,
        calibration_input: Tensor | None = None,
    ) -> Widening:
        """Add units to several groups in one growth event, weights and optimizer state together or not at all.

        Args:
            added_units: Units to add (at least 1) by group name.
            initialization: A name of `autogrow list initializations`.
            optimizer: The optimizer of this network's parameters; its state follows, as does that of every optimizer
                that was attached before. One that was not must be made anew.
            optimizer_state: "carry" keeps the moments of old entries, "reset" drops the whole state.
            generator: Where random weights are drawn from, on the CPU; a fresh one seeded with 0 if None.
            calibration_input: A batch from which new norm channels take their mean and variance; without it they
                start with 0 and 1.

        Raises:
            NetworkError: An unknown or fixed group, or a number below 1.
        """
        started = time.perf_counter()
        units: dict[str, IntArray] = {}
        for name, number in added_units.items():
            width = self._growable(name).width
            if number < 1:
                raise NetworkError(f"group {name!r}: cannot add {number} units, at least 1")
            units[name] = np.concatenate([np.arange(width), np.full(number, NEW)])
        before = self.num_parameters
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        initializer = INITIALIZERS[initialization]()
        resizing = prepare_resizing(self.module, self._structure, units, initializer, generator)
        self._make(resizing, units, grows=True, optimizer=optimizer, reset=optimizer_state == "reset")
        if calibration_input is not None:
            measure_new_statistics(self.module, self._new_norm_channels(resizing), calibration_input)
        return Widening(dict(added_units), before, self.num_parameters, time.perf_counter() - started)

    def narrow(self, group: ChannelGroup | str, keep: IntArray | list[int], optimizer: Optimizer | None = None) -> None:
        """Keep only the given units of one group, in the given order; the others are removed with their weights."""
        name = group if isinstance(group, str) else group.name
        width = self._growable(name).width
        kept = np.asarray(keep, dtype=np.int64)
        if len(kept) == 0 or len(set(kept.tolist())) != len(kept) or kept.min() < 0 or kept.max() >= width:
            raise NetworkError(
                f"group {name!r}: units to keep are distinct numbers from 0 to {width - 1}, at least one"
            )
        units = {name: kept}
        self._make(prepare_resizing(self.module, self._structure, units), units, grows=False, optimizer=optimizer)

    def start_small(self, widths: Mapping[str, int]) -> None:
        """Narrow a fresh network to its first units, with the weight variance that the new width asks for."""
        units = {name: np.arange(width) for name, width in widths.items() if width < self._growable(name).width}
        resizing = prepare_resizing(self.module, self._structure, units, rescale=True)
        self._make(resizing, units, grows=False)

    def set_widths(self, widths: Mapping[str, int]) -> None:
        """Give every group the width of a saved network, to load its weights into; present values mean nothing."""
        units: dict[str, IntArray] = {}
        for name, width in widths.items():
            old = self._growable(name).width
            units[name] = np.concatenate([np.arange(min(old, width)), np.full(max(0, width - old), NEW)])
        initializer, generator = INITIALIZERS["zero_fan_out"](), torch.Generator().manual_seed(0)
        self._make(prepare_resizing(self.module, self._structure, units, initializer, generator), units, grows=False)

    def _growable(self, name: str) -> ChannelGroup:
        if name in self._structure.fixed:
            raise NetworkError(f"group {name!r} cannot change: {self._structure.fixed[name].reason}")
        if name not in self._structure.groups:
            raise NetworkError(unknown_name("channel group", name, self._structure.groups))
        return self._structure.groups[name]

    def _make(
        self,
        resizing: Resizing,
        units: Mapping[str, IntArray],
        *,
        grows: bool,
        optimizer: Optimizer | None = None,
        reset: bool = False,
    ) -> None:
        """Compute what is still missing, then put everything in place."""
        if optimizer is not None:
            self.attach(optimizer)
        attached = list(self._attached.values())
        states = [control.prepare(resizing.changes, reset) for control in attached]
        numbers = self.cohorts.prepare(resizing.changes, grows)
        resizing.commit()
        self._structure = _with_widths(self._structure, {name: len(source) for name, source in units.items()})
        self.cohorts.commit(numbers, grows)
        for control, state in zip(attached, states, strict=True):
            control.commit(resizing.changes, state, reset)

    def _new_norm_channels(self, resizing: Resizing) -> dict[str, Tensor]:
        """Masks of the channels that a resizing added to norms with running statistics, by layer name."""
        names = {module: name for name, module in self.module.named_modules()}
        masks: dict[str, Tensor] = {}
        for change in resizing.changes:
            rule = layer_rule(change.layer)
            if isinstance(rule, LayerRule) and rule.is_norm and change.attribute == "running_mean":
                masks[names[change.layer]] = change.sources[0] == NEW
        return masks


def _with_widths(structure: Structure, widths: Mapping[str, int]) -> Structure:
    groups = {
        name: ChannelGroup(name, widths.get(name, group.width), group.full_width, group.members)
        for name, group in structure.groups.items()
    }
    return Structure(groups, structure.fixed, structure.layouts)


def _inexact_groups(model: nn.Module, structure: Structure, example_input: Tensor) -> dict[str, str]:
    """Groups whose widening changes the outputs, or breaks the forward pass, with the reason.

    All groups are tried at once, which is enough where all are exact; only otherwise is each tried alone.
    """
    if not structure.groups or _problem_with(model, structure, list(structure.groups), example_input) is None:
        return {}
    problems = {name: _problem_with(model, structure, [name], example_input) for name in structure.groups}
    found = {name: problem for name, problem in problems.items() if problem is not None}
    if found:
        return found
    return dict.fromkeys(structure.groups, "the outputs change when all groups are widened together")


def _problem_with(model: nn.Module, structure: Structure, names: list[str], example_input: Tensor) -> str | None:
    """What goes wrong when these groups of a copy of the network get one unit more; None if nothing does.

    Weights of the copy that are next to nothing (a zero-initialized head, a norm without gain) are filled first: behind
    them any change would stay unseen until they have learnt something else.
    """
    twin = copy.deepcopy(model)
    _wake(twin)
    units = {name: np.append(np.arange(structure.groups[name].width), NEW) for name in names}
    generator = torch.Generator().manual_seed(0)
    with evaluating(twin):
        before = twin(example_input)
        if not isinstance(before, Tensor):
            raise NetworkError(f"the network returns a {type(before).__name__}, expected one tensor of outputs")
        prepare_resizing(twin, structure, units, INITIALIZERS["zero_fan_out"](), generator).commit()
        try:
            after = twin(example_input)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            return f"the forward pass fails when it is wider: {' '.join(str(error).split())[:120]}"
    if before.shape != after.shape:
        return "the network's output takes its width"
    change = float((after - before).abs().max() / before.abs().max().clamp(min=torch.finfo(before.dtype).tiny))
    return None if change <= OUTPUT_TOLERANCE else f"outputs change by {change:.1e} when it is widened"


def _wake(model: nn.Module) -> None:
    """Give weights that are zero, or nearly, the scale of a fresh layer's, and norm gains of zero that of one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.rsplit(".", 1)[-1] == "bias":
                continue  # hides nothing
            usual = sqrt(parameter.shape[0] / parameter.numel()) if parameter.dim() > 1 else 1.0
            if parameter.abs().max() < ASLEEP * usual:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * usual)
