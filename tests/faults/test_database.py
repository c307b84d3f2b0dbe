"""The study database is locked for long, cannot be written, or goes away while a search runs."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.processes import LONG, check_ended, check_nothing_left, wait_until
from tests.study.finished_run import make_finished_run

LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""
LOCKED_SECONDS = 12
"""SQLite by itself waits for five."""


@pytest.mark.slow
def test_a_search_of_one_trial_at_a_time_waits_for_a_database_that_is_locked(start, records, temporary):
    search = start("--trials", 4, *LONG, "--epochs", 60, "--quiet", "--max-concurrent", 1)
    wait_until(records.ended)
    before = records.finished()
    arguments = [sys.executable, "-c", LOCK, str(records.run / "study.db"), str(LOCKED_SECONDS)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        ended = len(records.ended())
        holder.wait(timeout=2 * LOCKED_SECONDS)
    assert holder.returncode == 0
    # Trials that ended meanwhile could not be told.
    assert search.process.poll() is None
    assert len(records.ended()) >= ended
    code, _, err = search.end()
    assert code == 0, err
    check_ended(records, 4)
    assert {number: records.finished()[number] for number in before} == before
    assert records.states().count("FAIL") == 0
    check_nothing_left(search, temporary)
    trials = sorted(records.trials(), key=lambda trial: trial.datetime_start)
    for earlier, later in zip(trials, trials[1:], strict=False):
        assert earlier.datetime_complete <= later.datetime_start


@pytest.fixture
def finished_run(workplace, data_dir):
    return make_finished_run(workplace / "results" / "run", data_dir)


@pytest.fixture
def read_only_run(finished_run):
    """A run that this user may read and not write: root is only kept from it by a file system of that kind."""
    path = finished_run.path
    if os.geteuid() != 0:
        paths = [path, *path.rglob("*")]
        for each in paths:
            each.chmod(0o500 if each.is_dir() else 0o400)
        yield finished_run
        for each in paths:
            each.chmod(0o700)
        return
    if shutil.which("mount") is None or subprocess.run(["mount", "--bind", path, path]).returncode != 0:
        pytest.skip("root may write everywhere, and mounting is not permitted here")
    subprocess.run(["mount", "-o", "remount,ro,bind", path], check=True)
    yield finished_run
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.slow
def test_a_read_only_run_is_one_line_to_go_on_with_and_can_be_looked_at(read_only_run, autogrow):
    code, out, err = autogrow("search", "--resume", "--name", "run", "--trials", 99, "--quiet")
    assert (code, out) == (2, "")
    assert err.startswith(f"autogrow: error: cannot write {read_only_run.path}")
    assert err.count("\n") == 1
    for command in (["status", "run"], ["report", "run", "--html", "page.html"], ["export", "run", "--prefer", "knee"]):
        code, _, err = autogrow(*command)
        assert (code, err) == (0, ""), command


@pytest.mark.slow
def test_a_read_only_database_is_one_line(finished_run, autogrow, monkeypatch):
    finished_run.database.chmod(0o400)
    if os.geteuid() == 0:  # whom modes do not keep from writing
        allowed = os.access
        monkeypatch.setattr("os.access", lambda path, mode: path != finished_run.database and allowed(path, mode))
    code, out, err = autogrow("search", "--resume", "--name", "run", "--trials", 99, "--quiet")
    assert (code, out) == (2, "")
    assert err == (
        f"autogrow: error: cannot write {finished_run.database}: it is read-only; make it writable, or copy the run "
        "elsewhere\n"
    )


@pytest.mark.slow
def test_trials_without_their_study_are_not_overwritten(finished_run, autogrow):
    finished_run.database.unlink()
    (finished_run.trials / "00003").mkdir(parents=True)
    for command in (["search", "--resume", "--name", "run", "--quiet"], ["status", "run"], ["export", "run"]):
        code, out, err = autogrow(*command)
        assert (code, out) == (2, "")
        assert err.startswith(f"autogrow: error: no study database at {finished_run.database}")
        assert err.count("\n") == 1
    assert not finished_run.database.exists()


@pytest.mark.slow
def test_a_run_folder_that_is_removed_while_it_is_searched(start, records, temporary):
    search = start("--trials", 50, *LONG, "--quiet", "--max-concurrent", 1)
    wait_until(lambda: records.ended() and records.to_resume())
    removed = time.monotonic()
    shutil.rmtree(records.run, ignore_errors=True)
    code, out, err = search.end()
    assert time.monotonic() - removed < 60
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("autogrow: error: ")
    assert str(records.run) in err.splitlines()[-1]
    assert "Traceback" not in err
    check_nothing_left(search, temporary)
