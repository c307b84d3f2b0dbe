"""`ExpandableNetwork`: a plain module that can be widened, narrowed and deepened, and that stays plain."""

import copy
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, assert_never

import torch
from torch import nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError, PolicyError
from autogrow.keywords import refuses_unknown
from autogrow.network.depth.deepening import prepare_depth
from autogrow.network.depth.depth_change import Deepening, DepthChange
from autogrow.network.depth.stage_finding import find_stages, with_named_stages
from autogrow.network.depth.stages import StageDesigns
from autogrow.network.fitting import fit_new_units
from autogrow.network.growable import LossOf
from autogrow.network.measuring.size import check_limits
from autogrow.network.optimizer.attached import Optimizers
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.output_guard import OutputComparison, outputs_kept
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.module_wrappers import check_wrappers
from autogrow.network.resizing.prepared_resizing import Widening, prepare_resizing
from autogrow.network.resizing.unit_changes import fewer_units, first_units, kept_units, more_units, set_units
from autogrow.network.resizing.verification import verified_structure
from autogrow.network.running.lazy_layers import give_sizes
from autogrow.network.running.model_input import ModelInput, explained, following, number_format
from autogrow.network.running.norm_statistics import measure_new_statistics
from autogrow.network.running.plain_mode import check_tensors, in_plain_mode
from autogrow.network.structure.channel_groups import ChannelGroup, FixedGroup, Structure, find_structure
from autogrow.network.structure.layout import IntArray
from autogrow.network.structure.tracing import trace
from autogrow.network.transactional import TransactionalNetwork
from autogrow.policy.block_initializations import BlockInitialization, parse_block_initialization
from autogrow.policy.changes import Change, Deepen, Freeze, Narrow, Shorten, Thaw, Widen, changes_shape, check_changes
from autogrow.policy.depth import BlockState
from autogrow.policy.history import Stage
from autogrow.policy.initializations import Initialization, ZeroFanOut, parse_initialization
from autogrow.policy.limits import SizeLimits


class ExpandableNetwork:
    """Finds the channel groups and stages of any plain module and changes their width and depth.

    `module` is the module that was given, changed in place: its parameters are replaced by larger ones, its layer
    types are not. It can be called, exported, compiled and saved as usual.

    Args:
        model: The network at full width. It is changed in place by `widen` and `narrow`.
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
    def module(self) -> nn.Module:
        """The plain module, which is changed in place."""
        return self._state.module

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
    @in_plain_mode
    def stages(self) -> tuple[Stage, ...]:
        """The stages that can be deepened, in the network's order; looked for by experiment when first asked for."""
        return self._known_stages().stages(self.module)

    @property
    def blocks(self) -> dict[str, int]:
        """The number of blocks of every stage."""
        return {stage.name: stage.num_blocks for stage in self.stages}

    @property
    def structure(self) -> Structure:
        """Groups and layouts as they are now; a record that no change of the network touches."""
        return self._state.structure

    @property
    def cohorts(self) -> Cohorts:
        """Which event every entry of a weight came with."""
        return self._state.cohorts

    @property
    def num_events(self) -> int:
        """Growth events so far; what event number n added is cohort n."""
        return self.cohorts.num_events

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.module.parameters())

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
    def narrow(
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

    @in_plain_mode
    def set_widths(self, widths: Mapping[str, int]) -> None:
        """Give every group the width of a saved network, to load its weights into; present values mean nothing."""
        self._state.check_unchanged()
        units = set_units(self.structure, widths)
        initializer, generator = make_initializer(ZeroFanOut()), torch.Generator().manual_seed(0)
        self._state.resize_alone(prepare_resizing(self.module, self.structure, units, initializer, generator), units)

    @in_plain_mode
    def add_stages(self, names: Iterable[str]) -> tuple[Stage, ...]:
        """Take containers for stages by name, as the methods below do, in place of found ones that overlap with them.

        Raises `NetworkError` where no module has the name, or it is no stage, with the reason.
        """
        chosen = list(names)
        known = self._known_stages(chosen)
        return tuple(stage for stage in known.stages(self.module) if stage.name in chosen)

    def deepen(self, stage: Stage | str, num_blocks: int = 1, **options: Any) -> Deepening:
        """Add blocks to one stage; see `deepen_stages` for the options."""
        return self.deepen_stages({stage if isinstance(stage, str) else stage.name: num_blocks}, **options)

    @in_plain_mode
    @explained("the network fails as it changes")
    def deepen_stages(
        self,
        added_blocks: Mapping[str, int],
        *,
        initialization: str | BlockInitialization = "zero",
        optimizer: Optimizers | None = None,
        optimizer_state: BlockState = "carried",
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
    ) -> Deepening:
        """Add blocks to stages in one growth event, with optimizer entries and records, or not at all.

        A block that is drawn anew (zero, random) has the form of the one that the network's author put there (of the
        last where there is none), is as wide as the one before it relative to full widths, and has fresh weights; see
        `new_blocks.fresh_block`. One that is copied (stack, interleave, copy_last) has widths, weights and settings of
        its original; blocks behind it move on, with their names.

        Args:
            added_blocks: Blocks to add (at least 1) by stage.
            initialization: A name of `autogrow list block-initializations`, or a record: where new blocks come, how
                they start, and whether outputs stay.
            optimizer_state: "carried" gives copies the state of their originals, "fresh" none; "reset" drops all.
            optimizer: As in `widen_groups`; new parameters join the groups of those that they are most like.
            generator: Where weights are drawn from, on the CPU; a fresh one seeded with 0 if None.
            calibration_input: A batch from which norms of new blocks take their mean and variance; without it they
                start with 0 and 1.

        Raises:
            NetworkError: No such stage, a number below 1, a block that cannot start as the identity or be copied,
                outputs that change, an optimizer that lacks the parameters, or a size above a limit. Everything is as
                it was.
        """
        started, before = time.perf_counter(), self.num_parameters
        settings = _block_initialization(initialization)
        blocks = self._known_stages(added_blocks).deepened(self.module, added_blocks)
        outputs = OutputComparison(self.module, self._batch, settings.keeps_outputs)
        with self._with_blocks(
            blocks,
            generator,
            initialization=settings,
            grows=True,
            optimizer=optimizer,
            optimizer_state=optimizer_state,
        ) as change:
            if calibration_input is not None:
                measure_new_statistics(self.module, change.fresh_channels, calibration_input)
            outputs.check(added_blocks)
            check_limits(self.module, self._batch, self.limits)
        return Deepening(dict(added_blocks), before, self.num_parameters, time.perf_counter() - started)

    def shorten(self, blocks: Mapping[str, int]) -> None:
        """Leave stages of a fresh network only their first blocks, to start shallow; at least one."""
        self.set_blocks(self._known_stages(blocks).shortened(self.module, blocks))

    @in_plain_mode
    def set_blocks(self, blocks: Mapping[str, int]) -> None:
        """Give stages the number of blocks of a saved network, before `set_widths`; values of new ones mean nothing."""
        with self._with_blocks(self._known_stages(blocks).resized(blocks)):
            pass

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
            calibration_input: A batch from which new norm channels take their mean and variance.
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
                        self._state.check_unchanged()
                        units = fewer_units(self.structure, change.removed_units)
                        self._state.resize_alone(prepare_resizing(self.module, self.structure, units), units)
                    case Deepen():
                        self.deepen_stages(
                            change.added_blocks,
                            initialization=change.initialization,
                            optimizer_state=change.optimizer_state,
                            generator=generator,
                            calibration_input=calibration_input,
                        )
                    case Shorten():
                        self.set_blocks(
                            self._known_stages(change.removed_blocks).fewer(self.module, change.removed_blocks)
                        )
                    case Freeze() | Thaw():
                        self._state.optimizers.hold_or_release(change)
                    case _:
                        assert_never(change)

    def _known_stages(self, names: Iterable[str] = ()) -> StageDesigns:
        self._state.check_unchanged()
        known = self._designs or find_stages(self.module, self.structure, self._batch)
        self._designs = with_named_stages(known, names, self.module, self.structure, self._batch)
        return self._designs

    @contextmanager
    def _with_blocks(
        self,
        blocks: Mapping[str, int],
        generator: torch.Generator | None = None,
        *,
        initialization: BlockInitialization | None = None,
        grows: bool = False,
        optimizer: Optimizers | None = None,
        optimizer_state: BlockState = "carried",
    ) -> Iterator[DepthChange]:
        """Change depths, then run what is inside; all of it or nothing."""
        batch = self._batch if initialization is not None and initialization.keeps_outputs else None
        change = prepare_depth(
            self.module, self.structure, self._known_stages(), blocks, generator, batch, initialization
        )
        with self._state.all_or_nothing(optimizer):
            self._state.change_depth(change, grows=grows, optimizer_state=optimizer_state)
            yield change

    @property
    def _batch(self) -> ModelInput:
        """The example input where the network is now, in the number format that it has now."""
        return following(self.module, self._example_input, self._number_format)


def _block_initialization(given: str | BlockInitialization) -> BlockInitialization:
    try:
        return parse_block_initialization(given)
    except PolicyError as error:
        raise NetworkError(str(error)) from error
