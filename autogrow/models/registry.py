"""The table of models, ours and those of packages: a name, and a factory from input shape and outputs to a module."""

from collections.abc import Callable

from torch import nn

from autogrow.errors import NetworkError
from autogrow.registry import Registry, any_callable

ModelFactory = Callable[..., nn.Module]
"""``factory(input_shape, num_outputs, **options)``: input_shape without the batch, (features,) or (C, H, W)."""

READS_TOKENS = "reads_tokens"
"""Attribute of the factory of a network that embeds whole numbers; others read numbers as they are."""

GIVES_INPUTS_BACK = "gives_inputs_back"
"""Attribute of the factory of a network that returns what has the shape of its inputs, whatever `num_outputs` is."""

MODELS: Registry[ModelFactory] = Registry("model", NetworkError, group="autogrow.models", accepts=any_callable)
