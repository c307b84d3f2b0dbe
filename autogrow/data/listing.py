"""What is there: every built-in dataset, whether its files are present, and where they are or should be."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autogrow.data.catalogue import ENTRIES, PACKAGED, CifarFiles, DatasetEntry, IdxFiles
from autogrow.data.locations import checked_data_dir
from autogrow.data.opening import find_source
from autogrow.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DatasetListing:
    """One line of ``autogrow data list``."""

    name: str
    title: str
    task: str | None
    """None, as for all that follows, where a package's function would have to be called to know."""
    input_shape: tuple[int, ...] | None
    num_outputs: int | None
    num_train: int | None
    num_test: int | None
    present: bool
    """Whether `open_dataset` would find its files; their contents are not verified here."""
    files: tuple[Path, ...]
    """Where the files are or, if they are not present, should be put. Empty where none are needed."""
    package: str | None = None
    """The installed package, with its version, that it is from; None for autogrow's own."""


def list_datasets(data_dir: Path | None = None) -> tuple[DatasetListing, ...]:
    """All built-in datasets, in the order of the catalogue, and those of installed packages. Decodes nothing.

    One of a package that cannot be imported is left out with a warning.
    """
    folder = checked_data_dir(data_dir)
    ours = [_listing(name, entry, folder) for name, entry in ENTRIES.items()]
    return (*ours, *(_listing_of_packaged(name, load) for name, load in PACKAGED.items()))


def _listing_of_packaged(name: str, load: Callable[[Path], Any]) -> DatasetListing:
    return DatasetListing(
        name=name,
        title=((load.__doc__ or "").strip().splitlines() or [""])[0],
        task=None,
        input_shape=None,
        num_outputs=None,
        num_train=None,
        num_test=None,
        present=True,
        files=(),
        package=PACKAGED.origin(name),
    )


def _listing(name: str, entry: DatasetEntry, data_dir: Path) -> DatasetListing:
    try:
        present, files = True, find_source(name, data_dir).files
    except DataError:
        present, files = False, tuple(data_dir / path for path in _expected_paths(entry))
    return DatasetListing(
        name=name,
        title=entry.title,
        task=entry.task,
        input_shape=entry.input_shape,
        num_outputs=entry.num_outputs,
        num_train=entry.num_train,
        num_test=entry.num_test,
        present=present,
        files=files,
    )


def _expected_paths(entry: DatasetEntry) -> tuple[str, ...]:
    match entry.files:
        case None:
            return ()
        case IdxFiles() as files:
            return tuple(file.path for file in files.all())
        case CifarFiles() as files:
            return tuple(file.path for file in (*files.python_train, *files.python_test))
