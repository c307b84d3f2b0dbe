"""The two datasets that need no files: digits (embedded in scikit-learn) and sine (computed)."""

import math

import numpy as np

from autogrow.data.arrays import Array, DecodedArrays
from autogrow.data.catalogue import ENTRIES
from autogrow.data.sources import Source
from autogrow.data.splits import proportional_counts, shuffled_by_class, take_per_class
from autogrow.data.stable_random import uniform

_DIGITS_TEST_FRACTION = 0.2
_DIGITS_TEST_SEED = 20_240_901
_SINE_SEED = 20_240_902


def find_generated(name: str) -> Source:
    """The source of ``digits`` or ``sine``."""
    return Source(name, (), {"digits": _decode_digits, "sine": _decode_sine}[name])


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
