"""What hangs on a parameter or buffer besides its numbers, when another takes its place.

===============================  =====================================================================================
carried over                     `requires_grad`, pending gradients (zero for new entries), hooks on gradients (the
                                 handles stay good), attributes, the memory format
refused, with what to do         hooks after accumulation, attributes that hold tensors, gradients that are sparse or
                                 have a graph of their own, and tensors of other classes (sharded, quantized)
===============================  =====================================================================================

What stands in a module, an optimizer or a wrapper is theirs to say.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from autogrow.errors import NetworkError
from autogrow.network.resizing.tensor_change import Sources, resize_tensor


def successor(name: str, old: Tensor, values: Tensor, sources: Sources) -> Tensor:
    """`values` as the tensor that takes the place of `old`, with all that hangs on that.

    Args:
        name: Of the tensor, for errors.
        old: A parameter or buffer; it stays as it is.
        values: The numbers of the new one, of the new shape.
        sources: Where the entries of the new one come from.

    Raises:
        NetworkError: Something hangs on `old` that cannot follow.
    """
    check_can_follow(name, old)
    if not isinstance(old, nn.Parameter):
        values.__dict__.update(old.__dict__)
        return values
    new = nn.Parameter(values, requires_grad=old.requires_grad)
    new.__dict__.update(old.__dict__)
    if old.grad is not None:
        if hasattr(new, "grad_dtype") and old.is_leaf:
            new.grad_dtype = old.grad_dtype
        with torch.no_grad():
            new.grad = laid_out_like(new, resize_tensor(old.grad.detach().clone(), sources, 0.0))
    if old._backward_hooks:
        new._backward_hooks = old._backward_hooks  # the same table, so that a handle removes its hook from both
    return new


def check_can_follow(name: str, old: Tensor) -> None:
    """Raises `NetworkError` where something hangs on a tensor that no other could take over."""
    reason = obstacle(old)
    if reason is not None:
        raise NetworkError(f"{name!r} cannot change its size: {reason}")


def obstacle(tensor: Tensor) -> str | None:
    """What keeps a parameter or buffer from being replaced by another, and what to do; None where nothing does."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"it is a {type(tensor).__name__}, not a plain tensor"
    if tensor.layout is not torch.strided:
        return f"its layout is {tensor.layout}, not dense"
    if tensor.device.type == "cpu" and tensor.is_shared():
        return "it is in shared memory, where other processes may use it; grow before share_memory(), or give it a copy"
    if getattr(tensor, "_post_accumulate_grad_hooks", None):
        return (
            "it has a hook that runs after its gradient is accumulated and may know the parameter itself; remove the "
            "hook, and register it on the new parameter"
        )
    grad = tensor.grad if tensor.is_leaf else None
    if grad is not None and grad.layout is not torch.strided:
        return "its pending gradient is sparse; take the optimizer step and zero_grad() first"
    if grad is not None and grad.requires_grad:
        return "its pending gradient has a graph (create_graph=True); take the optimizer step and zero_grad() first"
    for attribute, value in tensor.__dict__.items():
        if any(isinstance(leaf, Tensor | nn.Module) for leaf in tree_leaves(value)):
            return (
                f"its attribute {attribute!r} holds a tensor or module that would stay as it is; take it off, and set "
                "it again afterwards"
            )
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
