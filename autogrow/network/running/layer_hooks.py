"""Hooks on what a layer is given, positionally or by keyword, and on what it returns; all are gone afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

OnInput = Callable[[Tensor], Tensor | None]
"""Sees a layer's first input before the layer runs, and may give another one in its place."""
OnCall = Callable[[Tensor, Any], Any]
"""Sees a layer's first input and its output after it has run, and may give another output in its place."""


@contextmanager
def hooked(before: Mapping[Any, OnInput] | None = None, after: Mapping[Any, OnCall] | None = None) -> Iterator[None]:
    """These hooks on these layers inside. Scripted layers take none, and calls without a tensor pass unseen."""
    with ExitStack() as handles:
        for layer, on_input in (before or {}).items():
            if not isinstance(layer, torch.jit.ScriptModule):
                handles.callback(layer.register_forward_pre_hook(_pre_hook(on_input), with_kwargs=True).remove)
        for layer, on_call in (after or {}).items():
            if not isinstance(layer, torch.jit.ScriptModule):
                handles.callback(layer.register_forward_hook(_hook(on_call), with_kwargs=True).remove)
        yield


def _pre_hook(on_input: OnInput) -> Callable[..., Any]:
    def run(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = _first_input(args, kwargs)
        changed = on_input(given) if given is not None else None
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, next(iter(kwargs)): changed})

    return run


def _hook(on_call: OnCall) -> Callable[..., Any]:
    def run(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        given = _first_input(args, kwargs)
        return on_call(given, output) if given is not None else None

    return run


def _first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    first = next(iter((*args, *kwargs.values())), None)
    return first if isinstance(first, Tensor) else None


def evenly_spread(count: int, most: int) -> Tensor:
    """At most `most` of `count` indices, evenly spread."""
    return torch.arange(count) if count <= most else torch.arange(most) * count // most
