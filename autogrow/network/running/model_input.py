"""What a network is called with."""

from typing import Any

from torch import Tensor, nn

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
