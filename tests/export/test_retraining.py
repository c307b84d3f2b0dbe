"""Train by a policy, save, load, evaluate: the end of the way, and the only one that sees the test split."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import autogrow
from autogrow.cli.networks import model_for
from autogrow.data import test_split
from autogrow.data.test_split import TestSplit
from autogrow.errors import NetworkError, RunFolderError
from autogrow.export.retraining import train_policy
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training import ending, training_data
from autogrow.training.ending import Signal
from autogrow.training.output_check import EXAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SMALL = ModelSpec("mlp", {"hidden": (32, 32)})
USERS = """
from torch import nn

def network(width=24):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, 10))
"""


@pytest.fixture
def train(digits, policy):
    """Trains by the policy of these tests, or by another one, on digits."""

    def run(out=None, *, policy=policy, model=SMALL, settings=policy.training, **options):
        return train_policy(model, digits, policy, settings, out=out, **options)

    return run


@pytest.fixture
def users_model(tmp_path, monkeypatch):
    (tmp_path / "users_network.py").write_text(USERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "users_network", raising=False)
    return "users_network:network"


@pytest.fixture
def times_opened(monkeypatch):
    """Every opening of the test split, by whatever module."""
    opened = []
    original = test_split.open_test_split

    def count(dataset):
        opened.append(dataset.name)
        return original(dataset)

    for module in [module for module in sys.modules.values() if hasattr(module, "open_test_split")]:
        monkeypatch.setattr(module, "open_test_split", count)
    return opened


def test_evaluate_repeats_what_train_measured(train, digits, tmp_path):
    result = train(tmp_path / "network")
    metrics = autogrow.evaluate(tmp_path / "network", digits)
    assert (metrics.score, metrics.loss) == (result.test.score, result.test.loss)


def test_a_loaded_network_is_plain_and_computes_the_same(train, tmp_path):
    result = train(tmp_path / "network")
    loaded = autogrow.load(tmp_path / "network")
    inputs = torch.rand(5, 1, 8, 8)
    assert torch.equal(loaded.network(inputs), result.module(inputs))
    assert not loaded.training
    for module in (*loaded.network.modules(), *result.module.modules()):
        assert not type(module).__module__.startswith("autogrow")


def test_a_loaded_network_can_be_exported_and_saved_as_usual(train, tmp_path):
    train(tmp_path / "network")
    loaded = autogrow.load(tmp_path / "network")
    inputs = torch.rand(5, 1, 8, 8)
    exported = torch.export.export(loaded, (inputs,))
    assert torch.equal(exported.module()(inputs), loaded(inputs))
    torch.save(loaded.state_dict(), tmp_path / "weights.pt")
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))


def test_a_network_grows_by_the_policy(train):
    result = train()
    assert result.events
    assert set(result.widths.values()) == {32}
    assert result.parameters == sum(parameter.numel() for parameter in result.module.parameters())
    assert result.samples[0].parameters < result.samples[-1].parameters


def test_it_trains_on_train_and_validation(train, digits, monkeypatch):
    assert self_measured_size(train, monkeypatch) == digits.num_train


@pytest.mark.parametrize(
    "fields",
    [
        {"trigger": {"kind": "plateau", "metric": "validation_loss"}},
        {"trigger": {"kind": "slope", "metric": "validation_score"}},
        {"trigger": {"kind": "gap", "window": 1, "patience": 1, "cooldown": 0, "max_wait": 3}},
        {"depth": {"trigger": "gap"}},
    ],
    ids=["plateau", "slope", "gap", "depth"],
)
def test_a_trigger_that_watches_validation_keeps_it_apart(fields, train, digits, monkeypatch):
    watching = GrowthPolicy.from_dict({"initial_fraction": 0.5, **fields})
    assert self_measured_size(train, monkeypatch, policy=watching) == len(digits.split(seed=0)[0])


def test_the_gap_is_that_of_the_validation_split(train):
    trigger = {"kind": "gap", "window": 1, "patience": 1, "cooldown": 0, "max_wait": 3}
    result = train(policy=GrowthPolicy(initial_fraction=0.5, trigger=trigger))
    assert result.events and result.held_out_validation
    assert all(sample.generalization_gap is not None for sample in result.samples)


def self_measured_size(train, monkeypatch, **options):
    """How many examples the trainer was given to train on."""
    sizes = []
    original = training_data.DeviceExamples

    def measure(examples, *others):
        if len(examples) > EXAMPLES and not isinstance(examples, TestSplit):  # fewer are those outputs are checked on
            sizes.append(len(examples))
        return original(examples, *others)

    monkeypatch.setattr(training_data, "DeviceExamples", measure)
    result = train(**options)
    assert result.held_out_validation == (len(sizes) == 2)
    return sizes[0]


def test_the_test_split_is_opened_once_and_at_the_end(train, times_opened, tmp_path):
    during = []

    def look(_):
        during.append(len(times_opened))
        return Signal.CONTINUE

    train(tmp_path / "network", on_sample=look)
    assert set(during) == {0}
    assert times_opened == ["digits"]


def test_an_interrupted_run_does_not_open_it(train, times_opened, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
    assert train(tmp_path / "network", interrupted=lambda: True) is None
    assert times_opened == []


@pytest.mark.parametrize("before", [None, True])
def test_what_has_learnt_from_validation_does_not_go_on_as_if_it_had_not(before, train, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0)
    assert train(tmp_path / "out", hold_out_validation=before, interrupted=lambda: True) is None
    with pytest.raises(RunFolderError, match="interrupted training run with other settings"):
        train(tmp_path / "out", hold_out_validation=None if before else True)
    assert train(tmp_path / "out", hold_out_validation=before).held_out_validation == bool(before)


def test_an_interrupted_run_goes_on_bit_for_bit(train, users_model, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
    model = ModelSpec(users_model).given_by_caller()
    whole = train(tmp_path / "whole", model=model)
    asked = iter([False] * 11 + [True] * 3)
    assert train(tmp_path / "parts", model=model, interrupted=lambda: next(asked)) is None
    parts = train(tmp_path / "parts", model=model)
    assert parts.test == whole.test
    assert parts.train == whole.train
    assert len(parts.events) == len(whole.events)
    assert all(map(torch.equal, parts.module.state_dict().values(), whole.module.state_dict().values()))


def test_only_an_equal_run_goes_on(train, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
    train(tmp_path / "network", interrupted=lambda: True)
    for change in ({"seed": 1}, {"settings": TrainingSettings(epochs=4)}, {"model": ModelSpec("mlp")}):
        with pytest.raises(RunFolderError, match="other settings"):
            train(tmp_path / "network", **change)


def test_what_is_there_is_not_overwritten(train, tmp_path):
    train(tmp_path / "network")
    before = (tmp_path / "network" / "model.safetensors").read_bytes()
    with pytest.raises(RunFolderError, match="holds a trained network"):
        train(tmp_path / "network", seed=1)
    assert (tmp_path / "network" / "model.safetensors").read_bytes() == before


def test_nothing_but_the_record_is_left(train, tmp_path):
    train(tmp_path / "network")
    names = {path.name for path in (tmp_path / "network").iterdir()}
    assert names == {"model.safetensors", "config.json", "samples.jsonl", "events.jsonl"}


def test_equal_seeds_train_equal_networks(train):
    first, second, other = train(seed=3), train(seed=3), train(seed=4)
    assert first.test == second.test
    assert first.test != other.test


def test_a_users_model_has_to_be_named_to_be_loaded(train, users_model, tmp_path):
    result = train(tmp_path / "network", model=ModelSpec(users_model, {"width": 20}).given_by_caller())
    with pytest.raises(NetworkError, match=f"name it with --model {users_model}"):
        autogrow.load(tmp_path / "network")
    inputs = torch.rand(3, 1, 8, 8)
    assert torch.equal(autogrow.load(tmp_path / "network", users_model).network(inputs), result.module(inputs))


def test_a_module_is_trained_as_a_copy(train):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = train(model=model)
    assert result.module is not model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_python_and_the_function_below_it_train_alike(train, digits, policy):
    through_api = autogrow.train(SMALL, digits, policy)
    assert through_api.test == train().test


class TestModelOfAPolicy:
    """A policy file may say which built-in network it was found with; never which code to run."""

    OPTIONS = {"model": None, "model_options": ()}

    def test_a_built_in_one_is_taken(self, policy, digits):
        found = policy.model_copy(update={"found_by": {"model": "mlp", "model_options": {"hidden": [9]}}})
        assert model_for(found, digits, self.OPTIONS) == ModelSpec("mlp", {"hidden": (9,)})

    @pytest.mark.parametrize("name", ["os:system", "users_network:network", "unknown", 3])
    def test_any_other_is_not(self, name, policy, digits, users_model):
        found = policy.model_copy(update={"found_by": {"model": name}})
        assert model_for(found, digits, self.OPTIONS).is_built_in
        assert "users_network" not in sys.modules
        assert Path("users_network.py").exists()
