"""Where dataset files and decoded arrays live, and what a full or read-only disk looks like to the user.

The environment is not read here: the command line turns AUTOGROW_DATA or ``--data-dir`` into the argument `data_dir`.
"""

import errno
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_dir

from autogrow.errors import DataError

ARRAYS_FOLDER = "autogrow-arrays"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def default_data_dir() -> Path:
    """The user's cache folder for autogrow, where datasets are kept unless a data folder is given."""
    return Path(user_cache_dir("autogrow"))


def resolve_data_dir(data_dir: Path | None) -> Path:
    """`data_dir` (default: `default_data_dir()`) as an absolute path. Raises `DataError` if it is a file."""
    folder = (default_data_dir() if data_dir is None else Path(data_dir)).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise DataError(f"data folder {folder} is a file: give the folder that holds the datasets")
    return folder


def unfinished_path(target: Path) -> Path:
    """A new hidden name beside `target`, to write to before renaming; a crash leaves nothing under the real name."""
    return target.with_name(f".{target.name}.{uuid.uuid4().hex}.unfinished")


def is_not_writable(error: OSError) -> bool:
    """Whether the error says that the place may not be written, rather than that something is broken."""
    return error.errno in _NOT_WRITABLE


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk met while writing `path` into a `DataError`; let every other error pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        raise DataError(
            f"disk full while writing {path} ({error.strerror}): free some space there, or give another data folder"
        ) from error
