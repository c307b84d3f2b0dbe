"""Wrappers that hold on to the parameters of the network in them, so that it cannot grow there.

They are named by their class names: PyTorch's distributed packages need not be loaded, or be there at all.
"""

import gc
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from autogrow.errors import NetworkError

_REPLICATED = "give ExpandableNetwork its `.module`, and wrap that again after every change"
_SHARDED = "grow the network before it is sharded"
_ADVICE = {
    "DistributedDataParallel": _REPLICATED,
    "FullyShardedDataParallel": _SHARDED,
    "FSDPModule": _SHARDED,
    "OptimizedModule": "give ExpandableNetwork the module that was compiled (`._orig_mod`); this one follows",
}
"""What to do about each class, subclasses included."""


def check_wrappers(model: nn.Module) -> None:
    """Raises `NetworkError` where the network, or a part of it, is in a wrapper that would not follow a change."""
    for name, layer in model.named_modules():
        kind = next((each.__name__ for each in type(layer).__mro__ if each.__name__ in _ADVICE), None)
        where = f"its module {name!r}" if name else "the network"
        if kind is not None:
            raise NetworkError(f"{where} is in {kind}, which knows the parameters as they are: {_ADVICE[kind]}")
        if isinstance(layer, nn.DataParallel) and len(layer.device_ids) > 1:
            raise NetworkError(
                f"{where} is in DataParallel on {len(layer.device_ids)} devices, whose threads cannot be traced: give "
                "ExpandableNetwork its `.module`; the wrapper can stay"
            )


def refuse_stale_wrappers(changed: Iterable[nn.Module]) -> None:
    """Let every `DistributedDataParallel` around a network that has changed say so when it is called.

    Its hooks are on the parameters before: replicas would drift apart without a word. The wrapper that the network
    gets after a change is another, and is not touched.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    modules = set(changed)
    kind = nn.parallel.DistributedDataParallel
    # A network does not know its wrappers, so they are looked for among all objects; by `type`, since `isinstance` asks
    # an object for its `__class__`, which wakes lazy ones.
    for wrapper in [each for each in gc.get_objects() if issubclass(type(each), kind)]:
        if modules.intersection(wrapper.modules()) and _refuse not in wrapper._forward_pre_hooks.values():
            wrapper.register_forward_pre_hook(_refuse)


def _refuse(wrapper: nn.Module, inputs: Any) -> None:
    raise NetworkError(
        f"{type(wrapper).__name__} was made before the network in it changed its size: wrap the network again"
    )
