"""A static network of given widths and how it is trained: a bare loop, no statistics, no records, no checkpoints."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autogrow.models.building import ModelSpec, build_model
from autogrow.models.registry import MODELS
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.batches import BatchOrder
from autogrow.training.execution import channels_last
from autogrow.training.optimizers import learning_rate_at, make_optimizer, set_learning_rate
from autogrow.training.training_data import TrainingData

WIDTH_OPTIONS = {"mlp": ("hidden",), "convnet": ("channels", "hidden")}
"""Options of the built-in models that are widths."""
TRAINING_OPTIONS = ("learning_rate", "learning_rate_schedule")
"""What is searched of the training."""
CPU = torch.device("cpu")


def full_widths(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """The widths of the network as autogrow knows it, by option of the model."""
    defaults = inspect.signature(MODELS[spec.name]).parameters
    values = {name: spec.options.get(name, defaults[name].default) for name in WIDTH_OPTIONS[spec.name]}
    return {name: value if isinstance(value, tuple) else (value,) for name, value in values.items()}


def narrowed(spec: ModelSpec, config: dict[str, Any]) -> ModelSpec:
    """The model with the widths of a configuration."""
    options = dict(spec.options)
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
    settings = settings.model_copy(update={name: config[name] for name in TRAINING_OPTIONS})
    model = channels_last(build_model(narrowed(spec, config), *shape, seed))
    optimizer = make_optimizer(model, settings)
    train = data.on(data.train, CPU)
    order = BatchOrder(len(train), settings.batch_size, seed, CPU)
    num_steps = order.steps_per_epoch * settings.epochs
    model.train()
    for step in range(num_steps):
        set_learning_rate(optimizer, learning_rate_at(step, step, num_steps, settings, growth_ended=0))
        inputs, targets = train.batch(order.indices(step))
        optimizer.zero_grad(set_to_none=True)
        data.task.loss(model(inputs), targets).backward()
        optimizer.step()
        after_step(step + 1, num_steps, model)
    return model
