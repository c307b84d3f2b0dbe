"""Channels of an autoencoder that go in cycles, and what is said of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autogrow.data.dataset import Dataset
from autogrow.errors import TrainingDivergedError
from autogrow.experiments.reproduction.shrinking import pruned_autoencoder
from autogrow.experiments.reproduction.shrinking.autoencoder import FULL, THEORY, channels_table, conditions
from autogrow.experiments.reproduction.shrinking.pruned_autoencoder import (
    AutoencoderRun,
    Cycle,
    Lengths,
    PrunedAutoencoder,
    Pruning,
)
from autogrow.policy.training_settings import TrainingSettings
from autogrow.policy.unit_scores import ActivationCount, Magnitude
from autogrow.training.training_data import TrainingData

pytestmark = pytest.mark.usefixtures("one_thread")
TRAINING = TrainingSettings(batch_size=20, sample_every=1000, sample_size=20)
LENGTHS = Lengths(cycles=2, last=1, calibration_examples=20)
SMALL = (6, 8, 4)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    images = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    return Dataset.from_arrays(images, task="reconstruction", data_dir=tmp_path_factory.mktemp("data"))


@pytest.fixture
def run_of(dataset):
    data = TrainingData.of(dataset, *dataset.split(seed=0))

    def make(pruning, seed=0):
        return AutoencoderRun(pruning, dataset, data, TRAINING, LENGTHS, seed)

    return make


def silence(run, layer, channels):
    """Give channels a norm whose outputs are far below zero, so that ReLU lets nothing of them through."""
    with torch.no_grad():
        run._network.module.get_submodule(layer).bias[channels] = -50.0


@pytest.mark.slow
def test_channels_that_are_never_active_go_and_no_others(run_of):
    run = run_of(Pruning(SMALL, ActivationCount()))
    silence(run, "encoder.1", [1, 4])
    silence(run, "decoder.1", [0])
    found = run.run()
    assert [cycle.units for cycle in found.cycles] == [SMALL, (4, 8, 3)]
    assert found.units == (4, 8, 3) and 0 < found.validation_loss < 10


@pytest.mark.slow
def test_a_layer_keeps_a_channel_where_none_is_active(run_of):
    run = run_of(Pruning(SMALL, ActivationCount()))
    silence(run, "encoder.4", list(range(8)))
    assert run.run().units[1] == 1


@pytest.mark.slow
def test_a_size_is_come_to_at_the_ends_of_all_cycles(run_of):
    small = run_of(Pruning((2, 3, 2))).run()
    found = run_of(Pruning(SMALL, Magnitude(), final_channels=(2, 3, 2))).run()
    full, half_way, end = (sum(units) for units in (*(cycle.units for cycle in found.cycles), found.units))
    assert full > half_way > end
    assert 0.5 * small.flops < found.flops <= small.flops


@pytest.mark.slow
def test_weights_are_distorted_before_every_cycle_otherwise(run_of, monkeypatch):
    moved = []
    real = pruned_autoencoder.Shrinker.recover

    def recover(shrinker, recovery, *more):
        moved.append((shrinker._seed, recovery.distortion, recovery.activation_penalty))
        return real(shrinker, recovery, *more)

    monkeypatch.setattr(pruned_autoencoder.Shrinker, "recover", recover)
    run_of(Pruning(SMALL, distortion=0.5, activation_penalty=0.1)).run()
    assert [kind for _, *kind in moved] == [[0.5, 0.1], [0.5, 0.1], [0.0, 0.0]]
    assert len({seed for seed, *_ in moved}) == 3


@pytest.mark.slow
def test_a_training_that_diverges_is_kept_without_a_loss(run_of, monkeypatch):
    def fails(*arguments):
        raise TrainingDivergedError("train loss is nan")

    monkeypatch.setattr(pruned_autoencoder.Shrinker, "recover", fails)
    found = run_of(Pruning(SMALL, ActivationCount())).run()
    assert found.units == SMALL and found.validation_loss is None and found.cycles == ()


@pytest.mark.slow
def test_a_run_is_a_function_of_its_seed(run_of):
    pruning = Pruning(SMALL, Magnitude(), final_channels=(2, 3, 2), distortion=0.5)
    first, again, other = (run_of(pruning, seed).run() for seed in (3, 3, 4))
    assert first == again != other


def test_conditions_are_the_five_ways_of_the_thesis_and_what_a_sceptic_asks():
    found = {name: each.pruning for name, each in conditions().items()}
    assert found["untouched"] == Pruning(FULL)
    assert found["activation"] == replace(found["distortion"], distortion=0.0)
    assert found["together"].distortion == 1 and found["together"].activation_penalty > 0
    assert found["together"].score == found["outliers"].score != found["activation"].score
    assert found["random"] == replace(found["fisher"], score=found["random"].score)
    assert found["theory"] == Pruning(THEORY)


def made(units, loss):
    return PrunedAutoencoder(units, loss, None if loss is None else 1 - loss, 100, 2000.0, (Cycle(FULL, loss),))


def test_the_table_has_means_errors_and_differences_by_seed():
    wanted = {name: conditions()[name] for name in ("untouched", "activation", "distortion")}
    runs = {
        "untouched": [made(FULL, 0.1), made(FULL, 0.3)],
        "activation": [made((30, 64, 31), 0.2), made((31, 64, 31), 0.4)],
        "distortion": [made((10, 20, 30), None), made((10, 20, 30), 0.5)],
    }
    rows = channels_table(wanted, runs).rows
    assert rows[0][:4] == ("untouched", "32, 64, 32", "0.2000 (0.1000)", "–")
    assert rows[1][1:4] == ("30.5, 64, 31", "0.3000 (0.1000)", "+0.1000 (0.0000)")
    assert rows[2][2:4] == ("0.5000 of 1", "+0.2000")
    assert rows[1][-1] == "16, 64, 22"
