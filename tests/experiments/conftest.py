"""A short comparison on digits, whose grown network ends at three quarters of full width."""

from dataclasses import dataclass, field

import pytest

from autogrow.data import open_dataset
from autogrow.experiments import workers
from autogrow.experiments.comparison import KIND, compare_policy
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder
from autogrow.export import testing
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training.steps import Steps

SMALL = ModelSpec("mlp", {"hidden": (32, 24)})
GROWING = {
    "initial_fraction": 0.25, "chunk_fraction": 0.25, "max_fraction": 0.75, "width_multiple": 1,
    "trigger": {"kind": "schedule", "every": 3},
}  # fmt: skip


@dataclass
class Watched:
    """What every training run of an experiment did, in order."""

    plans: list = field(default_factory=list)
    """(model, policy, settings, seed) of every call."""
    placebos: list = field(default_factory=list)
    """Of every run, the event that adds nothing, or None."""
    results: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    """Of every run, the examples of each of its steps."""
    opened: list = field(default_factory=list)
    """The number of the run, counted from 1, at whose end the test split was opened."""
    steps: list = field(default_factory=list)
    """Of every opening of the test split, the steps that its run had taken by then."""

    @property
    def num_runs(self):
        return len(self.plans)


@pytest.fixture(scope="module")
def digits(data_dir):
    return open_dataset("digits", data_dir)


@pytest.fixture
def experiment(digits):
    """Of a policy by its fields, on 60 examples of digits with validation, in 7 steps an epoch."""

    def make(training=None, model=SMALL, **fields):
        policy = GrowthPolicy.from_dict({**GROWING, **fields})
        settings = TrainingSettings(**{"epochs": 2, "batch_size": 80, "sample_every": 1, **(training or {})})
        return Experiment(digits, model, policy, settings, train_size=60)

    return make


@pytest.fixture
def watched(monkeypatch):
    seen = Watched()
    train, take, opened = workers.train_policy, Steps.batch, testing.open_test_split

    def watch_training(model, dataset, policy, settings, *, seed, **options):
        seen.plans.append((model, policy, settings, seed))
        seen.placebos.append(options["placebo"])
        seen.batches.append([])
        seen.results.append(train(model, dataset, policy, settings, seed=seed, **options))
        return seen.results[-1]

    def watch_step(steps, step):
        batch = take(steps, step)
        seen.batches[-1].append(batch[0].tolist())
        return batch

    def watch_opening(dataset):
        seen.opened.append(seen.num_runs)
        seen.steps.append(len(seen.batches[-1]))
        return opened(dataset)

    monkeypatch.setattr(workers, "train_policy", watch_training)
    monkeypatch.setattr(Steps, "batch", watch_step)
    monkeypatch.setattr(testing, "open_test_split", watch_opening)
    return seen


@pytest.fixture
def compare(experiment, tmp_path):
    """Compares a policy of these tests in a folder."""

    def run(num_seeds=2, out="compared", the_experiment=None, **options):
        folder = ExperimentFolder(tmp_path / out, KIND)
        return compare_policy(the_experiment or experiment(), num_seeds, folder=folder, **options)

    return run
