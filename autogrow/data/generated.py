"""The datasets that need no files: digits (embedded in scikit-learn), sine, friedman, summation (computed), stdlib."""

import math

import numpy as np

from autogrow.data.arrays import DecodedArrays
from autogrow.data.catalogue import ENTRIES
from autogrow.data.sources import Source
from autogrow.data.splits import proportional_counts, shuffled_by_class, take_per_class
from autogrow.data.stable_random import uniform
from autogrow.data.text import find_text
from autogrow.data.text_names import STDLIB
from autogrow.reading.arrays import Array

_DIGITS_TEST_FRACTION = 0.2
_DIGITS_TEST_SEED = 20_240_901
_SINE_SEED = 20_240_902
_FRIEDMAN_SEED = 20_240_903
_SUMMATION_SEED = 20_240_905
_FRIEDMAN_MEAN, _FRIEDMAN_SCALE = 14.4, 5.0
"""About the mean and the standard deviation of Friedman's function with its noise: targets have unit scale."""


def find_generated(name: str) -> Source:
    """The source of ``digits``, ``sine``, ``friedman``, ``summation`` or ``stdlib``."""
    if name == STDLIB:
        return find_text(name)
    decoders = {
        "digits": _decode_digits,
        "sine": _decode_sine,
        "friedman": _decode_friedman,
        "summation": _decode_summation,
    }
    return Source(name, (), decoders[name])


def _decode_digits() -> DecodedArrays:
    from sklearn.datasets import load_digits  # imported here: it takes a second, and only the first run decodes

    bunch = load_digits()
    # The original grey levels are 0..16; spread over 0..255 like every other uint8 image. The map is one-to-one.
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, np.newaxis]
    labels = bunch.target.astype(np.int64)
    ordered = shuffled_by_class(labels, seed=_DIGITS_TEST_SEED)
    is_test = take_per_class(ordered, proportional_counts(ordered.counts, _DIGITS_TEST_FRACTION))
    train, test = np.sort(ordered.indices[~is_test]), np.sort(ordered.indices[is_test])
    return DecodedArrays(
        task="classification", x_train=images[train], y_train=labels[train], x_test=images[test], y_test=labels[test]
    )


def _decode_sine() -> DecodedArrays:
    entry = ENTRIES["sine"]
    limit = 2 * math.pi
    x_train = ((2 * uniform(entry.num_train, seed=_SINE_SEED) - 1) * limit).astype(np.float32)[:, np.newaxis]
    x_test = np.linspace(-limit, limit, entry.num_test).astype(np.float32)[:, np.newaxis]
    return DecodedArrays(
        task="regression", x_train=x_train, y_train=_sine(x_train), x_test=x_test, y_test=_sine(x_test)
    )


def _sine(x: Array) -> Array:
    # In float64, so that the float32 result does not depend on the host's vector instructions.
    return np.asarray(np.sin(x.astype(np.float64)), dtype=np.float32)


def _decode_friedman() -> DecodedArrays:
    """Friedman 1991 (Multivariate adaptive regression splines, The Annals of Statistics 19), equation 61.

    Ten features uniform in [0, 1), of which five matter, and noise of standard deviation 1 before scaling.
    """
    entry = ENTRIES["friedman"]
    number, (num_features,) = entry.num_train + entry.num_test, entry.input_shape
    x = uniform(number * num_features, seed=_FRIEDMAN_SEED).reshape(number, num_features)
    noise = _normal(number, seed=_FRIEDMAN_SEED + 1)
    y = 10 * np.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4] + noise
    inputs, targets = x.astype(np.float32), ((y - _FRIEDMAN_MEAN) / _FRIEDMAN_SCALE).astype(np.float32)[:, np.newaxis]
    train, test = slice(entry.num_train), slice(entry.num_train, None)
    return DecodedArrays(
        task="regression", x_train=inputs[train], y_train=targets[train], x_test=inputs[test], y_test=targets[test]
    )


def _decode_summation() -> DecodedArrays:
    """Two numbers uniform in [-1, 1), and their sum: Çallı 2017 (Optimizing Neural Networks for Mobile Devices), 2.7.1.

    One ReLU unit with a bias is enough: its input is never negative where the bias is 2.
    """
    entry = ENTRIES["summation"]
    number = entry.num_train + entry.num_test
    inputs = (2 * uniform(2 * number, seed=_SUMMATION_SEED) - 1).reshape(number, 2).astype(np.float32)
    sums = inputs.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    train, test = slice(entry.num_train), slice(entry.num_train, None)
    return DecodedArrays(
        task="regression", x_train=inputs[train], y_train=sums[train], x_test=inputs[test], y_test=sums[test]
    )


def _normal(size: int, *, seed: int) -> Array:
    """(size,) numbers of the standard normal distribution, by Box and Muller's transform."""
    first, second = uniform(2 * size, seed=seed).reshape(2, size)
    return np.asarray(np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * math.pi * second))
