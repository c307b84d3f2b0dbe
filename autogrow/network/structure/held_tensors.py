"""Where modules hold parameters and buffers besides registering them: in lists, dictionaries and bare attributes.

An L1 penalty over ``self.penalized = [self.first.weight]``, say, or the flat weights of PyTorch's recurrent layers.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from torch import Tensor, nn

MAX_DEPTH = 4
"""Containers within containers that are looked into."""

Place = tuple[Any, Any]
"""A module, dictionary or list, and the attribute, key or index in it."""


def unregistered_places(model: nn.Module) -> Iterator[tuple[str, Tensor, Place | None]]:
    """Every tensor that a module holds outside its tables of parameters and buffers.

    Yields the attribute in words, the tensor, and its place; None where that cannot be written (a tuple, a set, a key).
    """
    for name, layer in model.named_modules():
        for attribute, value in vars(layer).items():
            if attribute not in ("_parameters", "_buffers", "_modules"):
                where = f"{name}.{attribute}" if name else attribute
                for tensor, place in _within(value, (vars(layer), attribute), MAX_DEPTH):
                    yield where, tensor, place


def _within(value: Any, place: Place | None, depth: int) -> Iterator[tuple[Tensor, Place | None]]:
    if isinstance(value, Tensor):
        yield value, place
    elif depth == 0:
        return
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _within(entry, (value, key), depth - 1)
        for key in value:
            yield from _within(key, None, 1)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _within(entry, (value, index), depth - 1)
    elif isinstance(value, tuple | Set | Mapping):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _within(entry, None, depth - 1)
