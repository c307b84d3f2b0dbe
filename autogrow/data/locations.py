"""Where dataset files and decoded arrays live, and what a full or read-only disk looks like to the user.

The environment is not read here: the command line turns AUTOGROW_DATA or ``--data-dir`` into the argument `data_dir`.
"""

import errno
import getpass
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_dir

from autogrow.errors import DataError
from autogrow.paths import resolved

ARRAYS_FOLDER = "autogrow-arrays"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def default_data_dir() -> Path:
    """The user's cache folder for autogrow, where datasets are kept unless a data folder is given.

    A user without a home folder (a container that runs under any user number) has one among the temporary files.
    Raises `DataError` where that is not theirs alone to write to.
    """
    with suppress(RuntimeError):
        folder = Path(user_cache_dir("autogrow"))
        if folder.is_absolute():  # platformdirs 4.0 leaves a ~ that stands for nothing
            return folder
    return _folder_without_home()


def stand_in_for_home() -> None:
    """Name a home folder, and a user, to libraries that end without: the folder and the number that this user has."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = str(_folder_without_home())
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"user-{os.getuid()}"


def _folder_without_home() -> Path:
    folder = Path(tempfile.gettempdir()) / f"autogrow-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise _no_home(f"{folder} cannot be made ({error.strerror})") from error
    # Anybody may have put something of that name there.
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise _no_home(f"{folder} is somebody else's")
    return folder


def _no_home(problem: str) -> DataError:
    return DataError(f"this user has no home folder, and {problem}: set HOME, or give --data-dir")


def checked_data_dir(data_dir: Path | None) -> Path:
    """`data_dir` (default: `default_data_dir()`) as an absolute path. Raises `DataError` if it is a file."""
    folder = default_data_dir() if data_dir is None else resolved(data_dir)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"data folder {folder} is a file: give the folder that holds the datasets")
    return folder


def unfinished_path(target: Path) -> Path:
    """A hidden name in the folder of `target`, to write to first: a crash leaves nothing under the real one."""
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
