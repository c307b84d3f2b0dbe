"""Folders on storage that is reached by a URL, such as ``s3://bucket/results``: whatever fsspec knows.

A run that lives there is worked on in copies: the driver has one of the run without its checkpoints, every trial has
one of its own folder on the machine where it trains, and whoever reads the run has one for as long as it reads. What is
at the URL is the truth. Copies are made from it; changes go there after every step of the study and, while a trial
trains, every few seconds. Files appear there whole.
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import fsspec
from pydantic import Field

from autogrow.errors import RunFolderError, RunFolderInUseError, UsageError, one_line
from autogrow.files import atomic_target, file_stamp
from autogrow.reading.json_files import parse_json
from autogrow.reading.typed import typed
from autogrow.urls import scrubbed, without_secrets

PUBLISH_SECONDS = 2.0
"""How often a trial's records and checkpoints are published, which is what the loss of its machine costs at most."""
LOCK_RENEWAL_SECONDS = 10.0
LOCK_STALE_SECONDS = 60.0
"""A lock that was not renewed for so long is that of a dead machine."""
LOCK = "lock"
Stamp = tuple[Any, ...]
"""What tells a file from an older one of the same name: size, and times, inode or digest."""


@dataclass(frozen=True)
class RemoteLock:
    """Who holds a run."""

    host: str
    pid: Annotated[int, Field(ge=1, lt=2**31)]
    renewed: float
    """Seconds since 1970."""
    key: str


class RemoteFolder:
    """One folder at a URL, and what is known of a copy of it.

    Raises `UsageError` when nothing reaches such URLs; its methods raise `RunFolderError` when the storage fails.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.shown = without_secrets(self.url)
        """The URL as it may be printed and written down."""
        try:
            options = {"auto_mkdir": True} if self.url.startswith(("file:", "local:")) else {}
            self._storage, root = fsspec.core.url_to_fs(self.url, **options)
        except ImportError as error:
            raise UsageError(f"{self.shown!r} cannot be reached: {scrubbed(str(error), url)}") from error
        except Exception as error:  # every kind of storage reads its URLs in its own way
            reason = scrubbed(one_line(error), url)
            raise UsageError(
                f"{self.shown!r} cannot be reached: {reason}; URLs such as s3://bucket/folder can"
            ) from error
        self._root = str(root).rstrip("/")
        self._fetched: dict[str, Stamp] = {}
        self._published: dict[str, Stamp] = {}

    def exists(self, name: str) -> bool:
        with self._readable_errors():
            self._storage.invalidate_cache(self._root)
            return bool(self._storage.exists(self._path(name)))

    def names(self) -> list[str]:
        """The folders and files directly inside."""
        with self._readable_errors():
            try:
                entries = self._storage.ls(self._root, detail=False, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(str(entry).rstrip("/").rpartition("/")[2] for entry in entries)

    def fetch(self, copy: Path, leaving_out: Collection[str] = (), within: str = "") -> None:
        """Bring a copy up to date with what is new or has changed here.

        Args:
            leaving_out: Names of files, and of folders at any depth.
            within: A folder outside of which nothing is looked at.
        """
        with self._readable_errors():
            for name, stamp in self.files(within).items():
                parts = name.split("/")
                if ".." in parts or "" in parts:
                    raise RunFolderError(
                        f"{self.shown} has a file {name!r}, which would lie outside of a copy: remove it"
                    )
                if self._fetched.get(name) != stamp and not set(leaving_out) & set(parts):
                    with suppress(FileNotFoundError), atomic_target(copy / name) as temporary:
                        self._storage.get_file(self._path(name), str(temporary))
                    self._fetched[name] = stamp

    def publish(self, copy: Path, leaving_out: Collection[str] = (), *, removing: bool = False) -> None:
        """Write here what has changed in a copy since it was last published.

        A folder's own files come before those of the folders in it: nobody then finds a checkpoint whose samples
        are not there yet.

        Args:
            leaving_out: Names of files, and of folders at any depth.
            removing: Also remove what was published from the copy, or fetched for it, and is not there any more.
        """
        present: dict[str, Stamp] = {}
        for path in sorted(Path(place, name) for place, _, names in os.walk(copy) for name in names):
            with suppress(FileNotFoundError):  # replaced or removed just now
                stamp = file_stamp(path)
                parts = path.relative_to(copy).parts
                if path.is_file() and not path.name.startswith(".") and not set(leaving_out) & set(parts):
                    present["/".join(parts)] = stamp
        for name, stamp in sorted(present.items(), key=lambda item: item[0].count("/")):
            if self._published.get(name) != stamp:
                with suppress(FileNotFoundError):
                    self.write(name, (copy / name).read_bytes())
                    self._published[name] = stamp
        if removing:
            for name in (self._published.keys() | self._fetched.keys()) - present.keys():
                if (copy / name).exists():  # left out here, not gone
                    continue
                self.remove(name)
                self._published.pop(name, None)
                self._fetched.pop(name, None)

    def write(self, name: str, content: bytes) -> None:
        """A file that appears whole, or not at all."""
        with self._readable_errors():
            file = self._storage.open(self._path(name), "wb", autocommit=False)
            try:
                file.write(content)
                file.close()
                file.commit()
            except BaseException:
                with suppress(Exception):
                    file.discard()
                raise

    def read(self, name: str) -> bytes | None:
        with self._readable_errors():
            try:
                content = self._storage.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return bytes(content)

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""
        with self._readable_errors(), suppress(FileNotFoundError):
            self._storage.rm_file(self._path(name))

    def remove_written(self, within: str, pattern: str) -> None:
        """Remove the files directly in a folder whose names match, and the folder if nothing else is in it."""
        names = self.files(within)
        for name in names:
            if re.fullmatch(pattern, name.removeprefix(f"{within}/")):
                self.remove(name)
        with suppress(Exception):  # not empty, or storage that has no folders
            self._storage.rmdir(self._path(within))

    def files(self, within: str = "") -> dict[str, Stamp]:
        """All files, at any depth, by their names."""
        with self._readable_errors():
            self._storage.invalidate_cache(self._root)
            found = self._storage.find(self._path(within).rstrip("/"), detail=True)
        return {str(path).removeprefix(f"{self._root}/"): _stamp(details) for path, details in found.items()}

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, RunFolderError):
            raise
        except Exception as error:  # every kind of storage has errors of its own
            reason = scrubbed(str(error) or type(error).__name__, self.url)
            raise RunFolderError(f"cannot use {self.shown}: {reason}") from error


@contextmanager
def published(remote: RemoteFolder, copy: Path, interrupt: RemoteFolder, name: str) -> Iterator[Callable[[], bool]]:
    """Publish a trial's folder every few seconds, and at the end. Yields what tells whether it is to save and end.

    interrupt, name: Where a file appears when it is. What fails on the way is tried again; at the end it is raised.
    """
    ended, interrupted = threading.Event(), threading.Event()

    def publish_now_and_then() -> None:
        while not ended.wait(PUBLISH_SECONDS):
            with suppress(RunFolderError):
                remote.publish(copy, removing=True)
                if interrupt.exists(name):
                    interrupted.set()

    thread = threading.Thread(target=publish_now_and_then, name="publishing", daemon=True)
    thread.start()
    try:
        yield interrupted.is_set
    finally:
        ended.set()
        thread.join()
        remote.publish(copy, removing=True)


@contextmanager
def remote_lock(remote: RemoteFolder) -> Iterator[None]:
    """Hold a run. Raises `RunFolderInUseError` naming the holder when another process has it.

    Such storage has no locks that its holder's death gives back, so this one is a file that is renewed: one that was
    left by a process of this machine which is gone, or that nobody has renewed for a minute, is taken over.
    """
    key = uuid.uuid4().hex
    holder = lock_holder(remote)
    if holder is not None:
        raise in_use(remote, holder)
    if (content := remote.read(LOCK)) and _parsed_lock(content) is None:
        raise RunFolderError(f"{remote.shown}/{LOCK} is no lock of autogrow's: choose another folder")
    _write_lock(remote, key)
    time.sleep(0.2)  # of two that begin at once, the one that wrote last has it
    lock = read_lock(remote)
    if lock is None or lock.key != key:
        raise in_use(remote, lock_holder(remote) or "another process")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LOCK_RENEWAL_SECONDS):
            with suppress(RunFolderError):
                _write_lock(remote, key)

    thread = threading.Thread(target=renew, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        remote.remove(LOCK)


def lock_holder(remote: RemoteFolder) -> str | None:
    """Who holds a run, in words; None when nobody does."""
    lock = read_lock(remote)
    if lock is None or time.time() - lock.renewed > LOCK_STALE_SECONDS:
        return None
    if lock.host == socket.gethostname() and not _is_running(lock.pid):
        return None
    return f"process {lock.pid} on {lock.host}"


def read_lock(remote: RemoteFolder) -> RemoteLock | None:
    """The lock of a run; None where there is none, or nothing that could be one."""
    return _parsed_lock(remote.read(LOCK) or b"")


def _parsed_lock(content: bytes) -> RemoteLock | None:
    try:
        fields = parse_json(content, LOCK, RunFolderError, fix="remove it")
        return typed(RemoteLock, fields, LOCK, RunFolderError)
    except RunFolderError:
        return None


def in_use(remote: RemoteFolder, holder: str) -> RunFolderInUseError:
    """The error for a run that somebody holds."""
    return RunFolderInUseError(f"run {remote.shown} is in use by {holder}: wait, or stop it")


def _write_lock(remote: RemoteFolder, key: str) -> None:
    lock = RemoteLock(socket.gethostname(), os.getpid(), time.time(), key)
    remote.write(LOCK, json.dumps(asdict(lock)).encode())


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _stamp(details: dict[str, Any]) -> Stamp:
    """Kinds of storage name the time of a file's last change differently, and some its digest."""
    names = ("mtime", "LastModified", "updated", "last_modified", "created", "ino", "ETag", "etag", "md5Hash")
    return (details.get("size"), *(str(details[name]) for name in names if details.get(name) is not None))
