"""Every built-in network loses units by every score and under every compensation, to the size that was asked for."""

from dataclasses import dataclass

import pytest
import torch

from autogrow.data import open_dataset
from autogrow.errors import NetworkError
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.recovery import Recovery
from autogrow.policy.shrink_records import Target
from autogrow.policy.shrinking import Shrinking
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import UNIT_SCORES
from autogrow.training.example_input import example_of
from autogrow.training.shrinking import Shrinker
from autogrow.training.training_data import TrainingData

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
MODELS = {
    "mlp": (ModelSpec("mlp", {"hidden": [8, 8]}), "digits", None),
    "mlp of a regression": (ModelSpec("mlp", {"hidden": [8, 8], "batch_norm": False}), "friedman", None),
    "convnet": (ModelSpec("convnet", {"channels": (6, 8), "hidden": 12}), "digits", None),
    "resnet": (ModelSpec("resnet", {"depth": 14, "width": 4}), "digits", None),
    "resnet18": (ModelSpec("resnet18", {"width": 4}), "digits", None),
    "autoencoder": (ModelSpec("autoencoder", {}), "digits", "reconstruction"),
    "gpt": (ModelSpec("gpt", {"layers": 2, "width": 16, "heads": 2}), "text", None),
    "gpt with tied weights": (
        ModelSpec("gpt", {"layers": 2, "width": 16, "heads": 2, "tied": True, "norm": "rms"}), "text", None
    ),
}  # fmt: skip
COMPENSATIONS = ("none", "constants", "least_squares")
SHARE = 0.75


@dataclass
class Prepared:
    network: ExpandableNetwork
    data: TrainingData


@pytest.fixture(scope="module")
def prepared(data_dir, tmp_path_factory):
    """Each network once, with a few examples of its data."""
    made = {}
    text = tmp_path_factory.mktemp("text") / "fox.txt"
    text.write_text("The quick brown fox jumps over the lazy dog. " * 60)

    def prepare(name):
        if name not in made:
            spec, data, task = MODELS[name]
            dataset = open_dataset(f"{text}?context=16" if data == "text" else data, data_dir, task=task)
            module = build_model(spec, dataset.input_shape, dataset.num_outputs, seed=0)
            network = ExpandableNetwork(module, example_of(dataset, torch.device("cpu")))
            train, validation = dataset.split(seed=0, train_size=None if data == "text" else 64)
            made[name] = Prepared(network, TrainingData.of(dataset, train, validation))
        return made[name]

    return prepare


@pytest.fixture
def shrunk(prepared, monkeypatch):
    """The step from a network of that name to a smaller one, without training; times are not measured."""
    monkeypatch.setattr(Shrinker, "latencies", lambda shrinker: ())

    def shrink(name, **shrinking):
        made = prepared(name)
        shrinker = Shrinker(
            made.network.twin(),
            made.data,
            Shrinking(recovery=Recovery(epochs=0), calibration_examples=16, **shrinking),
            TrainingSettings(),
            device=torch.device("cpu"),
        )
        before = shrinker.before()
        return before, shrinker.step("step", Target("flops", SHARE * before.footprint.flops)), shrinker.network

    return shrink


def check(before, after, network):
    assert after.footprint.flops <= SHARE * before.footprint.flops
    assert after.footprint.parameters == sum(parameter.numel() for parameter in network.module.parameters())
    assert all(0 < after.widths[name] == before.widths[name] - lost for name, lost in after.removed_units.items())
    assert torch.isfinite(torch.tensor([after.score, after.loss])).all()
    assert all(parameter.is_leaf for parameter in network.module.parameters())


@pytest.mark.parametrize("score", sorted(UNIT_SCORES))
@pytest.mark.parametrize("name", MODELS)
def test_by_every_score(name, score, shrunk):
    check(*shrunk(name, score=score))


@pytest.mark.parametrize("compensation", COMPENSATIONS)
@pytest.mark.parametrize("name", MODELS)
def test_under_every_compensation(name, compensation, shrunk):
    check(*shrunk(name, score="magnitude", compensation=compensation))


class Recurrent(torch.nn.Module):
    """Reads the rows of an image; what is between its gates no pass shows."""

    def __init__(self):
        super().__init__()
        self.rows, self.last = torch.nn.LSTM(8, 6, batch_first=True), torch.nn.Linear(6, 10)

    def forward(self, images):
        return self.last(self.rows(images.squeeze(1))[0][:, -1])


@pytest.fixture
def recurrent(data_dir, monkeypatch):
    monkeypatch.setattr(Shrinker, "latencies", lambda shrinker: ())
    dataset = open_dataset("digits", data_dir)
    data = TrainingData.of(dataset, *dataset.split(seed=0, train_size=64))

    def shrinker(score):
        torch.manual_seed(0)
        network = ExpandableNetwork(Recurrent(), example_of(dataset, torch.device("cpu")))
        shrinking = Shrinking(score=score, recovery=Recovery(epochs=0), calibration_examples=16)
        return Shrinker(network, data, shrinking, TrainingSettings(), device=torch.device("cpu"))

    return shrinker


def test_what_has_no_score_is_named(recurrent):
    by_activity = recurrent("activation_std")
    target = Target("parameters", 0.5 * by_activity.footprint().parameters)
    named = r"no score by activation_std, so all units stay \('magnitude' may have one\): rows"
    with pytest.raises(NetworkError, match=named):
        by_activity.check_reachable(target)
    step = by_activity.step("nothing to do", Target("parameters", 1e9))
    assert [note for note in step.notes if note.startswith("no score by activation_std")]
    by_weights = recurrent("magnitude").step("step", target)
    assert by_weights.removed_units["rows"] > 0 and not by_weights.notes
