import json

import numpy as np
import pytest

from autogrow.data import Normalization, TrainSplit, measure_normalization
from autogrow.errors import DataError


def split_of(inputs):
    return TrainSplit(inputs, np.zeros(len(inputs), dtype=np.int64), np.arange(len(inputs)))


def test_features_are_measured_one_by_one():
    inputs = np.array([[1, 10], [3, 30]], dtype=np.float32)
    assert measure_normalization(split_of(inputs)) == Normalization(mean=(2.0, 20.0), std=(1.0, 10.0))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_measured_by_channel_and_uint8_in_the_unit_interval(dtype):
    images = np.random.default_rng(0).integers(0, 256, (700, 3, 4, 5)).astype(dtype)
    scaled = images / 255 if dtype == np.uint8 else images.astype(np.float64)
    found = measure_normalization(split_of(images))
    assert np.allclose(found.mean, scaled.mean(axis=(0, 2, 3)))
    assert np.allclose(found.std, scaled.std(axis=(0, 2, 3)))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
def test_a_constant_feature_gets_std_1(value):
    inputs = np.full((3000, 1), value, dtype=np.float32)
    found = measure_normalization(split_of(inputs))
    assert found.std == (1.0,)
    assert found.mean == pytest.approx((float(np.float32(value)),))


def test_a_small_but_real_spread_is_kept():
    inputs = np.array([[1e-6], [3e-6]], dtype=np.float32)
    assert measure_normalization(split_of(inputs)).std == pytest.approx((1e-6,))


def test_at_most_10_000_evenly_spaced_examples_are_read():
    inputs = np.full((19_999, 1), np.nan, dtype=np.float32)
    inputs[::2] = np.linspace(-1, 1, 10_000, dtype=np.float32)[:, None]
    assert measure_normalization(split_of(inputs)).mean == pytest.approx((0.0,), abs=1e-6)


def test_a_record_survives_json():
    normalization = Normalization(mean=(0.1, 1 / 3), std=(0.2, 7.0))
    assert Normalization.from_dict(json.loads(json.dumps(normalization.to_dict()))) == normalization


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"mean": [0.0]},
        {"mean": 0.0, "std": 1.0},
        {"mean": ["x"], "std": [1.0]},
        {"mean": [], "std": []},
        {"mean": [0.0], "std": [1.0, 1.0]},
        {"mean": [0.0], "std": [0.0]},
        {"mean": [float("nan")], "std": [1.0]},
        {"mean": [0.0], "std": [float("inf")]},
    ],
)
def test_a_record_of_another_form_is_refused(record):
    with pytest.raises(DataError, match="normalization"):
        Normalization.from_dict(record)
