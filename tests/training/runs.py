"""Short training runs on made-up data, for tests of the training loop."""

import numpy as np
import torch

from autogrow.data.preprocessing import measure_normalization
from autogrow.data.splits import TrainSplit, ValidationSplit
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.tasks import TASKS
from autogrow.training.ending import Signal
from autogrow.training.example_input import example_input
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData

SHAPE = (3, 8, 8)
CLASSES = 4
CPU = torch.device("cpu")


def images(count, seed):
    """Images of four classes that differ in the mean of their quarters."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, CLASSES, count)
    inputs = random.integers(0, 120, (count, *SHAPE))
    for index, target in enumerate(targets):
        row, column = divmod(int(target), 2)
        inputs[index, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] += 80
    return inputs.astype(np.uint8), targets.astype(np.int64), np.arange(count)


def data(validation=True, augmentation="none", train_size=96):
    train = TrainSplit(*images(train_size, 0))
    held_out = ValidationSplit(*images(64, 1)) if validation else None
    return TrainingData(TASKS["classification"], train, held_out, measure_normalization(train), augmentation)


def policy(**fields):
    """Grows every fourth sample, by a quarter of the full width."""
    defaults = {"initial_fraction": 0.25, "chunk_fraction": 0.25, "trigger": {"kind": "schedule", "every": 4}}
    return GrowthPolicy.from_dict({**defaults, **fields})


def settings(**fields):
    """24 steps with a sample after each."""
    return TrainingSettings(**{"epochs": 4, "batch_size": 16, "sample_every": 1, "sample_size": 16, **fields})


MLP = {"model": "mlp", "options": {"hidden": (16, 12)}}
RESNET = {"model": "resnet", "options": {"depth": 8, "width": 8}}
STAGED = {"model": "resnet", "options": {"depth": 14, "width": 4}}
"""Two blocks in each of three stages."""


def trainer(
    *, the_policy=None, the_settings=None, the_data=None, model="mlp", options=None, module=None, seed=0, **arguments
) -> Trainer:
    """A trainer of a model by name, or of a module."""
    options = MLP["options"] if options is None and model == "mlp" else options or {}
    module = module or build_model(ModelSpec(model, options).given_by_caller(), SHAPE, CLASSES, seed)
    network = ExpandableNetwork(module, example_input(SHAPE, CPU), verify=False)
    return Trainer(
        network, the_data or data(), the_policy or policy(), the_settings or settings(), seed=seed, device=CPU,
        **arguments,
    )  # fmt: skip


def trained(**arguments) -> Trainer:
    """A training run that has ended."""
    ended = trainer(**arguments)
    ended.run()
    return ended


def weights(run):
    return {key: value.clone() for key, value in run.model.state_dict().items()}


def same(first, second):
    """Whether two nested containers of tensors and plain values are equal, bit for bit."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict) and list(first) == list(second) and all(same(first[k], second[k]) for k in first)
        )
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def state_of(run):
    """All that a checkpoint holds, but for times, which no two runs share, and where the run started."""
    state = {key: value for key, value in run.state().items() if key not in ("train_seconds", "fork")}
    state["samples"] = [{**sample, "train_seconds": None} for sample in state["samples"]]
    state["events"] = [{**event, "seconds": None} for event in state["events"]]
    return state


def ending(run):
    """The state at the last sample of a run that is started here."""
    found = []

    def look(sample):
        if sample.step == run.num_steps:
            found.append(state_of(run))
        return Signal.CONTINUE

    run.on_sample = look
    run.run()
    return found[0]


def differences(first, second, path=""):
    """Where two states differ; what a failing test prints."""
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [place for key in first for place in differences(first[key], second[key], f"{path}.{key}")]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        return [
            place
            for number, pair in enumerate(zip(first, second, strict=True))
            for place in differences(*pair, f"{path}[{number}]")
        ]
    return [] if same(first, second) else [f"{path}: {first!r} != {second!r}"[:200]]
