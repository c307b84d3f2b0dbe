"""How a training set is divided into training and validation examples. Indices in, indices out; no files.

The rule. The examples of every class are put into a random order of their own (fixed by the split's seed). Validation
takes the first of each class, in proportion by largest remainder. A smaller training set (`train_size`) takes a prefix
of the rest in an order in which every prefix is stratified, so the subset of 1,000 contains the subset of 500, and the
validation set hardly depends on it. What a class is says the task: a regression set is one single one.
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from autogrow.data.stable_random import IntArray, permutation
from autogrow.errors import DataError, UsageError
from autogrow.reading.arrays import Array

SMALL_TRAINING_SET = 10_000
SMALL_VALIDATION_FRACTION = 0.2
LARGE_VALIDATION_FRACTION = 0.1
MIN_CAPPED_VALIDATION = 500


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled examples in memory, or mapped. The kinds of split are different types on purpose: see the subclasses.

    `inputs`: (N, features) or (N, C, H, W), uint8 or float32. `targets`: (N,) int64 classes or (N, width) float32. Of
    text both are (N, context) tokens. Where a network is to give back what it reads, both are one and the same array.
    `indices`: (N,) int64 ascending positions in the array that they were taken from.
    """

    inputs: Array
    targets: Array
    indices: IntArray
    streams: tuple[Array, ...] = ()
    """Of text: the rows of tokens, (number,), that the windows in `inputs` lie side by side in. `indices` are then
    the places of their first tokens."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def targets_are_inputs(self) -> bool:
        return self.targets is self.inputs

    def at(self, rows: "IntArray | slice") -> Self:
        """Some of these examples, in this order; not of text."""
        inputs = self.inputs[rows]
        targets = inputs if self.targets_are_inputs else self.targets[rows]
        return replace(self, inputs=inputs, targets=targets, indices=self.indices[rows])


@dataclass(frozen=True, eq=False)
class TrainSplit(Examples):
    """The examples that gradients may see."""


@dataclass(frozen=True, eq=False)
class ValidationSplit(Examples):
    """The examples that decisions (growth, pruning, early stopping, the search) may see, taken off the training set."""


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """Examples grouped by class, in random order within each.

    `indices`, `classes`, `ranks`: (N,) the example, its class, and its place within the class, counted from 0.
    `counts`: (num_classes,).
    """

    indices: IntArray
    classes: IntArray
    ranks: IntArray
    counts: IntArray


def num_among(examples: Examples, others: Examples) -> int:
    """How many examples have inputs that others have, too, to the last bit."""
    if examples.inputs.dtype != others.inputs.dtype or examples.inputs.shape[1:] != others.inputs.shape[1:]:
        return 0
    found, known = (
        np.fromiter((hash(row.tobytes()) for row in each.inputs), dtype=np.int64, count=len(each))
        for each in (examples, others)
    )
    return int(np.isin(found, known).sum())


def merge_splits(train: TrainSplit, validation: ValidationSplit) -> TrainSplit:
    """Train and validation together in the order of their indices, for the final training run."""
    indices = np.concatenate([train.indices, validation.indices])
    order = np.argsort(indices, kind="stable")
    inputs = np.concatenate([train.inputs, validation.inputs])[order]
    return TrainSplit(
        inputs=inputs,
        targets=inputs if train.targets_are_inputs else np.concatenate([train.targets, validation.targets])[order],
        indices=indices[order],
        streams=(*train.streams, *validation.streams),
    )


def split_indices(
    labels: IntArray, *, seed: int, validation_fraction: float | None, train_size: int | None
) -> tuple[IntArray, IntArray]:
    """Ascending, disjoint indices (training, validation) into `labels`, (N,) classes that cover 0..K-1.

    Raises `UsageError` for a seed, fraction or size out of range, `DataError` when there is too little to split.
    """
    if seed < 0:
        raise UsageError(f"split seed {seed} is negative: give an integer of at least 0")
    fraction = _checked_fraction(validation_fraction, len(labels))
    order = shuffled_by_class(labels, seed=seed)
    is_validation = take_per_class(order, proportional_counts(order.counts, fraction))
    if not is_validation.any():
        raise DataError(
            f"{len(labels)} training examples in {len(order.counts)} classes leave none for validation: "
            "at least one class needs 2 examples"
        )
    train, validation = order.indices[~is_validation], order.indices[is_validation]
    if train_size is not None:
        num_classes = len(order.counts)
        _check_train_size(train_size, num_classes, len(train), len(labels))
        cap = max(train_size // 2, MIN_CAPPED_VALIDATION, num_classes)
        train = _stratified_prefix(train, labels, train_size)
        validation = _stratified_prefix(validation, labels, cap)
    return np.sort(train), np.sort(validation)


def shuffled_by_class(labels: IntArray, *, seed: int) -> ClassOrder:
    """All examples, grouped by class and shuffled within each by `seed`."""
    shuffled = permutation(len(labels), seed=seed)
    return _grouped(shuffled, labels)


def proportional_counts(counts: IntArray, fraction: float) -> IntArray:
    """How many examples to take of each class: exact shares rounded by largest remainder (ties: the lower class).

    A class with 2 examples or more keeps at least one on either side; a single example is never taken.
    """
    shares = counts * fraction
    taken = np.floor(shares).astype(np.int64)
    left_over = round(float(counts.sum()) * fraction) - int(taken.sum())
    by_remainder = np.argsort(taken - shares, kind="stable")
    taken[by_remainder[:left_over]] += 1
    return np.asarray(np.clip(taken, np.minimum(1, counts - 1), counts - 1), dtype=np.int64)


def take_per_class(order: ClassOrder, counts: IntArray) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """(N,) whether each example of `order` is among the first `counts` of its class."""
    return np.asarray(order.ranks < counts[order.classes])


def _grouped(indices: IntArray, labels: IntArray) -> ClassOrder:
    """`indices` grouped by class; the order within a class is kept."""
    grouped = indices[np.argsort(labels[indices], kind="stable")]
    classes = labels[grouped]
    counts = np.bincount(classes).astype(np.int64)
    starts = np.cumsum(counts) - counts
    return ClassOrder(grouped, classes, np.arange(len(grouped)) - starts[classes], counts)


def _stratified_prefix(indices: IntArray, labels: IntArray, size: int) -> IntArray:
    """The first `size` of `indices` in an order of which every prefix is stratified, so that prefixes are nested.

    An example's place is its rank over its class's size (Webster's apportionment, which unlike the largest remainder
    never takes an example back when the total rises); before that, every class gets its first example.
    """
    order = _grouped(indices, labels)
    place = np.where(order.ranks == 0, 0.0, (order.ranks + 0.5) / order.counts[order.classes])
    return order.indices[np.argsort(place, kind="stable")[:size]]


def _checked_fraction(fraction: float | None, num_examples: int) -> float:
    if fraction is None:
        return SMALL_VALIDATION_FRACTION if num_examples < SMALL_TRAINING_SET else LARGE_VALIDATION_FRACTION
    if not 0 < fraction < 1:
        raise UsageError(f"validation_fraction {fraction} is not between 0 and 1: give for example 0.2")
    return fraction


def _check_train_size(train_size: int, smallest: int, largest: int, num_examples: int) -> None:
    if not smallest <= train_size <= largest:
        raise UsageError(
            f"train_size {train_size} is not between {smallest} (one example of every class) and {largest} "
            f"(what validation leaves of {num_examples}): give a size within these limits"
        )
