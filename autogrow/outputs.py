"""Writing to a path that a user has chosen for one file: never over something that was not meant.

A new file appears whole. Through a link it is the link's target that is written, and the link stays. A stream (a
terminal, a pipe, ``/dev/stdout``) is written to. Devices that hold data, sockets and folders are refused, and what
stands there already is replaced only where that may be.
"""

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from autogrow.errors import UsageError
from autogrow.files import unwritable, write_text_atomically
from autogrow.paths import resolved
from autogrow.printing import naming_failures

STREAM_FOLDERS = ("/dev", "/proc")
"""Where what looks like a file may be an open stream of this process."""


def check_output(path: Path, may_replace: Callable[[Path], bool], advice: str) -> None:
    """Raise `UsageError`, with `advice` for a file that stands there, unless `write_output` may write to `path`.

    may_replace: Whether a regular file may be replaced.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return  # also a link to nothing, whose target is made
    except OSError as error:
        raise unwritable(path, error) from error
    if is_stream(path):
        return
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a socket"
        raise UsageError(f"{path} is {kind}, not a file that could be written: choose another name")
    if not may_replace(path):
        raise UsageError(f"{path} exists: {advice}")


def write_output(path: Path, text: str) -> None:
    """Write a text where `check_output` has let it. Raises `RunFolderError` where that fails."""
    if not is_stream(path):
        write_text_atomically(resolved(os.path.realpath(path)), text)
        return
    if (descriptor := _standard_stream(path)) is not None:
        sys.stdout.flush()
        with naming_failures(), open(os.dup(descriptor), "w", encoding="utf-8") as stream:
            stream.write(text)
        return
    try:
        with open(os.open(path, os.O_WRONLY | os.O_APPEND), "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise unwritable(path, error) from error


def is_stream(path: Path) -> bool:
    """Whether what stands at `path` takes text without keeping it: a pipe, a terminal, an open stream of ours."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    is_open = str(path).startswith(tuple(f"{folder}/" for folder in STREAM_FOLDERS)) and stat.S_ISREG(mode)
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or is_open or _standard_stream(path) is not None


def is_standard_output(path: Path) -> bool:
    """Whether what is written to `path` comes out where this process prints."""
    return _standard_stream(path) == 1


def _standard_stream(path: Path) -> int | None:
    """The descriptor of standard output or standard error, if `path` is one of their names."""
    if not str(path).startswith(tuple(f"{folder}/" for folder in STREAM_FOLDERS)):
        return None
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
    return None
