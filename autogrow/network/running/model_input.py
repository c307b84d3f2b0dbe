"""What a network is called with, and what its author's code raises then, as one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from autogrow.errors import AutogrowError, NetworkError, one_line
from autogrow.network.running.plain_mode import callers_device

ModelInput = Tensor | tuple[Tensor, ...]
"""What a network is called with: one tensor, or several as positional arguments."""


def run(model: nn.Module, example_input: ModelInput) -> Any:
    with callers_device():
        return model(*example_input) if isinstance(example_input, tuple) else model(example_input)


def shapes(example_input: ModelInput) -> str:
    """Words for an error: ``shape (2, 3, 32, 32)``."""
    tensors = example_input if isinstance(example_input, tuple) else (example_input,)
    return "shape " + " and ".join(str(tuple(tensor.shape)) for tensor in tensors)


def number_format(model: nn.Module) -> torch.dtype | None:
    """The type of the network's first floating-point parameter."""
    return next((each.dtype for each in model.parameters() if each.is_floating_point()), None)


def following(model: nn.Module, example_input: ModelInput, original: torch.dtype | None) -> ModelInput:
    """The input where the network is now, to which it may have moved since its format was `original`.

    Numbers of that format are converted to the present one; others (token ids, masks) stay what they are.
    """
    tensor = next(iter([*model.parameters(), *model.buffers()]), None)
    present = number_format(model)

    def moved(value: Tensor) -> Tensor:
        kind = present if value.dtype == original and present is not None else value.dtype
        return value.to(value.device if tensor is None else tensor.device, kind)

    followed: ModelInput = tree_map(moved, example_input)
    return followed


@contextmanager
def explained(what: str) -> Iterator[None]:
    """User's code runs inside; whatever it raises becomes a `NetworkError` that begins with `what`.

    Lack of memory stays what it is: other batches or smaller networks help there.
    """
    try:
        yield
    except (AutogrowError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise NetworkError(f"{what}: {one_line(error)[:300]}") from error
