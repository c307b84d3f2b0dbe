"""Networks, data and trainers of the benchmarks of training."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autogrow.data.opening import open_dataset
from autogrow.data.splits import TrainSplit, ValidationSplit
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import Sample
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_input
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData
from tests.benchmarks.setting import Setting

BATCH = 128
SEED = 0
READ_EXAMPLES = 128
"""Examples that a sample looks at; the batch on which growing is measured is taken from them, and is as large."""

THESIS_NETWORK = "ResNet of 60 layers"
LARGE_NETWORK = "ResNet-18"
NETWORKS = {THESIS_NETWORK: ModelSpec("resnet", {"depth": 62}), LARGE_NETWORK: ModelSpec("resnet18")}
QUICK_NETWORKS = {"ResNet of 8 layers": ModelSpec("resnet", {"depth": 8})}


def networks(setting: Setting) -> dict[str, ModelSpec]:
    return QUICK_NETWORKS if setting.quick else NETWORKS


def first_network(setting: Setting) -> tuple[str, ModelSpec]:
    """The thesis' network, by name."""
    return next(iter(networks(setting).items()))


def image_data(setting: Setting, dataset: str, num_train: int | None = None) -> TrainingData:
    """So many training images of a data set (None: all), and a few validation images, read once at the end of a run."""
    opened = open_dataset(dataset, setting.data_dir)
    train, validation = opened.split(seed=SEED, train_size=num_train)
    few = slice(READ_EXAMPLES)
    held_out = ValidationSplit(validation.inputs[few], validation.targets[few], validation.indices[few])
    return TrainingData.of(opened, train, held_out)


def num_outputs(train: TrainSplit) -> int:
    return int(train.targets.max()) + 1


def full_module(spec: ModelSpec, data: TrainingData) -> nn.Module:
    """The network as its author wrote it; equal weights every time."""
    return build_model(spec, data.train.inputs.shape[1:], num_outputs(data.train), SEED)


def epochs_for(num_steps: int, data: TrainingData, batch_size: int = BATCH) -> int:
    """Epochs that hold at least so many steps."""
    return math.ceil(num_steps / (len(data.train) // min(batch_size, len(data.train))))


def training(
    num_epochs: int, sample_every: int, batch_size: int = BATCH, read_examples: int = READ_EXAMPLES
) -> TrainingSettings:
    """The default settings, but with samples that are cheap."""
    return TrainingSettings(
        epochs=num_epochs, batch_size=batch_size, sample_every=sample_every, sample_size=read_examples
    )


@dataclass(frozen=True)
class Run:
    """A network, its data, and the device that it trains on."""

    spec: ModelSpec
    data: TrainingData
    device: torch.device

    def trainer(
        self,
        policy: GrowthPolicy,
        settings: TrainingSettings,
        on_sample: Callable[[Sample], Signal] | None = None,
        **options: Any,
    ) -> Trainer:
        """A trainer at its first step; `options` are its own."""
        shape = self.data.train.inputs.shape[1:]
        module = full_module(self.spec, self.data).to(self.device)
        network = ExpandableNetwork(module, example_input(shape, self.device), verify=False)
        return Trainer(
            network, self.data, policy, settings, seed=SEED, device=self.device, on_sample=on_sample, **options
        )
