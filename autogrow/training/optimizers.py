"""The stock PyTorch optimizer that training settings ask for, and its learning rate along the run."""

import math
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from autogrow.policy.training_settings import TrainingSettings

RMSPROP_ALPHA = 0.9
"""What a step keeps of the running mean of squares."""


def make_optimizer(model: nn.Module, settings: TrainingSettings, *, captured: bool = False) -> torch.optim.Optimizer:
    """Fused where there is such: one pass over each parameter.

    Args:
        captured: Whether its steps are to be captured and replayed: then the learning rate is a tensor on the
            device of the parameters, since a number would be captured as it is.
    """
    parameters = list(model.parameters())
    learning_rate: float | Tensor = settings.learning_rate
    if captured:
        learning_rate = torch.tensor(learning_rate, dtype=torch.float32, device=parameters[0].device)
    groups = _groups(parameters, settings)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    if settings.optimizer == "rmsprop":  # PyTorch has no fused one
        return torch.optim.RMSprop(
            groups,
            lr=learning_rate,
            alpha=RMSPROP_ALPHA,
            weight_decay=settings.weight_decay,
            foreach=True,
            capturable=captured,
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(
        groups,
        lr=learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
        capturable=captured,
    )


def _groups(parameters: list[nn.Parameter], settings: TrainingSettings) -> list[dict[str, Any]]:
    """The parameters in groups by whether weight decay is for them."""
    if settings.weight_decay_of == "all":
        return [{"params": parameters}]
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() < 2]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Scale the gradients of all parameters together down to the norm; without waiting for the device."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a saved state, which may be of a run that was captured otherwise: where the learning rate lies stays."""
    names = {"lr", "capturable"}
    kept = [{name: value for name, value in group.items() if name in names} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, kept, strict=True):
        group.update(own)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Of all groups; without waiting for the device where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


def learning_rate_at(
    step: int, clock: float, num_steps: int, settings: TrainingSettings, growth_ended: float | None
) -> float:
    """The learning rate of a step, counted from 0.

    cosine: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5. constant_then_cosine: constant while the network
    can grow, and for the share of the run that settings name; then the cosine (FRAGrow 2024). constant_then_decay:
    constant but for the last `decay_fraction` of the run, there linear, or 1 - sqrt (Hägele et al. 2024, arXiv
    2405.18392). Each of them rises linearly over the first `warmup_steps` steps.

    Args:
        step: Steps taken, for the warm-up.
        clock: The place in the run that the rest goes by, from 0 to `num_steps`: see `run_length`.
        growth_ended: The place after which the network grew no more; None while it still may.
    """
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    return warm * settings.learning_rate * _share_of_rate(clock, num_steps, settings, growth_ended)


def _share_of_rate(clock: float, num_steps: int, settings: TrainingSettings, growth_ended: float | None) -> float:
    """What is left of the learning rate by its schedule, the warm-up aside."""
    first = start_of_fall(num_steps, settings, growth_ended)
    if first is None or clock < first:
        return 1.0
    if settings.learning_rate_schedule == "constant_then_decay":
        passed = min(1.0, max(0.0, (clock - first) / (num_steps - first)))
        return 1 - math.sqrt(passed) if settings.decay == "one_minus_sqrt" else 1 - passed
    return 0.5 * (1 + math.cos(math.pi * (clock - first) / (num_steps - first)))


def start_of_fall(num_steps: int, settings: TrainingSettings, growth_ended: float | None) -> float | None:
    """The place in the run from which the rate falls, as things are; None where it does not."""
    match settings.learning_rate_schedule:
        case "constant":
            return None
        case "constant_then_decay":
            return (1 - settings.decay_fraction) * num_steps
        case "cosine":
            return 0
        case "constant_then_cosine":
            return None if growth_ended is None else max(growth_ended, int(settings.constant_share * num_steps))
        case _:
            assert_never(settings.learning_rate_schedule)


def schedule_before_growth(settings: TrainingSettings, growth_ended_step: int | None) -> str:
    """The schedule that a run follows until it first grows: constant_then_cosine is constant till then."""
    if settings.learning_rate_schedule == "constant_then_cosine" and growth_ended_step is None:
        return "constant"
    return settings.learning_rate_schedule
