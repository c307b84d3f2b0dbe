"""What happens after a growth event: the loss over the next 50 steps, and on until it is what it was; and whether
newborn entries are starved.

Newborn units of exact initializations are active forward but get small gradients (Lillo and Cheney 2026).
"""

import dataclasses
from collections.abc import Callable, Sequence

from torch import nn

from autogrow.network.optimizer.cohorts import Cohorts
from autogrow.network.optimizer.newborn import newborn_gradient_ratio
from autogrow.policy.records import GrowthEvent, shock_of

OBSERVED_STEPS = (1, 2, 5, 10, 20, 50)
"""Steps after an event at which the loss on the fixed batch is read, besides right after growing."""
STEPS_TO_RECOVERY = tuple(round(100 * 2 ** (half / 2)) for half in range(20))
"""Further steps at which it is read until it is no higher than before the event: 100, 141, 200, ..., 72,408."""


def next_observation(events: Sequence[GrowthEvent], step: int) -> int | None:
    """The next step, after `step`, at which the last event is to be looked at; None if it has been."""
    if not events:
        return None
    last = events[-1]
    steps: tuple[int, ...] = OBSERVED_STEPS
    if last.loss_before is not None and last.recovered_after is None:
        steps = (*OBSERVED_STEPS, *STEPS_TO_RECOVERY)
    return next((last.step + after for after in steps if last.step + after > step), None)


def observe(
    event: GrowthEvent, step: int, module: nn.Module, cohorts: Cohorts, loss_value: Callable[[nn.Module], float]
) -> GrowthEvent:
    """The event with what `step` shows: to be called after an optimizer step, while its gradients are still there."""
    after = step - event.step
    ratio = newborn_gradient_ratio(module, cohorts, event.index) if after == 1 else event.gradient_ratio
    losses = {**event.losses_after, after: loss_value(module)}
    return dataclasses.replace(
        event, gradient_ratio=ratio, losses_after=losses, shock=shock_of(event.loss_before, losses)
    )
