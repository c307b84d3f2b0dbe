"""Weights that become zeros and stay zeros while the network trains on: unstructured pruning, by magnitude.

Source: Han et al. 2015, arXiv 1506.02626. The network keeps its shape, so nothing of it gets faster.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from autogrow.network.measuring.footprint import num_nonzero
from autogrow.policy.shrink_records import Target, shown
from autogrow.policy.unit_removal import RemovalOrder, is_named
from autogrow.training.shrink_targets import UnreachableError


def prunable(module: nn.Module, only: Sequence[str] = ()) -> dict[str, nn.Parameter]:
    """The parameters whose entries may become zeros: weights, by name; biases and gains are none.

    Of a parametrized layer, the weights are computed from others, whose zeros mean something else.
    """
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.dim() > 1
        and parameter.is_floating_point()
        and ".parametrizations." not in f".{name}"
        and is_named(name, only)
    }


def zero_smallest(module: nn.Module, order: RemovalOrder, target: Target, only: Sequence[str] = ()) -> int:
    """Set the smallest weights to zero until no more than `target` are not zero; returns how many were set.

    Raises `UnreachableError` where not so many may become zeros; nothing is changed then.
    """
    weights = prunable(module, only)
    number = number_of_zeros(module, order, target, only)
    values = {name: weight.detach().abs().flatten().double().cpu().numpy() for name, weight in weights.items()}
    before = num_nonzero(module)
    with torch.no_grad():
        for name, goes in order.lowest(values, number).items():
            mask = torch.from_numpy(goes).reshape(weights[name].shape).to(weights[name].device)
            weights[name].masked_fill_(mask, 0.0)
    return before - num_nonzero(module)


def number_of_zeros(module: nn.Module, order: RemovalOrder, target: Target, only: Sequence[str] = ()) -> int:
    """How many of the weights that may be zero have to be; raises `UnreachableError` where not so many may."""
    nonzero = num_nonzero(module)
    may_go = {name: weight.numel() - order.num_kept(weight.numel()) for name, weight in prunable(module, only).items()}
    weights = dict(module.named_parameters())
    zeros = sum(min(most, weights[name].numel() - int(weights[name].count_nonzero())) for name, most in may_go.items())
    number = zeros + max(0, nonzero - int(target.value))
    if number > sum(may_go.values()):
        least = nonzero + zeros - sum(may_go.values())
        raise UnreachableError(
            f"{target} cannot be reached: with all weights zero that may be, {shown(least)} are left; ask for that or "
            "more"
        )
    return number


def holding_zeros(module: nn.Module, only: Sequence[str] = ()) -> Callable[[], None]:
    """A function that puts back the zeros that weights have now; to be called after every step."""
    masks: Mapping[str, Tensor] = {name: weight.detach() == 0 for name, weight in prunable(module, only).items()}

    @torch.no_grad()
    def hold() -> None:
        parameters = dict(module.named_parameters())
        for name, mask in masks.items():
            parameters[name].masked_fill_(mask, 0.0)

    return hold
