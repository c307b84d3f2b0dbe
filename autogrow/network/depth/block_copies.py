"""What blocks keep that a copy of one would keep wrongly: parts of others, and hooks; and what it must share.

Settings that go by a block's place follow: see `place_settings`.
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from autogrow.network.depth.place_settings import is_configuration
from autogrow.network.structure.held_tensors import unregistered_places

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

MAX_DEPTH = 3
"""Containers within containers that are looked into."""


def foreign_part(block: nn.Module) -> str | None:
    """The attribute in which a block keeps modules or parameters that are not its own; None if there is none."""
    own = {id(part) for part in [*block.modules(), *_tensors(block)]}
    for where, tensor, _ in unregistered_places(block):
        if isinstance(tensor, nn.Parameter) and id(tensor) not in own:
            return where
    for name, layer in block.named_modules():
        for attribute, value in vars(layer).items():
            if attribute != "_modules" and any(id(module) not in own for module in _modules(value, MAX_DEPTH)):
                return f"{name}.{attribute}" if name else attribute
    return None


def foreign_hook(block: nn.Module) -> str | None:
    """The layer of a block on which somebody has registered a hook; None if there is none.

    What the hook says of a copy, only they can know. PyTorch's own (spectral norm), and methods of the block, are part
    of it and are copied with it.
    """
    own = {id(module) for module in block.modules()}
    for name, layer in block.named_modules():
        for kind in _HOOKS:
            for hook in getattr(layer, kind, {}).values():
                is_own = id(getattr(hook, "__self__", None)) in own
                origin = getattr(hook, "__module__", None) or type(hook).__module__
                if not is_own and origin.partition(".")[0] != "torch":
                    return name or "itself"
    return None


def share_configurations(block: nn.Module, original: nn.Module, model: nn.Module) -> None:
    """Let a copy of a block hold the very configurations that its original shares with the rest of the network."""
    inside = {id(layer) for layer in original.modules()}
    shared = {
        id(value)
        for layer in model.modules()
        if id(layer) not in inside
        for value in vars(layer).values()
        if is_configuration(value)
    }
    layers = dict(original.named_modules())
    for name, layer in block.named_modules():
        for attribute, value in vars(layers[name]).items() if name in layers else ():
            if id(value) in shared and attribute in vars(layer):
                vars(layer)[attribute] = value


def _tensors(block: nn.Module) -> list[Tensor]:
    return [*block.parameters(), *block.buffers()]


def _modules(value: Any, depth: int) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth > 0 and isinstance(value, list | tuple | set | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _modules(entry, depth - 1)
