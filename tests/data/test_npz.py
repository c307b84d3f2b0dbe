import io
import zipfile

import numpy as np
import pytest

from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError

FEATURES = np.arange(12, dtype=np.float64).reshape(6, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2])
VALUES = np.linspace(0, 1, 6)


def save(folder, **arrays):
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def opened(folder, **arrays):
    return open_dataset(save(folder, **arrays))


def test_integer_labels_mean_classification(tmp_path):
    dataset = opened(tmp_path, x_train=FEATURES, y_train=LABELS.astype(np.uint16)[:, None])
    inputs, targets = dataset.training_arrays()
    assert (dataset.task, dataset.num_outputs, dataset.input_shape) == ("classification", 3, (2,))
    assert (dataset.num_train, dataset.num_test, dataset.augmentation) == (6, 0, "none")
    assert inputs.dtype == np.float32
    assert np.array_equal(inputs, FEATURES)
    assert targets.dtype == np.int64
    assert np.array_equal(targets, LABELS)


@pytest.mark.parametrize(("targets", "width"), [(VALUES, 1), (np.stack([VALUES, -VALUES], axis=1), 2)])
def test_float_targets_mean_regression(targets, width, tmp_path):
    dataset = opened(tmp_path, x_train=FEATURES, y_train=targets)
    assert (dataset.task, dataset.num_outputs) == ("regression", width)
    assert np.array_equal(dataset.training_arrays()[1], targets.reshape(6, width).astype(np.float32))


@pytest.mark.parametrize(
    ("given", "layout", "axes", "stored"),
    [
        ((6, 5, 4), None, None, (1, 5, 4)),
        ((6, 3, 15, 14), None, None, (3, 15, 14)),
        ((6, 5, 4, 3), None, (0, 3, 1, 2), (3, 5, 4)),
        ((6, 5, 4, 1), None, (0, 3, 1, 2), (1, 5, 4)),
        ((6, 16, 16, 13), None, (0, 3, 1, 2), (13, 16, 16)),
        ((6, 13, 16, 16), None, None, (13, 16, 16)),
        ((6, 3, 4, 3), "channels_first", None, (3, 4, 3)),
        ((6, 3, 4, 3), "channels_last", (0, 3, 1, 2), (3, 3, 4)),
        ((6, 7, 4, 5), "channels_last", (0, 3, 1, 2), (5, 7, 4)),
        ((6, 5, 4, 3), "channels_first", None, (5, 4, 3)),  # overruled
    ],
)
def test_images_are_stored_channels_first(given, layout, axes, stored, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, given, dtype=np.uint8)
    dataset = open_dataset(save(tmp_path, x_train=images, y_train=LABELS), layout=layout)
    inputs, _ = dataset.training_arrays()
    assert dataset.input_shape == stored
    if layout is not None:
        assert dataset.layout == layout
    assert inputs.dtype == np.uint8
    assert np.array_equal(inputs, images.transpose(axes).reshape(6, *stored) if axes else images.reshape(6, *stored))


def test_the_test_arrays_are_kept_apart(tmp_path):
    dataset = opened(tmp_path, x_train=FEATURES, y_train=LABELS, x_test=-FEATURES[:2], y_test=LABELS[:2])
    test = open_test_split(dataset)
    assert dataset.num_test == 2
    assert np.array_equal(test.inputs, -FEATURES[:2])
    assert np.array_equal(test.targets, LABELS[:2])


def test_decoded_arrays_go_to_the_user_cache(tmp_path, user_cache):
    dataset = open_dataset(save(tmp_path, x_train=FEATURES, y_train=LABELS), tmp_path)
    assert dataset.arrays_folder.is_relative_to(user_cache)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.npz", "user-cache"]


def test_a_changed_file_is_decoded_again(tmp_path):
    first = opened(tmp_path, x_train=FEATURES, y_train=LABELS)
    second = opened(tmp_path, x_train=FEATURES + 1, y_train=LABELS)
    assert first.fingerprint != second.fingerprint
    assert np.array_equal(second.training_arrays()[0], FEATURES + 1)


def nan_in(array):
    return np.where(np.arange(array.size).reshape(array.shape) == 5, np.nan, array)


GOOD = {"x_train": FEATURES, "y_train": LABELS}
GOOD_TEST = {**GOOD, "x_test": FEATURES, "y_test": LABELS}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": FEATURES}, "but no y_train: save it with"),
        ({"other": FEATURES}, "holds other, but no x_train and no y_train"),
        ({**GOOD, "y_train": LABELS[:5]}, "6 inputs in x_train but 5 labels in y_train"),
        ({**GOOD, "x_train": nan_in(FEATURES)}, r"x_train holds 1 NaN or infinite values .*row 2"),
        ({**GOOD, "x_train": FEATURES * 1e300}, "x_train holds 11 NaN or infinite values as float32"),
        ({**GOOD, "y_train": np.array([0, 1, 2, np.inf, 0, 0])}, r"y_train holds 1 NaN .*row 3"),
        (
            {**GOOD, "y_train": np.zeros(6, int)},
            "a single class, 0 in all 6 examples, at least 2 are needed",
        ),
        ({**GOOD, "y_train": np.ones((6, 2), int)}, r"several ones in a row .*--task regression"),
        ({**GOOD, "y_train": np.zeros((6, 2, 2))}, r"targets are \(N,\) or \(N, width\)"),
        ({"x_train": FEATURES[:0], "y_train": LABELS[:0]}, "empty, at least 1"),
        ({**GOOD, "x_train": np.zeros((6, 0))}, "empty, at least 1"),
        ({"x_train": FEATURES[:0], "y_train": VALUES[:0]}, "empty, at least 1"),
        ({**GOOD, "x_train": np.array([["a", "b"]] * 6)}, "x_train holds <U1, not numbers"),
        ({**GOOD, "x_train": FEATURES.astype(complex)}, "x_train holds complex128, not numbers"),
        ({**GOOD, "x_train": np.array([[None, print]] * 6)}, "x_train cannot be read .*Object arrays"),
        ({**GOOD, "x_train": VALUES}, "x_train has 1 dimensions"),
        ({**GOOD, "x_train": np.zeros((6, 1, 1, 1, 1))}, "x_train has 5 dimensions"),
        ({**GOOD, "x_train": np.array(3.0)}, r"x_train has shape \(\)"),
        ({**GOOD, "y_train": np.array(3)}, r"y_train has shape \(\)"),
        ({**GOOD, "y_train": np.array(3.0)}, r"y_train has shape \(\)"),
        ({**GOOD, "x_test": FEATURES}, "x_test without y_test"),
        ({**GOOD, "y_test": LABELS}, "y_test without x_test"),
        ({**GOOD_TEST, "y_test": LABELS + 1}, r"y_test holds class 3, y_train only 0\.\.2"),
        ({**GOOD_TEST, "y_test": LABELS[:4]}, "6 inputs in x_test but 4 labels in y_test"),
        ({**GOOD_TEST, "y_test": VALUES}, "y_test holds 0.2, which is no class"),
        ({**GOOD_TEST, "x_test": FEATURES[:, :1]}, r"\(2,\) in x_train but float32 \(1,\) in x_test"),
        ({**GOOD_TEST, "x_test": FEATURES.astype(np.uint8)}, r"float32 \(2,\) in x_train but uint8"),
        ({**GOOD_TEST, "x_test": nan_in(FEATURES)}, "x_test holds 1 NaN"),
    ],
)
def test_bad_arrays(arrays, message, tmp_path, user_cache):
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, **arrays)
    assert str(tmp_path / "mine.npz") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(user_cache.rglob("*.npy"))


def test_a_missing_file(tmp_path):
    with pytest.raises(DataError, match=f"no file {tmp_path / 'absent.npz'}"):
        open_dataset(str(tmp_path / "absent.npz"))


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"text", lambda content: b""])
def test_a_damaged_file(damage, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"mine\.npz: cannot be read as \.npz"):
        open_dataset(str(path))


def test_a_single_array_under_the_name_npz(tmp_path):
    with (tmp_path / "mine.npz").open("wb") as file:
        np.save(file, FEATURES)
    with pytest.raises(DataError, match="a single array"):
        open_dataset(str(tmp_path / "mine.npz"))


def test_an_array_that_claims_more_than_there_is_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**45, 8)})
    path = tmp_path / "mine.npz"
    np.savez(path, y_train=LABELS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue())
    with pytest.raises(DataError, match="x_train cannot be read"):
        open_dataset(str(path))


def test_relative_and_absolute_paths_share_the_decoded_arrays(tmp_path, monkeypatch):
    absolute = opened(tmp_path, **GOOD)
    monkeypatch.chdir(tmp_path)
    assert open_dataset("mine.npz").arrays_folder == absolute.arrays_folder
