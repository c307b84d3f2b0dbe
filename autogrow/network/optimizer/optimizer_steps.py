"""What happens around every step of an optimizer whose network grows; what happens at an event: `optimizer_cohorts`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer

from autogrow.network.optimizer.ages import ADULT_STEPS, Ages
from autogrow.network.optimizer.cohorts import CohortMap, Cohorts
from autogrow.network.optimizer.optimizer_state import groups_of, step_count
from autogrow.network.optimizer.update_control import UpdateControl


class OptimizerSteps:
    """The hooks on one optimizer, and what they have to know. `detach` removes them."""

    def __init__(self, optimizer: Optimizer, model: nn.Module, cohorts: Cohorts) -> None:
        self.optimizer = optimizer
        self.steps = max((step_count(state) for state in optimizer.state.values()), default=0)
        """Optimizer steps since its state was fresh."""
        self.version = 0
        """Changes whenever a tensor that steps read or write was replaced by another."""
        self._model = model
        self._cohorts = cohorts
        self._ages = Ages()
        self._control = UpdateControl()
        self._leaves_steps_alone = False
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def detach(self) -> None:
        """Leave the optimizer as a stock one: young entries and frozen ones are no longer looked after."""
        for handle in self._handles:
            handle.remove()

    @property
    def parameters(self) -> set[nn.Parameter]:
        """What the optimizer holds."""
        return set(groups_of(self.optimizer))

    @property
    def leaves_updates_alone(self) -> bool:
        """Whether the optimizer's updates are taken as they are: nothing is held, scaled or ramped."""
        return self._control.is_idle

    @property
    def has_young_entries(self) -> bool:
        """Whether there are entries whose bias corrections differ from the optimizer's own."""
        return bool(self._ages.births)

    def held_parameters(self) -> list[nn.Parameter]:
        """Those of which every entry is held."""
        return self._control.held_parameters()

    @contextmanager
    def without_held_gradients(self) -> Iterator[list[nn.Parameter]]:
        """Inside, gradients of parameters that are held as a whole are not computed, nor what only they need.

        The optimizer passes them by, so their moments stand still. For the whole of one step. Yields them.
        """
        held = [each for each in self.held_parameters() if each.requires_grad]
        for parameter in held:
            parameter.requires_grad_(False)
            parameter.grad = None
        try:
            yield held
        finally:
            for parameter in held:
                parameter.requires_grad_(True)

    @property
    def _is_steady(self) -> bool:
        """Whether every step does the same to the same tensors, with the same numbers."""
        return not self._ages.births and not self._control.ramps

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Inside, an optimizer step is captured and not executed. What is not the same in every step is left out."""
        steps, self._leaves_steps_alone = self.steps, not self._is_steady
        try:
            yield
        finally:
            self.steps, self._leaves_steps_alone = steps, False

    @contextmanager
    def around_replay(self) -> Iterator[None]:
        """Inside, a captured step is replayed."""
        if self._is_steady:
            yield
            self.steps += 1
        else:
            self._control.before_step()
            yield
            self._finish_step()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not (self._leaves_steps_alone or self._control.is_idle):
            self._control.before_step()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not self._leaves_steps_alone:
            self._finish_step()

    def _finish_step(self) -> None:
        self.steps += 1
        if self._ages.births:
            self._ages.correct(self.optimizer)
        if not self._control.is_idle and self._control.after_step():
            self.version += 1
        if self._ages.births and self.steps % ADULT_STEPS == 0:
            self._grow_up()

    def _grow_up(self) -> None:
        if self._ages.grow_up(self.optimizer, self._maps()):
            self._ages.prepare_steps(self._maps(), self.optimizer)
            self.version += 1

    def _held(self) -> dict[str, nn.Parameter]:
        """The network's parameters that are in the optimizer, by name."""
        held = self.parameters
        return {name: parameter for name, parameter in self._model.named_parameters() if parameter in held}

    def _maps(self) -> dict[nn.Parameter, CohortMap]:
        return {parameter: self._cohorts.map_of(name, parameter) for name, parameter in self._held().items()}
