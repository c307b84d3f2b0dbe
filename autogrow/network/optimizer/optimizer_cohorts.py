"""Keeps a stock PyTorch optimizer right while the network under it changes shape.

It works through step hooks on the optimizer that the user made, so any ``torch.optim`` class can be used. What
happens at an event is here; the parts are elsewhere:

- `optimizer_steps`: what happens around every step;
- `optimizer_state`: moments of old entries are carried, new entries start afresh;
- `ages`: Adam's bias corrections by the age of each entry;
- `update_control`: learning rates per cohort, freezing and thawing, gradual connection.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from autogrow.errors import NetworkError
from autogrow.network.optimizer.cohorts import CohortMap, Cohorts
from autogrow.network.optimizer.optimizer_state import (
    State,
    carried_state,
    groups_of,
    insert_parameters,
    remove_parameters,
    rename_parameters,
    replace_parameters,
    snapshot_of,
    start_afresh,
)
from autogrow.network.optimizer.optimizer_steps import OptimizerSteps
from autogrow.network.optimizer.update_control import NewUnitRate
from autogrow.network.optimizer.wrappers import check_own_copies
from autogrow.network.resizing.tensor_change import TensorChange
from autogrow.network.running.copying import copied
from autogrow.network.running.plain_mode import in_plain_mode

_log = logging.getLogger(__name__)

Parameters = Mapping[str, nn.Parameter]


class OptimizerCohorts(OptimizerSteps):
    """One optimizer of a network that changes shape. Made by `ExpandableNetwork.attach`; `detach` ends it.

    Raises:
        NetworkError: The optimizer holds none of the module's parameters.
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module, cohorts: Cohorts) -> None:
        super().__init__(optimizer, model, cohorts)
        self.connection_ramp_steps = 0
        self._warned = False
        self._carried: set[nn.Parameter] = set()
        """New parameters of the event that is under way whose state, and so their age, is their originals'."""
        if not self._held():
            self.detach()
            raise NetworkError(
                f"the {_kind(optimizer)} optimizer holds none of the network's parameters: build it from "
                "model.parameters() of the network that grows, or some of them"
            )
        self.refresh()

    @property
    def first_trained_cohort(self) -> int:
        """The first cohort that is not frozen; see `freeze_before`."""
        return self._control.first_trained_cohort

    @property
    def released(self) -> float:
        """The share of their updates that frozen entries get."""
        return self._control.released

    @in_plain_mode
    def configure(self, new_unit_lr: NewUnitRate = 1.0, connection_ramp_steps: int = 0) -> None:
        """Choose how new units train. Ramps that are under way keep their length.

        Args:
            new_unit_lr: Learning rate of entries born in growth events, relative to the optimizer's; or "cohort" for
                the rule of Yuan et al. 2023, measured at each event and by `refresh_rates`.
            connection_ramp_steps: Optimizer steps in which weights between old units and new ones come to count in
                full, in events from now on; 0 and 1 mean at once.

        Raises:
            NetworkError: A rate that is not positive, or a negative number of steps.
        """
        if new_unit_lr != "cohort" and not (isinstance(new_unit_lr, int | float) and 0 < new_unit_lr < float("inf")):
            raise NetworkError(f"new_unit_lr is {new_unit_lr!r}: give a number above 0, or 'cohort'")
        if connection_ramp_steps < 0:
            raise NetworkError(f"connection_ramp_steps is {connection_ramp_steps}: give 0 (at once) or more steps")
        self._control.new_unit_lr = new_unit_lr
        self.connection_ramp_steps = connection_ramp_steps
        self._look_again()

    def prepare(
        self, changes: Sequence[TensorChange], reset: bool, elsewhere: Collection[nn.Parameter] = ()
    ) -> dict[nn.Parameter, State]:
        """The optimizer state of the new parameters; with `reset` every state is dropped. Changes nothing.

        Args:
            changes: What is to change in the network.
            reset: Whether the optimizer is to start afresh.
            elsewhere: Parameters that other optimizers of the network look after.

        Raises:
            NetworkError: A parameter that is trained changes, but is in no optimizer.
        """
        check_own_copies(self.optimizer)
        groups = groups_of(self.optimizer)
        looked_after = {*groups, *elsewhere}
        parameters = [change for change in changes if isinstance(change.old, nn.Parameter)]
        for change in parameters:
            if change.old.requires_grad and change.old not in looked_after:
                raise NetworkError(self._missing(change.name))
        if reset:
            return {}
        if isinstance(self.optimizer, LBFGS):
            if parameters and self.optimizer.state:
                self._warn_of_fresh_start()
            return {}
        states: dict[nn.Parameter, State] = {}
        for change in parameters:
            old = cast(nn.Parameter, change.old)
            if old in groups and self.optimizer.state.get(old):
                state = carried_state(self.optimizer, groups[old], change)
                if state is None:
                    self._warn_of_fresh_start()
                else:
                    states[cast(nn.Parameter, change.new)] = state
        return states

    def commit(
        self,
        changes: Sequence[TensorChange],
        prepared: Mapping[nn.Parameter, State],
        reset: bool,
        *,
        grows: bool = True,
        ramp: bool = True,
    ) -> None:
        """Point the optimizer at the new parameters.

        Called when the network holds its new tensors and the cohorts have moved on to the event. With `grows`, there
        are new entries in the newest cohort; with `ramp` too, the connections among them are scaled down here where
        they are to be ramped: once per event.
        """
        held = self.parameters  # the new ones where another optimizer has the same parameter groups
        replaced = {
            cast(nn.Parameter, change.old): cast(nn.Parameter, change.new)
            for change in changes
            if change.old in held or change.new in held
        }
        replace_parameters(self.optimizer, replaced)
        for old, new in replaced.items():
            self.optimizer.state.pop(old, None)
            self._ages.carry(old, new)
            if prepared.get(new):
                self.optimizer.state[new] = prepared[new]
        lost = set(replaced.values()) - set(prepared)
        if reset or (changes and isinstance(self.optimizer, LBFGS)):
            lost = self.parameters
            self.optimizer.state.clear()
        start_afresh(self.optimizer, lost)
        self._ages.forget(lost)
        if reset:
            self.steps = 0
        if grows:
            maps, cohort = self._maps(), self._cohorts.num_events
            for parameter, found in maps.items():
                if cohort in found.cohorts and parameter not in self._carried:
                    self._ages.start(parameter, cohort, self.optimizer.state.get(parameter, {}), self.optimizer)
            self._control.start_ramp(cohort, self.connection_ramp_steps if ramp else 0, maps)
        self._carried = set()
        self._look_again()

    def add(self, parameters: Parameters, like: Parameters) -> None:
        """Let the parameters of a new layer join, each in the group of the parameter it is modelled on.

        Called when the network holds them and the cohorts know them (`Cohorts.add`).

        Args:
            parameters: The new ones, by name.
            like: For each of these names, the parameter to join; one that the optimizer holds now.

        Raises:
            NetworkError: A new parameter is to be trained, but its model is not in the optimizer.
        """
        check_own_copies(self.optimizer)
        held = self.parameters
        for name, parameter in parameters.items():
            if parameter.requires_grad and like[name] not in held:
                raise NetworkError(self._missing(name))
        added = {parameter: like[name] for name, parameter in parameters.items() if like[name] in held}
        insert_parameters(self.optimizer, added, {each: name for name, each in self._model.named_parameters()})
        start_afresh(self.optimizer, self.parameters if isinstance(self.optimizer, LBFGS) else added)
        self.refresh()

    def rename(self, names: Mapping[str, str]) -> None:
        """Follow parameters to other names in the network, where the optimizer was given names too."""
        rename_parameters(self.optimizer, names)

    def carry_state(self, copies: Mapping[nn.Parameter, nn.Parameter]) -> None:
        """Give copies of parameters, which have joined, the state of their originals, and the same age.

        Entries of an original that are younger than it are scaled as if they had come of age, in the copy alone: all
        entries of a copy are of one cohort, so that they have one age. LBFGS keeps no state per parameter.
        """
        if isinstance(self.optimizer, LBFGS):
            return
        maps = self._maps()
        for copy, original in copies.items():
            state = self.optimizer.state.get(original)
            if state:
                self.optimizer.state[copy] = copied(dict(state))
                self._ages.let_come_of_age(self.optimizer.state[copy], original, self.optimizer, maps)
        self._carried = {*self._carried, *(copy for copy in copies if self.optimizer.state.get(copy))}

    @in_plain_mode
    def stock_state(self) -> dict[str, State]:
        """A copy of the state of every parameter that has some, by its name, as a stock optimizer goes on with it.

        Entries younger than their parameter are in it as if they had come of age; what is held is held no longer.
        """
        maps, states = self._maps(), {}
        for name, parameter in self._held().items():
            if state := self.optimizer.state.get(parameter):
                states[name] = copied(dict(state))
                self._ages.let_come_of_age(states[name], parameter, self.optimizer, maps)
        return states

    def remove(self, parameters: Collection[nn.Parameter]) -> None:
        """Drop the parameters of a layer that the network no longer has."""
        remove_parameters(self.optimizer, parameters)
        self._ages.forget(parameters)
        if isinstance(self.optimizer, LBFGS):
            start_afresh(self.optimizer, self.parameters)
        self.refresh()

    def snapshot(self) -> Callable[[], None]:
        """A function that puts the optimizer and these records back as they are now, whatever event failed since.

        It does not reach into the network: whoever changed that puts it back. Not for use across optimizer steps.
        """
        restore_optimizer = snapshot_of(self.optimizer)
        records = [(vars(part), dict(vars(part))) for part in (self, self._ages, self._control)]

        def restore() -> None:
            restore_optimizer()
            for present, saved in records:
                present.update(saved)

        return restore

    @in_plain_mode
    def freeze_before(self, cohort: int, released: float = 0.0) -> None:
        """Hold every entry of an earlier cohort; 0 holds nothing.

        Args:
            cohort: The first that trains freely.
            released: Share of each update that frozen entries get all the same, and frozen norm statistics of each
                change: 0 keeps them bit-identical, 1 is free. Raised in small steps, it thaws them. Where several
                optimizers of one network are frozen, each applies it to the statistics.

        Raises:
            NetworkError: A negative cohort, or a share that is not from 0 to 1.
        """
        if cohort < 0:
            raise NetworkError(f"cannot freeze before cohort {cohort}: give 0 (nothing) or more")
        if not 0 <= released <= 1:
            raise NetworkError(f"the released share is {released}: give a number from 0 (frozen) to 1 (free)")
        self.hold()
        self._control.first_trained_cohort = cohort
        self._control.released = float(released)
        self.refresh()

    def hold(self) -> None:
        """Put frozen norm statistics back to their values after the last step.

        A forward pass in train mode moves them until the next step; call this before reading the network in between.
        """
        self._control.hold()

    @in_plain_mode
    def refresh_rates(self) -> None:
        """Measure the learning rates of cohorts again, and forget ages that matter no longer.

        Meant for once per sample: it waits for the device, unless there is nothing to measure or to forget.
        """
        if self._ages.births:
            self._grow_up()
        if self._control.new_unit_lr == "cohort":
            self._look_again()

    def _look_again(self) -> None:
        self._ages.grow_up(self.optimizer, self._maps())
        self._control.measure_rates(self._maps())
        self.refresh()

    @in_plain_mode
    def refresh(self) -> None:
        """Look up again which entries are young and which are frozen, and at which values."""
        maps = self._maps()
        self.version += 1
        self._ages.prepare_steps(maps, self.optimizer)
        buffers: dict[str, tuple[Tensor, CohortMap]] = {
            name: (buffer, self._cohorts.map_of(name, buffer))
            for name, buffer in self._model.named_buffers()
            if buffer.is_floating_point()
        }
        self._control.rebuild(maps, buffers)

    def state_dict(self) -> dict[str, Any]:
        """Everything that is not in the network, its cohorts and the optimizer's own state: plain containers."""
        names = {parameter: name for name, parameter in self._held().items()}
        return {
            "steps": self.steps,
            "births": {names[parameter]: dict(births) for parameter, births in self._ages.births.items()},
            "connection_ramp_steps": self.connection_ramp_steps,
            **self._control.state_dict(names),
        }

    @in_plain_mode
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; weights, cohorts and the optimizer's own state must have been loaded before."""
        parameters = self._held()
        self.steps = state["steps"]
        self.connection_ramp_steps = state["connection_ramp_steps"]
        self._ages.births = {parameters[name]: dict(births) for name, births in state["births"].items()}
        self._control.load_state_dict(state, parameters)
        self.refresh()
        self._control.restore_buffers(state["held_buffers"])

    def _missing(self, name: str) -> str:
        return (
            f"parameter {name!r} is to be trained, but is not in the {_kind(self.optimizer)} optimizer: give the one "
            "that holds it too (optimizer=[...], or attach() once), add it to one, or freeze it with "
            "requires_grad_(False)"
        )

    def _warn_of_fresh_start(self) -> None:
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s keeps state that cannot follow a parameter to another shape; it starts afresh where the network "
                "grows", _kind(self.optimizer),
            )  # fmt: skip


def _kind(optimizer: Optimizer) -> str:
    return type(optimizer).__name__
