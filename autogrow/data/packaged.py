"""Data sets of installed packages: a function that gives arrays, found by an entry point of ``autogrow.datasets``.

    def stripes(data_dir):
        return {"x_train": ..., "y_train": ..., "x_test": ..., "y_test": ..., "task": "classification"}

`data_dir` is the folder of all data sets. The arrays are what a user's own ``.npz`` file may hold; the test part,
`task` and `layout` may be left out (and targets, where the task takes inputs for them), and a pair (x, y) or
(x, y, x_test, y_test) may be returned as well. They are decoded once, and again when the package's version or the
function's file has changed.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autogrow.data.arrays import DecodedArrays, Layout
from autogrow.data.catalogue import PACKAGED
from autogrow.data.npz import decoded, needs_targets
from autogrow.data.python_data import as_array
from autogrow.data.sources import Source
from autogrow.errors import RAISED_BY_OTHERS, DataError, kind_of, one_line, unknown_name

_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_HOW_READ = ("task", "layout")


def find_packaged(name: str, data_dir: Path, task: str | None = None, layout: Layout | None = None) -> Source:
    """The source of an installed package's data set. Raises `DataError` where the package cannot be used."""
    load = PACKAGED[name]
    variant = " ".join(map(str, (PACKAGED.origin(name), *((task, layout) if task or layout else ()))))
    return Source(name, _file_of(load), partial(_decode, name, load, data_dir, task, layout), variant)


def _file_of(load: Callable[..., Any]) -> tuple[Path, ...]:
    try:
        return (Path(inspect.getfile(load)),)
    except (TypeError, OSError):  # an object that can be called, or a function without a file
        return ()


def _decode(
    name: str, load: Callable[[Path], Any], data_dir: Path, task: str | None, layout: Layout | None
) -> DecodedArrays:
    origin = f"dataset {name!r} of {PACKAGED.origin(name)}"
    try:
        given = load(data_dir)
    except RAISED_BY_OTHERS as error:
        raise DataError(f"{origin} cannot be loaded: {one_line(error)}") from error
    parts = _parts(given, origin, task)
    arrays = {key: as_array(parts[key], f"{origin}: {key}") for key in _ARRAYS if parts.get(key) is not None}
    return decoded(arrays, origin, task or parts.get("task"), layout or parts.get("layout"))


def _parts(given: Any, origin: str, task: str | None) -> dict[str, Any]:
    """What a function has returned, by name. Raises `DataError` for what it may not be."""
    if isinstance(given, tuple) and len(given) in (2, 4):
        given = dict(zip(_ARRAYS, given, strict=False))
    if not isinstance(given, Mapping):
        raise DataError(f"{origin} gives {kind_of(given)}: it must give a mapping of arrays, or (x, y)")
    unknown = [key for key in given if key not in (*_ARRAYS, *_HOW_READ)]
    if unknown:
        raise DataError(f"{origin}: {unknown_name('entry', str(unknown[0]), (*_ARRAYS, *_HOW_READ))}")
    needed = _ARRAYS[:2] if needs_targets(task or given.get("task")) else _ARRAYS[:1]
    missing = [key for key in needed if given.get(key) is None]
    if missing:
        raise DataError(f"{origin} gives no {' and no '.join(missing)}")
    return dict(given)
