import math

import numpy as np
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


def test_the_built_in_datasets_are_the_same_on_every_host(data_dir):
    assert open_dataset("digits", data_dir).fingerprint == "91645a7b515e3e25"
    assert open_dataset("sine", data_dir).fingerprint == "5cababa78dbfff44"
