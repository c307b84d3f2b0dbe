"""Writing files whole or not at all: a temporary file in the target's folder, flushed to disk, then renamed."""

import errno
import fnmatch
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autogrow.errors import RunFolderError


@contextmanager
def atomic_target(path: Path) -> Iterator[Path]:
    """A temporary path to write to; renamed to `path` when the block ends well, removed when it does not.

    Raises `RunFolderError` naming the full path when the file cannot be written (no space, no permission).
    """
    try:
        if _is_no_file(path):
            raise RunFolderError(f"{path} is no file, but a folder, a device or a pipe: remove it, or write elsewhere")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~current_umask())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _is_no_file(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)  # asked once: it may go between two questions
    except OSError:
        return False


def write_text_atomically(path: Path, text: str) -> None:
    with atomic_target(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomically(path: Path, content: Any) -> None:
    write_text_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def file_stamp(path: Path) -> tuple[int, ...]:
    """What tells a file from every other that stood, or will stand, under its name.

    Size and time of change alone do not: tools that copy, unpack or synchronize set the time as it was elsewhere. The
    inode's number and the time of its own last change, which nobody can set, come with them.
    """
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def paths_present(folder: Path, *names: str) -> Iterator[Path]:
    """What lies below a folder under some names, a pattern for each level; where others add and remove meanwhile, too.

    `Path.glob` raises where a folder that it has just seen is gone when it looks inside.
    """
    pattern, *deeper = names
    with suppress(FileNotFoundError, NotADirectoryError):
        for name in fnmatch.filter(os.listdir(folder), pattern):
            if deeper:
                yield from paths_present(folder / name, *deeper)
            else:
                yield folder / name


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file, which is made where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never through a link, as nothing that is written whole replaces more than the link itself.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        with open(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


def refuse_folder(folder: Path) -> None:
    """Raise `RunFolderError` where nothing can be written in a folder, which may be missing and is not made here."""
    above = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not above.exists():
        raise RunFolderError(f"{above} is a link that leads nowhere: choose another --out, or make what it points to")
    if not above.is_dir():
        raise RunFolderError(f"{above} is a file, not a folder: choose another --out")
    if not os.access(above, os.W_OK | os.X_OK):
        raise RunFolderError(f"folder {above} is not writable: choose another --out")


def unwritable(path: Path, error: OSError) -> RunFolderError:
    """The error for a path that cannot be written, with the fix that fits its cause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFolderError(f"no space left to write {path.absolute()}: free some, or choose another folder")
    return RunFolderError(f"cannot write {path.absolute()}: {error.strerror or error}")


def current_umask() -> int:
    """What new files are not open to."""
    # The process's mask can only be read by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
