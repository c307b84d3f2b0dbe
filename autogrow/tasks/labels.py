"""Class labels as users write them: their names in the order of a network's outputs, and the number of each example's.

Whole numbers, truth values and text are classes, as are rows with a single one among zeros.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.reading.number_precision import check_finite

ClassName = int | str | bool
"""What a user calls a class."""
IntArray = np.ndarray[Any, np.dtype[np.int64]]

MOST_FLOAT_CLASSES = 20
FEWEST_OF_A_FLOAT_CLASS = 5
_SHOWN_CLASSES = 6
_INTEGER_LIMIT = 2.0**63


def classes_of(y_train: Array, origin: str) -> tuple[tuple[ClassName, ...], IntArray]:
    """The classes in `y_train` in ascending order, and (N,) the number of each example's. Raises `DataError`."""
    values = _one_each(y_train, "y_train", origin)
    found, numbers = np.unique(values, return_inverse=True)
    names: tuple[ClassName, ...] = tuple(found.tolist())
    if len(names) == 1:
        raise DataError(
            f"{origin}: y_train holds a single class, {names[0]!r} in all {len(values)} examples, at least 2 are "
            "needed: check the data"
        )
    return names, numbers.reshape(-1).astype(np.int64)


def numbers_of(
    labels: Array, name: str, classes: Sequence[ClassName], one_hot_width: int | None, origin: str
) -> IntArray:
    """(N,) the numbers of labels among the known `classes`. Raises `DataError` for one that is not among them."""
    if is_one_hot(labels) and labels.shape[1] != one_hot_width:
        rows = "none" if one_hot_width is None else str(one_hot_width)
        raise DataError(f"{origin}: {name} has rows of {labels.shape[1]} classes, y_train {rows}: give both alike")
    known = {value: number for number, value in enumerate(classes)}
    found, numbers = np.unique(_one_each(labels, name, origin), return_inverse=True)
    unknown = [value for value in found.tolist() if value not in known]
    if unknown:
        raise DataError(
            f"{origin}: {name} holds class {unknown[0]!r}, y_train only {shown_classes(classes)}: drop those examples, "
            "or add training examples of that class"
        )
    places = np.array([known[value] for value in found.tolist()], dtype=np.int64)
    return places[numbers.reshape(-1)]


def shown_classes(classes: Sequence[ClassName]) -> str:
    """The names of classes in a line, in the middle of long lists the dots."""
    if all(type(name) is int for name in classes) and list(classes) == list(range(len(classes))):
        return f"0..{len(classes) - 1}"
    names = [repr(name)[:40] for name in classes]
    if len(names) > _SHOWN_CLASSES:
        names = [*names[: _SHOWN_CLASSES - 2], "...", names[-1]]
    return ", ".join(names)


def is_one_hot(array: Array) -> bool:
    """Whether this is (N, K) with a single one in every row and zeros elsewhere, K at least 2."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "buif" or not len(array):
        return False
    ones = array == 1
    return bool((ones.sum(axis=1) == 1).all() and (ones | (array == 0)).all())


def _one_each(labels: Array, name: str, origin: str) -> Array:
    """(N,) one label for each example: whole numbers, truth values or text."""
    if is_one_hot(labels):
        return np.asarray(labels.argmax(axis=1))
    if labels.ndim not in (1, 2) or labels.ndim == 2 and labels.shape[1] != 1:
        several = " (several ones in a row are several labels: --task multi_label)" if is_multi_hot(labels) else ""
        raise DataError(
            f"{origin}: {name} of shape {labels.shape}{several}: give one class per example, (N,), rows with a single "
            "one, (N, classes), or --task regression"
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind == "S":
        return np.array([value.decode("utf-8", "backslashreplace") for value in labels.tolist()], dtype=np.str_)
    if labels.dtype.kind != "f":
        return labels
    check_finite(labels, name, origin)
    whole = _whole(labels)
    if not whole.all():
        raise DataError(
            f"{origin}: {name} holds {labels[int(np.argmin(whole))]}, which is no class: classes are whole numbers, "
            "truth values or text"
        )
    return labels.astype(np.int64)


def is_multi_hot(array: Array) -> bool:
    """Whether this is (N, L) of zeros and ones, L at least 2, any number of ones in a row."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "buif" or not array.size:
        return False
    return bool(((array == 1) | (array == 0)).all())


def are_class_numbers(targets: Array) -> bool:
    """Whether floating-point targets can only be class numbers: few, whole, and none of them rare."""
    if targets.size != len(targets) or not targets.size or not _whole(targets).all():
        return False
    _, counts = np.unique(targets, return_counts=True)
    return 2 <= len(counts) <= MOST_FLOAT_CLASSES and bool(counts.min() >= FEWEST_OF_A_FLOAT_CLASS)


def _whole(values: Array) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    return np.asarray((values == np.trunc(values)) & (np.abs(values.astype(np.float64)) < _INTEGER_LIMIT))
