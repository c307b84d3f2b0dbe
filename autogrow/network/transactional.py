"""A module and the records that have to agree with it: changed all together, or not at all.

What a change consists of is computed elsewhere (`resizing.prepare_resizing`, `depth.deepening.prepare_depth`) and put
in place here: new tensors or blocks, the structure that was found, the ages of entries, and the optimizers' state.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError
from autogrow.network.depth.depth_change import DepthChange
from autogrow.network.optimizer.attached import AttachedOptimizers, Optimizers, as_list
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.resizing.module_wrappers import check_wrappers, refuse_stale_wrappers
from autogrow.network.resizing.prepared_resizing import Resizing
from autogrow.network.running.copying import copied
from autogrow.network.running.plain_mode import check_tensors
from autogrow.network.structure.channel_groups import Structure
from autogrow.network.structure.layout import IntArray
from autogrow.network.structure.module_record import ModuleRecord
from autogrow.policy.depth import BlockState


class TransactionalNetwork:
    """A module, its structure, the ages of its entries, and the optimizers that follow it."""

    def __init__(self, module: nn.Module, structure: Structure) -> None:
        self.module = module
        self.structure = structure
        self.cohorts = Cohorts()
        self.optimizers = AttachedOptimizers()
        self._record = ModuleRecord.of(module)
        self._made: list[Resizing | DepthChange] | None = None
        """What was changed since the outermost transaction began that can still be taken back; None outside of one."""
        self._is_in_event = False
        """Whether what is added now belongs to an event that has been counted already."""

    def twin(self, module: nn.Module | None = None) -> "TransactionalNetwork":
        """A copy to try something on, with neither ages nor optimizers; see `ExpandableNetwork.twin`."""
        other = copy.copy(self)
        other.module = copied(self.module) if module is None else module
        other.cohorts, other.optimizers = Cohorts(), AttachedOptimizers()
        other._made, other._is_in_event = None, False
        return other

    def check_unchanged(self) -> None:
        """Raises `NetworkError` where somebody else has changed the module so that it cannot be grown any more."""
        check_wrappers(self.module)
        check_tensors(self.module)
        difference = self._record.difference_in(self.module)
        if difference is not None:
            raise NetworkError(difference)

    def attach(self, optimizer: Optimizer) -> OptimizerCohorts:
        return self.optimizers.attach(optimizer, self.module, self.cohorts)

    def hold_frozen(self) -> None:
        """Put frozen entries back: a forward pass in train mode may have moved statistics since the last step."""
        for control in self.optimizers.controls:
            control.hold()

    def is_frozen(self, name: str, tensor: Tensor) -> bool:
        """Whether some optimizer holds entries of the parameter or buffer of that name."""
        first_trained = max((control.first_trained_cohort for control in self.optimizers.controls), default=0)
        return first_trained > 0 and bool((self.cohorts.of(name, tensor) < first_trained).any())

    @contextmanager
    def all_or_nothing(self, optimizer: Optimizers | None = None) -> Iterator[None]:
        """Attach `optimizer`; whatever fails inside leaves network, records and optimizers as they were.

        May be nested: nothing is made for good before the end of the outermost.
        """
        outer, structure, record = self._made, self.structure, self._record
        made: list[Resizing | DepthChange] = []
        self._made = made
        restore = [self.cohorts.snapshot(), self.optimizers.snapshot()]
        try:
            restore += [self.attach(each).snapshot() for each in as_list(optimizer)]
            yield
        except BaseException:
            for change in reversed(made):
                change.revert()
            self.structure, self._record = structure, record
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

    @contextmanager
    def one_event(self, *, counts: bool) -> Iterator[None]:
        """Inside, what is added belongs to one event, which is counted here where it `counts`."""
        self.cohorts.commit({}, counts)
        self._is_in_event = True
        try:
            yield
        finally:
            self._is_in_event = False

    def resize(
        self,
        resizing: Resizing,
        units: Mapping[str, IntArray],
        *,
        grows: bool,
        reset: bool = False,
        ramp: bool = True,
    ) -> None:
        """Put a resizing in place, inside `all_or_nothing`; what it still lacks is computed before anything changes.

        Args:
            resizing: What was computed for the module as it is.
            units: By group, where each unit comes from; see `resizing.prepare_resizing`.
            grows: Whether new entries are of a growth event, so that their age counts.
            reset: Whether optimizers forget the state of all entries.
            ramp: Whether new entries may start with smaller steps, where an optimizer is told to do that.
        """
        assert self._made is not None
        attached, begins_event = self.optimizers.controls, grows and not self._is_in_event
        elsewhere = {parameter for control in attached for parameter in control.parameters}
        states = [control.prepare(resizing.changes, reset, elsewhere) for control in attached]
        births = self.cohorts.prepare(resizing.changes, begins_event)
        self._made.append(resizing)
        resizing.commit()
        self.structure = self.structure.with_widths({name: len(source) for name, source in units.items()})
        self.cohorts.commit(births, begins_event)
        for control, state in zip(attached, states, strict=True):
            control.commit(resizing.changes, state, reset, grows=grows, ramp=ramp)
        self._record = ModuleRecord.of(self.module)

    def resize_alone(
        self, resizing: Resizing, units: Mapping[str, IntArray], optimizer: Optimizers | None = None
    ) -> None:
        """Put a resizing in place that belongs to no growth event, or leave everything as it was."""
        with self.all_or_nothing(optimizer):
            self.resize(resizing, units, grows=False)

    def change_depth(self, change: DepthChange, *, grows: bool, optimizer_state: BlockState = "carry") -> None:
        """Put blocks in place or take them away, inside `all_or_nothing`; `grows` as for `resize`.

        `optimizer_state` says what copies take over of the state of their originals.
        """
        assert self._made is not None
        self._made.append(change)
        change.commit()
        self.structure = change.structure
        begins_event = grows and not self._is_in_event
        change.tell(
            self.cohorts,
            self.optimizers.controls,
            begins_event=begins_event,
            grows=grows,
            optimizer_state=optimizer_state,
        )
        self._record = ModuleRecord.of(self.module)
