"""Every test has a cache folder of its own; digits are decoded once for all of them."""

from pathlib import Path

import pytest

from autogrow.data import open_dataset
from autogrow.metrics.objectives import parse_objectives
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.run_folder import RunFolder
from autogrow.study.sampling import Proposer
from autogrow.study.search_space import SearchSpace, find_space
from autogrow.study.settings import SearchSettings
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial_config import TrialConfig


def controls_are_due():
    """So much of the budget is used that the controls come first, in the order of their numbers."""
    return 1.0


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study-data")
    open_dataset("digits", folder)
    return folder


@pytest.fixture(scope="session")
def objectives():
    return parse_objectives("accuracy,generalization_gap,train_seconds")


@pytest.fixture(scope="session")
def default_space():
    return SearchSpace.load(find_space("default"))


@pytest.fixture
def folder(tmp_path):
    """A run folder with nothing in it yet."""
    path = tmp_path / "run"
    path.mkdir()
    return RunFolder(path)


@pytest.fixture
def database(folder, objectives):
    return StudyDatabase.create(folder.database, objectives)


@pytest.fixture
def propose(default_space, search_settings):
    """The next proposal of a study, as a search of 20 trials with seed 0 asks for it."""

    def next_proposal(database, *, seed=0, num_trials=20, **changes):
        settings = search_settings(seed=seed, trials=num_trials, **changes)
        return Proposer(database, default_space, settings, 100, controls_are_due).next()

    return next_proposal


@pytest.fixture
def search_settings(default_space):
    """Settings of a search on digits; what is given replaces the defaults."""

    return lambda **changes: settings_on_digits(default_space, **changes)


def settings_on_digits(default_space, **changes):
    fields = {
        "dataset": "digits",
        "data_dir": "data",
        "fingerprint": "0" * 16,
        "task": "classification",
        "model": "mlp",
        "space": default_space.content,
        "working_directory": "work",
    }
    return SearchSettings(**{**fields, **changes})


@pytest.fixture
def trial_config(tmp_path, data_dir):
    """The configuration of a short trial on digits; what is given replaces the defaults."""

    def make(name="trial", *, training=None, **changes):
        fields = {
            "number": 3,
            "role": "searched",
            "policy": {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 8}},
            "training": TrainingSettings(**{"epochs": 3, **(training or {})}).model_dump(),
            "dataset": "digits",
            "data_dir": str(data_dir),
            "model": "mlp",
            "model_options": {"hidden": (32, 32)},
            "train_size": None,
            "split_seed": 0,
            "seed": 0,
            "device": "cpu",
            "num_threads": 1,
            "gpu_memory_fraction": None,
            "folder": str(tmp_path / name),
            "interrupt_file": str(tmp_path / "interrupt"),
            "working_directory": str(tmp_path),
            "num_reports": 6,
        }
        return TrialConfig(**{**fields, **changes})

    return make


@pytest.fixture
def user_model(tmp_path, request):
    """Writes a user's own module; gives the name that a search would be told."""
    name = f"users_{abs(hash(request.node.nodeid))}"

    def write(body):
        Path(tmp_path / f"{name}.py").write_text(f"import torch\nfrom torch import nn\n\n{body}")
        return f"{name}:network"

    return write
