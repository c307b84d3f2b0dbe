"""What a user's numbers become: nothing that a network could see is lost on the way, or a line says so."""

import numpy as np
import pytest

from autogrow.data import measure_normalization, open_dataset
from autogrow.data.splits import TrainSplit
from autogrow.errors import DataError

RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=(60, 1))
LABELS = np.arange(60) % 3


def opened(folder, inputs, targets=LABELS):
    path = folder / "mine.npz"
    np.savez(path, x_train=inputs, y_train=targets)
    return open_dataset(str(path))


@pytest.mark.parametrize(
    ("inputs", "kept"),
    [
        (SIGNAL, np.float32),
        (SIGNAL.astype(np.float16), np.float32),
        (SIGNAL > 0, np.float32),
        ((SIGNAL * 1e4 + 3e4).clip(0).astype(np.uint16), np.float32),
        (SIGNAL * 1e12, np.float32),
        (1.7e9 + SIGNAL, np.float64),  # seconds since 1970
        ((1.7e9 + 1000 * SIGNAL).astype(np.int64), np.float64),
        (2005 + np.round(5 * SIGNAL), np.float64),  # years: every one is exact in 32 bits, their mean's difference not
        (SIGNAL * 1e-40, np.float64),
        (np.full((60, 1), 1e9), np.float32),
    ],
)
def test_numbers_are_kept_as_wide_as_their_spread_needs(inputs, kept, tmp_path):
    stored = opened(tmp_path, inputs).training_arrays()[0]
    assert stored.dtype == kept
    signal = np.asarray(inputs, dtype=np.float64)
    spread = signal.std() or 1.0
    assert np.abs(stored.astype(np.float64) - signal).max() / spread < 2e-5


def test_targets_are_kept_alike(tmp_path):
    assert opened(tmp_path, SIGNAL, SIGNAL[:, 0] * 1e5 + 3e5).training_arrays()[1].dtype == np.float32
    stored = opened(tmp_path, SIGNAL, SIGNAL[:, 0] + 1e9).training_arrays()[1]
    assert stored.dtype == np.float64 and np.array_equal(stored[:, 0], SIGNAL[:, 0] + 1e9)


def test_numbers_that_64_bits_cannot_tell_apart_are_refused(tmp_path):
    nanoseconds = np.int64(1_700_000_000_000_000_000) + (np.arange(60) % 50)
    with pytest.raises(DataError, match="x_train holds 1700000000000000000 to .* subtract an offset"):
        opened(tmp_path, nanoseconds[:, None])
    far_apart = np.int64(1_700_000_000_000_000_000) + np.arange(60)[:, None] * 10**15
    assert opened(tmp_path, far_apart).training_arrays()[0].shape == (60, 1)


def test_columns_that_never_vary_are_said(tmp_path):
    inputs = np.column_stack([SIGNAL, np.ones(60), np.full(60, 1e9)])
    assert "2 of 3 features never vary" in opened(tmp_path, inputs).describe()
    assert "never" not in opened(tmp_path, SIGNAL).describe()


def test_the_normalization_of_wide_numbers(tmp_path):
    inputs = opened(tmp_path, 1.7e9 + SIGNAL).training_arrays()[0]
    found = measure_normalization(TrainSplit(np.asarray(inputs), LABELS, np.arange(60)))
    assert found.std == pytest.approx((float(SIGNAL.std()),), rel=1e-6)
