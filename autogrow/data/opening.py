"""From a dataset's name to a `Dataset`: find its files, decode them once, describe the stored arrays."""

from pathlib import Path

from autogrow.data.array_store import stored_arrays
from autogrow.data.catalogue import DATASET_NAMES, ENTRIES, CifarFiles, IdxFiles
from autogrow.data.cifar import find_cifar
from autogrow.data.dataset import Dataset
from autogrow.data.generated import find_generated
from autogrow.data.idx import find_idx
from autogrow.data.locations import resolve_data_dir
from autogrow.data.npz import find_npz
from autogrow.data.sources import Source
from autogrow.errors import DataError, unknown_name
from autogrow.paths import is_npz_name


def open_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """Open a built-in dataset (see `DATASET_NAMES`) or a path that ends in ``.npz``.

    The first call verifies and decodes the files in `data_dir` (default: `default_data_dir()`); later ones only map
    the result. Nothing is downloaded: that is `fetch_dataset`. Raises `DataError` for an unknown name, and for files
    that are missing, damaged or inconsistent.
    """
    folder = resolve_data_dir(data_dir)
    is_npz = is_npz_name(name)
    source = find_npz(name) if is_npz else find_source(name, folder)
    # Never beside the user's own file: that folder is not ours to write to.
    arrays_folder, meta = stored_arrays(source, None if is_npz else folder)
    return Dataset(
        name=name,
        task=meta.task,
        input_shape=meta.shapes["x_train"][1:],
        num_outputs=meta.num_outputs,
        num_train=meta.shapes["x_train"][0],
        num_test=meta.shapes.get("x_test", (0,))[0],
        fingerprint=meta.fingerprint,
        augmentation=meta.augmentation,
        arrays_folder=arrays_folder,
    )


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
