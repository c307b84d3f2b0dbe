import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autogrow.data import TrainSplit, ValidationSplit, merge_splits, open_dataset
from autogrow.data.splits import proportional_counts, split_indices
from autogrow.errors import DataError, UsageError


def labels_of(counts):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def split(labels, *, seed=0, fraction=None, size=None):
    return split_indices(labels, seed=seed, validation_fraction=fraction, train_size=size)


class_counts = st.lists(st.integers(1, 60), min_size=2, max_size=12).filter(lambda counts: max(counts) > 1)


@given(counts=class_counts, fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**64))
def test_every_split_is_disjoint_whole_and_stratified(counts, fraction, seed):
    labels = labels_of(counts)
    train, validation = split(labels, seed=seed, fraction=fraction)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert np.array_equal(train, np.sort(train))
    for label, count in enumerate(counts):
        taken = np.count_nonzero(labels[validation] == label)
        assert abs(taken - count * fraction) < 1 or taken in (1, count - 1)
        assert taken == 0 if count == 1 else 1 <= taken <= count - 1


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([100, 100, 100], 0.1, [10, 10, 10]),
        ([10, 20, 30], 0.25, [3, 5, 7]),  # shares 2.5, 5, 7.5; total 15; the tie goes to the lower class
        ([19, 19, 2], 0.2, [4, 4, 1]),  # 3.8, 3.8, 0.4: the last is lifted to 1
        ([1, 9], 0.5, [0, 4]),  # a single example stays in training
        ([2, 2], 0.9, [1, 1]),  # and one of each class too
    ],
)
def test_shares_are_rounded_by_largest_remainder(counts, fraction, expected):
    assert proportional_counts(np.array(counts), fraction).tolist() == expected


@pytest.mark.parametrize(("num_examples", "num_validation"), [(9_999, 2_000), (10_000, 1_000)])
def test_the_default_fraction_depends_on_the_size(num_examples, num_validation):
    assert len(split(np.zeros(num_examples, dtype=np.int64))[1]) == num_validation


def test_a_split_is_fixed_by_its_seed():
    labels = labels_of([300, 200, 100])
    first, second, other = split(labels, seed=1), split(labels, seed=1), split(labels, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[1], other[1])
    assert len(first[1]) == len(other[1])


def test_a_split_is_the_same_on_every_host():
    train, validation = split(np.repeat([0, 1], [12, 8]), seed=0, fraction=0.25)
    assert validation.tolist() == [2, 3, 11, 13, 15]
    assert len(train) == 15


@given(counts=class_counts, seed=st.integers(0, 1000), data=st.data())
def test_smaller_training_sets_are_stratified_and_nested(counts, seed, data):
    labels = labels_of(counts)
    whole, whole_validation = split(labels, seed=seed, fraction=0.2)
    large = data.draw(st.integers(len(counts), len(whole)))
    small = data.draw(st.integers(len(counts), large))
    (large_train, large_validation), (small_train, small_validation) = (
        split(labels, seed=seed, fraction=0.2, size=size) for size in (large, small)
    )
    assert len(large_train) == large
    assert len(small_train) == small
    assert set(small_train) <= set(large_train) <= set(whole)
    assert set(small_validation) <= set(large_validation) <= set(whole_validation)
    assert set(labels[small_train]) == set(range(len(counts)))


def test_a_smaller_training_set_keeps_the_proportions():
    labels = labels_of([5000, 3000, 2000, 10])
    train, _ = split(labels, size=1000)
    assert np.abs(np.bincount(labels[train]) - [499.5, 299.7, 199.8, 1]).max() <= 1


@pytest.mark.parametrize(("size", "num_validation"), [(100, 500), (1_000, 500), (1_600, 800), (18_000, 2_000)])
def test_a_smaller_training_set_caps_validation(size, num_validation):
    labels = labels_of([10_000, 10_000])
    train, validation = split(labels, size=size)
    assert np.bincount(labels[train]).tolist() == [size // 2, size // 2]
    assert np.bincount(labels[validation]).tolist() == [num_validation // 2, num_validation // 2]


@pytest.mark.parametrize("size", [-1, 0, 2, 81])
def test_a_training_size_out_of_range_names_the_limits(size):
    with pytest.raises(
        UsageError, match=rf"train_size {size} is not between 3 .* and 80 \(what validation leaves of 100"
    ):
        split(labels_of([40, 40, 20]), size=size)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan"), 2])
def test_a_fraction_out_of_range(fraction):
    with pytest.raises(UsageError, match="validation_fraction .* is not between 0 and 1"):
        split(labels_of([40, 40]), fraction=fraction)


def test_a_negative_seed():
    with pytest.raises(UsageError, match="seed -1 is negative"):
        split(labels_of([4, 4]), seed=-1)


@pytest.mark.parametrize("counts", [[1], [1, 1, 1]])
def test_too_few_examples_to_split(counts):
    with pytest.raises(DataError, match="leave none for validation"):
        split(labels_of(counts))


def test_the_kinds_of_split_are_different_types(data_dir):
    train, validation = open_dataset("digits", data_dir).split(seed=0, train_size=600)
    assert (type(train), type(validation)) == (TrainSplit, ValidationSplit)
    assert not isinstance(validation, TrainSplit)
    assert (len(train), len(validation)) == (600, 288)


def test_split_examples_are_writable_copies(data_dir):
    dataset = open_dataset("sine", data_dir)
    train, _ = dataset.split(seed=0)
    train.inputs[:] = 0
    assert dataset.split(seed=0)[0].inputs.any()


def test_merging_keeps_every_example_with_its_target(data_dir):
    dataset = open_dataset("digits", data_dir)
    train, validation = dataset.split(seed=0, train_size=500)
    merged = merge_splits(train, validation)
    inputs, targets = dataset.training_arrays()
    assert type(merged) is TrainSplit
    assert np.array_equal(merged.indices, np.sort([*train.indices, *validation.indices]))
    assert np.array_equal(merged.inputs, inputs[merged.indices])
    assert np.array_equal(merged.targets, targets[merged.indices])
