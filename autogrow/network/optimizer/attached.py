"""The optimizers that one network looks after."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.optim import Optimizer

from autogrow.errors import NetworkError
from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.optimizer_cohorts import OptimizerCohorts
from autogrow.network.optimizer.wrappers import unwrapped
from autogrow.network.running.plain_mode import plain_mode
from autogrow.policy.changes import Freeze, Thaw

Optimizers = Optimizer | Sequence[Optimizer]
"""One, or several that share a network's parameters among them."""


class AttachedOptimizers:
    """Their controls, in the order in which they came."""

    def __init__(self) -> None:
        self._controls: dict[int, OptimizerCohorts] = {}

    @property
    def controls(self) -> list[OptimizerCohorts]:
        return list(self._controls.values())

    def attach(self, optimizer: Optimizer, module: nn.Module, cohorts: Cohorts) -> OptimizerCohorts:
        """The control of an optimizer, which is made if it is not known yet.

        Raises:
            NetworkError: It is no optimizer of PyTorch's kind, or holds none of the module's parameters.
        """
        if id(optimizer) in self._controls:
            return self._controls[id(optimizer)]
        stock = unwrapped(optimizer)
        if id(stock) not in self._controls:
            with plain_mode():
                self._controls[id(stock)] = OptimizerCohorts(stock, module, cohorts)
        return self._controls[id(stock)]

    def detach(self, optimizer: Optimizer) -> None:
        control = self._controls.pop(id(unwrapped(optimizer)), None)
        if control is not None:
            control.detach()

    def hold_or_release(self, change: Freeze | Thaw) -> None:
        """Hold entries under all of them, or let go of what is held.

        Raises:
            NetworkError: There is no optimizer, or a cohort or a share that is not possible.
        """
        if not self._controls:
            raise NetworkError("nothing can be held or let go without an optimizer: give it, or attach() it before")
        if isinstance(change, Thaw) and not 0 < change.released_share <= 1:
            raise NetworkError(f"the released share is {change.released_share}: give a number above 0, up to 1 (free)")
        for control in self.controls:
            if isinstance(change, Freeze):
                control.freeze_before(change.first_trained_cohort)
            elif control.first_trained_cohort > 0:
                is_free = change.released_share == 1
                control.freeze_before(0 if is_free else control.first_trained_cohort, change.released_share)

    def snapshot(self) -> Callable[[], None]:
        """A function that puts all of them back as they are now, and detaches those that came later."""
        present = dict(self._controls)
        restore = [control.snapshot() for control in present.values()]

        def undo() -> None:
            for key, control in self._controls.items():
                if key not in present:
                    control.detach()
            self._controls = present
            for each in restore:
                each()

        return undo


def as_list(optimizers: Optimizers | None) -> list[Optimizer]:
    """Those that an argument names."""
    if optimizers is None:
        return []
    return list(optimizers) if isinstance(optimizers, Sequence) else [optimizers]
