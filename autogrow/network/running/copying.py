"""Copies of networks, to try something on.

A module may keep tensors of its last pass: attention maps, features for a loss, the weight that an older
`weight_norm` or `prune` has computed. PyTorch refuses to copy such a tensor, since it belongs to a graph; here its
values are copied without the graph, wherever they are kept.
"""

import copy
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from autogrow.errors import NetworkError, one_line

Copied = TypeVar("Copied")


def copied(value: Copied) -> Copied:
    """A deep copy of a module, or of whatever holds some; tensors of a graph are copied as plain values.

    Raises:
        NetworkError: Something in it cannot be copied (a lock, an open file); it is named where a module holds it.
    """
    try:
        with _WithoutGraphs():
            return copy.deepcopy(value)
    except RecursionError:
        raise
    except Exception as error:
        holder = _holder(value)
        where = f"its attribute {holder!r}: " if holder else ""
        raise NetworkError(f"the network cannot be copied: {where}{one_line(error)[:300]}") from error


class _WithoutGraphs(TorchFunctionMode):
    """Copies tensors that belong to a graph by their values. Copies of one tensor stay one tensor."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and (is_lazy(args[0]) or not args[0].is_leaf):
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = _without_size(tensor) if is_lazy(tensor) else tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def _without_size(tensor: Tensor) -> Tensor:
    """A copy of a lazy layer's buffer, which PyTorch has none for: it is as yet nothing but a device and a type."""
    made: Tensor = type(tensor)(tensor.requires_grad, tensor.data.device, tensor.data.dtype)
    return made


def _holder(value: Any) -> str:
    """The first attribute of a module that cannot be copied by itself, with the module's name before it."""
    for name, module in value.named_modules() if isinstance(value, nn.Module) else ():
        for attribute, held in vars(module).items():
            if attribute in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                with _WithoutGraphs():
                    copy.deepcopy(held)
            except Exception:  # noqa: BLE001  whatever the copying of a user's object raises
                return f"{name}.{attribute}" if name else attribute
    return ""
