"""The table of built-in models: a name, and a factory from input shape and number of outputs to a plain module."""

from collections.abc import Callable

from torch import nn

from autogrow.errors import NetworkError
from autogrow.registry import Registry

ModelFactory = Callable[..., nn.Module]
"""``factory(input_shape, num_outputs, **options)``: input_shape without the batch, (features,) or (C, H, W)."""

MODELS: Registry[ModelFactory] = Registry("model", NetworkError)
