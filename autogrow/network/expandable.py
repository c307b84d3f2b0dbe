"""`ExpandableNetwork`: a plain module that can be widened, narrowed and deepened, and that stays plain."""

import copy
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError, unknown_name
from autogrow.keywords import refuses_unknown
from autogrow.network.depth.deepening import Deepening, DepthChange, OutputComparison, prepare_depth
from autogrow.network.depth.stage_finding import find_stages, with_named_stages
from autogrow.network.depth.stages import StageDesigns
from autogrow.network.fitting import fit_new_units
from autogrow.network.growable import LossOf
from autogrow.network.measuring.size import check_limits
from autogrow.network.optimizer.attached import AttachedOptimizers, Optimizers, as_list
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.output_guard import outputs_kept
from autogrow.network.resizing.initialization import make_initializer
from autogrow.network.resizing.module_wrappers import check_wrappers, refuse_stale_wrappers
from autogrow.network.resizing.prepared_resizing import Resizing, prepare_resizing
from autogrow.network.resizing.unit_changes import fewer_units, first_units, kept_units, more_units, set_units
from autogrow.network.resizing.verification import verified_structure
from autogrow.network.running.copying import copied
from autogrow.network.running.lazy_layers import give_sizes
from autogrow.network.running.model_input import ModelInput, explained, following, number_format
from autogrow.network.running.norm_statistics import measure_new_statistics
from autogrow.network.running.plain_mode import check_tensors, in_plain_mode
from autogrow.network.structure.channel_groups import ChannelGroup, FixedGroup, Structure, find_structure
from autogrow.network.structure.layout import IntArray
from autogrow.network.structure.module_record import ModuleRecord
from autogrow.network.structure.tracing import trace
from autogrow.policy.changes import Change, Deepen, Freeze, Narrow, Shorten, Thaw, Widen, changes_shape
from autogrow.policy.history import Stage
from autogrow.policy.initializations import Initialization, ZeroFanOut, parse_initialization
from autogrow.policy.limits import SizeLimits


@dataclass(frozen=True)
class Widening:
    """What one widening did."""

    added_units: dict[str, int]
    parameters_before: int
    parameters_after: int
    seconds: float


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
        self.module = model
        self.cohorts = Cohorts()
        self.limits = limits or SizeLimits()
        self._example_input = example_input
        self._attached = AttachedOptimizers()
        self._made: list[Resizing | DepthChange] | None = None
        """What was changed since the outermost change began that can still be taken back; None outside of one."""
        self._is_in_event = False
        """Whether what is added now belongs to an event that has been counted already."""
        self._designs: StageDesigns | None = None
        self._number_format = number_format(model)
        if verify:
            self._structure = verified_structure(model, example_input)
        else:
            self._structure = find_structure(model, trace(model, example_input))
        self._record = ModuleRecord.of(model)

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
        return self._structure

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
        other.module = copied(self.module) if module is None else module
        other.cohorts, other.limits, other._attached = Cohorts(), SizeLimits(), AttachedOptimizers()
        other._made, other._is_in_event = None, False
        return other

    def attach(self, optimizer: Optimizer) -> OptimizerCohorts:
        """Keep `optimizer` right while this network changes shape; attaching twice gives the same object.

        Widening attaches the optimizer it is given, so this is only needed to freeze, or to restore a saved state.

        Raises:
            NetworkError: The optimizer holds none of the network's parameters.
        """
        return self._attached.attach(optimizer, self.module, self.cohorts)

    def detach(self, optimizer: Optimizer) -> None:
        """Look after `optimizer` no longer; it is a stock one again."""
        self._attached.detach(optimizer)

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
        self._check_module()
        units = more_units(self._structure, added_units)
        before = self.num_parameters
        for control in self._attached.controls:
            control.hold()  # a forward pass in train mode may have moved frozen statistics since the last step
        generator = generator if generator is not None else torch.Generator().manual_seed(0)
        keep_old = any(control.first_trained_cohort > 0 for control in self._attached.controls)
        resizing = prepare_resizing(
            self.module, self._structure, units, make_initializer(settings), generator, keep_old=keep_old
        )
        if settings.needs_batch and loss is not None:
            fit_new_units(self, resizing, settings, loss, calibration_input)
        guard = outputs_kept(self.module, self._batch, settings, added_units)
        with self._all_or_nothing(optimizer), guard:
            self._make(resizing, units, grows=True, reset=optimizer_state == "reset", ramp=settings.ramps)
            if calibration_input is not None:
                measure_new_statistics(self.module, resizing.fresh_channels, calibration_input)
            check_limits(self.module, self._batch, self.limits)
        return Widening(dict(added_units), before, self.num_parameters, time.perf_counter() - started)

    @in_plain_mode
    def narrow(
        self, group: ChannelGroup | str, keep: IntArray | list[int], optimizer: Optimizers | None = None
    ) -> None:
        """Keep only the given units of one group, in the given order; the others are removed with their weights."""
        self._check_module()
        self._keep_units(kept_units(self._structure, group if isinstance(group, str) else group.name, keep), optimizer)

    @in_plain_mode
    def start_small(self, widths: Mapping[str, int]) -> None:
        """Narrow a fresh network to its first units, with the weight variance that the new width asks for.

        Raises `NetworkError` for an unknown group, or a width below 1 or above the present one.
        """
        self._check_module()
        units = first_units(self._structure, widths)
        resizing = prepare_resizing(self.module, self._structure, units, rescale=True)
        with self._all_or_nothing():
            self._make(resizing, units, grows=False)

    @in_plain_mode
    def set_widths(self, widths: Mapping[str, int]) -> None:
        """Give every group the width of a saved network, to load its weights into; present values mean nothing."""
        self._check_module()
        units = set_units(self._structure, widths)
        initializer, generator = make_initializer(ZeroFanOut()), torch.Generator().manual_seed(0)
        resizing = prepare_resizing(self.module, self._structure, units, initializer, generator)
        with self._all_or_nothing():
            self._make(resizing, units, grows=False)

    @in_plain_mode
    def add_stages(self, names: Iterable[str]) -> tuple[Stage, ...]:
        """Take containers for stages by name, as the methods below do, in place of found ones that overlap with them.

        Raises `NetworkError` where no module has the name, or it is no stage, with the reason.
        """
        chosen = list(names)
        known = self._known_stages(chosen)
        return tuple(stage for stage in known.stages(self.module) if stage.name in chosen)

    def deepen(self, stage: Stage | str, num_blocks: int = 1, **options: Any) -> Deepening:
        """Add blocks at the end of one stage; see `deepen_stages` for the options."""
        return self.deepen_stages({stage if isinstance(stage, str) else stage.name: num_blocks}, **options)

    @in_plain_mode
    @explained("the network fails as it changes")
    def deepen_stages(
        self,
        added_blocks: Mapping[str, int],
        *,
        initialization: str = "zero",
        optimizer: Optimizers | None = None,
        generator: torch.Generator | None = None,
        calibration_input: ModelInput | None = None,
    ) -> Deepening:
        """Add blocks at the end of stages in one growth event, with optimizer entries and records, or not at all.

        A new block is a copy of the one that the network's author put there (of the last where there is none), as
        wide as the one before it relative to full widths, with fresh weights; see `new_blocks.fresh_block`.

        Args:
            added_blocks: Blocks to add (at least 1) by stage.
            initialization: "zero" starts new blocks as the identity, so that outputs stay; "random" leaves them as
                they are initialized (AutoGrow: Wen et al. 2020, arXiv 1906.02909, compares both).
            optimizer: As in `widen_groups`; new parameters join the groups of those that they are most like.
            generator: Where weights are drawn from, on the CPU; a fresh one seeded with 0 if None.
            calibration_input: A batch from which norms of new blocks take their mean and variance; without it they
                start with 0 and 1.

        Raises:
            NetworkError: No such stage, a number below 1, a block that cannot start as the identity, outputs that
                change, an optimizer that lacks the parameters, or a size above a limit. Everything is as it was.
        """
        started, before = time.perf_counter(), self.num_parameters
        if initialization not in ("zero", "random"):
            raise NetworkError(unknown_name("initialization of blocks", initialization, ("zero", "random")))
        exact = initialization == "zero"
        blocks = self._known_stages(added_blocks).deepened(self.module, added_blocks)
        outputs = OutputComparison(self.module, self._batch)
        with (
            self._with_blocks(blocks, generator, exact=exact, grows=True, optimizer=optimizer) as change,
        ):
            if calibration_input is not None:
                measure_new_statistics(self.module, change.fresh_channels, calibration_input)
            outputs.check(added_blocks, exact)
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
        _check_changes(changes)
        for control in self._attached.controls:
            control.hold()  # a forward pass in train mode may have moved frozen statistics since the last step
        with self._all_or_nothing(optimizer), self._one_event(changes):
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
                        self._check_module()
                        self._keep_units(fewer_units(self._structure, change.removed_units), None)
                    case Deepen():
                        self.deepen_stages(
                            change.added_blocks,
                            initialization=change.initialization,
                            generator=generator,
                            calibration_input=calibration_input,
                        )
                    case Shorten():
                        self.set_blocks(
                            self._known_stages(change.removed_blocks).fewer(self.module, change.removed_blocks)
                        )
                    case Freeze() | Thaw():
                        self._attached.hold_or_release(change)

    @contextmanager
    def _one_event(self, changes: Sequence[Change]) -> Iterator[None]:
        """Inside, what is added belongs to one event, which is counted here if the shape changes."""
        self.cohorts.commit({}, changes_shape(changes))
        self._is_in_event = True
        try:
            yield
        finally:
            self._is_in_event = False

    def _known_stages(self, names: Iterable[str] = ()) -> StageDesigns:
        self._check_module()
        known = self._designs or find_stages(self.module, self._structure, self._batch)
        self._designs = with_named_stages(known, names, self.module, self._structure, self._batch)
        return self._designs

    @contextmanager
    def _with_blocks(
        self,
        blocks: Mapping[str, int],
        generator: torch.Generator | None = None,
        *,
        exact: bool = False,
        grows: bool = False,
        optimizer: Optimizers | None = None,
    ) -> Iterator[DepthChange]:
        """Change depths, then run what is inside; all of it or nothing."""
        batch = self._batch if exact else None
        change = prepare_depth(self.module, self._structure, self._known_stages(), blocks, generator, batch)
        with self._all_or_nothing(optimizer) as made:
            made.append(change)
            change.commit()
            self._structure = change.structure
            begins_event = grows and not self._is_in_event
            change.tell(self.cohorts, self._attached.controls, begins_event=begins_event, grows=grows)
            self._record = ModuleRecord.of(self.module)
            yield change

    @property
    def _batch(self) -> ModelInput:
        """The example input where the network is now, in the number format that it has now."""
        return following(self.module, self._example_input, self._number_format)

    def _check_module(self) -> None:
        """Raises `NetworkError` where somebody else has changed the module so that it cannot be grown any more."""
        check_wrappers(self.module)
        check_tensors(self.module)
        difference = self._record.difference_in(self.module)
        if difference is not None:
            raise NetworkError(difference)

    @contextmanager
    def _all_or_nothing(self, optimizer: Optimizers | None = None) -> Iterator[list[Resizing | DepthChange]]:
        """Attach `optimizer`; whatever fails inside leaves network, records and optimizers as they were.

        Yields the list that takes what is changed inside. May be nested: nothing is made for good before the end of
        the outermost.
        """
        outer, structure, record = self._made, self._structure, self._record
        made: list[Resizing | DepthChange] = []
        self._made = made
        restore = [self.cohorts.snapshot(), self._attached.snapshot()]
        try:
            restore += [self.attach(each).snapshot() for each in as_list(optimizer)]
            yield made
        except BaseException:
            for change in reversed(made):
                change.revert()
            self._structure, self._record = structure, record
            for undo in reversed(restore):
                undo()
            raise
        finally:
            self._made = outer
        if outer is not None:
            outer += made
            return
        for change in made:
            change.retire()
        refuse_stale_wrappers(self.module.modules())

    def _keep_units(self, units: Mapping[str, IntArray], optimizer: Optimizers | None) -> None:
        resizing = prepare_resizing(self.module, self._structure, units)
        with self._all_or_nothing(optimizer):
            self._make(resizing, units, grows=False)

    def _make(
        self,
        resizing: Resizing,
        units: Mapping[str, IntArray],
        *,
        grows: bool,
        reset: bool = False,
        ramp: bool = True,
    ) -> None:
        """Compute what is still missing, then put everything in place."""
        assert self._made is not None
        attached, begins_event = self._attached.controls, grows and not self._is_in_event
        elsewhere = {parameter for control in attached for parameter in control.parameters}
        states = [control.prepare(resizing.changes, reset, elsewhere) for control in attached]
        births = self.cohorts.prepare(resizing.changes, begins_event)
        self._made.append(resizing)
        resizing.commit()
        self._structure = self._structure.with_widths({name: len(source) for name, source in units.items()})
        self.cohorts.commit(births, begins_event)
        for control, state in zip(attached, states, strict=True):
            control.commit(resizing.changes, state, reset, grows=grows, ramp=ramp)
        self._record = ModuleRecord.of(self.module)


def _check_changes(changes: Sequence[Any]) -> None:
    for change in changes:
        if not isinstance(change, Change):
            names = ", ".join(kind.__name__ for kind in get_args(Change))
            raise NetworkError(f"{change!r} is no change of a network: give some of {names}")
    if sum(isinstance(change, Widen) for change in changes) > 1:
        raise NetworkError("an event widens once: put all groups that grow into one Widen")
