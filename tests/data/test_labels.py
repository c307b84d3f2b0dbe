"""What targets are taken for: the rule of the documentation, its borders, and what overrules it."""

import numpy as np
import pytest

from autogrow.data import open_dataset
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError, UsageError

THREE = np.arange(30) % 3


def opened(folder, y_train, y_test=None, **wanted):
    path = folder / "mine.npz"
    inputs = np.random.default_rng(0).normal(size=(len(y_train), 4))
    test = {} if y_test is None else {"x_test": inputs[: len(y_test)], "y_test": y_test}
    np.savez(path, x_train=inputs, y_train=y_train, **test)
    return open_dataset(str(path), **wanted)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (THREE.astype(np.float64), (0, 1, 2)),
        (THREE.astype(np.float16)[:, None], (0, 1, 2)),
        (np.eye(3)[THREE], (0, 1, 2)),
        (np.eye(3, dtype=int)[THREE], (0, 1, 2)),
        (np.eye(3, dtype=bool)[THREE], (0, 1, 2)),
        (THREE + 1, (1, 2, 3)),
        (THREE * 5 - 5, (-5, 0, 5)),
        (THREE.astype(np.float32) * 10 - 10, (-10, 0, 10)),
        (THREE.astype(np.uint64) + 2**63, (2**63, 2**63 + 1, 2**63 + 2)),
        (THREE > 0, (False, True)),
        (np.array(["cat", "ant", "bee"])[THREE], ("ant", "bee", "cat")),
        (np.array([b"cat", b"ant", b"\xff"])[THREE], ("\\xff", "ant", "cat")),
    ],
)
def test_classes_keep_their_names_and_are_numbered_in_ascending_order(labels, classes, tmp_path):
    dataset = opened(tmp_path, labels, labels[:7])
    assert (dataset.task, dataset.num_outputs, dataset.classes) == ("classification", len(classes), classes)
    assert [type(name) for name in dataset.classes] == [type(name) for name in classes]
    values = labels.argmax(1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    for stored, given in ((dataset.training_arrays()[1], values), (open_test_split(dataset).targets, values[:7])):
        assert stored.dtype == np.int64
        expected = given.tolist()
        if labels.dtype.kind == "S":
            expected = [name.decode("utf-8", "backslashreplace") for name in expected]
        assert [classes[number] for number in stored] == expected


@pytest.mark.parametrize(
    "targets",
    [
        np.append(THREE, [3.0] * 4).astype(float),  # a class of four
        np.repeat(np.arange(21.0), 5),  # more than twenty
        THREE + 0.5,
        np.full(30, 7.0),
        np.stack([THREE, THREE], 1).astype(float),
        np.append(np.eye(3)[THREE], [[1.0, 1.0, 0.0]], axis=0),  # two ones in a row
        np.append(np.eye(3)[THREE], [[0.0, 0.0, 0.0]], axis=0),
        np.repeat([1e300, 2e300], 9),
    ],
)
def test_other_floats_are_targets_of_a_regression(targets, tmp_path):
    if np.abs(targets).max() > 1e30:
        with pytest.raises(DataError, match="as float32"):  # said, and not taken for two classes
            opened(tmp_path, targets)
        return
    dataset = opened(tmp_path, targets)
    assert (dataset.task, dataset.classes) == ("regression", ())
    assert np.array_equal(dataset.training_arrays()[1], targets.reshape(len(targets), -1))


def test_twenty_classes_of_five_are_classes(tmp_path):
    assert opened(tmp_path, np.repeat(np.arange(20.0), 5)).num_outputs == 20


@pytest.mark.parametrize("targets", [THREE, THREE.astype(float), np.eye(3)[THREE], THREE > 0, THREE[:, None] + 1])
def test_the_task_can_be_overruled(targets, tmp_path):
    dataset = opened(tmp_path, targets, targets[:3], task="regression")
    assert (dataset.task, dataset.classes) == ("regression", ())
    assert np.array_equal(dataset.training_arrays()[1], targets.reshape(len(targets), -1))
    few = np.array([3.0, 3.0, 8.0, 8.0, 8.0, 3.0])
    assert opened(tmp_path, few).task == "regression"
    assert opened(tmp_path, few, task="classification").classes == (3, 8)


@pytest.mark.parametrize(
    ("y_train", "y_test", "wanted", "message"),
    [
        (THREE, THREE + 1, {}, r"y_test holds class 3, y_train only 0\.\.2: drop"),
        (np.array(["a", "b"])[THREE % 2], np.array(["c"]), {}, "y_test holds class 'c', y_train only 'a', 'b'"),
        (np.array(["a", "b"])[THREE % 2], np.array([1]), {}, "y_test holds class 1, y_train only 'a', 'b'"),
        (np.eye(3)[THREE], np.eye(4)[:2], {}, "y_test has rows of 4 classes, y_train 3"),
        (THREE, np.eye(3)[:2], {}, "y_test has rows of 3 classes, y_train none"),
        (THREE, np.array([0.5]), {}, "y_test holds 0.5, which is no class"),
        (np.array(["a", "b"])[THREE % 2], None, {"task": "regression"}, "y_train holds text"),
        (THREE + 0.5, None, {"task": "classification"}, "y_train holds 0.5, which is no class"),
        (THREE + 0.5, np.array(["a"]), {}, "y_test holds text"),
        (np.where(THREE == 2, np.nan, THREE), None, {}, "y_train holds 10 NaN"),
        (np.where(THREE == 2, np.nan, THREE), None, {"task": "classification"}, "y_train holds 10 NaN"),
        (np.zeros(30, int), None, {}, "a single class"),
        (np.eye(3, dtype=int)[THREE] + 1, None, {}, "one class per example"),
    ],
)
def test_what_cannot_be_is_one_line(y_train, y_test, wanted, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        opened(tmp_path, y_train, y_test, **wanted)
    assert str(caught.value).startswith(str(tmp_path / "mine.npz")) and "\n" not in str(caught.value)


def test_a_mixed_kind_of_test_labels_is_the_same_class(tmp_path):
    dataset = opened(tmp_path, THREE + 1, np.array([3.0, 1.0]))
    assert open_test_split(dataset).targets.tolist() == [2, 0]
    assert open_test_split(opened(tmp_path, THREE > 0, np.array([1, 0]))).targets.tolist() == [1, 0]


def test_names_are_part_of_what_identifies_the_data(tmp_path):
    plain, renamed = opened(tmp_path, THREE), opened(tmp_path, THREE + 1)
    assert plain.fingerprint != renamed.fingerprint
    assert opened(tmp_path, THREE.astype(float)).fingerprint == plain.fingerprint


def test_a_built_in_dataset_is_what_it_is(data_dir):
    assert open_dataset("digits", data_dir, task="classification").classes == tuple(range(10))
    with pytest.raises(DataError, match="'digits' has the task classification, not regression"):
        open_dataset("digits", data_dir, task="regression")
    with pytest.raises(DataError, match="'sine' has the layout features, not channels_last"):
        open_dataset("sine", data_dir, layout="channels_last")


def test_an_unknown_task_has_its_nearest_name(tmp_path):
    with pytest.raises(UsageError, match="unknown task 'regress'.*did you mean 'regression'"):
        opened(tmp_path, THREE, task="regress")


def test_one_line_says_how_the_data_were_read(tmp_path):
    line = opened(tmp_path, np.array(["\x1b[31m", "b"])[THREE % 2]).describe()
    assert line == ("30 training and no test examples, 4 features; classification of 2 classes ('\\x1b[31m', 'b')")
