"""The temporary folder of a search's Ray session, and the removal of those that killed searches left behind.

Whoever owns such a folder holds a lock on a file in it. The operating system gives the lock back when its holder dies,
however it dies, so a folder whose lock can be taken has lost its owner: Ray processes that still use it are ended, and
it is removed. Every search begins with that.
"""

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autogrow.files import unwritable

PREFIX = "ag-"
"""Short, because Ray puts sockets into the folder, whose paths may have 107 characters."""
OWNER = "owner"
EMPTY_FOR_SECONDS = 60.0
"""An empty folder this old was left by a search that was killed before it had written the lock file."""
END_WAIT_SECONDS = 5.0
"""How long processes that were killed may take to be gone."""


@contextmanager
def session_folder() -> Iterator[Path]:
    """A new folder that only this user may enter; removed at the end with whatever still uses it."""
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        raise unwritable(Path(tempfile.gettempdir()), error) from error
    owner = os.open(path / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        yield path
    finally:
        _remove(path)
        os.close(owner)


def authentication_problem() -> str | None:
    """Why no Ray session is started with this environment, in one line; None if nothing stands against it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return "RAY_AUTH_MODE=disabled would let anybody on the network run code here: unset it"
    return None


def remove_abandoned() -> list[Path]:
    """Remove the folders of this user's searches that were killed, and end what they left running."""
    removed = []
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
                continue
            if _is_abandoned(path):
                _remove(path)
                removed.append(path)
    return removed


def _is_abandoned(path: Path) -> bool:
    try:
        owner = os.open(path / OWNER, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return not any(path.iterdir()) and time.time() - path.stat().st_mtime > EMPTY_FOR_SECONDS
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(owner)
    return True


def _remove(path: Path) -> None:
    deadline = time.monotonic() + END_WAIT_SECONDS
    while processes := ray_processes_using(path):
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    shutil.rmtree(path, ignore_errors=True)


def ray_processes_using(path: Path) -> list[int]:
    """Ray's processes that have a file in this folder open; none where there is no /proc to ask."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # processes come and go, and others' are not ours to look into
            command = (entry / "cmdline").read_bytes()
            if (command.startswith(b"ray::") or b"/ray/" in command) and _has_open(entry, path):
                found.append(int(entry.name))
    return found


def _has_open(process: Path, folder: Path) -> bool:
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            if os.readlink(descriptor).startswith(f"{folder}/"):
                return True
    return False
