"""Objects that stand for an optimizer: what wraps it, and what cannot be followed."""

from typing import Any

from torch.optim import Optimizer

from autogrow.errors import NetworkError

MAX_LAYERS = 8
"""Wrappers around wrappers that are looked through."""


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer of PyTorch's kind that steps are taken by, without the wrappers around it.

    A wrapper is an object whose `optimizer` has the same parameter groups, such as accelerate's `AcceleratedOptimizer`
    and Lightning's `LightningOptimizer`.

    Raises:
        NetworkError: It is none, and none stands in its `optimizer`.
    """
    found = optimizer
    for _ in range(MAX_LAYERS):
        inner = getattr(found, "optimizer", None)
        if not isinstance(inner, Optimizer) or not _same_groups(found, inner):
            break
        found = inner
    if isinstance(found, Optimizer) and hasattr(found, "_optimizer_step_pre_hooks"):
        return found
    kind = type(optimizer).__name__
    if isinstance(getattr(found, "optimizer", None), Optimizer):
        raise NetworkError(f"{kind} is no torch.optim.Optimizer but has one: give its `.optimizer`")
    raise NetworkError(f"{kind} is no torch.optim.Optimizer: give the optimizer that takes the steps")


def _same_groups(one: Any, other: Optimizer) -> bool:
    groups = getattr(one, "param_groups", None)
    if groups is other.param_groups:
        return True
    return (
        isinstance(groups, list)
        and len(groups) == len(other.param_groups)
        and all(first is second for first, second in zip(groups, other.param_groups, strict=True))
    )
