"""The thesis' MNIST network (5.2): two 7 x 7 convolutions, each pooled, then 1024 fully connected units."""

from torch import nn

from autogrow.errors import NetworkError
from autogrow.models.registry import MODELS

SMALLEST_SIDE = 4


@MODELS.register("convnet")
def convnet(
    input_shape: tuple[int, ...],
    num_outputs: int,
    channels: tuple[int, int] = (32, 64),
    hidden: int = 1024,
    kernel_size: int = 7,
) -> nn.Sequential:
    """Images of at least 4 x 4 in, (N, num_outputs) out."""
    if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST_SIDE:
        raise NetworkError(
            f"model 'convnet' takes images of at least 4 x 4, not inputs of shape {input_shape}; use 'mlp'"
        )
    first, second = channels
    height, width = input_shape[1] // 4, input_shape[2] // 4
    return nn.Sequential(
        nn.Conv2d(input_shape[0], first, kernel_size, padding=kernel_size // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, kernel_size, padding=kernel_size // 2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * height * width, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_outputs),
    )
