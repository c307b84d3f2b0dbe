"""One run's folder: the only class that knows its paths, and the lock that keeps a second search out of it."""

import os
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from autogrow.errors import RunFolderError, UsageError
from autogrow.files import file_stamp, refuse_folder, unwritable, write_text_atomically
from autogrow.former_names import with_present_chance
from autogrow.locking import LOCK, FolderLock
from autogrow.paths import is_within, resolved
from autogrow.policy.part import validated
from autogrow.reading.texts import MEBIBYTE
from autogrow.reading.yaml_files import read_yaml
from autogrow.removal import refuse_links, remove_written, temporary_names
from autogrow.study.settings import SearchSettings
from autogrow.study.study_location import SharedStudy, StudyLocation, sqlite_file, without_password
from autogrow.training.records import CHECKPOINTS, RECORDS, UNFINISHED_CHECKPOINTS, TrialFolder

CONFIG_FORMAT = "autogrow-run/1"
MAX_CONFIG_BYTES = MEBIBYTE
"""Of config.yaml: it holds the search space and the policies of --from."""
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
        self._lock = FolderLock(self.path, f"run {self.place}")
        self._config: tuple[tuple[int, ...], dict[str, Any]] | None = None
        """What config.yaml holds, by the stamp of the file: a search asks six times, and parsing takes its time."""

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
        remove_written(self.forks, f"[0-9a-f]+/[0-9]+/{CHECKPOINTS}", self.path)

    def discard_checkpoints(self, root: int) -> None:
        """Remove what only a continuation of a trial would need, once there is nothing left to continue."""
        self.trial(root).discard_checkpoints(self.path)

    def roots_with_checkpoints(self) -> set[int]:
        """The trials in whose folders something lies to go on from."""
        return {int(path.parent.name) for path in self.trials.glob("*/checkpoint") if path.parent.name.isdecimal()}

    def place_of(self, path: Path) -> str:
        """Where users find a file or folder of this run, as it may be shown to everybody."""
        return str(path)

    def address_of(self, path: Path) -> str:
        """Where the processes of trials find it: with whatever lets them in."""
        return str(path)

    def publish(self) -> None:
        """Bring what has changed in the study, and what was made of it, to where the run is: here it is there."""

    def fetch_trials(self) -> None:
        """Bring the records of all trials here from where their processes leave them: that is here."""

    def fetch_trial(self, root: int) -> None:
        """Bring the records of one trial here."""

    def signs_of_life(self, root: int) -> object:
        """Equal to what it was before when a trial has left nothing since, wherever it runs."""
        return self.trial(root).signs_of_life()

    def request_interrupt(self) -> None:
        """Have running trials save themselves and end."""
        try:
            os.close(os.open(self.interrupt_file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666))
        except OSError as error:
            raise unwritable(self.interrupt_file, error) from error

    def withdraw_interrupt(self) -> None:
        self.interrupt_file.unlink(missing_ok=True)

    def create(self, config: dict[str, Any]) -> None:
        """Make the folder of a new run. Raises `RunFolderError` if one, or anything else, is there already."""
        self.refuse_what_is_no_run()
        self.write_config(config)

    def write_config(self, config: dict[str, Any]) -> None:
        write_text_atomically(self.config_file, yaml.safe_dump({"format": CONFIG_FORMAT, **config}, sort_keys=False))

    def read_config(self) -> dict[str, Any]:
        """The run's resolved settings. Raises `RunFolderError` where there is no run, or one of another format."""
        if not self.exists:
            near = [entry.parent.name for entry in sorted(self.path.parent.glob("*/config.yaml"))][:5]
            hint = f": runs in {self.path.parent} are {', '.join(near)}" if near else ": start one with autogrow search"
            raise RunFolderError(f"no run at {self.place}{hint}")
        version = file_stamp(self.config_file)
        if self._config is None or self._config[0] != version:
            self._config = version, self._parsed_config()
        return deepcopy(self._config[1])

    def _parsed_config(self) -> dict[str, Any]:
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
        config = with_present_chance(self.read_config())
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
        """Whether a search holds the lock now."""
        return self._lock.in_use

    def refuse_if_in_use(self) -> None:
        """Raise `RunFolderInUseError` naming the holder, for callers that have much to do before they need the lock."""
        self._lock.refuse_if_in_use()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run. Raises `RunFolderInUseError` naming the holder when another process has it."""
        return self._lock.held()

    def refuse_what_is_no_run(self) -> None:
        """Raise `RunFolderError` where a new run cannot be made, or would lie among other files, or one is there."""
        if self.exists:
            raise RunFolderError(
                f"run folder {self.place} exists: go on with it with --resume, or choose another --name"
            )
        refuse_folder(self.path)
        if self.path.exists() and any(entry.name != LOCK for entry in self.path.iterdir()):
            raise RunFolderError(f"{self.place} exists and is not a run folder: choose another --name or --out")

    def refuse_links(self) -> None:
        """Raise `RunFolderError` where a search of this run would write, or remove, through a link."""
        ours = (self.config_file, self.database, self.trials, self.policy_file, self.report_file, self.rungs_file)
        refuse_links((*ours, self.forks, self.interrupt_file))
        for pattern in ("trials/*", "trials/*/*", "trials/*/checkpoint/*", "forks/*", "forks/*/*", "forks/*/*/*"):
            refuse_links(self.path.glob(pattern))

    def remove_unfinished(self) -> None:
        """Remove the temporary files of writers that were killed, of a run that is held and known to be one."""
        remove_written(self.path, temporary_names("config.yaml|study.db|policy.yaml|report.html|rungs.jsonl"))
        records = temporary_names(RECORDS)
        remove_written(
            self.trials, (rf"\d{{5,}}/{records}", rf"\d{{5,}}/checkpoint/{UNFINISHED_CHECKPOINTS}"), self.path
        )
        remove_written(self.forks, f"[0-9a-f]+/[0-9]+/{UNFINISHED_CHECKPOINTS}", self.path)
