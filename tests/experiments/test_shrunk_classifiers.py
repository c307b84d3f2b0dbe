"""One classifier shrunk by every score, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest

from autogrow.data.dataset import Dataset
from autogrow.errors import DataError
from autogrow.experiments.reproduction import REPRODUCTIONS
from autogrow.experiments.reproduction.base import Request
from autogrow.experiments.reproduction.shrinking import classifiers
from autogrow.experiments.reproduction.shrinking.classifiers import (
    BUILT_IN,
    found_in_words,
    scores_table,
    sizes_table,
    wanted_scores,
)
from autogrow.experiments.reproduction.shrinking.shrunk_classifier import (
    SHARES,
    Lengths,
    ShrunkClassifier,
    Size,
    TrainedClassifier,
)
from autogrow.models.building import ModelSpec, build_model
from autogrow.policy.recovery import Recovery
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import Magnitude, Random
from autogrow.training.training_data import TrainingData

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINING = TrainingSettings(steps=4, batch_size=20, optimizer="rmsprop", sample_every=1000, sample_size=20)
LENGTHS = Lengths(TRAINING, Recovery(epochs=1), calibration_examples=20)
MODEL = ModelSpec("convnet", {"channels": (8, 8), "kernel_size": 3, "hidden": 16})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    random = np.random.default_rng(0)
    images, classes = random.integers(0, 255, (90, 8, 8), dtype=np.uint8), np.arange(90) % 3
    return Dataset.from_arrays(images, classes, images[:9], classes[:9], data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture
def trained(dataset, monkeypatch):
    # Times are another test's: here every network takes as many milliseconds as it has parameters.
    monkeypatch.setattr(
        "autogrow.experiments.reproduction.shrinking.shrunk_classifier.paired_milliseconds",
        lambda modules, inputs: [float(sum(each.numel() for each in module.parameters())) for module in modules],
    )
    return TrainedClassifier(MODEL, dataset, TrainingData.of(dataset, *dataset.split(seed=0)), LENGTHS, 0)


@pytest.mark.slow
def test_sizes_come_one_after_the_other_from_the_same_weights(trained):
    untouched, *trained_on = trained.shrunk(None).sizes
    assert len(trained_on) == len(SHARES) and {size.units for size in trained_on} == {untouched.units}
    assert trained_on[-1].validation_loss != untouched.validation_loss
    for score in (Magnitude(), Random()):
        sizes = trained.shrunk(score).sizes
        assert [size.flops <= share * untouched.flops for size, share in zip(sizes, SHARES, strict=True)] == [True] * 3
        assert [size.flops > 0.6 * share * untouched.flops for size, share in zip(sizes, SHARES, strict=True)]
        units = [sum(size.units) for size in sizes]
        assert sum(untouched.units) > units[0] > units[1] > units[2]
        assert all(size.milliseconds == size.parameters for size in sizes)
        assert {size.milliseconds_untouched for size in sizes} == {float(untouched.parameters)}
        assert [size.bytes for size in sizes] == [4 * size.parameters for size in sizes]
    assert trained.shrunk(Magnitude()) == trained.shrunk(Magnitude())


def test_all_scores_are_asked_with_chance_last():
    scores = wanted_scores()
    assert list(scores) == ["untouched", *BUILT_IN] and list(scores)[-1] == "random"
    assert all(score.kind == name for name, score in scores.items() if score is not None)


def sized(*scores):
    return ShrunkClassifier(
        tuple(
            Size((8, 4), 0.2, score, 1.0, 100, 2000.0 / place, 400, 5.0, 10.0) for place, score in enumerate(scores, 1)
        )
    )


RUNS = {
    "untouched": [sized(0.85, 0.9, 0.9, 0.9) for _ in range(3)],
    "fisher": [sized(0.9, 0.8, 0.7), sized(0.9, 0.82, 0.5), sized(0.92, 0.81, 0.9)],
    "taylor": [sized(0.7, 0.5), sized(0.72, 0.5), sized(0.69, 0.5)],
    "random": [sized(0.8, 0.6, 0.6), sized(0.8, 0.6, 0.7), sized(0.8, 0.62, 0.65)],
}


def test_tables_have_every_score_at_every_size():
    rows = {row[0]: row[1:] for row in scores_table(RUNS).rows}
    assert rows["untouched"][0] == "0.9000 (0.0000)"
    assert rows["fisher"][0] == "0.9067 (0.0067)" and rows["fisher"][3] == "+0.1067 (0.0067)"
    assert rows["taylor"][2] == "–" and rows["random"][3:] == ("–", "–", "–")
    assert "At first 0.8500" in scores_table(RUNS).note
    taken = sizes_table(RUNS).rows
    assert [row[:2] for row in taken] == [
        ("untouched", "1"),
        *(("fisher", size) for size in ("1/2", "1/4", "1/8")),
        *(("taylor", size) for size in ("1/2", "1/4")),
        *(("random", size) for size in ("1/2", "1/4", "1/8")),
    ]
    assert taken[1][2:] == ("0.2000 (0.0000)", "8, 4", "2.00k", "5.00", "0.50", "400")


def test_words_name_what_is_ahead_of_chance_by_two_standard_errors():
    assert found_in_words(RUNS) == (
        "More than two standard errors ahead of chance: fisher (1/2, 1/4). Behind it: taylor (1/2, 1/4)."
    )
    assert found_in_words({name: runs[:2] for name, runs in RUNS.items()}).startswith("2 seeds: too few")


def test_the_networks_are_the_tables_of_the_thesis():
    mnist, cifar = REPRODUCTIONS["mnist-classifier"], REPRODUCTIONS["cifar10-classifier"]
    settings = mnist.lengths.training
    assert (settings.optimizer, settings.learning_rate, settings.batch_size) == ("rmsprop", 1e-4, 50)
    widths = [
        layer.weight.shape[0] for layer in build_model(mnist.model, (1, 28, 28), 10, 0) if hasattr(layer, "weight")
    ]
    assert widths == [32, 64, 128, 10]
    model = build_model(cifar.model, (3, 32, 32), 10, 0)
    assert [layer.weight.shape for layer in model if layer.__class__.__name__ == "Linear"] == [
        (384, 2304), (192, 384), (10, 192),
    ]  # fmt: skip
    assert cifar.lengths.training.brightness == pytest.approx(63 / 255)
    assert cifar.lengths.training.contrast == pytest.approx(0.8)


def test_coarse_classes_stand_in_where_cifar10_is_not_there(monkeypatch, data_dir):
    there = {"cifar100-coarse": "coarse"}

    def open_dataset(name, data_dir):
        if name not in there:
            raise DataError(f"dataset {name!r} is not in {data_dir}")
        return there[name]

    monkeypatch.setattr("autogrow.experiments.reproduction.base.open_dataset", open_dataset)
    reproduction = REPRODUCTIONS["cifar10-classifier"]
    (needed,) = reproduction.needed_data("cpu")
    assert reproduction.open(needed, data_dir) == "coarse"
    there["cifar10"] = "ten"
    assert reproduction.open(needed, data_dir) == "ten"
    there.clear()
    with pytest.raises(DataError, match="'cifar10' is not in"):
        reproduction.open(needed, data_dir)
    with pytest.raises(DataError, match="'mnist' is not in"):
        REPRODUCTIONS["mnist-classifier"].open("mnist", data_dir)


@pytest.mark.slow
def test_it_goes_on_where_it_was_and_writes(dataset, data_dir, tmp_path, monkeypatch):
    small = replace(REPRODUCTIONS["mnist-classifier"], quick_model=MODEL, quick_size=None)
    monkeypatch.setattr(classifiers.ClassifierExperiment, "open", lambda *arguments: dataset)
    asked = iter([False] * 3 + [True])
    request = Request(1, tmp_path / "out", quick=True, data_dir=data_dir, interrupted=lambda: next(asked))
    assert small.run(request) is None
    kept = {path: path.read_text() for path in (tmp_path / "out" / "runs").iterdir()}
    assert len(kept) == 3
    report = small.run(replace(request, interrupted=None))
    assert report.succeeded and all(path.read_text() == text for path, text in kept.items())
    text = (tmp_path / "out" / "table.md").read_text()
    assert text.count("\n| ") == 2 + 11 + 2 + 1 + 30
    assert "3 classes" in text
