"""From a dataset's name to a `Dataset`: find its files, decode them once, describe the stored arrays."""

from pathlib import Path

from autogrow.data.array_store import StoredMeta, stored_arrays
from autogrow.data.arrays import LAYOUTS, Layout
from autogrow.data.catalogue import DATASET_NAMES, ENTRIES, CifarFiles, IdxFiles
from autogrow.data.cifar import find_cifar
from autogrow.data.dataset import Dataset
from autogrow.data.generated import find_generated
from autogrow.data.idx import find_idx
from autogrow.data.locations import resolve_data_dir
from autogrow.data.npz import find_npz
from autogrow.data.sources import Source
from autogrow.errors import DataError, UsageError, unknown_name
from autogrow.paths import is_npz_name
from autogrow.tasks import TASKS


def open_dataset(
    name: str, data_dir: Path | None = None, *, task: str | None = None, layout: Layout | None = None
) -> Dataset:
    """Open a built-in dataset (see `DATASET_NAMES`) or a path that ends in ``.npz``.

    `task` and `layout` overrule what a user's own file is read as. The first call verifies and decodes the files in
    `data_dir` (default: `default_data_dir()`); later ones only map the result. Nothing is downloaded: that is
    `fetch_dataset`. Raises `DataError` for an unknown name, for files that are missing, damaged or inconsistent, and
    for a task or layout that they cannot have.
    """
    for what, wanted, known in (("task", task, tuple(TASKS)), ("layout", layout, LAYOUTS)):
        if wanted is not None and wanted not in known:
            raise UsageError(unknown_name(what, str(wanted), known))
    folder = resolve_data_dir(data_dir)
    is_npz = is_npz_name(name)
    source = find_npz(name, task, layout) if is_npz else find_source(name, folder)
    # Never beside the user's own file: that folder is not ours to write to.
    arrays_folder, meta = stored_arrays(source, None if is_npz else folder)
    if not is_npz:
        _check_form(name, meta, task, layout)
    return Dataset(
        name=name,
        task=meta.task,
        input_shape=meta.shapes["x_train"][1:],
        num_outputs=meta.num_outputs,
        num_train=meta.shapes["x_train"][0],
        num_test=meta.shapes.get("x_test", (0,))[0],
        fingerprint=meta.fingerprint,
        layout=meta.layout,
        classes=meta.classes,
        notes=meta.notes,
        augmentation=meta.augmentation,
        arrays_folder=arrays_folder,
    )


def _check_form(name: str, meta: StoredMeta, task: str | None, layout: Layout | None) -> None:
    """Raises `DataError` where a built-in dataset is asked to be what it is not."""
    for what, wanted, found in (("task", task, meta.task), ("layout", layout, meta.layout)):
        if wanted not in (None, found):
            raise DataError(f"dataset {name!r} has the {what} {found}, not {wanted}: leave out --{what}")


def find_source(name: str, data_dir: Path) -> Source:
    """The files of a built-in dataset. Raises `DataError` for an unknown name or missing files."""
    check_name(name)
    match ENTRIES[name].files:
        case None:
            return find_generated(name)
        case IdxFiles():
            return find_idx(name, data_dir)
        case CifarFiles():
            return find_cifar(name, data_dir)


def check_name(name: str) -> None:
    """Raise a `DataError` that lists the built-in names unless `name` is one of them."""
    if name not in ENTRIES:
        raise DataError(f"{unknown_name('dataset', name, DATASET_NAMES)} (your own data: a path ending in .npz)")
