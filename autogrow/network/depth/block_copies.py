"""What blocks keep that a copy of one would keep wrongly: the number of their place, parts of others, and hooks.

Decoder layers of Hugging Face's models have a ``layer_idx`` that says where in a cache of keys and values they write. A
copy with the number of its original writes over it, and nothing looks wrong until the copy has learnt something.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from autogrow.network.structure.held_tensors import unregistered_places

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

MAX_DEPTH = 3
"""Containers within containers that are looked into."""


def place_number(blocks: Mapping[int, nn.Module]) -> str | None:
    """The attribute that counts the places of `blocks` (by place in the row), in words; None if there is none.

    It is told by its values: whole numbers that go up by one from place to place, alone or within a name, and that are
    not sizes of the block's own tensors.
    """
    found = {place: dict(_numbers(block)) for place, block in blocks.items()}
    sizes = {place: {size for tensor in _tensors(block) for size in tensor.shape} for place, block in blocks.items()}
    for path, number in found[max(found)].items():
        places = [place for place in found if path in found[place]]
        offsets = {found[place][path] - place for place in places}
        is_size = all(found[place][path] in sizes[place] for place in places)
        if len(places) > 1 and len(offsets) == 1 and not is_size:
            return f"attribute {path!r} of its blocks counts their places (the last one's is {number})"
    return None


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


def _tensors(block: nn.Module) -> list[Tensor]:
    return [*block.parameters(), *block.buffers()]


def _numbers(block: nn.Module) -> Iterator[tuple[str, int]]:
    """Whole numbers that a block's own code keeps, with where; PyTorch's own layers know no places."""
    for name, layer in block.named_modules():
        if type(layer).__module__.partition(".")[0] != "torch":
            for buffer, tensor in layer._buffers.items():
                if tensor is not None and tensor.numel() == 1 and not tensor.is_floating_point():
                    yield f"{name}.{buffer}" if name else buffer, int(tensor)
            for attribute, value in vars(layer).items():
                yield from _numbers_in(value, f"{name}.{attribute}" if name else attribute, MAX_DEPTH)


def _numbers_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, int]]:
    if type(value) is int:
        yield path, value
    elif isinstance(value, str):
        for index, digits in enumerate(re.findall(r"\d{1,9}", value)):
            yield f"{path}#{index}" if index else path, int(digits)
    elif depth > 0 and isinstance(value, dict):
        for key, entry in value.items():
            yield from _numbers_in(entry, f"{path}[{key!r}]", depth - 1)
    elif depth > 0 and isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _numbers_in(entry, f"{path}[{index}]", depth - 1)


def _modules(value: Any, depth: int) -> Iterator[nn.Module]:
    if isinstance(value, nn.Module):
        yield value
    elif depth > 0 and isinstance(value, list | tuple | set | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _modules(entry, depth - 1)
