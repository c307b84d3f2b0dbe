"""One run's folder: the only class that knows its paths, and the lock that keeps a second search out of it."""

import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from autogrow.errors import RunFolderError, RunFolderInUseError, UsageError
from autogrow.files import unwritable, write_text_atomically
from autogrow.paths import is_within, resolved
from autogrow.policy.part import validated
from autogrow.reading.texts import MEBIBYTE
from autogrow.reading.yaml_files import read_yaml
from autogrow.study.settings import SearchSettings
from autogrow.study.study_location import SharedStudy, StudyLocation, sqlite_file, without_password
from autogrow.training.records import TrialFolder

CONFIG_FORMAT = "autogrow-run/1"
MAX_CONFIG_BYTES = MEBIBYTE
"""Of config.yaml: it holds the search space and the policies of --from."""
LOCK_PATIENCE_SECONDS = 0.3
STORAGE_VARIABLE = "AUTOGROW_STORAGE"
"""Environment variable with the URL of a shared study; a run folder keeps the URL without its password."""


class RunFolder:
    """``results/NAME``: config.yaml, study.db, lock, trials/, policy.yaml, report.html."""

    is_here = True
    """Whether its files can be used where they are."""

    def __init__(self, path: Path) -> None:
        self.path = resolved(path)
        self.place = str(self.path)
        """What users know the run by."""
        self.config_file = self.path / "config.yaml"
        self.database = self.path / "study.db"
        self.trials = self.path / "trials"
        self.policy_file = self.path / "policy.yaml"
        self.report_file = self.path / "report.html"
        self.rungs_file = self.path / "rungs.jsonl"
        """What trials were compared by when some were stopped early."""
        self.forks = self.path / "forks"
        """What trials leave each other while a search runs; see `autogrow.training.forks`."""
        self.forks_place: str | None = str(self.forks)
        """None where trials cannot share them."""
        self.interrupt_file = self.path / "interrupt"
        """Exists while running trials are asked to save and end."""
        self.storage_url: str | None = None
        """A database that the caller of this process has named, with the password that config.yaml does not have."""
        self.model_name: str | None = None
        """The model that they have named."""
        self._lock_file = self.path / "lock"

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def exists(self) -> bool:
        """Whether a search was started here."""
        return self.config_file.exists()

    def trial(self, root: int) -> TrialFolder:
        """The folder of a trial and of those that resume it; `root` is the number of the first of them."""
        return TrialFolder(self.trials / f"{root:05d}")

    def discard_forks(self) -> None:
        """Remove what only further trials of this search would need."""
        shutil.rmtree(self.forks, ignore_errors=True)

    def discard_checkpoints(self, root: int) -> None:
        """Remove what only a continuation of a trial would need, once there is nothing left to continue."""
        self.trial(root).discard_checkpoints()

    def place_of(self, path: Path) -> str:
        """Where users, and the processes of trials, find a file or folder of this run."""
        return str(path)

    def publish(self) -> None:
        """Bring what has changed in the study, and what was made of it, to where the run is: here it is there."""

    def fetch_trials(self) -> None:
        """Bring the records of all trials here from where their processes leave them: that is here."""

    def fetch_trial(self, root: int) -> None:
        """Bring the records of one trial here."""

    def ask_to_save(self) -> None:
        """Have running trials save themselves and end."""
        try:
            self.interrupt_file.touch()
        except OSError as error:
            raise unwritable(self.interrupt_file, error) from error

    def withdraw_asking(self) -> None:
        self.interrupt_file.unlink(missing_ok=True)

    def create(self, config: dict[str, Any]) -> None:
        """Make the folder of a new run. Raises `RunFolderError` if one is there already."""
        if self.exists:
            raise RunFolderError(
                f"run folder {self.place} exists: go on with it with --resume, or choose another --name"
            )
        if self.path.exists() and any(entry.name != "lock" for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.place} exists and is not a run folder: choose another --name or --out")
        self.write_config(config)

    def write_config(self, config: dict[str, Any]) -> None:
        write_text_atomically(self.config_file, yaml.safe_dump({"format": CONFIG_FORMAT, **config}, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """The run's resolved settings. Raises `RunFolderError` where there is no run, or one of another format."""
        if not self.exists:
            near = [entry.parent.name for entry in sorted(self.path.parent.glob("*/config.yaml"))][:5]
            hint = f": runs in {self.path.parent} are {', '.join(near)}" if near else ": start one with autogrow search"
            raise RunFolderError(f"no run at {self.place}{hint}")
        try:
            config = read_yaml(self.config_file, "run's settings", RunFolderError, max_bytes=MAX_CONFIG_BYTES)
        except RunFolderError as error:
            raise RunFolderError(f"{error}: it is damaged, restore it from a copy") from error
        if config.get("format") != CONFIG_FORMAT:
            found = config.get("format")
            raise RunFolderError(f"{self.config_file}: format is {found!r}, this autogrow reads {CONFIG_FORMAT!r}")
        return config

    def settings(self) -> SearchSettings:
        """The settings that the run was started with."""
        config = self.read_config()
        fields = {name: value for name, value in config.items() if name in SearchSettings.model_fields}
        return validated(SearchSettings, fields, str(self.config_file))

    def study_location(self) -> StudyLocation:
        """Where this run's study is: in the folder, or in the database that config.yaml and the caller both name.

        Raises `UsageError` for a database elsewhere that the caller has not named: a folder does not choose what is
        connected to, or which file is opened and written to.
        """
        url = self.read_config().get("storage")
        if url is None:
            if not is_within(self.database, self.path):
                raise UsageError(f"{self.database} is a link out of the run's folder: put the file itself there")
            return self.database
        given = self.storage_url or os.environ.get(STORAGE_VARIABLE)
        if given and without_password(given) == without_password(url):
            return SharedStudy(given, self.name)
        file = sqlite_file(url)
        if file is not None and is_within(file, self.path):
            return SharedStudy(url, self.name)
        raise UsageError(
            f"{self.place}: its study is in {without_password(url)}: if that database is yours, give its URL with "
            f"--storage, or, with its password, in {STORAGE_VARIABLE}"
        )

    def refuse_lost_study(self) -> None:
        """Raise `RunFolderError` where there are trials but no study: a new one would overwrite them."""
        if not self.database.exists() and self.trials.exists():
            raise RunFolderError(
                f"no study database at {self.database}, although {self.trials} has trials: restore it from a copy, or "
                "start a new run"
            )

    @property
    def in_use(self) -> bool:
        """Whether a search holds the lock now. The lock is only asked for, shared, and given back at once."""
        try:
            with self._lock_file.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no lock yet, or none that can be read: `locked` says why
            return False
        return False

    def refuse_if_in_use(self) -> None:
        """Raise `RunFolderInUseError` naming the holder, for callers that have much to do before they need the lock."""
        if self.in_use:
            raise self._in_use()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run. Raises `RunFolderInUseError` naming the holder when another process has it.

        The operating system gives the lock back when its holder dies, however it dies, so a lock is never stale.
        """
        created = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = self._take_lock()
        except OSError as error:
            raise unwritable(self._lock_file, error) from error
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
            yield
        finally:
            self._lock_file.unlink(missing_ok=True)
            os.close(descriptor)
            if created and not any(self.path.iterdir()):
                self.path.rmdir()

    def _take_lock(self) -> int:
        """A descriptor that holds the lock; tried for a moment, because a reader may be asking whether it is held."""
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
        while True:
            descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The holder before may have removed the file after it was opened here: then this lock locks nothing.
                if self._lock_file.exists() and os.path.samestat(os.fstat(descriptor), self._lock_file.stat()):
                    return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise self._in_use() from None
            os.close(descriptor)
            time.sleep(0.02)

    def _in_use(self) -> RunFolderInUseError:
        return RunFolderInUseError(f"run {self.place} is in use by {self._holder()}: wait, or stop it")

    def _holder(self) -> str:
        try:
            holder = json.loads(self._lock_file.read_text(encoding="utf-8"))
            return f"process {holder['pid']} on {holder['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
