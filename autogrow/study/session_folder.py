"""The temporary folder of a search's Ray session, and the removal of those that killed searches left behind.

Whoever owns such a folder holds a lock on a file in it. The operating system gives the lock back when its holder dies,
however it dies, so a folder whose lock can be taken has lost its owner: Ray processes that still use it are ended, and
it is removed. Every search begins with that.
"""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from autogrow.errors import UsageError
from autogrow.files import unwritable

PREFIX = "ag-"
RAY = "r"
"""Where Ray's own folder lies in ours. Both names are short, because Ray puts sockets there."""
MOST_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Of a socket's path: what the operating system's structure for it holds."""
SHORT_PLACES = ("/tmp", "/var/tmp")
"""Where a session's folder is made when the user's place for temporary files has too long a path."""
RANDOM_CHARACTERS = 8
"""That `tempfile` adds to the prefix."""
OWNER = "owner"
MARK = b"autogrow session\n"
"""What the lock file holds: a folder of the user's own that happens to have such a name, and such a file, is left."""
EMPTY_FOR_SECONDS = 60.0
"""An empty folder this old was left by a search that was killed before it had written the lock file."""
END_WAIT_SECONDS = 5.0
"""How long processes that were killed may take to be gone."""


@contextmanager
def session_folder(place: Path | None = None) -> Iterator[Path]:
    """A new folder that only this user may enter; removed at the end with whatever still uses it.

    place: Where it is made; by default where the user's temporary files are.
    """
    place = Path(tempfile.gettempdir()) if place is None else place
    try:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    except OSError as error:
        raise unwritable(place, error) from error
    owner = os.open(path / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        os.write(owner, MARK)
        yield path
    finally:
        _remove(path)
        os.close(owner)


def place_for_ray() -> Path:
    """Where a session's folder is to be made for Ray's sockets: the user's place for temporary files, or a shorter one.

    Raises `UsageError` when there is none that can be written.
    """
    for place in _places():
        room = MOST_SOCKET_BYTES - len(os.fsencode(longest_socket(place)))
        if room >= 0 and place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            return place
    wanted = tempfile.gettempdir()
    most = len(os.fsencode(wanted)) + MOST_SOCKET_BYTES - len(os.fsencode(longest_socket(Path(wanted))))
    raise UsageError(
        f"TMPDIR={wanted} is too long for Ray's sockets, and {' and '.join(SHORT_PLACES)} cannot be written: set "
        f"TMPDIR to a folder whose path has at most {most} characters"
    )


def longest_socket(place: Path) -> Path:
    """The longest path of a socket that Ray makes for a session whose folder lies in `place`."""
    process = "9" * len(str(_highest_process()))
    session = f"session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{process}"
    return place.absolute() / f"{PREFIX}{'x' * RANDOM_CHARACTERS}" / RAY / session / "sockets" / "plasma_store"


def _highest_process() -> int:
    try:
        return int(Path("/proc/sys/kernel/pid_max").read_text())
    except (OSError, ValueError):
        return 99_999


def _places() -> list[Path]:
    return list(dict.fromkeys(Path(each) for each in (tempfile.gettempdir(), *SHORT_PLACES)))


def authentication_problem() -> str | None:
    """Why no Ray session is started with this environment, in one line; None if nothing stands against it."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        return "RAY_AUTH_MODE=disabled would let anybody on the network run code here: unset it"
    return None


def remove_abandoned() -> list[Path]:
    """Remove the folders of this user's searches that were killed, and end what they left running."""
    removed = []
    for path in (path for place in _places() for path in place.glob(f"{PREFIX}*")):
        with suppress(OSError):
            is_named = len(path.name) == len(PREFIX) + RANDOM_CHARACTERS
            if not is_named or path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
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
        return os.read(owner, len(MARK) + 1) == MARK
    except BlockingIOError:
        return False
    finally:
        os.close(owner)


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
    real = os.path.realpath(folder)  # as the links to open files name it, whatever links TMPDIR leads through
    for descriptor in (process / "fd").iterdir():
        with suppress(OSError):
            if os.readlink(descriptor).startswith(f"{real}/"):
                return True
    return False
