"""Data given in Python as arrays or as examples: kept in one ``.npz`` file, and from there on a user's own file.

Trials run in other processes, and a run is resumed, confirmed and retrained days later: all of them need the data in a
file. It lies at ``<data folder>/autogrow-given/<digest>/<name>.npz``, the data folder being the user's cache unless one
is given; equal data are written once. Runs name it, so it stays until `Dataset.discard` or the user deletes it.
Tensors are taken through NumPy's array protocol: nothing here imports torch.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from autogrow.data.locations import default_data_dir, disk_errors, is_not_writable, unfinished_path
from autogrow.errors import RAISED_BY_OTHERS, DataError, UsageError, kind_of, one_line, shortened
from autogrow.paths import NPZ_SUFFIX
from autogrow.reading.arrays import Array

GIVEN_FOLDER = "autogrow-given"
"""Below a data folder: what was given in Python."""
DEFAULT_NAME = "arrays"
_NUMBERS, _TEXT = "buif", "US"


@runtime_checkable
class Examples(Protocol):
    """Anything with a length and pairs (input, target) by their number, such as a map-style data set of PyTorch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def as_array(values: Any, name: str) -> Array:
    """Numbers or text as an array. Raises `DataError` for what is neither, or has rows of different shapes.

    values: An array, a tensor (also one on a GPU or with a gradient), a column of a table, nested lists.
    """
    for step in ("detach", "cpu"):  # what PyTorch wants of a tensor before NumPy may read it
        method = getattr(values, step, None)
        values = method() if callable(method) else values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{name} has rows of different shapes: give every example the same shape") from error
    except RAISED_BY_OTHERS as error:
        raise DataError(f"{name} is {kind_of(values)} that NumPy cannot read: {one_line(error)}") from error
    if array.dtype.kind == "O":
        array = _without_objects(array, name)
    if array.dtype.kind not in _NUMBERS + _TEXT:
        raise DataError(f"{name} holds {array.dtype}, not numbers or text: convert it")
    return array


def _without_objects(array: Array, name: str) -> Array:
    """Text or numbers that a table keeps as Python objects, as an array of their own kind."""
    kinds = {type(value) for value in array.flat}
    is_text = bool(kinds) and all(issubclass(kind, str) for kind in kinds)
    is_number = bool(kinds) and all(issubclass(kind, bool | int | float | np.number) for kind in kinds)
    if not is_text and not is_number:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"{name} holds objects ({names}), not numbers or text of one kind: convert it")
    return np.array(array.tolist(), dtype=np.str_ if is_text else None)


def stacked(examples: Any, name: str) -> tuple[Array, Array]:
    """All inputs (N, ...) and targets (N, ...) of `examples`, read one by one.

    Raises `DataError` for one that cannot be read, is no pair, or has another shape than the first.
    """
    number = len(examples)
    if number == 0:
        raise DataError(f"{name} is empty, at least 1 example is needed")
    first = _pair(examples, 0, name)
    parts = [np.empty((number, *part.shape), part.dtype) for part in first]
    for index in range(number):
        for place, part in enumerate(first if index == 0 else _pair(examples, index, name)):
            whole, what = parts[place], ("input", "target")[place]
            if part.shape != whole.shape[1:]:
                raise DataError(
                    f"{name}[{index}] has {what} shape {part.shape}, the first {whole.shape[1:]}: give every example "
                    "the same shape"
                )
            if part.dtype != whole.dtype:
                whole = parts[place] = whole.astype(_common_type(part, whole, f"the {what} of {name}[{index}]"))
            whole[index] = part
    return parts[0], parts[1]


def _common_type(part: Array, whole: Array, name: str) -> "np.dtype[Any]":
    if (part.dtype.kind in _TEXT) != (whole.dtype.kind in _TEXT):
        raise DataError(f"{name} is {part.dtype}, those before {whole.dtype}: give numbers or text, not both")
    return np.result_type(part.dtype, whole.dtype)


def _pair(examples: Any, index: int, name: str) -> tuple[Array, Array]:
    try:
        item = examples[index]
    except RAISED_BY_OTHERS as error:
        raise DataError(f"{name}[{index}] cannot be read: {one_line(error)}") from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        what = f"has {len(item)} entries" if isinstance(item, tuple | list) else f"is {kind_of(item)}"
        raise DataError(f"{name}[{index}] {what}: an example is a pair (input, target); arrays are given as (X, y)")
    return as_array(item[0], f"the input of {name}[{index}]"), as_array(item[1], f"the target of {name}[{index}]")


def kept(arrays: Mapping[str, Array], name: str, data_dir: Path | None) -> Path:
    """The file that holds these arrays; it is written unless it is there, below `data_dir` or else the user's cache.

    Raises `DataError` for a full disk, or where neither may be written.
    """
    if not name or set(name) & set("/\\\0") or name.startswith("."):
        raise UsageError(f"name {shortened(name, 40)!r} of the data set cannot name a file: write for example 'mine'")
    roots = list(dict.fromkeys((data_dir or default_data_dir(), default_data_dir())))
    for root in roots:
        path = root / GIVEN_FOLDER / _digest(arrays) / f"{name}{NPZ_SUFFIX}"
        try:
            return path if path.exists() else _written(arrays, path)
        except OSError as error:
            if not is_not_writable(error):
                raise
    raise DataError(f"cannot write the data given to {' or '.join(map(str, roots))}: give another data folder")


def is_kept_here(path: Path) -> bool:
    """Whether this is a file that `kept` has written."""
    return path.parent.parent.name == GIVEN_FOLDER


def _written(arrays: Mapping[str, Array], path: Path) -> Path:
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_path(path)
        try:
            with fresh.open("xb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    return path


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()[:16]
