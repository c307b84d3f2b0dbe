"""What happens after a growth event: the loss over the next 50 steps, and on until it is what it was; and whether
newborn entries are starved.

Newborn units are active in the forward pass but starved in the backward one (Lillo and Cheney 2026): a fan-out of
zero, say, passes no gradient to the fan-in. The ratio of gradients shows by how much, and how soon it ends.
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autogrow.network.optimizer.cohorts import Cohorts
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


def newborn_gradient_ratio(model: nn.Module, cohorts: Cohorts, cohort: int) -> float | None:
    """RMS of the present gradients of one cohort's entries over that of earlier cohorts' entries.

    Taken over all parameters that have a gradient and hold entries of both sorts. None where there is no such
    parameter, or where the earlier entries' gradients are all zero.
    """
    sums: list[Tensor] = []
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        found = cohorts.map_of(name, parameter)
        if cohort not in found.cohorts or min(found.cohorts) >= cohort:
            continue
        numbers = cohorts.of(name, parameter)
        squares = parameter.grad.detach().float().square()
        newborn, earlier = numbers == cohort, numbers < cohort
        parts = [torch.where(newborn, squares, 0), newborn, torch.where(earlier, squares, 0), earlier]
        sums.append(torch.stack([part.sum(dtype=torch.float64) for part in parts]).cpu())
    if not sums:
        return None
    newborn_sum, num_newborn, earlier_sum, num_earlier = torch.stack(sums).sum(0).tolist()
    if earlier_sum == 0:
        return None
    return float(((newborn_sum / num_newborn) / (earlier_sum / num_earlier)) ** 0.5)
