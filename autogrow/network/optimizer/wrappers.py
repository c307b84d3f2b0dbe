"""Objects that stand for an optimizer: what wraps it, and what cannot be followed."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
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


def check_own_copies(optimizer: Optimizer) -> None:
    """Raises `NetworkError` where parameters are held in other places than the parameter groups and the state.

    Those would stay as they are: flat copies, master weights, the state of an inner optimizer.
    """
    lists = {id(group["params"]) for group in optimizer.param_groups}
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for attribute, value in vars(optimizer).items():
        if attribute in ("param_groups", "state") or id(value) in lists:
            continue
        if any(isinstance(leaf, Tensor) and id(leaf) in held for leaf in _leaves(value, lists, MAX_LAYERS)):
            raise NetworkError(
                f"{type(optimizer).__name__} keeps parameters in {attribute!r} too, which would stay as they are: make "
                "the optimizer anew after growing, or give the one in it"
            )


def _leaves(value: Any, lists: set[int], depth: int) -> Iterator[Any]:
    """What containers and inner optimizers hold, at any depth; lists of parameter groups are left out."""
    if id(value) in lists or depth == 0:
        return
    if isinstance(value, Optimizer):
        yield from (parameter for group in value.param_groups for parameter in group["params"])
    elif isinstance(value, Mapping):
        yield from value  # parameters may be keys
        for entry in value.values():
            yield from _leaves(entry, lists, depth - 1)
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from _leaves(entry, lists, depth - 1)
    else:
        yield value


def _same_groups(one: Any, other: Optimizer) -> bool:
    groups = getattr(one, "param_groups", None)
    if groups is other.param_groups:
        return True
    return (
        isinstance(groups, list)
        and len(groups) == len(other.param_groups)
        and all(first is second for first, second in zip(groups, other.param_groups, strict=True))
    )
