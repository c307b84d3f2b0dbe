#!/usr/bin/env bash
# Optuna 5.0.0 with SQLAlchemy 2.1.9: a caller of RDBStorage who waits for a database that went away, retrying where the
# cause of a StorageInternalError is an OperationalError, does not recognize a connection that is lost while trials are read.
#
# A good guess: when the server closes the connection during `get_all_trials`, the cause is the OperationalError of the
# driver, as it is when the connection is lost in any other read, and a second call gets a new connection.
# Seen: the read of trials takes every OperationalError for a query with too many variables, warns that it is "falling
# back to a slower alternative", and asks again in the same transaction. SQLAlchemy has marked the connection as lost by
# then and refuses with PendingRollbackError ("Can't reconnect until invalid transaction is rolled back"), which is no
# OperationalError. The message of the StorageInternalError is about invalid data in a commit; nothing was committed.
#
# What follows: whoever retries on OperationalError has to take PendingRollbackError for a lost connection, too. The call
# after it succeeds: the session was rolled back by then.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 SQLAlchemy==2.1.9
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import logging
import sqlite3
import sys

import optuna
import sqlalchemy

warnings = []


class Noting(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())


optuna.logging.disable_default_handler()
optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("optuna").addHandler(Noting())


def causes_of_failure(name, read, *, table, is_lost):
    """What two calls of `read` fail for, and whether Optuna fell back; the first statement on `table` fails once.

    The error is raised where the statement would be executed. Whether it means that the connection is lost, drivers of
    servers tell SQLAlchemy by `is_disconnect`.
    """
    storage = optuna.storages.RDBStorage(f"sqlite:///{sys.argv[1]}/{name}.db")
    study = optuna.create_study(storage=storage)
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    errors = [sqlite3.OperationalError("server closed the connection unexpectedly")]

    @sqlalchemy.event.listens_for(storage.engine, "do_execute")
    def fail_once(cursor, statement, parameters, context):
        if errors and f"FROM {table}" in statement:
            raise errors.pop()

    @sqlalchemy.event.listens_for(storage.engine, "handle_error")
    def tell_whether_it_is_lost(context):
        context.is_disconnect = is_lost

    warnings.clear()
    causes = []
    for _ in range(2):
        try:
            read(storage, study._study_id)
            causes.append(None)
        except optuna.exceptions.StorageInternalError as error:
            causes.append(type(error.__cause__).__name__)
            print(f"{name}: {str(error.__cause__).splitlines()[0]}")
    assert not errors, f"nothing was read from {table}"
    fell_back = any("Falling back to a slower alternative" in text for text in warnings)
    print(f"{name}: first call {causes[0] or 'succeeds'}, second {causes[1] or 'succeeds'}; fell back: {fell_back}")
    return *causes, fell_back


def trials(storage, study_id):
    assert len(storage.get_all_trials(study_id)) == 2


def directions(storage, study_id):
    storage.get_study_directions(study_id)


for name, read, table, is_lost, expected in (
    ("lost-in-another-read", directions, "study_directions", True, ("OperationalError", None, False)),
    ("lost-while-trials-are-read", trials, "trials", True, ("PendingRollbackError", None, True)),
    ("refused-without-being-lost", trials, "trials", False, (None, None, True)),
):
    assert causes_of_failure(name, read, table=table, is_lost=is_lost) == expected, "this has changed"
PYTHON
