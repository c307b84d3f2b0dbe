"""Where a study is kept: an SQLite file in the run folder, or a database that several drivers share."""

import logging
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from autogrow.errors import RunFolderError, UsageError

OWN_STUDY_NAME = "autogrow"
LOCK_TIMEOUT_SECONDS = 60
FULL_DISK_BYTES = 2**20
"""With less than this free, a failed write means a full disk, whatever SQLite says."""
NUM_TRIES = 5
"""To make the tables of a shared database, while other drivers may be doing the same."""
RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class SharedStudy:
    """A study in a database of its own, by the database's URL and the study's name in it."""

    url: str
    name: str

    def __str__(self) -> str:
        return f"study {self.name!r} in {without_password(self.url)}"


StudyLocation = Path | SharedStudy
"""A path is an SQLite file with one study in it."""


def without_password(url: str) -> str:
    """The URL as it may be shown and written down. Raises `UsageError` for what is no database URL."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise UsageError(
            f"--storage {url!r} is not a database URL: write for example postgresql://user@host/database"
        ) from None


def has_hidden_password(url: str) -> bool:
    return make_url(url).password == "***"


def study_name(location: StudyLocation) -> str:
    return location.name if isinstance(location, SharedStudy) else OWN_STUDY_NAME


def open_storage(location: StudyLocation) -> optuna.storages.RDBStorage:
    """The storage at a location; its tables are made where they are missing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if isinstance(location, Path):
        options = {"connect_args": {"timeout": LOCK_TIMEOUT_SECONDS}}
        return optuna.storages.RDBStorage(f"sqlite:///{location}", engine_kwargs=options)
    for attempt in range(NUM_TRIES):
        try:
            # A server may have closed an idle connection between two trials.
            return optuna.storages.RDBStorage(location.url, engine_kwargs={"pool_pre_ping": True})
        except (IntegrityError, optuna.exceptions.StorageInternalError):
            if attempt == NUM_TRIES - 1:
                raise
            time.sleep(RETRY_SECONDS)
    raise AssertionError


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
        if isinstance(error, (ImportError, NoSuchModuleError)) and isinstance(location, SharedStudy):
            raise UsageError(
                f"{location}: its database driver is not installed ({error}): for PostgreSQL, pip install "
                "psycopg2-binary"
            ) from error
        if isinstance(location, Path) and _is_full(location.parent):
            raise RunFolderError(f"no space left to write {location}: free some, then go on with --resume") from error
        cause = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        what = "opened" if expected is OPENING_ERRORS else "written"
        raise RunFolderError(f"{location}: the study database cannot be {what}: {cause}") from error


def _is_full(folder: Path) -> bool:
    return folder.exists() and shutil.disk_usage(folder).free < FULL_DISK_BYTES
