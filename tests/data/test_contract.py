"""What every dataset must keep, whichever it is: a new name in the catalogue is tested by being there."""

import os
import pickle

import numpy as np
import pytest

from autogrow.data import DATASET_NAMES, measure_normalization, merge_splits, open_dataset
from autogrow.data.catalogue import ENTRIES
from autogrow.data.test_split import open_test_split
from autogrow.errors import DataError

GENERATED = tuple(name for name in DATASET_NAMES if ENTRIES[name].files is None)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in GENERATED else pytest.mark.real_data) for name in DATASET_NAMES],
)
def dataset(request, tmp_path_factory):
    if request.param in GENERATED:
        return open_dataset(request.param, tmp_path_factory.mktemp("generated"))
    folder = request.getfixturevalue("real_data")
    try:
        return open_dataset(request.param, folder)
    except DataError as error:
        if "is not in" not in str(error):
            raise
        pytest.skip(f"no files of {request.param} under AUTOGROW_DATA={os.environ['AUTOGROW_DATA']}")


@pytest.mark.slow
def test_the_dataset_is_what_the_catalogue_says(dataset):
    entry = ENTRIES[dataset.name]
    for field in ("task", "input_shape", "num_outputs", "num_train", "num_test", "augmentation"):
        assert getattr(dataset, field) == getattr(entry, field)


def test_targets_are_classes_or_float_columns(dataset):
    _, targets = dataset.training_arrays()
    if dataset.task == "text":
        assert targets.shape == (dataset.num_train, *dataset.input_shape)
        assert targets.max() < dataset.num_outputs
    elif dataset.task == "classification":
        assert targets.dtype == np.int64
        assert np.array_equal(np.unique(targets), np.arange(dataset.num_outputs))
    else:
        assert targets.dtype == np.float32
        assert targets.shape == (dataset.num_train, dataset.num_outputs)


def test_training_arrays_are_memory_mapped_and_read_only(dataset):
    for array in dataset.training_arrays():
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable


@pytest.mark.slow
def test_opening_again_decodes_nothing(dataset, monkeypatch):
    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("autogrow.data.array_store._write", fail)
    assert open_dataset(dataset.name, dataset.arrays_folder.parents[1]) == dataset


@pytest.mark.slow
def test_a_split_divides_the_training_set(dataset):
    if dataset.tokens is not None:
        pytest.skip("text is divided by position, with a gap")
    train, validation = dataset.split(seed=0)
    inputs, targets = dataset.training_arrays()
    assert sorted([*train.indices, *validation.indices]) == list(range(dataset.num_train))
    for split in (train, validation):
        assert np.array_equal(split.inputs, inputs[split.indices])
        assert np.array_equal(split.targets, targets[split.indices])
        assert split.inputs.shape[1:] == dataset.input_shape


@pytest.mark.slow
def test_a_merged_split_is_the_training_set_again(dataset):
    if dataset.tokens is not None:
        pytest.skip("text is divided by position, with a gap")
    merged = merge_splits(*dataset.split(seed=3))
    inputs, targets = dataset.training_arrays()
    assert np.array_equal(merged.inputs, inputs)
    assert np.array_equal(merged.targets, targets)


def test_normalized_inputs_have_mean_0_and_std_1(dataset):
    if dataset.tokens is not None:
        pytest.skip("tokens are embedded, and stay as they are")
    train, _ = dataset.split(seed=0, train_size=1000)
    normalization = measure_normalization(train)
    scale = 255 if train.inputs.dtype == np.uint8 else 1
    axes = (0, 2, 3) if train.inputs.ndim == 4 else (0,)
    shape = (-1, 1, 1) if train.inputs.ndim == 4 else (-1,)
    mean, std = (np.reshape(values, shape) for values in (normalization.mean, normalization.std))
    normalized = (train.inputs / scale - mean) / std
    assert np.allclose(normalized.mean(axis=axes), 0, atol=1e-6)
    assert np.allclose(normalized.std(axis=axes), 1, atol=1e-6)


def test_the_test_split_is_whole_and_apart(dataset):
    test = open_test_split(dataset)
    assert len(test) == dataset.num_test
    assert test.inputs.shape == (dataset.num_test, *dataset.input_shape)
    assert test.targets.dtype == dataset.training_arrays()[1].dtype


def test_a_dataset_travels_to_a_worker_as_a_small_record(dataset):
    assert len(pickle.dumps(dataset)) < 2000
    assert pickle.loads(pickle.dumps(dataset)) == dataset
