"""A run on storage that is reached by a URL: its driver's and its readers' copy."""

import atexit
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from autogrow.files import file_stamp
from autogrow.study.remote_folder import RemoteFolder, in_use, lock_holder, remote_lock
from autogrow.study.run_folder import RunFolder
from autogrow.study.session_folder import session_folder
from autogrow.training.records import ONLY_TO_GO_ON

NOT_COPIED = ("checkpoint", "forks", "interrupt", "lock")
"""What only trials need, and what is asked for where it is."""


class RemoteRunFolder(RunFolder):
    """A copy of the run at a URL, in a folder that lasts as long as this process; see `remote_folder`."""

    is_here = False

    def __init__(self, url: str) -> None:
        self._remote = RemoteFolder(url)
        stack = ExitStack()
        super().__init__(stack.enter_context(session_folder()) / "runs" / self._remote.url.rpartition("/")[2])
        atexit.register(stack.close)
        self.place = self._remote.shown
        self.forks_place = None  # every machine would read them from afar
        self._published_database: tuple[int, ...] = ()
        self._without_checkpoints: set[str] = set()
        self._remote.fetch(self.path, NOT_COPIED)

    def place_of(self, path: Path) -> str:
        return f"{self.place}/{path.relative_to(self.path).as_posix()}"

    def address_of(self, path: Path) -> str:
        return f"{self._remote.url}/{path.relative_to(self.path).as_posix()}"

    def publish(self) -> None:
        self._remote.publish(self.path, ("trials", "lock", "interrupt", self.database.name))
        if self.database.exists() and (state := _database_state(self.database)) != self._published_database:
            self._published_database = state
            with tempfile.NamedTemporaryFile(dir=self.path.parent) as whole:
                with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(whole.name)) as target:
                    source.backup(target)
                self._remote.write(self.database.name, Path(whole.name).read_bytes())

    def fetch_trials(self) -> None:
        self._remote.fetch(self.path, NOT_COPIED, within=self.trials.name)

    def fetch_trial(self, root: int) -> None:
        self._remote.fetch(self.path, NOT_COPIED, within=self._name_of(self.trial(root).path))

    def signs_of_life(self, root: int) -> object:
        return self._remote.files(self._name_of(self.trial(root).path))

    def discard_checkpoints(self, root: int) -> None:
        name = self._name_of(self.trial(root).checkpoints)
        self._remote.remove_written(name, ONLY_TO_GO_ON)
        self._without_checkpoints.add(name)

    def roots_with_checkpoints(self) -> set[int]:
        found = (name.split("/") for name in self._remote.files(self.trials.name))
        return {int(parts[1]) for parts in found if parts[2:3] == ["checkpoint"] and parts[1].isdecimal()}

    def request_interrupt(self) -> None:
        self._remote.write(self.interrupt_file.name, b"")

    def withdraw_interrupt(self) -> None:
        self._remote.remove(self.interrupt_file.name)

    @property
    def in_use(self) -> bool:
        return lock_holder(self._remote) is not None

    def refuse_if_in_use(self) -> None:
        if (holder := lock_holder(self._remote)) is not None:
            raise in_use(self._remote, holder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with remote_lock(self._remote):
            self.path.mkdir(parents=True, exist_ok=True)
            self._remote.fetch(self.path, NOT_COPIED)  # another search may have ended a moment ago
            yield
            # A trial that was stopped may have published once more after its checkpoints were removed.
            late = {name.rpartition("/")[0] for name in self._remote.files(self.trials.name)}
            for name in late & self._without_checkpoints:
                self._remote.remove_written(name, ONLY_TO_GO_ON)

    def _name_of(self, path: Path) -> str:
        return path.relative_to(self.path).as_posix()


def _database_state(path: Path) -> tuple[int, ...]:
    """Differs after every transaction: SQLite counts them in the file, whose time may stand still for milliseconds."""
    with path.open("rb") as file:
        file.seek(24)
        return *file_stamp(path), int.from_bytes(file.read(4), "big")
