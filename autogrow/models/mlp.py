"""A multilayer perceptron: for features, for small images, and for the thesis' sine experiment (5.1)."""

import math

from torch import nn

from autogrow.models.registry import MODELS


@MODELS.register("mlp")
def mlp(
    input_shape: tuple[int, ...], num_outputs: int, hidden: tuple[int, ...] = (512, 512), batch_norm: bool = True
) -> nn.Sequential:
    """Hidden layers of the given widths with ReLU, each after a batch norm if wanted; the input is flattened."""
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(input_shape)
    for width in hidden:
        layers.append(nn.Linear(features, width))
        if batch_norm:
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.ReLU())
        features = width
    layers.append(nn.Linear(features, num_outputs))
    return nn.Sequential(*layers)
