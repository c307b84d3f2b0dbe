"""Data given in Python: arrays, pairs, and anything with a length and items by number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Subset, TensorDataset

from autogrow.data import Dataset
from autogrow.data.opening import open_dataset, open_given
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError, UsageError

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "autogrow"


class Pairs:
    """The least that counts as examples."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def holds(dataset, x, y):
    inputs, targets = dataset.training_arrays()
    return np.array_equal(inputs, x) and np.array_equal(np.asarray(dataset.classes)[targets], y)


FORMS = {
    "arrays": (X, Y),
    "tensors": (torch.tensor(X, requires_grad=True), torch.tensor(Y)),
    "lists": (X.tolist(), Y.tolist()),
    "TensorDataset": TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "Subset": Subset(TensorDataset(torch.tensor(X), torch.tensor(Y)), range(60)),
    "list of pairs": list(zip(X, Y, strict=True)),
    "own class": Pairs([[x.tolist(), int(y)] for x, y in zip(X, Y, strict=True)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_data(form):
    dataset = open_given(FORMS[form])
    assert (dataset.task, dataset.num_train, dataset.num_test, dataset.classes) == ("classification", 60, 0, (0, 1, 2))
    assert holds(dataset, X, Y)


def test_the_file_is_found_again_by_its_name_alone(cache):
    dataset = Dataset.from_arrays(X, Y, X[:9], Y[:9], name="mine")
    path = Path(dataset.name)
    assert path.is_relative_to(cache / "autogrow-given") and path.name == "mine.npz"
    again = open_dataset(dataset.name)
    assert again == dataset
    assert np.array_equal(open_test_split(again).inputs, X[:9])


def test_equal_arrays_share_one_file_and_others_have_their_own():
    first, same = Dataset.from_arrays(X, Y), Dataset.from_arrays(X.copy(), Y.tolist())
    assert first == same
    other = Dataset.from_arrays(X + 1, Y)
    assert other.name != first.name and other.fingerprint != first.fingerprint


def test_a_data_folder_is_where_it_lies(tmp_path):
    dataset = Dataset.from_arrays(X, Y, data_dir=tmp_path / "data")
    assert Path(dataset.name).is_relative_to(tmp_path / "data")


def test_what_was_given_can_be_discarded(tmp_path, cache):
    dataset, other = Dataset.from_arrays(X, Y), Dataset.from_arrays(X + 1, Y)
    dataset.discard()
    assert not Path(dataset.name).parent.exists() and not dataset.arrays_folder.exists()
    assert holds(other, X + 1, Y)
    with pytest.raises(DataError, match="no file"):
        open_dataset(dataset.name)
    np.savez(tmp_path / "own.npz", x_train=X, y_train=Y)
    with pytest.raises(UsageError, match="its files are yours"):
        open_dataset(str(tmp_path / "own.npz")).discard()


def test_task_and_layout_are_as_for_a_file():
    assert open_given((X, Y), task="regression").task == "regression"
    images = np.zeros((60, 8, 8, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(60)
    assert open_given((images, Y), layout="channels_last").input_shape == (3, 8, 8)


def test_text_in_a_table_of_objects_is_classes():
    dataset = open_given((X.astype(object), np.array(["a", "bb", "c"], dtype=object)[Y]))
    assert dataset.classes == ("a", "bb", "c") and holds(dataset, X.astype(float), np.array(["a", "bb", "c"])[Y])


def test_numbers_and_longer_texts_among_the_later_examples_are_kept_whole():
    items = [(np.float32(1.5), "a"), (np.float64(0.1), "longer"), (np.float64(0.2), "a"), (np.float64(0.3), "longer")]
    dataset = Dataset.from_examples([((value, value), target) for value, target in items])
    assert dataset.classes == ("a", "longer")
    assert dataset.training_arrays()[0][1, 0] == pytest.approx(0.1, rel=1e-6)


def test_a_test_part_of_examples():
    dataset = Dataset.from_examples(Pairs(FORMS["list of pairs"]), test=Pairs(FORMS["list of pairs"][:5]))
    assert (dataset.num_train, dataset.num_test) == (60, 5)


def test_a_path_is_a_file(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=X, y_train=Y)
    assert open_given(tmp_path / "own.npz") == open_dataset(str(tmp_path / "own.npz"))
    with pytest.raises(DataError, match="no file or folder .*own.csv"):
        open_given(tmp_path / "own.csv")


class Failing(Pairs):
    def __getitem__(self, index):
        raise OSError("disk on fire")


WRONG = {
    "uneven inputs": ([(X[0], 0), (X[0, :3], 1)], DataError, r"examples\[1\] has input shape \(3,\), the first \(4,\)"),
    "no pairs": (X.tolist(), DataError, r"examples\[0\] has 4 entries: an example is a pair"),
    "dictionaries": ([{"x": 1}], DataError, r"examples\[0\] is a dict"),
    "no examples": ([], DataError, "is empty"),
    "unreadable": (Failing([1]), DataError, r"examples\[0\] cannot be read: OSError: disk on fire"),
    "ragged lists": (([[1, 2], [3]], [0, 1]), DataError, "x_train has rows of different shapes"),
    "objects": ((X, np.array([{}] * 60)), DataError, r"y_train holds objects \(dict\)"),
    "mixed targets": ([(X[0], 1), (X[0], "a")], DataError, r"the target of examples\[1\] is <U1"),
    "other lengths": ((X, Y[:50]), DataError, "60 inputs in x_train but 50 labels"),
    "no targets": ((X, None), DataError, "y_train is None"),
    "half a test part": ((X, Y, X, None), DataError, "x_test without y_test"),
    "three arrays": ((X, Y, X), UsageError, "data of 3 arrays"),
    "an array alone": (X, UsageError, r"is a ndarray|is an ndarray"),
    "a mapping": ({"x": X}, UsageError, "is a dict"),
    "an iterator": (iter([1]), UsageError, "is a list_iterator"),
    "a number": (3, UsageError, "is an int"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_data_is_one_line(what):
    given, error, message = WRONG[what]
    with pytest.raises(error, match=message) as raised:
        open_given(given)
    assert "\n" not in str(raised.value)


def test_an_open_data_set_is_not_read_in_another_way():
    dataset = Dataset.from_arrays(X, Y)
    assert open_given(dataset) is dataset
    with pytest.raises(DataError, match="has the task classification, not regression"):
        open_given(dataset, task="regression")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_is_one_of_a_file(name):
    with pytest.raises(UsageError, match="cannot name a file"):
        Dataset.from_arrays(X, Y, name=name)


def test_a_full_disk_leaves_no_half_file(monkeypatch, cache):
    def full(*arguments, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match="disk full"):
        Dataset.from_arrays(X, Y)
    assert [path for path in cache.rglob("*") if path.is_file()] == []
