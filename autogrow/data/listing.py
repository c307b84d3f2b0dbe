"""What is there: every built-in dataset, whether its files are present, and where they are or should be."""

from dataclasses import dataclass
from pathlib import Path

from autogrow.data.catalogue import ENTRIES, CifarFiles, DatasetEntry, IdxFiles
from autogrow.data.locations import checked_data_dir
from autogrow.data.opening import find_source
from autogrow.errors import DataError


@dataclass(frozen=True, kw_only=True)
class DatasetListing:
    """One line of ``autogrow data list``."""

    name: str
    title: str
    task: str
    input_shape: tuple[int, ...]
    num_outputs: int
    num_train: int
    num_test: int
    present: bool
    """Whether `open_dataset` would find its files; their contents are not verified here."""
    files: tuple[Path, ...]
    """Where the files are or, if they are not present, should be put. Empty where none are needed."""


def list_datasets(data_dir: Path | None = None) -> tuple[DatasetListing, ...]:
    """All built-in datasets, in the order of the catalogue. Opens and decodes nothing."""
    folder = checked_data_dir(data_dir)
    return tuple(_listing(name, entry, folder) for name, entry in ENTRIES.items())


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
