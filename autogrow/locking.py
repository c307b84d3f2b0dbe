"""The lock that keeps a second process out of a folder: of a run, of a training, of an experiment.

The operating system gives the lock back when its holder dies, however it dies, so a lock is never stale. The file says
who holds it; it is gone when nobody does.
"""

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autogrow.errors import RunFolderError, RunFolderInUseError
from autogrow.files import unwritable
from autogrow.reading.json_files import parse_json

LOCK = "lock"
PATIENCE_SECONDS = 0.3
MOST_BYTES = 4096


class FolderLock:
    """The file ``lock`` of a folder.

    Args:
        title: What errors call the folder.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self._folder = folder
        self._title = title
        self._file = folder / LOCK

    @property
    def in_use(self) -> bool:
        """Whether somebody holds it now. It is only asked for, shared, and given back at once."""
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # no lock yet, or none that can be read: `held` says why
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def refuse_if_in_use(self) -> None:
        """Raise `RunFolderInUseError` naming the holder, for callers that have much to do before they need the lock."""
        if self.in_use:
            raise self._in_use()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, which is made where it is missing, and removed again if nothing comes to lie in it.

        Raises `RunFolderInUseError` naming the holder when another process has it, and `RunFolderError` where a file of
        that name is none of ours: it is left as it is.
        """
        created = not self._folder.exists()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = self._take()
        except OSError as error:
            if self._file.is_symlink():
                raise RunFolderError(f"{self._file} is a link, not a lock: remove it") from error
            raise unwritable(self._file, error) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
            yield
        finally:
            self._file.unlink(missing_ok=True)
            os.close(descriptor)
            if created and self._folder.is_dir() and not any(self._folder.iterdir()):
                self._folder.rmdir()

    def _take(self) -> int:
        """A descriptor that holds the lock; tried for a moment, because a reader may be asking whether it is held."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The holder before may have removed the file after it was opened here: then this lock locks nothing.
                if self._file.exists() and os.path.samestat(os.fstat(descriptor), self._file.stat()):
                    if not _is_ours(descriptor):
                        raise RunFolderError(
                            f"{self._file} is no lock of autogrow's: choose another folder, or another name for that"
                        )
                    return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise self._in_use() from None
            except RunFolderError:
                os.close(descriptor)
                raise
            os.close(descriptor)
            time.sleep(0.02)

    def _in_use(self) -> RunFolderInUseError:
        return RunFolderInUseError(f"{self._title} is in use by {self._holder()}: wait, or stop it")

    def _holder(self) -> str:
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                return _holder(descriptor) or "another process"
            finally:
                os.close(descriptor)
        except OSError:
            return "another process"


def _is_ours(descriptor: int) -> bool:
    """Whether a file is empty, as a process leaves it that was killed just then, or says who held the lock."""
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and (status.st_size == 0 or _holder(descriptor) is not None)


def _holder(descriptor: int) -> str | None:
    try:
        holder = parse_json(os.pread(descriptor, MOST_BYTES, 0), LOCK, RunFolderError, fix="remove it")
        return f"process {int(holder['pid'])} on {str(holder['host'])[:100]}"
    except (RunFolderError, ValueError, KeyError, TypeError):
        return None
