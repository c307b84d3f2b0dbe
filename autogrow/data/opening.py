"""From a dataset's name to a `Dataset`: find its files, decode them once, describe the stored arrays."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autogrow.data.array_store import StoredMeta, read_for, stored_arrays
from autogrow.data.arrays import LAYOUTS, Layout
from autogrow.data.catalogue import DATASET_NAMES, ENTRIES, PACKAGED, CifarFiles, IdxFiles
from autogrow.data.cifar import find_cifar
from autogrow.data.dataset import Dataset
from autogrow.data.generated import find_generated
from autogrow.data.idx import find_idx
from autogrow.data.locations import checked_data_dir
from autogrow.data.npz import find_npz
from autogrow.data.packaged import find_packaged
from autogrow.data.python_data import Examples, as_array
from autogrow.data.sources import Source
from autogrow.data.text import find_text
from autogrow.data.text_names import STDLIB, absolute_name, is_text_place
from autogrow.errors import DataError, UsageError, kind_of, unknown_name
from autogrow.paths import is_npz_name, place_and_query
from autogrow.tasks import TASKS


def open_dataset(
    name: str, data_dir: Path | None = None, *, task: str | None = None, layout: Layout | None = None
) -> Dataset:
    """Open a built-in dataset (see `DATASET_NAMES`), one of an installed package, an ``.npz`` file, or a text.

    A built-in one has its own task, or any whose targets are the inputs.

    A text is named by the path of its file or folder, with what it is read with (see `text_names`).

    `task` and `layout` overrule what a user's own file is read as. The first call verifies and decodes the files in
    `data_dir` (default: `default_data_dir()`); later ones only map the result. Nothing is downloaded: that is
    `fetch_dataset`. Raises `DataError` for an unknown name, for files that are missing, damaged or inconsistent, and
    for a task or layout that they cannot have.
    """
    for what, wanted, known in (("task", task, tuple(TASKS)), ("layout", layout, LAYOUTS)):
        if wanted is not None and wanted not in known:
            raise UsageError(unknown_name(what, str(wanted), known))
    folder = checked_data_dir(data_dir)
    is_npz = is_npz_name(name)
    _refuse_options(name)
    is_text = not is_npz and is_named_text(name)
    if is_text:
        source = find_text(name, task, layout)
    else:
        source = find_npz(name, task, layout) if is_npz else find_source(name, folder, task, layout)
    # Never next to the user's own file: that folder is not ours to write to.
    arrays_folder, meta = stored_arrays(source, None if is_npz or is_text else folder)
    if name in ENTRIES:
        meta = read_for(meta, task, name)
        _check_form(name, meta, task, layout)
    return Dataset.of_stored(source.name if is_text else name, arrays_folder, meta)


def _refuse_options(name: str) -> None:
    """Raise `DataError` where a data set is no text, and is named with options of one."""
    place, query = place_and_query(name)
    if query and place != STDLIB and (place in ENTRIES or place in PACKAGED):
        raise DataError(f"dataset {place!r} is no text, so there is no {query.partition('=')[0]}: leave that out")


def is_named_text(name: str) -> bool:
    """Whether a name means a text, and no other data set: the path of a file or a folder, or one with options."""
    if name in ENTRIES or name in PACKAGED:
        return False
    return bool(place_and_query(name)[1]) or "/" in name or is_text_place(name)


def full_name(name: str) -> str:
    """A data set as settings name it: a user's own file or folder by where it is, seen from anywhere."""
    return absolute_name(name) if is_npz_name(name) or is_named_text(name) else name


def open_given(
    data: Any, data_dir: Path | None = None, *, task: str | None = None, layout: Layout | None = None
) -> Dataset:
    """A data set in any form in which Python may give one.

    Args:
        data: A `Dataset`; a name, or the path of an ``.npz`` file or of a text (str or Path); arrays as (X, y) or
            (X, y, X_test, y_test); whole numbers (number,), which are tokens; anything with ``__len__`` and
            ``__getitem__`` that gives pairs (input, target).
        data_dir: Where the files of named data sets lie, and where what is given is kept.
        task: What the targets are for; None: decided by them.
        layout: How the inputs lie; None: decided by their shape.

    Raises:
        DataError: See `open_dataset`, `Dataset.from_arrays` and `Dataset.from_examples`.
        UsageError: For what is none of these, and a task or layout that an open `Dataset` does not have.
    """
    if isinstance(data, Dataset):
        _check_form(data.name, data, task, layout)
        return data
    if isinstance(data, str | os.PathLike):
        name = os.fspath(data)
        if not isinstance(data, str) and not is_npz_name(name):
            return open_dataset(absolute_name(name), data_dir, task=task, layout=layout)
        return open_dataset(name, data_dir, task=task, layout=layout)
    if isinstance(data, tuple):
        if len(data) not in (2, 4):
            raise UsageError(f"data of {len(data)} arrays: give (X, y), or (X, y, X_test, y_test)")
        return Dataset.from_arrays(*data, task=task, layout=layout, data_dir=data_dir)
    if _is_row_of_tokens(data):
        opened = Dataset.from_tokens(data, data_dir=data_dir)
        _check_form(opened.name, opened, task, layout)
        return opened
    if isinstance(data, Examples) and not isinstance(data, Mapping) and not hasattr(data, "__array__"):
        return Dataset.from_examples(data, task=task, layout=layout, data_dir=data_dir)
    raise UsageError(
        f"data set is {kind_of(data)}: give a name, the path of an .npz file, arrays as (X, y), or something with "
        "__len__ and __getitem__ that gives pairs (input, target)"
    )


def _is_row_of_tokens(data: Any) -> bool:
    return hasattr(data, "__array__") and np.ndim(data) == 1 and as_array(data, "tokens").dtype.kind in "iu"


def _check_form(name: str, meta: StoredMeta | Dataset, task: str | None, layout: Layout | None) -> None:
    """Raises `DataError` where a data set is asked to be what it is not."""
    for what, wanted, found in (("task", task, meta.task), ("layout", layout, meta.layout)):
        if wanted not in (None, found):
            raise DataError(f"dataset {name!r} has the {what} {found}, not {wanted}: leave out --{what}")


def find_source(name: str, data_dir: Path, task: str | None = None, layout: Layout | None = None) -> Source:
    """What a named data set rests on; one of an installed package is read for `task` and `layout`.

    Raises `DataError` for an unknown name, missing files, or a package that cannot be used.
    """
    check_name(name)
    if name not in ENTRIES:
        return find_packaged(name, data_dir, task, layout)
    match ENTRIES[name].files:
        case None:
            return find_generated(name)
        case IdxFiles():
            return find_idx(name, data_dir)
        case CifarFiles():
            return find_cifar(name, data_dir)


def check_name(name: str) -> None:
    """Raise a `DataError` that lists the names there are unless `name` is one of them."""
    if name not in ENTRIES and name not in PACKAGED:
        raise DataError(
            f"{unknown_name('dataset', name, (*DATASET_NAMES, *PACKAGED))} (your own data: the path of an .npz file, "
            "or of a text)"
        )
