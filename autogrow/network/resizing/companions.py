"""What hangs on a parameter or buffer besides its numbers, when another takes its place or is modelled on it.

=====================================  ==========================  =================================================
what                                   when it is replaced         when a new block's parameter is modelled on it
=====================================  ==========================  =================================================
requires_grad                          carried                     as in the block that is copied
pending gradient                       carried, new entries zero   none yet
pending gradient, sparse or with graph refused                     none yet
hooks on its gradient                  carried, handles stay good  refused
hooks after accumulation               refused                     refused
attributes                             carried                     carried
attributes that hold tensors, modules  refused                     refused
memory format                          carried                     carried
shared memory, memory of two           refused                     its own memory
another class or layout                refused                     refused
other names (ties)                     all of them follow          refused (`stage_finding`)
lists, dictionaries, bare attributes   replaced there              of the block's own parts only (`block_copies`)
tuples, sets, keys                     refused                     of the block's own parts only
an older graph that ends in it         its backward pass raises    goes on
hooks on its module                    stay, as modules do         refused, but for the block's own and PyTorch's
place, name, settings in its group     kept                        those of the one that it is modelled on
state of its optimizer                 see `optimizer_state`       starts afresh
DistributedDataParallel around it      refuses to run              refuses to run (`module_wrappers`)
=====================================  ==========================  =================================================
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from autogrow.errors import NetworkError
from autogrow.network.resizing.tensor_change import Sources, resize_tensor
from autogrow.network.structure.unfit_tensors import Obstacles, obstacle


def successor(name: str, old: Tensor, values: Tensor, sources: Sources) -> Tensor:
    """`values` as the tensor that takes the place of `old`, with all that hangs on that; see `check_can_follow`.

    Args:
        name: Of the tensor, for errors.
        old: A parameter or buffer; it stays as it is.
        values: The numbers of the new one, of the new shape.
        sources: Where the entries of the new one come from.
    """
    if not isinstance(old, nn.Parameter):
        values.__dict__.update(old.__dict__)
        return values
    new = nn.Parameter(values, requires_grad=old.requires_grad)
    new.__dict__.update(old.__dict__)
    if old.grad is not None:
        # Newer versions of PyTorch let a gradient have another type than its parameter, if they are told so before.
        if hasattr(new, "grad_dtype") and old.is_leaf:
            new.grad_dtype = old.grad_dtype
        with torch.no_grad():
            new.grad = laid_out_like(new, resize_tensor(old.grad.detach().clone(), sources, 0.0))
    if old._backward_hooks:
        new._backward_hooks = old._backward_hooks  # the same table, so that a handle removes its hook from both
    return new


def take_after(name: str, new: nn.Parameter, like: nn.Parameter) -> None:
    """Give a parameter of a new layer the attributes of the one that it is modelled on.

    It starts without a pending gradient, as no backward pass has seen it.

    Raises:
        NetworkError: Something hangs on that one of which nobody can say what it means for another.
    """
    reason = obstacle(like, is_replaced=False)
    if like._backward_hooks:
        reason = "that has hooks on its gradient; remove them, and register them on all blocks afterwards"
    if reason is not None:
        raise NetworkError(f"{name!r} cannot be made like the parameter of the block before: {reason}")
    new.__dict__.update(like.__dict__)


def check_can_follow(name: str, old: Tensor, obstacles: Obstacles) -> None:
    """Raises `NetworkError` where something hangs on a tensor that no other could take over."""
    reason = obstacles.of(old) or _gradient_obstacle(old)
    if reason is not None:
        raise NetworkError(f"{name!r} cannot change its size: {reason}")


def _gradient_obstacle(tensor: Tensor) -> str | None:
    grad = tensor.grad if tensor.is_leaf else None
    if grad is not None and grad.layout is not torch.strided:
        return "its pending gradient is sparse; take the optimizer step and zero_grad() first"
    if grad is not None and grad.requires_grad:
        return "its pending gradient has a graph (create_graph=True); take the optimizer step and zero_grad() first"
    return None


def laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Fused kernels walk through memory, so state must have the strides of its parameter (channels last, say)."""
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter, dtype=value.dtype, memory_format=torch.preserve_format).copy_(value)


def retire(replaced: Iterable[tuple[str, Tensor]]) -> None:
    """Make parameters that were replaced refuse the gradients of forward passes that ran before: they would be lost."""
    for name, old in replaced:
        if isinstance(old, nn.Parameter) and old.requires_grad:
            old.register_post_accumulate_grad_hook(_late_gradient(name))


def _late_gradient(name: str) -> Callable[[Tensor], None]:
    def refuse(parameter: Tensor) -> None:
        raise NetworkError(
            f"a gradient arrives at {name!r} as it was before the network changed its size: run the forward pass again"
        )

    return refuse
