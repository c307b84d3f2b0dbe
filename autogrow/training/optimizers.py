"""The stock PyTorch optimizer that training settings ask for, and its learning rate along the run."""

import math

import torch
from torch import nn

from autogrow.policy.training_settings import TrainingSettings


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Fused where PyTorch has it: one pass over each parameter."""
    parameters = list(model.parameters())
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def learning_rate_at(step: int, num_steps: int, settings: TrainingSettings, growth_ended_step: int | None) -> float:
    """The learning rate of a step, counted from 0.

    cosine: Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5. constant_then_cosine: constant while the network
    can grow, the cosine from the step after which it grows no more (FRAGrow 2024).
    """
    if settings.learning_rate_schedule == "constant":
        return settings.learning_rate
    first = 0 if settings.learning_rate_schedule == "cosine" else growth_ended_step
    if first is None or step < first:
        return settings.learning_rate
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - first) / (num_steps - first)))


def schedule_before_growth(settings: TrainingSettings, growth_ended_step: int | None) -> str:
    """The schedule that a run follows until it first grows: constant_then_cosine is one of the others till then."""
    if settings.learning_rate_schedule == "constant_then_cosine":
        return "constant" if growth_ended_step is None else "cosine"
    return settings.learning_rate_schedule
