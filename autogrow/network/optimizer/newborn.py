"""How much of the learning signal reaches new units.

Newborn units are active in the forward pass but starved in the backward one (Lillo and Cheney 2026): a fan-out of
zero, say, passes no gradient to the fan-in. The ratio below shows by how much, and how soon it ends.
"""

import torch
from torch import Tensor, nn

from autogrow.network.optimizer.cohorts import Cohorts


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
