"""A grown network on disk comes back as it was: same shape, same eps of its norms, same outputs bit for bit."""

import json
import shutil
import sys

import pytest
import torch
from torch import nn

import autogrow
from autogrow.errors import NetworkError
from autogrow.export.retraining import train_policy
from autogrow.export.saved_network import load_network
from autogrow.models.building import ModelSpec
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.limits import SizeLimits
from autogrow.policy.training_settings import TrainingSettings
from autogrow.training import ending

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

RESNET = ModelSpec("resnet", {"depth": 14, "width": 4})
MLP = ModelSpec("mlp", {"hidden": (16, 12)})
SHORT = TrainingSettings(epochs=3, batch_size=32, learning_rate=0.01, sample_every=2, sample_size=64)
"""18 steps on 200 examples, nine samples."""
DEEPER = GrowthPolicy.from_dict({
    "initial_fraction": 0.5,
    "chunk_fraction": 0.25,
    "initialization": {"kind": "paired", "variance_rescaling": True},
    "trigger": {"kind": "schedule", "every": 2},
    "depth": {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 3}},
})  # fmt: skip
WIDER = GrowthPolicy.from_dict({"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 2}})
INPUTS = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def train(digits):
    def run(model, policy, out, **options):
        return train_policy(model, digits, policy, SHORT, train_size=200, out=out, **options)

    return run


@pytest.fixture(scope="module")
def deeper(digits, tmp_path_factory):
    """What training a network in width and depth gave, and the folder that it was saved in."""
    folder = tmp_path_factory.mktemp("deeper") / "network"
    return train_policy(RESNET, digits, DEEPER, SHORT, train_size=200, out=folder), folder


@pytest.fixture
def damaged(deeper, tmp_path):
    """Saves the network with another value in its configuration."""

    def save(key, value):
        shutil.copytree(deeper[1], tmp_path / "network")
        path = tmp_path / "network" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
        return tmp_path / "network"

    return save


def test_a_network_that_grew_in_width_and_depth(deeper):
    result, folder = deeper
    assert any(event.added_blocks for event in result.events) and any(event.added_units for event in result.events)
    saved = load_network(folder)
    assert torch.equal(saved.module(INPUTS), result.module(INPUTS))
    assert same_kinds(saved.module, result.module)
    assert autogrow.load(folder).network(INPUTS).equal(result.module(INPUTS))


def same_kinds(first, second):
    return [(name, type(layer)) for name, layer in first.named_modules()] == [
        (name, type(layer)) for name, layer in second.named_modules()
    ]


def test_its_configuration_says_what_shape_it_has(deeper):
    result, folder = deeper
    config = json.loads((folder / "config.json").read_text())
    assert config["widths"] == result.shape.widths == result.events[-1].widths
    assert config["blocks"] == result.events[-1].blocks == {f"stages.{number}": 2 for number in range(3)}
    norms = {name: layer for name, layer in result.module.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert config["norm_eps"] == {name: norm.eps for name, norm in norms.items()}
    assert len({round(eps, 9) for eps in config["norm_eps"].values()}) > 1
    assert config["metrics"]["growth_ended_by"] == "everything is at its maximum"
    assert config["metrics"]["parameters"] == sum(parameter.numel() for parameter in result.module.parameters())


def test_an_interrupted_run_that_grows_deeper_goes_on(deeper, train, tmp_path, monkeypatch):
    monkeypatch.setattr(ending, "INTERRUPT_POLL_SECONDS", 0.0)
    whole, _ = deeper
    asked = iter([False] * 9 + [True])
    assert train(RESNET, DEEPER, tmp_path / "parts", interrupted=lambda: next(asked, False)) is None
    parts = train(RESNET, DEEPER, tmp_path / "parts")
    assert parts.shape == whole.shape
    assert torch.equal(parts.module(INPUTS), whole.module(INPUTS))
    assert torch.equal(autogrow.load(tmp_path / "parts").network(INPUTS), whole.module(INPUTS))


@pytest.mark.parametrize("key", ["blocks", "norm_eps"])
def test_what_older_files_do_not_say_is_as_the_model_has_it(key, train, tmp_path):
    result = train(MLP, WIDER, tmp_path / "network")
    path = tmp_path / "network" / "config.json"
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    assert torch.equal(autogrow.load(tmp_path / "network").network(INPUTS), result.module(INPUTS))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("widths", {"no such layer": 4}, "unknown channel group 'no such layer'"),
        ("blocks", {"no such stage": 4}, "no such stage"),
        ("blocks", {"stages.0": 0}, "restore it from a copy: blocks.stages.0 is 0: give a number of at least 1"),
        ("blocks", [3], r"blocks is \[3\]: .* valid dictionary"),
        ("blocks", {"stages.0": True}, "blocks.stages.0 is True: .* valid integer"),
        ("widths", {"conv1": "wide"}, "widths.conv1 is 'wide': .* valid integer"),
        ("widths", {"conv1": 2.5}, "widths.conv1 is 2.5: .* valid integer"),
        ("widths", {"conv1": 10**12}, "widths.conv1 is 1000000000000: give a number of at most 10000000"),
        ("input_shape", [1, 10**6, 10**6], r"input_shape is \[1, 1000000, 1000000\], more than 134217728 numbers"),
        ("input_shape", [], "input_shape is .*: .* at least 1 item"),
        ("num_outputs", 10**9, "num_outputs is 1000000000: give a whole number from 1 to"),
        ("model", {"name": "resnet", "options": {"depth": 10**6 + 4}}, "depth is 1000004, at most 1000000 is built"),
        ("model", {"name": "resnet", "options": {"depth": 60_002}}, "at most 1000, not 60002"),
        ("model", {"name": "mlp", "options": {"hidden": [90_000] * 3}}, "would have 16,2.* parameters .*, more than"),
        ("model", {"name": "resnet", "options": 3}, "model.options is 3: .* valid dictionary"),
        ("model", ["resnet"], r"model is \['resnet'\]: .* dictionary"),
        ("preprocessing", {"mean": [], "std": []}, "preprocessing.mean is .* at least 1 item"),
        ("preprocessing", {"mean": [0.0], "std": [0.0]}, "preprocessing.std.0 is 0.0: give a number above 0"),
        ("task", "sorting", "task 'sorting'.*multi_label"),
        ("widths", {"conv1": 3}, "the weights do not load"),
        ("norm_eps", {"bn1": "small"}, "norm_eps.bn1 is 'small': .* valid number"),
        ("norm_eps", {"no such norm": 1e-5}, "the network has no norm 'no such norm'"),
    ],
)
def test_a_shape_that_the_model_cannot_have(key, value, message, damaged):
    with pytest.raises(NetworkError, match=message):
        autogrow.load(damaged(key, value))


GATED = """
import torch
from torch import nn

class Gated(nn.Module):
    def __init__(self, half=12):
        super().__init__()
        self.half = half
        self.first, self.norm, self.last = nn.Linear(64, 2 * half), nn.BatchNorm1d(2 * half), nn.Linear(half, 10)

    def forward(self, x):
        values, gates = self.norm(self.first(x.flatten(1))).split(self.half, 1)
        return self.last(values * torch.sigmoid(gates))
"""


def test_a_users_network_whose_code_remembers_a_size(train, tmp_path, monkeypatch):
    """Only an experiment tells that the remembered size grows with the layer; loading must find the same."""
    (tmp_path / "gated_network.py").write_text(GATED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "gated_network", raising=False)
    wider = WIDER.model_copy(update={"max_fraction": 1.5})
    result = train(ModelSpec("gated_network:Gated").given_by_caller(), wider, tmp_path / "out")
    assert result.module.half == 18
    loaded = autogrow.load(tmp_path / "out", "gated_network:Gated")
    assert loaded.network.half == 18
    assert torch.equal(loaded.network(INPUTS), result.module(INPUTS))


def test_a_network_trained_within_limits(train, tmp_path):
    result = train(MLP, WIDER.within(SizeLimits(max_parameters=1000)), tmp_path / "network")
    assert sum(parameter.numel() for parameter in autogrow.load(tmp_path / "network").parameters()) <= 1000
    assert result.growth_ended_by.startswith("max_parameters 1,000: would be ")
    config = json.loads((tmp_path / "network" / "config.json").read_text())
    assert config["policy"]["limits"]["max_parameters"] == 1000
