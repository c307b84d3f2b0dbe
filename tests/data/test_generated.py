import math

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_digits

from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split


def test_digits_are_those_of_scikit_learn(data_dir):
    dataset = open_dataset("digits", data_dir)
    test = open_test_split(dataset)
    images = np.concatenate([dataset.training_arrays()[0], test.inputs])
    labels = np.concatenate([dataset.training_arrays()[1], test.targets])
    assert images.dtype == np.uint8
    assert images.max() == 255
    found = sorted((label, *(image.ravel() / 255 * 16).round()) for image, label in zip(images, labels, strict=True))
    official = load_digits()
    assert found == sorted((label, *row) for row, label in zip(official.data, official.target, strict=True))


def test_the_test_split_of_digits_is_stratified(data_dir):
    dataset = open_dataset("digits", data_dir)
    counts = np.bincount(load_digits().target)
    test_counts = np.bincount(open_test_split(dataset).targets)
    assert test_counts.sum() == 359
    assert np.abs(test_counts - counts * 0.2).max() < 1


def test_sine_is_sin_on_two_periods(data_dir):
    dataset = open_dataset("sine", data_dir)
    inputs, targets = dataset.training_arrays()
    assert np.allclose(targets, np.sin(inputs), atol=1e-6)
    assert -2 * math.pi <= inputs.min() < -6
    assert 6 < inputs.max() <= 2 * math.pi
    test = open_test_split(dataset)
    assert np.allclose(np.diff(test.inputs, axis=0), 4 * math.pi / 999, atol=1e-5)
    assert np.allclose(test.targets, np.sin(test.inputs), atol=1e-6)


def test_sine_inputs_are_uniform(data_dir):
    inputs, _ = open_dataset("sine", data_dir).training_arrays()
    histogram, _ = np.histogram(inputs, bins=10, range=(-2 * math.pi, 2 * math.pi))
    assert np.abs(histogram - 200).max() < 60  # 4.5 standard deviations


def test_friedman_is_the_function_of_scikit_learn_with_unit_noise(data_dir):
    dataset = open_dataset("friedman", data_dir)
    test = open_test_split(dataset)
    inputs = np.concatenate([dataset.training_arrays()[0], test.inputs]).astype(np.float64)
    targets = np.concatenate([dataset.training_arrays()[1], test.targets])[:, 0]
    function = (
        10 * np.sin(math.pi * inputs[:, 0] * inputs[:, 1])
        + 20 * (inputs[:, 2] - 0.5) ** 2
        + 10 * inputs[:, 3]
        + 5 * inputs[:, 4]
    )
    noise = targets * 5 + 14.4 - function
    assert abs(noise.mean()) < 4.5 / 6000**0.5
    assert abs(noise.std() - 1) < 0.05
    assert stats.kstest(noise, "norm").pvalue > 0.001
    assert abs(targets.mean()) < 0.1 and abs(targets.std() - 1) < 0.1
    assert 0 <= inputs.min() < 0.001 and 0.999 < inputs.max() <= 1


@pytest.mark.slow
def test_summation_is_a_sum_of_uniform_numbers_and_leaves_a_million_to_train_on(data_dir):
    dataset = open_dataset("summation", data_dir)
    test = open_test_split(dataset)
    inputs, targets = dataset.training_arrays()
    for x, y in ((inputs, targets), (test.inputs, test.targets)):
        assert np.array_equal(y[:, 0], (x[:, 0].astype(np.float64) + x[:, 1]).astype(np.float32))
        for column in x.T:
            assert stats.kstest(column[::50], "uniform", (-1, 2)).pvalue > 0.001
        assert abs(np.corrcoef(x.T)[0, 1]) < 4.5 / len(x) ** 0.5
    assert len(np.intersect1d(inputs.view(np.int64), test.inputs.view(np.int64))) == 0
    assert round(0.9 * dataset.num_train) == 1_000_000


def test_the_built_in_datasets_are_the_same_on_every_host(data_dir):
    assert open_dataset("digits", data_dir).fingerprint == "91645a7b515e3e25"
    assert open_dataset("sine", data_dir).fingerprint == "5cababa78dbfff44"
    assert open_dataset("friedman", data_dir).fingerprint == "5bbe80175e1369bf"
    assert open_dataset("summation", data_dir).fingerprint == "ac69314628794330"
