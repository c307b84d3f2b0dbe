"""A user's own data: one ``.npz`` file with `x_train`, `y_train` and, if there is a test split, `x_test`, `y_test`.

Inputs of 2 dimensions are features, of 3 grey images (N, H, W), of 4 images (N, C, H, W) or (N, H, W, C), see
`image_layout`. uint8 is kept; every other number becomes a float, see `number_precision`. What targets mean is said in
`labels`.
"""

from functools import partial
from pathlib import Path

import numpy as np

from autogrow.data.arrays import Array, ClassName, DecodedArrays, Layout
from autogrow.data.catalogue import Task
from autogrow.data.image_layout import channels_first, decide_layout
from autogrow.data.labels import classes_of, decide_task, is_one_hot, numbers_of, targets_of
from autogrow.data.number_precision import as_floats, num_constant_columns
from autogrow.data.sources import Source
from autogrow.errors import DataError
from autogrow.paths import resolved
from autogrow.reading.arrays import read_npz

_REQUIRED = ("x_train", "y_train")
_OPTIONAL = ("x_test", "y_test")


def find_npz(name: str, task: Task | None = None, layout: Layout | None = None) -> Source:
    """The source for the path `name`, read for `task` and `layout` where they are given.

    Raises `DataError` when there is no such file.
    """
    path = resolved(name)
    if not path.is_file():
        raise DataError(f"no file {path}: give the path of an existing .npz file with x_train and y_train")
    variant = "" if task is None and layout is None else f"{task} {layout}"
    return Source(str(path), (path,), partial(_decode, path, task, layout), variant)


def _decode(path: Path, task: Task | None, layout: Layout | None) -> DecodedArrays:
    loaded = _load(path)
    _check_filled(loaded, path)
    layout = decide_layout(loaded["x_train"].shape, layout, "x_train", str(path))
    x_train = _inputs(loaded["x_train"], "x_train", layout, path)
    x_test = _inputs(loaded["x_test"], "x_test", layout, path, x_train) if "x_test" in loaded else None
    task = decide_task(loaded["y_train"], task, str(path))
    classes, y_train, y_test = (_targets if task == "regression" else _labels)(loaded, str(path))
    constant = num_constant_columns(x_train)
    kind = "feature" if layout == "features" else "channel"
    return DecodedArrays(
        task=task,
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        layout=layout,
        classes=classes,
        notes=(f"{constant} of {x_train.shape[1]} {kind}s never vary and say nothing",) if constant else (),
    )


_Targets = tuple[tuple[ClassName, ...] | None, Array, Array | None]
"""The names of the classes, and what is stored for training and test examples."""


def _labels(loaded: dict[str, Array], origin: str) -> _Targets:
    classes, y_train = classes_of(loaded["y_train"], origin)
    width = loaded["y_train"].shape[1] if is_one_hot(loaded["y_train"]) else None
    y_test = numbers_of(loaded["y_test"], "y_test", classes, width, origin) if "y_test" in loaded else None
    return classes, y_train, y_test


def _targets(loaded: dict[str, Array], origin: str) -> _Targets:
    y_train = as_floats(targets_of(loaded["y_train"], "y_train", origin), "y_train", origin)
    if "y_test" not in loaded:
        return None, y_train, None
    return None, y_train, as_floats(targets_of(loaded["y_test"], "y_test", origin), "y_test", origin, y_train.dtype)


def _inputs(array: Array, name: str, layout: Layout, path: Path, train: Array | None = None) -> Array:
    """Inputs as they are stored, of the same kind as those of `train`."""
    decide_layout(array.shape, layout, name, str(path))
    array = channels_first(array, layout)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    like = None if train is None or train.dtype == np.uint8 else train.dtype
    return as_floats(array, name, str(path), like)


def _check_filled(loaded: dict[str, Array], path: Path) -> None:
    """Raises `DataError` for arrays without examples, which have no form to decide on."""
    for name, array in loaded.items():
        if array.ndim == 0:
            raise DataError(f"{path}: {name} has shape (), a single value: give one entry per example, (N, ...)")
        if array.size == 0:
            raise DataError(f"{path}: {name} {array.shape} is empty, at least 1 example is needed")


def _load(path: Path) -> dict[str, Array]:
    loaded = read_npz(path, _REQUIRED, _OPTIONAL, DataError)
    for name, array in loaded.items():
        if array.dtype.kind not in ("buif" if name.startswith("x_") else "buifUS"):
            raise DataError(f"{path}: {name} holds {array.dtype}, not numbers: convert it to integers or floats")
    return loaded
