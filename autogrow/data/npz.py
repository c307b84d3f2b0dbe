"""A user's own data: one ``.npz`` file with `x_train`, `y_train` and, if there is a test split, `x_test`, `y_test`.

Integer labels mean classification, float targets regression. Inputs of 2 dimensions are features, of 3 grey images
(N, H, W), of 4 images (N, C, H, W) or (N, H, W, C). uint8 is kept; every other number becomes float32.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from autogrow.data.arrays import Array, DecodedArrays
from autogrow.data.catalogue import Task
from autogrow.data.sources import Source
from autogrow.errors import DataError, one_line
from autogrow.paths import resolved

_REQUIRED = ("x_train", "y_train")
_OPTIONAL = ("x_test", "y_test")
_CHANNEL_COUNTS = (1, 3, 4)


def find_npz(name: str) -> Source:
    """The source for the path `name`. Raises `DataError` when there is no such file."""
    path = resolved(name)
    if not path.is_file():
        raise DataError(f"no file {path}: give the path of an existing .npz file with x_train and y_train")
    return Source(str(path), (path,), lambda: _decode(path))


def _decode(path: Path) -> DecodedArrays:
    loaded = _load(path)
    task = _task(loaded["y_train"], path)
    return DecodedArrays(
        task=task,
        x_train=_inputs(loaded["x_train"], "x_train", path),
        y_train=_targets(loaded["y_train"], "y_train", task, path),
        x_test=_inputs(loaded["x_test"], "x_test", path) if "x_test" in loaded else None,
        y_test=_targets(loaded["y_test"], "y_test", task, path) if "y_test" in loaded else None,
    )


def _load(path: Path) -> dict[str, Array]:
    try:
        # Opened here, because np.load leaves a damaged archive open.
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: a single array, not an .npz archive: save it with numpy.savez")
            missing = [name for name in _REQUIRED if name not in file.files]
            if missing:
                raise DataError(
                    f"{path}: holds {', '.join(file.files) or 'nothing'}, but no {' and no '.join(missing)}: "
                    f"save it with numpy.savez(path, x_train=..., y_train=...)"
                )
            return {name: _load_array(file, name, path) for name in (*_REQUIRED, *_OPTIONAL) if name in file.files}
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as .npz ({one_line(error)}): save it with numpy.savez") from error


def _load_array(file: "np.lib.npyio.NpzFile", name: str, path: Path) -> Array:
    try:
        array = file[name]
    except (OSError, EOFError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # Among them: an object array, which would need a pickle and is therefore refused; a size that nobody has.
        raise DataError(
            f"{path}: {name} cannot be read ({one_line(error)}): save plain numbers with numpy.savez"
        ) from error
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: {name} holds {array.dtype}, not numbers: convert it to integers or floats")
    return array


def _task(y_train: Array, path: Path) -> Task:
    if y_train.dtype.kind == "f":
        return "regression"
    if y_train.ndim != 1 and not (y_train.ndim == 2 and y_train.shape[1] == 1):
        raise DataError(
            f"{path}: integer y_train of shape {y_train.shape}: give one class number per example, shape (N,), "
            "or float targets of shape (N, width) to regress"
        )
    return "classification"


def _targets(array: Array, name: str, task: Task, path: Path) -> Array:
    if (array.dtype.kind == "f") != (task == "regression"):
        raise DataError(f"{path}: {name} holds {array.dtype}, unlike y_train ({task}): give both the same kind")
    if task == "regression":
        if array.ndim not in (1, 2):
            raise DataError(f"{path}: {name} has shape {array.shape}: targets are (N,) or (N, width)")
        return _as_float32(array.reshape(len(array), -1) if array.ndim == 1 and len(array) else array)
    if array.size != len(array):
        raise DataError(f"{path}: {name} has shape {array.shape}: labels are (N,)")
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{path}: {name} holds the label {array.max()}: classes are numbered from 0 without gaps")
    return array.reshape(-1).astype(np.int64)


def _inputs(array: Array, name: str, path: Path) -> Array:
    if array.ndim not in (2, 3, 4):
        raise DataError(
            f"{path}: {name} has {array.ndim} dimensions {array.shape}: give (N, features), (N, H, W), (N, C, H, W) "
            "or (N, H, W, C)"
        )
    if array.ndim == 3:
        array = array[:, np.newaxis]
    elif array.ndim == 4 and array.shape[3] in _CHANNEL_COUNTS and array.shape[1] not in _CHANNEL_COUNTS:
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array) if array.dtype == np.uint8 else _as_float32(array)


def _as_float32(array: Array) -> Array:
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and is reported as that
        return np.ascontiguousarray(array, dtype=np.float32)
