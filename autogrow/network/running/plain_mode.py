"""Changing a network as if nothing of PyTorch's surroundings were switched on where the caller stands.

Growth may be asked for anywhere: in a validation hook under ``torch.inference_mode()``, under autocast, with another
default device. Tensors made there would be of a kind that cannot be trained, of another precision, or elsewhere. So
those modes are left for as long as the change takes. What cannot be left is refused: a transform of `torch.func`, a
function that is being compiled, a backward pass.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from autogrow.errors import NetworkError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_default_device: ContextVar[torch.device | None] = ContextVar("default_device", default=None)
"""The default device of the caller, where plain mode has put the CPU in its place."""


@contextmanager
def plain_mode() -> Iterator[None]:
    """Inside there is no inference mode and no autocast, and tensors are made on the CPU unless told otherwise.

    Raises:
        NetworkError: Here no network can be changed: in a transform, a compiled function or a backward pass.
    """
    _check_place()
    device = torch.get_default_device()
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))
        accelerator = torch.accelerator.current_accelerator()
        for kind in {"cpu", *([accelerator.type] if accelerator is not None else [])}:
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if device.type != "cpu":
            token = _default_device.set(device)
            modes.callback(_default_device.reset, token)
            modes.enter_context(torch.device("cpu"))
        yield


@contextmanager
def callers_device() -> Iterator[None]:
    """Inside plain mode: the default device that the caller had, for code of theirs."""
    device = _default_device.get()
    if device is None:
        yield
    else:
        with device:
            yield


def in_plain_mode(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that runs in plain mode, see there."""

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with plain_mode():
            return method(self, *args, **kwargs)

    return run


def check_tensors(model: nn.Module) -> None:
    """Raises `NetworkError` where tensors of the network hold no values, cannot be trained, or are borrowed."""
    for name, parameter in model.named_parameters():
        if not isinstance(parameter, nn.Parameter):
            raise NetworkError(
                f"{name!r} is a {type(parameter).__name__} that stands in for a parameter (functional_call): "
                "change the network outside"
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            raise NetworkError(f"{name!r} is on the meta device, without values: load or initialize the network first")
        if tensor.is_inference():
            raise NetworkError(
                f"{name!r} was made under torch.inference_mode() and cannot be trained: build the network outside of it"
            )


def _check_place() -> None:
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise NetworkError("inside a torch.func transform (grad, vmap) no network can change: change it outside")
    if torch.compiler.is_compiling():
        raise NetworkError("inside a function that is being compiled no network can change: change it outside")
    if torch._C._current_graph_task_id() != -1:
        raise NetworkError("during a backward pass no network can change: change it after backward() has returned")
