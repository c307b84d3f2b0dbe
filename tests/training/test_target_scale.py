"""A regression trains on standardized targets: a unit changes losses alone, not what is learned or when it grows."""

import functools

import numpy as np
import pytest
import torch

from autogrow.data.preprocessing import measure_normalization, standardize
from autogrow.data.splits import TrainSplit, ValidationSplit
from autogrow.models.building import ModelSpec, build_model
from autogrow.network.expandable import ExpandableNetwork
from autogrow.policy.records import Sample
from autogrow.training.batches import DeviceExamples
from autogrow.training.example_input import example_input
from autogrow.training.trainer import Trainer
from autogrow.training.training_data import TrainingData
from tests.tasks.metrics import metrics_of
from tests.training.runs import policy, settings

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(3)
INPUTS = RANDOM.normal(size=(144, 3)).astype(np.float32)
TARGETS = (INPUTS @ [[1.0, 0.5], [-1.0, 0.0], [0.3, 2.0]]).astype(np.float64)
PLATEAU = {"kind": "plateau", "window": 1, "patience": 2, "cooldown": 0, "min_delta": 0.05, "max_wait": None}


class Data:
    """Stands for a data set: what `TrainingData.of` asks it."""

    task, augmentation = "regression", "none"

    def __init__(self, num_outputs):
        self.num_outputs = num_outputs


def data(targets, **options):
    train = TrainSplit(INPUTS[:96], targets[:96], np.arange(96))
    held_out = ValidationSplit(INPUTS[96:], targets[96:], np.arange(96, 144))
    return TrainingData.of(Data(targets.shape[1]), train, held_out, **options)


@functools.cache
def trained_as_they_are(width):
    """A run on the first targets, which others are compared with."""
    return trained(TARGETS[:, :width])


def trained(targets, epochs=8, **options):
    model = build_model(ModelSpec("mlp", {"hidden": (16,), "batch_norm": False}), (3,), targets.shape[1], 0)
    network = ExpandableNetwork(model, example_input((3,), CPU), verify=False)
    how = settings(epochs=epochs, learning_rate=0.02, sample_size=48)
    run = Trainer(network, data(targets, **options), policy(trigger=PLATEAU), how, seed=0, device=CPU)
    return run, run.run()


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "shift"), [(1e-4, 0.0), (1e5, 3e5), (1e-9, 1.0), (1.0, 1e8), (-3.0, 0.0)])
def test_the_unit_of_a_target_changes_nothing_but_the_loss(scale, shift):
    (plain, plain_outcome), (other, outcome) = trained_as_they_are(1), trained(TARGETS[:, :1] * scale + shift)
    assert plain_outcome.validation.score > 0.8
    if scale < 0:  # another starting point: as good an end
        assert outcome.validation.score > 0.8
        return
    assert [event.step for event in other.events] == [event.step for event in plain.events] != []
    for found, expected in zip(other.samples, plain.samples, strict=True):
        assert found.train_score == pytest.approx(expected.train_score, abs=1e-4)
        assert found.train_loss == pytest.approx(expected.train_loss * scale**2, rel=1e-3)
        assert found.watched("train_loss") == pytest.approx(expected.watched("train_loss"), rel=1e-3)
    assert outcome.validation.loss == pytest.approx(plain_outcome.validation.loss * scale**2, rel=1e-3)


def test_targets_in_different_units_count_alike():
    (_, plain), (_, mixed) = trained_as_they_are(2), trained(TARGETS * [1e-3, 1e4])
    assert mixed.validation.score == pytest.approx(plain.validation.score, abs=1e-4)
    assert mixed.validation.loss > 1e6 * plain.validation.loss


def test_the_scale_is_measured_on_the_training_split_alone():
    targets = TARGETS.copy()
    before = data(targets).target_scale
    targets[96:] += 1000
    assert data(targets).target_scale == before
    assert before.mean == pytest.approx(TARGETS[:96].mean(0)) and before.std == pytest.approx(TARGETS[:96].std(0))


def test_a_constant_target_divides_nothing_by_zero():
    found = data(np.full((144, 1), 7.3)).target_scale
    assert found.std == (1.0,) and found.mean == pytest.approx((7.3,))


def test_the_loss_is_that_of_the_outputs_in_the_users_unit():
    run, outcome = trained(TARGETS * [10.0, 0.1] + 5, epochs=1)
    scale = run.metrics.data.target_scale
    inputs = standardize(INPUTS[96:], run.metrics.data.normalization)
    with torch.no_grad():
        outputs = run.model.eval()(torch.from_numpy(inputs)).double().numpy() * scale.std + scale.mean
    expected = np.square(outputs - (TARGETS[96:] * [10.0, 0.1] + 5)).mean()
    assert outcome.validation.loss == pytest.approx(expected, rel=1e-4)
    assert outcome.validation.standardized_loss != pytest.approx(expected, rel=0.5)


def test_targets_are_taken_as_they_are_where_that_is_asked_for():
    run, outcome = trained(TARGETS * 3 + 1, epochs=1, standardizes_targets=False)
    assert run.metrics.data.target_scale is None and outcome.validation.standardized_loss is None
    assert torch.equal(run.metrics.train.targets, torch.from_numpy((TARGETS[:96] * 3 + 1).astype(np.float32)))
    assert run.samples[0].watched("train_loss") == run.samples[0].train_loss
    assert "standardized_train_loss" not in run.samples[0].to_dict()


def test_a_record_keeps_what_policies_watch():
    sample = trained_as_they_are(2)[0].samples[-1]
    assert sample.standardized_train_loss is not None and Sample.from_dict(sample.to_dict()) == sample


def test_wide_inputs_are_standardized_before_they_are_narrowed():
    inputs = 1.7e9 + INPUTS.astype(np.float64)
    split = TrainSplit(inputs, TARGETS, np.arange(144))
    examples = DeviceExamples(split, measure_normalization(split), CPU)
    seen, targets = examples.batch(torch.arange(144))
    expected = (INPUTS - INPUTS.mean(0)) / INPUTS.std(0)
    assert seen.dtype == torch.float32 and np.abs(seen.numpy() - expected).max() < 1e-5
    assert targets.dtype == torch.float32


def test_r_squared_takes_the_outputs_as_trained():
    targets = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    metrics = metrics_of("regression", torch.full((4,), 2.5), targets, (10.0,))  # (N,) for (N, 1)
    assert metrics.score == pytest.approx(0.0)
    assert (metrics.loss, metrics.standardized_loss) == (pytest.approx(125.0), pytest.approx(1.25))
