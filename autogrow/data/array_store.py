"""Decoded arrays on disk: written once, then memory-mapped, so that all workers of a host share the same pages.

A folder is complete or absent: it is written under another name and renamed. Two processes that decode at the same time
both succeed; the second finds the folder taken and drops its own copy. Nothing here reads the values of an array.
"""

import json
import logging
import math
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from autogrow.data.arrays import DecodedArrays, Layout, check_arrays
from autogrow.data.catalogue import Augmentation
from autogrow.data.locations import ARRAYS_FOLDER, default_data_dir, disk_errors, is_not_writable, unfinished_path
from autogrow.data.sources import FORMAT_NUMBER, Source
from autogrow.data.tokenizers import TokenRecord
from autogrow.errors import DataError
from autogrow.reading.arrays import Array
from autogrow.reading.json_files import read_json
from autogrow.reading.typed import typed
from autogrow.removal import remove_written
from autogrow.tasks import TASKS
from autogrow.tasks.labels import ClassName
from autogrow.tasks.registry import TaskName

_logger = logging.getLogger(__name__)

META_FILE = "meta.json"
ARRAY_FILES = r"[xy]_(train|test)\.npy|meta\.json"
"""Pattern of the files in a folder of arrays."""
_PUBLISH_ATTEMPTS = 10


@dataclass(frozen=True, kw_only=True)
class StoredMeta:
    """What ``meta.json`` holds. `shapes` and `dtypes` have one entry per array file that must be there."""

    format: int
    task: TaskName
    num_outputs: int
    layout: Layout
    classes: tuple[ClassName, ...]
    notes: tuple[str, ...]
    augmentation: Augmentation
    fingerprint: str
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    tokens: TokenRecord | None = None


def stored_arrays(source: Source, data_dir: Path | None) -> tuple[Path, StoredMeta]:
    """The folder of the source's decoded arrays, decoding them first unless they are there.

    They are kept below `data_dir`, or below the user's cache folder when that is None or may not be written. Raises
    `DataError` for bad data, a full disk, or no writable place.
    """
    roots = [folder / ARRAYS_FOLDER for folder in dict.fromkeys((data_dir or default_data_dir(), default_data_dir()))]
    folder_name = source.folder_name()
    for root in roots:
        meta = read_meta(root / folder_name)
        if meta is not None:
            return root / folder_name, meta
    arrays = source.decode()
    num_outputs = check_arrays(arrays, source.name)
    for root in roots:
        try:
            return root / folder_name, _write(arrays, num_outputs, root / folder_name)
        except OSError as error:
            if not is_not_writable(error):
                raise
            _logger.info("decoded arrays are not kept in %s: %s", root, error.strerror)
    raise DataError(
        f"cannot write decoded arrays to {' or '.join(map(str, roots))}: make one of them writable, or give another "
        "data folder"
    )


def read_for(meta: StoredMeta, task: str | None, origin: str) -> StoredMeta:
    """The same arrays for a `task` whose targets are the inputs; as they are for any other, and of text.

    Raises `DataError` (naming `origin`) for inputs that it cannot have.
    """
    if task is None or not TASKS[task].targets_are_inputs or meta.tokens is not None:
        return meta
    input_shape = meta.shapes["x_train"][1:]
    TASKS[task].refuse_inputs(input_shape, origin)
    return replace(meta, task=task, num_outputs=math.prod(input_shape), classes=())


def read_meta(folder: Path) -> StoredMeta | None:
    """The meta data of a complete folder; None when it is missing, damaged or disagrees with its array files."""
    try:
        raw = read_json(folder / META_FILE, "record of decoded arrays", DataError, fix="decode them again")
        meta = typed(StoredMeta, raw, str(folder / META_FILE), DataError)
        intact = all(_file_holds(array_path(folder, name), meta, name) for name in meta.shapes)
    except (DataError, OSError, ValueError, TypeError, KeyError):
        return None
    has_targets = meta.tokens is None and not TASKS[meta.task].targets_are_inputs
    needed = {"x_train", "y_train"} if has_targets else {"x_train"}
    return meta if intact and meta.format == FORMAT_NUMBER and needed <= meta.shapes.keys() else None


def array_path(folder: Path, name: str) -> Path:
    """The file of the array `name` (``x_train``, ...) in a folder of decoded arrays."""
    return folder / f"{name}.npy"


def _file_holds(path: Path, meta: StoredMeta, name: str) -> bool:
    """Whether the file's header and length are those of the array; its values are not read."""
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            return False
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        expected_bytes = file.tell() + math.prod(shape) * dtype.itemsize
        return (
            shape == meta.shapes[name]
            and dtype.str == meta.dtypes[name]
            and os.fstat(file.fileno()).st_size == expected_bytes
        )


def _write(arrays: DecodedArrays, num_outputs: int, folder: Path) -> StoredMeta:
    meta = StoredMeta(
        format=FORMAT_NUMBER,
        task=arrays.task,
        num_outputs=num_outputs,
        layout=_layout_of(arrays),
        classes=_classes_of(arrays, num_outputs),
        notes=arrays.notes,
        augmentation=arrays.augmentation,
        fingerprint=arrays.fingerprint(),
        shapes={name: array.shape for name, array in arrays.named()},
        dtypes={name: array.dtype.str for name, array in arrays.named()},
        tokens=arrays.tokens,
    )
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_path(folder)
        fresh.mkdir()
        try:
            for name, array in arrays.named():
                write_array(array_path(fresh, name), array)
            (fresh / META_FILE).write_text(json.dumps(asdict(meta), indent=2) + "\n", encoding="utf-8")
            publish(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return meta


def _layout_of(arrays: DecodedArrays) -> Layout:
    return arrays.layout or ("features" if arrays.x_train.ndim == 2 else "channels_first")


def _classes_of(arrays: DecodedArrays, num_outputs: int) -> tuple[ClassName, ...]:
    return TASKS[arrays.task].class_names(num_outputs) if arrays.classes is None else arrays.classes


def write_array(path: Path, array: Array) -> None:
    # Not np.save: its C code reports a full disk as an OSError without the number that tells it from other errors.
    with path.open("xb") as file:
        contiguous = np.ascontiguousarray(array)
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(contiguous))
        file.write(contiguous.data)


def publish(fresh: Path, folder: Path) -> None:
    """Rename `fresh` to `folder`, unless another process has put a complete folder there; replace a damaged one."""
    for _ in range(_PUBLISH_ATTEMPTS):
        try:
            fresh.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        if read_meta(folder) is not None:
            return
        _retire(folder)
    raise DataError(f"cannot replace the damaged folder {folder}: delete it and try again")


def _retire(folder: Path) -> None:
    """Take a damaged folder out of the way in one step, then delete it."""
    discarded = unfinished_path(folder)
    with suppress(FileNotFoundError):  # another process was faster
        folder.rename(discarded)
    remove_written(discarded, ARRAY_FILES)
