"""A finished run to export from, and a short policy to train by."""

import shutil

import pytest

from autogrow.data import open_dataset
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.study.run_folder import RunFolder

from ..study.finished_run import make_finished_run


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export-data")
    open_dataset("digits", folder)
    return folder


@pytest.fixture(scope="session")
def digits(data_dir):
    return open_dataset("digits", data_dir)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory, data_dir):
    return make_finished_run(tmp_path_factory.mktemp("run") / "done", data_dir)


@pytest.fixture
def finished_run(made_run, tmp_path):
    shutil.copytree(made_run.path, tmp_path / "done")
    return RunFolder(tmp_path / "done")


@pytest.fixture
def policy():
    return GrowthPolicy(
        initial_fraction=0.5, trigger={"kind": "schedule", "every": 5}, training=TrainingSettings(epochs=3)
    )
