"""A finished network is never lost by what reading the test split does; what is undefined is null, with a word."""

import json
import math
import re

import numpy as np
import pytest
import torch

import autogrow
from autogrow.data import open_dataset
from autogrow.errors import DataError, RunFolderError
from autogrow.experiments.comparison import KIND, compare_policy
from autogrow.experiments.conditions import Experiment
from autogrow.experiments.folder import ExperimentFolder
from autogrow.export import retraining, testing
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import save_network
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL = ModelSpec("mlp", {"hidden": (32,), "batch_norm": False})
POLICY = GrowthPolicy(initial_fraction=0.5, trigger={"kind": "schedule", "every": 3})
SETTINGS = TrainingSettings(epochs=2, batch_size=20)
FAR = 1e25
"""Its square is beyond float32."""


@pytest.fixture
def numbers(tmp_path):
    """Opens 100 examples of a linear regression, with some arrays in the place of its own."""
    draws = np.random.default_rng(1)
    x = draws.normal(size=(100, 4)).astype("f4")
    y = (x @ draws.normal(size=(4, 1))).astype("f4")

    def make(**changed):
        arrays = {"x_train": x, "y_train": y, "x_test": x[:20] * 2, "y_test": y[:20] * 2}
        np.savez(tmp_path / "mine.npz", **{**arrays, **changed})
        return open_dataset(str(tmp_path / "mine.npz"), tmp_path / "data")

    make.x, make.y = x, y
    return make


def train(dataset, out=None, **options):
    return train_policy(SMALL, dataset, POLICY, SETTINGS, out=out, **options)


def config_of(folder):
    def no_constant(name):
        raise AssertionError(f"{name} in JSON")

    return json.loads((folder / "config.json").read_text(), parse_constant=no_constant)


def test_what_reading_can_go_wrong_with(numbers, tmp_path):
    """The measure of all cases below: where nothing is wrong, nothing is undefined."""
    result = train(numbers(), tmp_path / "network")
    assert result.test.undefined is None and result.test.is_finite
    metrics = config_of(tmp_path / "network")["metrics"]
    assert metrics["test_score"] == result.test.score
    assert "test_undefined" not in metrics


def outlier(numbers):
    far = numbers.x[:20].copy()
    far[7, 2] = FAR
    return {"x_test": far, "y_test": numbers.y[:20]}


UNDEFINED = {
    "one example": (
        lambda numbers: {"x_test": numbers.x[:1], "y_test": numbers.y[:1]},
        ["test_score", "train_minus_test_score"],
        "the R² of one test example is undefined",
    ),
    "equal targets": (
        lambda numbers: {"y_test": np.full((20, 1), 7.0, "f4")},
        ["test_score", "train_minus_test_score"],
        "the R² of 20 test examples with one and the same target is undefined",
    ),
    "an input out of range": (
        outlier,
        ["test_score", "test_loss", "train_minus_test_score"],
        "the test loss is (inf|nan|.*e.*): inputs or targets of the test split are out of range",
    ),
}


@pytest.mark.parametrize(("changed", "names", "reason"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_an_undefined_test_metric_is_null_with_a_word(changed, names, reason, numbers, tmp_path):
    out = tmp_path / "network"
    result = train(numbers(**changed(numbers)), out)
    metrics = config_of(out)["metrics"]
    assert [name for name, value in metrics.items() if value is None] == names
    assert re.search(reason, metrics["test_undefined"])
    assert metrics == result.metrics()
    assert math.isnan(result.test.score)
    assert autogrow.load(out)(torch.ones(1, 4)).isfinite().all()


@pytest.mark.parametrize(("changed", "names", "reason"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_the_commands_say_so(changed, names, reason, numbers, tmp_path, autogrow):
    numbers(**changed(numbers))
    POLICY.save(tmp_path / "policy.yaml")
    data = ("--dataset", tmp_path / "mine.npz", "--data-dir", tmp_path / "data")
    arguments = ("--model", "mlp", "--model-option", "hidden=[64]", "--epochs", "2", "--out", tmp_path / "network")
    code, out, err = autogrow("train", tmp_path / "policy.yaml", *data, *arguments, "--quiet")
    assert code == 0, err
    assert re.search(f"test R² undefined, loss .*: {reason}", out)
    code, out, err = autogrow("evaluate", tmp_path / "network", *data)
    assert code == 0, err
    assert re.search(f"test R² undefined, loss .*: {reason}", out)
    code, out, err = autogrow("evaluate", tmp_path / "network", *data, "--json")
    content = json.loads(out, parse_constant=pytest.fail)
    assert [name for name, value in content.items() if value is None] == [name for name in names if "train" not in name]
    assert re.search(reason, content["test_undefined"])


@pytest.mark.parametrize("failure", [DataError("the disk is gone"), RuntimeError("a shape"), MemoryError("no room")])
def test_a_test_split_that_cannot_be_read_leaves_the_network(failure, numbers, tmp_path, monkeypatch):
    def fail(*arguments):
        raise failure

    monkeypatch.setattr(testing, "open_test_split", fail)
    dataset, out = numbers(), tmp_path / "network"
    result = train(dataset, out)
    assert math.isnan(result.test.loss)
    assert str(failure) in result.test.undefined
    assert config_of(out)["metrics"]["test_undefined"].startswith("the test split cannot be read: ")
    monkeypatch.undo()
    assert autogrow.evaluate(out, dataset).is_finite


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_a_network_is_saved_before_the_test_split_is_opened(failure, numbers, tmp_path, monkeypatch):
    def killed(*arguments):
        raise failure

    monkeypatch.setattr(testing, "open_test_split", killed)
    dataset, out = numbers(), tmp_path / "network"
    with pytest.raises(failure):
        train(dataset, out)
    assert config_of(out)["metrics"]["test_undefined"] == testing.NOT_READ.undefined
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json", "events.jsonl", "model.safetensors", "samples.jsonl",
    ]  # fmt: skip
    monkeypatch.undo()
    assert autogrow.evaluate(out, dataset).is_finite
    with pytest.raises(RunFolderError, match="holds a trained network"):
        train(dataset, out)


@pytest.mark.parametrize("place", ["weights", "configuration"])
def test_a_run_that_is_killed_while_it_saves_goes_on(place, numbers, tmp_path, monkeypatch):
    def killed(folder, module, config):
        if place == "configuration":
            save_network(folder, module, config)
            (folder / "config.json").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(retraining, "save_network", killed)
    dataset, out = numbers(), tmp_path / "network"
    with pytest.raises(KeyboardInterrupt):
        train(dataset, out)
    monkeypatch.undo()
    again = train(dataset, out)
    assert autogrow.evaluate(out, dataset) == again.test
    assert config_of(out)["metrics"]["test_score"] == train(dataset).test.score


def test_a_comparison_keeps_all_runs_where_the_test_metric_is_undefined(numbers, tmp_path):
    dataset = numbers(x_test=numbers.x[:1], y_test=numbers.y[:1])
    folder = ExperimentFolder(tmp_path / "compared", KIND)
    experiment = Experiment(dataset, SMALL, POLICY, SETTINGS)
    results = compare_policy(experiment, 1, folder=folder)
    assert not results.failures
    assert {run.test_score for run in results.runs} == {None}
    assert all(math.isfinite(run.test_loss) for run in results.runs)
    content = json.loads(folder.result_file.read_text(), parse_constant=pytest.fail)
    assert {run["undefined"] for run in content["runs"]} == {"the R² of one test example is undefined"}
    table = folder.table_file.read_text()
    row = next(line for line in table.splitlines() if line.startswith("| grown"))
    assert [cell.strip() for cell in row.split("|")][2] == "undefined"
    assert "under seed 0: the R² of one test example is undefined" in table
    again = compare_policy(experiment, 1, folder=folder)
    assert [run.undefined for run in again.runs] == [run.undefined for run in results.runs]


def test_a_validation_metric_that_is_undefined_at_the_end_leaves_the_network(numbers, tmp_path):
    """Only an example that no sample looks at is out of range: samples are of one in four."""
    dataset = numbers()
    _, validation = dataset.split(seed=0)
    settings = TrainingSettings(epochs=2, batch_size=20, sample_size=2)
    measured = sampled_validation(dataset, settings)
    hidden = next(place for place in range(len(validation)) if place not in measured)
    x = numbers.x.copy()
    x[validation.indices[hidden], 0] = FAR
    dataset = numbers(x_train=x)
    result = train_policy(SMALL, dataset, POLICY, settings, hold_out_validation=True, out=tmp_path / "network")
    assert not result.validation.is_finite
    assert result.test.is_finite
    assert config_of(tmp_path / "network")["metrics"]["test_score"] == result.test.score


def sampled_validation(dataset, settings):
    """Which validation examples samples are of, in a run with seed 0."""
    seen = []

    class Watching(retraining.Trainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            seen.extend(self._measuring.validation_indices.tolist())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retraining, "Trainer", Watching)
        train_policy(SMALL, dataset, POLICY, settings, hold_out_validation=True)
    return seen


CONSTANT = {
    "training": (lambda y: np.full_like(y, 7.0), "the target is 7 in all 100 training examples: nothing to regress"),
    "two targets": (lambda y: np.full((len(y), 2), 3.5, "f4"), "the target is 3.5, 3.5 in all 100 training examples"),
}


@pytest.mark.parametrize(("changed", "message"), CONSTANT.values(), ids=CONSTANT.keys())
def test_a_constant_target_is_refused_before_anything_is_written(changed, message, numbers, tmp_path):
    y = changed(numbers.y)
    dataset = numbers(y_train=y, y_test=y[:20])
    with pytest.raises(DataError, match=message):
        train(dataset, tmp_path / "network")
    assert not (tmp_path / "network").exists()


def test_so_is_one_of_the_validation_split_where_it_is_held_out(numbers):
    _, validation = numbers().split(seed=0)
    y = numbers.y.copy()
    y[validation.indices] = 2.0
    dataset = numbers(y_train=y)
    with pytest.raises(DataError, match="the target is 2 in all 20 validation examples"):
        train(dataset, hold_out_validation=True)
    assert train(dataset).train.is_finite


def test_and_so_are_those_of_the_examples_that_samples_are_of(numbers):
    y = np.zeros_like(numbers.y)
    y[::50] = 1.0
    with pytest.raises(DataError, match="the target is 0 in all 2 training examples that samples are of"):
        train_policy(SMALL, numbers(y_train=y), POLICY, TrainingSettings(epochs=2, batch_size=20, sample_size=2))


def test_a_search_refuses_a_constant_target_in_its_dry_run(numbers, tmp_path, autogrow):
    y = np.full_like(numbers.y, 7.0)
    numbers(y_train=y, y_test=y[:20])
    data = ("--dataset", tmp_path / "mine.npz", "--data-dir", tmp_path / "data", "--out", tmp_path / "results")
    code, out, err = autogrow("search", *data, "--dry-run")
    assert code == 2
    assert "the target is 7 in all 80 training examples: nothing to regress" in err
