"""A model: a network by a name."""

from torch import nn


def funnel(input_shape, num_outputs, width=24):
    """Two layers, the second half as wide as the first."""
    layers = [nn.Linear(input_shape[0], width), nn.ReLU(), nn.Linear(width, width // 2), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width // 2, num_outputs))
