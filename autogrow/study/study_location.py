"""Where a study is kept: an SQLite file in the run folder, or a database that several drivers share."""

import functools
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    SQLAlchemyError,
)

from autogrow.errors import RunFolderError, UsageError
from autogrow.paths import resolved
from autogrow.study.local_storage import LocalStorage
from autogrow.urls import HARMLESS_OPTIONS, HIDDEN, scrubbed

FORMER_STUDY_NAME = "autogrow"
"""Of every study in a run folder, before studies were named after their runs."""
LOCK_TIMEOUT_SECONDS = 60
FULL_DISK_BYTES = 2**20
"""With less than this free, a failed write means a full disk, whatever SQLite says."""
NUM_TRIES = 5
"""To make the tables of a shared database, while other drivers may be doing the same."""
RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 120.0
"""How long a server that was there may be away: a restart takes seconds, the change to a standby server a minute."""
EXAMPLE = "postgresql://user@host/database"
CONNECTION_ERRORS = (OperationalError, InterfaceError, PendingRollbackError)
"""Of a server that goes away; the last, where Optuna asks again in a transaction whose connection is lost."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedStudy:
    """A study in a database of its own, by the database's URL and the study's name in it."""

    url: str
    name: str

    def __str__(self) -> str:
        return f"study {self.name!r} in {without_password(self.url)}"


StudyLocation = Path | SharedStudy
"""A path is an SQLite file with one study in it."""


def parsed_url(text: str) -> URL:
    """The URL of a database that drivers can share. Raises `UsageError`, which never repeats a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(f"--storage is not a database URL: write for example {EXAMPLE}") from None
    if "@" in (url.host or ""):
        raise UsageError("--storage has a second @: write one that belongs to the password as %40")
    if url.get_backend_name() != "sqlite" or str(url.database).startswith("file:"):
        return url
    if url.database in (None, "", ":memory:"):
        raise UsageError("--storage sqlite:// is in memory, where nobody shares it: name a file, or leave it out")
    # A run is read from other folders than the one that it was started in.
    return url.set(database=str(resolved(str(url.database))))


def resolved_url(text: str) -> str:
    """The URL with everything that it needs to be opened, its password included."""
    return parsed_url(text).render_as_string(hide_password=False)


def without_password(text: str) -> str:
    """The URL as it may be shown and written down: without password, and with harmless options alone.

    Raises `UsageError` for what is no database URL.
    """
    url = parsed_url(text)
    hidden = {name: HIDDEN for name in url.query if name.lower() not in HARMLESS_OPTIONS}
    # Rendering writes the asterisks of the query as %2A.
    return url.update_query_dict(hidden).render_as_string(hide_password=True).replace("%2A%2A%2A", HIDDEN)


def sqlite_file(text: str) -> Path | None:
    """The file of an SQLite URL; None for what is a database of another kind, or more than a plain path."""
    url = parsed_url(text)
    is_plain = url.get_backend_name() == "sqlite" and not str(url.database).startswith("file:") and not url.query
    return Path(str(url.database)) if is_plain else None


def study_name(location: StudyLocation) -> str:
    """The name of a new study there: the run's."""
    return location.name if isinstance(location, SharedStudy) else location.parent.name or FORMER_STUDY_NAME


def find_study(location: StudyLocation, storage: optuna.storages.RDBStorage) -> optuna.Study:
    """The study at a location. Raises `KeyError` where there is none.

    In a file it may have another name: the run's folder was renamed or copied, or an older version made it.
    """
    name = study_name(location)
    if isinstance(location, Path):
        names = [study.study_name for study in storage.get_all_studies()]
        known = [each for each in (name, FORMER_STUDY_NAME) if each in names] or names
        if len(names) > 1 and known == names:
            raise RunFolderError(f"{location} holds {len(names)} studies and none named {name!r}: rename that run's")
        name = known[0] if known else name
    return optuna.load_study(study_name=name, storage=storage)


def open_storage(location: StudyLocation) -> optuna.storages.RDBStorage:
    """The storage at a location; its tables are made where they are missing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Of a lost connection it prints the statement, over several lines; ours says in one what is done about it.
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)
    if isinstance(location, Path):
        options = {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
        return LocalStorage(f"sqlite:///{location}", engine_kwargs=options)
    is_file = make_url(location.url).get_backend_name() == "sqlite"
    options = {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}} if is_file else {}
    for attempt in range(NUM_TRIES):
        try:
            # A server may have closed an idle connection between two trials.
            return PatientStorage(with_driver(location.url), engine_kwargs={"pool_pre_ping": True, **options})
        except (IntegrityError, ProgrammingError, optuna.exceptions.StorageInternalError):
            if attempt == NUM_TRIES - 1:
                raise
            time.sleep(RETRY_SECONDS)
    raise AssertionError


def with_driver(text: str) -> str:
    """The URL with the PostgreSQL driver that is installed where it names none: SQLAlchemy 2.0 and 2.1 differ there."""
    url = make_url(text)
    if url.drivername == "postgresql":
        for driver in ("psycopg", "psycopg2"):
            if find_spec(driver) is not None:
                return url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
    return text


class PatientStorage(optuna.storages.RDBStorage):
    """A storage that outlives a restart of its server: what that has interrupted is done again.

    Every method of a storage is one transaction, so it has either happened whole or not at all. Where the server went
    away between writing one down and saying so, a new trial may come to be there twice: it then counts as one that was
    interrupted.
    """

    _deadline: float | None = None
    """While the server is away: when to give up. It stands until the server answers, so that only one call waits."""

    def wait(self, error: Exception) -> None:
        """Wait a moment for a server that does not answer; raises `error` when it has been away too long."""
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE_SECONDS
            _log.warning(
                "%s does not answer: trying again for %.0f s", without_password(str(self.url)), PATIENCE_SECONDS
            )
        if time.monotonic() > self._deadline:
            raise error
        time.sleep(RETRY_SECONDS)

    def answered(self) -> None:
        self._deadline = None


def _patient(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the storage that is called until the server answers."""

    @functools.wraps(method)
    def call(storage: PatientStorage, *arguments: Any, **options: Any) -> Any:
        is_first = True
        while True:
            try:
                result = method(storage, *arguments, **options)
            except optuna.exceptions.UpdateFinishedTrialError:
                if is_first or method.__name__ != "set_trial_state_values":
                    raise
                result = True  # the first call had ended the trial, only its answer was lost
            except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
                if not isinstance(_cause(error), CONNECTION_ERRORS):
                    raise
                storage.wait(error)
                is_first = False
                continue
            storage.answered()
            return result

    return call


_OF_THE_CACHE = {"_create_new_trial", "_get_best_trial_id", "_get_trials", "_set_trial_param"}
"""What Optuna's cache in front of a storage calls besides the methods that every storage has."""
for _name in optuna.storages.BaseStorage.__abstractmethods__ | _OF_THE_CACHE:
    setattr(PatientStorage, _name, _patient(getattr(optuna.storages.RDBStorage, _name)))


def _cause(error: BaseException) -> BaseException:
    """What the database said, of which Optuna only says that it was told something invalid."""
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        return error.__cause__
    return error


OPENING_ERRORS = (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, KeyError, ImportError)
WRITING_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


@contextmanager
def readable_errors(location: StudyLocation, expected: tuple[type[Exception], ...] = OPENING_ERRORS) -> Iterator[None]:
    """Turns what can go wrong with a database into one line that names it and the cause."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except expected as error:
        if isinstance(error, NoSuchModuleError):
            raise UsageError(f"{location}: there is no such kind of database: write for example {EXAMPLE}") from error
        if isinstance(error, ImportError) and isinstance(location, SharedStudy):
            raise UsageError(
                f"{location}: its database driver is not installed: for PostgreSQL, pip install 'psycopg[binary]'"
            ) from error
        if isinstance(location, Path) and _is_full(location.parent):
            raise RunFolderError(f"no space left to write {location}: free some, then go on with --resume") from error
        cause = _cause(error)
        cause_text = str(getattr(cause, "orig", None) or cause)
        if isinstance(location, SharedStudy):
            cause_text = scrubbed(cause_text, location.url, keeps_user=True)
        cause_line = " ".join(cause_text.split())[:200]
        what = "opened" if expected is OPENING_ERRORS else "written"
        raise RunFolderError(f"{location}: the study database cannot be {what}: {cause_line}") from error


def _is_full(folder: Path) -> bool:
    return folder.exists() and shutil.disk_usage(folder).free < FULL_DISK_BYTES
