"""`ExpandableNetwork`: a plain module that can be widened, narrowed and deepened, and that stays plain."""

import copy
import time
from collections.abc import Mapping, Sequence
from typing import assert_never

import torch
from torch import nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError
from autogrow.keywords import refuses_unknown
from autogrow.network.deepenable import DeepenableNetwork
from autogrow.network.depth.stages import StageDesigns
from autogrow.network.fitting import fit_new_units
from autogrow.network.growable import LossOf
from autogrow.network.measuring.size import check_limits
from autogrow.network.optimizer.attached import Optimizers
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.output_guard import check_removal, inexact_removals, outputs_kept
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.module_wrappers import check_wrappers
from autogrow.network.resizing.prepared_resizing import Widening, prepare_resizing
from autogrow.network.resizing.unit_changes import fewer_units, first_units, kept_units, more_units, set_units
from autogrow.network.resizing.verification import verified_structure
from autogrow.network.running.lazy_layers import give_sizes
from autogrow.network.running.model_input import ModelInput, explained, number_format
from autogrow.network.running.norm_statistics import measure_new_statistics
from autogrow.network.running.plain_mode import check_tensors, in_plain_mode
from autogrow.network.shrinking.compensation import with_compensation
from autogrow.network.structure.channel_groups import ChannelGroup, FixedGroup, find_structure
from autogrow.network.structure.layout import IntArray
from autogrow.network.structure.tracing import trace
from autogrow.network.transactional import TransactionalNetwork
from autogrow.policy.changes import Change, Deepen, Freeze, Narrow, Shorten, Thaw, Widen, changes_shape, check_changes
from autogrow.policy.initializations import Initialization, ZeroFanOut, parse_initialization
from autogrow.policy.limits import SizeLimits


class ExpandableNetwork(DeepenableNetwork):
    """Finds the channel groups and stages of any plain module and changes their width and depth.

    `module` is the module that was given, changed in place: its parameters are replaced by larger ones, its layer
    types are not. It can be called, exported, compiled and saved as usual.

    Args:
        model: The network at full width. It is changed in place by `widen` and `keep_units`.
        example_input: A batch to trace with, or a tuple of tensors for a network that takes several. Lazy layers take
            their sizes and first weights from it.
        verify: Widen a copy and compare outputs, so that a group which cannot grow exactly is listed in `fixed`
            instead of growing wrong.
        limits: Sizes that no change may exceed, measured on `example_input`.

    Raises:
        NetworkError: The model cannot be run or traced with this input.
    """

    @refuses_unknown()
    @in_plain_mode
    def __init__(
        self,
        model: nn.Module,
        example_input: ModelInput,
        *,
        verify: bool = True,
        limits: SizeLimits | None = None,
    ) -> None:
        check_wrappers(model)
        give_sizes(model, example_input)
        check_tensors(model)
        self.limits = limits or SizeLimits()
        self._example_input = example_input
        self._number_format = number_format(model)
        self._designs: StageDesigns | None = None
        if verify:
            structure = verified_structure(model, example_input)
        else:
            structure = find_structure(model, trace(model, example_input))
        self._state = TransactionalNetwork(model, structure)

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The groups that can be widened, in the network's order."""
        return tuple(self.structure.groups.values())

    @property
    def fixed(self) -> tuple[FixedGroup, ...]:
        """The groups that cannot, each with its reason."""
        return tuple(self.structure.fixed.values())

    @property
    def widths(self) -> dict[str, int]:
        return {group.name: group.width for group in self.groups}

    @property
    def cohorts(self) -> Cohorts:
        """Which event every entry of a weight came with."""
        return self._state.cohorts

    @property
    def num_events(self) -> int:
        """Growth events so far; what event number n added is cohort n."""
        return self.cohorts.num_events

    def twin(self, module: nn.Module | None = None) -> "ExpandableNetwork":
        """An independent copy to try something on: without optimizers, limits and birth records.

        `module` is a copy of this network's module, where the caller has one already.
        """
        other = copy.copy(self)
        other._state, other.limits = self._state.twin(module), SizeLimits()
        return other

    def attach(self, optimizer: Optimizer) -> OptimizerCohorts:
        """Keep `optimizer` right while this network changes shape; attaching twice gives the same object.

        Widening attaches the optimizer it is given, so this is only needed to freeze, or to restore a saved state.

        Raises:
            NetworkError: The optimizer holds none of the network's parameters.
        """
        return self._state.attach(optimizer)

    def detach(self, optimizer: Optimizer) -> None:
        """Look after `optimizer` no longer; it is a stock one again."""
        self._state.optimizers.detach(optimizer)

    def widen(
        self,
        group: ChannelGroup | str,
        num_units: int,
        *,
        initialization: str | Initialization = "zero_fan_out",
        optimizer: Optimizers | None = None,
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
        loss: LossOf | None = None,
    ) -> Widening:
        """Add `num_units` to one group; see `widen_groups`."""
        name = group if isinstance(group, str) else group.name
        return self.widen_groups(
            {name: num_units},
            initialization=initialization,
            optimizer=optimizer,
            generator=generator,
            calibration_input=calibration_input,
            loss=loss,
        )

    @in_plain_mode
    @explained("the network fails as it changes")
    def widen_groups(
        self,
        added_units: Mapping[str, int],
        *,
        initialization: str | Initialization = "zero_fan_out",
        optimizer: Optimizers | None = None,
        optimizer_state: str = "carry",
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
        loss: LossOf | None = None,
    ) -> Widening:
        """Add units to several groups in one growth event, weights and optimizer state together or not at all.

        Args:
            added_units: Units to add (at least 1) by group name.
            initialization: A name of `autogrow list initializations`, or a record with settings of its own.
            optimizer: The optimizer of this network's parameters, or several that share them; its state follows, as
                does that of every optimizer that was attached before. One that was not must be made anew.
            optimizer_state: "carry" keeps the moments of old entries, "reset" drops the whole state.
            generator: Where random weights are drawn from, on the CPU; a fresh one seeded with 0 if None.
            calibration_input: A batch from which new norm channels take their mean and variance; without it they
                start with 0 and 1.
            loss: The loss of a module on some batch, for initializations that look at gradients.

        Raises:
            NetworkError: An unknown or fixed group, a number below 1, an optimizer that does not hold what changes, a
                size above a limit, or an initialization without what it needs. Everything is as it was before.
        """
        started = time.perf_counter()
        settings = parse_initialization(initialization)
        if settings.needs_batch and loss is None:
            raise NetworkError(f"initialization {settings.kind!r} looks at gradients: give a loss, or choose another")
        self._state.check_unchanged()
        units = more_units(self.structure, added_units)
        before = self.num_parameters
        self._state.hold_frozen()
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        keep_old = any(control.first_trained_cohort > 0 for control in self._state.optimizers.controls)
        resizing = prepare_resizing(
            self.module, self.structure, units, make_initializer(settings), generator, keep_old=keep_old
        )
        if settings.needs_batch and loss is not None:
            fit_new_units(self, resizing, settings, loss, calibration_input)
        guard = outputs_kept(self.module, self._batch, settings, added_units)
        with self._state.all_or_nothing(optimizer), guard:
            self._state.resize(resizing, units, grows=True, reset=optimizer_state == "reset", ramp=settings.ramps)
            if calibration_input is not None:
                measure_new_statistics(self.module, resizing.fresh_channels, calibration_input)
            check_limits(self.module, self._batch, self.limits)
        return Widening(dict(added_units), before, self.num_parameters, time.perf_counter() - started)

    @in_plain_mode
    def keep_units(
        self, group: ChannelGroup | str, keep: IntArray | list[int], optimizer: Optimizers | None = None
    ) -> None:
        """Keep only the given units of one group, in the given order; the others are removed with their weights."""
        self._state.check_unchanged()
        units = kept_units(self.structure, group if isinstance(group, str) else group.name, keep)
        self._state.resize_alone(prepare_resizing(self.module, self.structure, units), units, optimizer)

    @in_plain_mode
    def start_small(self, widths: Mapping[str, int]) -> None:
        """Narrow a fresh network to its first units, with the weight variance that the new width asks for.

        Raises `NetworkError` for an unknown group, or a width below 1 or above the present one.
        """
        self._state.check_unchanged()
        units = first_units(self.structure, widths)
        self._state.resize_alone(prepare_resizing(self.module, self.structure, units, rescale=True), units)

    def settle(self) -> None:
        """Take the present widths for the full ones: what is left after shrinking is the whole network from here on."""
        self._state.structure = self.structure.settled()

    @in_plain_mode
    def set_widths(self, widths: Mapping[str, int]) -> None:
        """Give every group the width of a saved network, to load its weights into; present values mean nothing."""
        self._state.check_unchanged()
        units = set_units(self.structure, widths)
        initializer, generator = make_initializer(ZeroFanOut()), torch.Generator().manual_seed(0)
        self._state.resize_alone(prepare_resizing(self.module, self.structure, units, initializer, generator), units)

    @in_plain_mode
    def apply(
        self,
        changes: Sequence[Change],
        optimizer: Optimizers | None = None,
        *,
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
        loss: LossOf | None = None,
    ) -> None:
        """Make changes in their order as one event: weights, optimizer state and records, all of it or nothing.

        Where the shape changes, the network counts one event (`num_events`), and all that is added is one cohort.

        Args:
            changes: At most one `Widen`, with all groups that grow; any number of others.
            optimizer: The optimizer of this network's parameters, or several that share them; see `widen_groups`.
            generator: Where random weights are drawn from, on the CPU; a fresh one for each change if None.
            calibration_input: A batch from which new norm channels take their mean and variance, and by which what
                reads removed units makes up for them.
            loss: The loss of a module on some batch, for initializations that look at gradients.

        Raises:
            NetworkError: A change that cannot be made; everything is as it was before the first.
        """
        check_changes(changes)
        self._state.hold_frozen()
        with self._state.all_or_nothing(optimizer), self._state.one_event(counts=changes_shape(changes)):
            for change in changes:
                match change:
                    case Widen():
                        self.widen_groups(
                            change.added_units,
                            initialization=change.initialization,
                            optimizer_state=change.optimizer_state,
                            generator=generator,
                            calibration_input=calibration_input,
                            loss=loss,
                        )
                    case Narrow():
                        self._narrow(change, calibration_input)
                    case Deepen():
                        self.deepen_stages(
                            change.added_blocks,
                            initialization=change.initialization,
                            optimizer_state=change.optimizer_state,
                            generator=generator,
                            calibration_input=calibration_input,
                        )
                    case Shorten():
                        self.remove_blocks(change.removed_blocks)
                    case Freeze() | Thaw():
                        self._state.optimizers.hold_or_release(change)
                    case _:
                        assert_never(change)

    @in_plain_mode
    def inexact_removals(self) -> dict[str, str]:
        """Groups that units can be added to, and not removed from but at the end, with the reason; two passes each."""
        self._state.check_unchanged()
        return inexact_removals(self.module, self.structure, self._batch)

    def _narrow(self, change: Narrow, calibration_input: ModelInput | None) -> None:
        self._state.check_unchanged()
        units = fewer_units(self.structure, change.removed_units)
        resizing = prepare_resizing(self.module, self.structure, units)
        check_removal(self.module, self.structure, units, resizing, self._batch)
        if change.compensation != "none":
            if calibration_input is None:
                raise NetworkError(
                    f"compensation {change.compensation!r} goes by what units are on an input: give a calibration_input"
                )
            kind, is_frozen = change.compensation, self._state.is_frozen
            resizing = with_compensation(self, resizing, units, kind, calibration_input, is_frozen)
        self._state.resize_alone(resizing, units)
