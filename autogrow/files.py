"""Writing files whole or not at all: a temporary file beside the target, flushed to disk, then renamed."""

import errno
import json
import os
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


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files under `folder` of writers that were killed. Nobody may be writing there."""
    for path in folder.rglob(".*.tmp*"):
        path.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    with atomic_target(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json_atomically(path: Path, content: Any) -> None:
    write_text_atomically(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def append_text(path: Path, text: str) -> None:
    """Add to the end of a file, which is made where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


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
