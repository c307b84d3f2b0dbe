"""A static network of given widths, or depth, and how it is trained: a bare loop, no statistics, no records.

A run whose length is compute takes as many steps as the full network's training FLOPs allow, like autogrow's.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autogrow.models.building import ModelSpec, build_model
from autogrow.models.registry import MODELS
from autogrow.network.measuring.flops import training_flops_per_example
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.augmentation import Augmentation
from autogrow.training.batches import BatchOrder
from autogrow.training.execution import channels_last
from autogrow.training.optimizers import clip_gradients, learning_rate_at, make_optimizer, set_learning_rate
from autogrow.training.training_data import TrainingData

WIDTH_OPTIONS = {"mlp": ("hidden",), "convnet": ("channels", "hidden")}
"""Options of the built-in models that are widths."""
DEPTH_OPTIONS = {"gpt": "layers"}
"""Options of the built-in models that are their number of blocks."""
TRAINING_OPTIONS = ("learning_rate", "learning_rate_schedule", "decay", "decay_fraction")
"""What may be searched of the training."""
COUNTED_EXAMPLES = 2
"""Examples on which FLOPs are counted."""
CPU = torch.device("cpu")


def full_widths(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The widths of the network as autogrow knows it, by option of the model."""
    defaults = inspect.signature(MODELS[spec.name]).parameters
    values = {name: spec.options.get(name, defaults[name].default) for name in WIDTH_OPTIONS[spec.name]}
    return {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}


def full_depth(spec: ModelSpec) -> int:
    """The number of blocks of the network as autogrow knows it."""
    option = DEPTH_OPTIONS[spec.name]
    return int(spec.options.get(option, inspect.signature(MODELS[spec.name]).parameters[option].default))


def sized(spec: ModelSpec, config: dict[str, Any]) -> ModelSpec:
    """The model with the widths, or the depth, of a configuration."""
    options = dict(spec.options)
    if spec.name in DEPTH_OPTIONS:
        return ModelSpec(spec.name, {**options, DEPTH_OPTIONS[spec.name]: config["depth"]})
    for option, full in full_widths(spec).items():
        widths = tuple(config[f"{option}.{place}"] for place in range(len(full)))
        is_tuple = isinstance(inspect.signature(MODELS[spec.name]).parameters[option].default, tuple)
        options[option] = widths if is_tuple else widths[0]
    return ModelSpec(spec.name, options)


def train_network(
    config: dict[str, Any], data: TrainingData, shape: tuple[tuple[int, ...], int], spec: ModelSpec,
    settings: TrainingSettings, seed: int, after_step: Callable[[int, int, nn.Module], None],
) -> nn.Module:  # fmt: skip
    """Train the network of a configuration.

    Args:
        shape: The network's input shape and number of outputs.
        after_step: Told of every step: how many have been taken, of how many, and the network.
    """
    settings = settings.model_copy(update={name: config[name] for name in TRAINING_OPTIONS if name in config})
    model = channels_last(build_model(sized(spec, config), *shape, seed))
    optimizer = make_optimizer(model, settings)
    train = data.on(data.train, CPU)
    order = BatchOrder(len(train), settings.batch_size, seed, CPU)
    full_steps = order.steps_per_epoch * settings.epochs
    share = 1.0
    if settings.length == "compute":
        inputs = train.batch(torch.arange(COUNTED_EXAMPLES))[0]
        full = training_flops_per_example(build_model(spec, *shape, seed), inputs)
        share = training_flops_per_example(model, inputs) / full
    num_steps = math.ceil(full_steps / share)
    augmentation = Augmentation.wanted(settings, data.augmentation)
    model.train()
    for step in range(num_steps):
        clock = min(step * share, full_steps)
        set_learning_rate(optimizer, learning_rate_at(step, clock, full_steps, settings, growth_ended=0))
        indices = order.indices(step)
        if augmentation is None:
            inputs, targets = train.batch(indices)
        else:
            inputs, targets = train.augmented(indices, order.draws(step), augmentation)
        optimizer.zero_grad(set_to_none=True)
        data.task.loss(model(inputs), targets).backward()
        if settings.max_gradient_norm is not None:
            clip_gradients(optimizer, settings.max_gradient_norm)
        optimizer.step()
        after_step(step + 1, num_steps, model)
    return model
