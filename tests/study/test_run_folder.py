import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from autogrow.errors import RunFolderError, RunFolderInUseError
from autogrow.reading.yaml_files import read_yaml
from autogrow.study.finding_runs import find_run
from autogrow.study.run_folder import RunFolder

HOLD = """
import sys, time
from pathlib import Path
from autogrow.study.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(60)
"""
CONFIG = {"dataset": "digits", "trials": 3}


@pytest.fixture
def holder(folder):
    """Another process that holds the run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder.path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_a_second_process_is_told_who_holds_the_run(folder, holder):
    with pytest.raises(RunFolderInUseError) as caught, folder.locked():
        pass
    assert f"process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    assert caught.value.exit_code == 3
    assert holder.poll() is None


@pytest.mark.slow
def test_the_lock_of_a_killed_process_can_be_taken(folder, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with folder.locked():
        assert json.loads((folder.path / "lock").read_text()) == {"host": socket.gethostname(), "pid": os.getpid()}


def test_the_lock_can_be_taken_again_after_it_was_given_back(folder):
    for _ in range(2):
        with pytest.raises(KeyError), folder.locked():
            raise KeyError
    assert not list(folder.path.iterdir())


def test_locking_leaves_no_folder_where_nothing_was_started(tmp_path):
    folder = RunFolder(tmp_path / "results" / "run")
    with folder.locked():
        assert folder.path.is_dir()
    assert not folder.path.exists()


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    folder = RunFolder(tmp_path / "results" / "run")
    with pytest.raises(RunFolderError, match=f"cannot write {folder.path}"), folder.locked():
        pass


def test_a_configuration_is_read_as_it_was_written(folder):
    folder.create(CONFIG)
    assert folder.exists
    assert {key: folder.read_config()[key] for key in CONFIG} == CONFIG


def test_an_existing_run_is_not_started_again(folder):
    folder.create(CONFIG)
    with pytest.raises(RunFolderError, match=f"run folder {folder.path} exists: .*--resume.*--name"):
        folder.create({**CONFIG, "trials": 99})
    assert folder.read_config()["trials"] == 3


def test_a_foreign_folder_is_left_alone(folder):
    (folder.path / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match=f"{folder.path} exists and is not a run folder"):
        folder.create(CONFIG)
    assert [path.name for path in folder.path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"format: autogrow-run/1\ntrials: [1", "is damaged"),
        (b"\xff\xfe", "is damaged"),
        (b"", "is damaged"),
        (b"- 1", "is damaged"),
        (b"trials: 3", "format is None"),
        (b"format: autogrow-run/2\ntrials: 3", "format is 'autogrow-run/2', this autogrow reads 'autogrow-run/1'"),
        (b"format: !!python/object/apply:os.getcwd []", "is damaged"),
    ],
)
def test_a_damaged_or_other_configuration_is_one_line(content, message, folder):
    folder.config_file.write_bytes(content)
    with pytest.raises(RunFolderError) as caught:
        folder.read_config()
    assert str(folder.config_file) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_run_names_those_that_exist(tmp_path):
    missing = RunFolder(tmp_path / "digits-9")
    with pytest.raises(RunFolderError, match="start one with autogrow search"):
        missing.read_config()
    RunFolder(tmp_path / "digits-1").create(CONFIG)
    with pytest.raises(RunFolderError, match=f"no run at {missing.path}: runs in {tmp_path} are digits-1"):
        missing.read_config()


def test_a_bare_name_means_a_run_under_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RunFolder(tmp_path / "results" / "digits-1").create(CONFIG)
    assert find_run("digits-1").path == tmp_path / "results" / "digits-1"
    RunFolder(tmp_path / "digits-1").create(CONFIG)
    assert find_run("digits-1").path == tmp_path / "digits-1"
    assert find_run(tmp_path / "results" / "digits-1").path == tmp_path / "results" / "digits-1"


def test_trials_have_folders_of_their_own(folder):
    paths = {folder.trial(number).path for number in (0, 1, 10, 100_000)}
    assert len(paths) == 4
    assert all(path.parent == folder.trials for path in paths)


def test_asking_whether_a_run_is_in_use_does_not_keep_it_from_starting(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "lock").touch()
    with (run.path / "lock").open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(reader, fcntl.LOCK_UN)).start()
        with run.locked():
            assert run.in_use
        assert not run.in_use


def test_a_lock_on_a_file_that_was_removed_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """A process that opened the lock file just before its holder removed it must not hold a lock nobody else sees."""
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    opened = []

    def open_then_lose(path, *arguments):
        descriptor = real_open(path, *arguments)
        if str(path).endswith("lock") and not opened:
            os.unlink(path)
        opened.append(path)
        return descriptor

    real_open = os.open
    monkeypatch.setattr("os.open", open_then_lose)
    with run.locked():
        assert (run.path / "lock").exists()
        assert len(opened) == 2


def test_settings_are_parsed_once_until_they_change(folder, monkeypatch):
    parsed = []
    monkeypatch.setattr(
        "autogrow.study.run_folder.read_yaml", lambda *given, **more: parsed.append(1) or read_yaml(*given, **more)
    )
    folder.create(CONFIG)
    folder.read_config()["trials"] = "a caller's own"
    assert [folder.read_config()["trials"] for _ in range(3)] == [3, 3, 3]
    assert len(parsed) == 1
    folder.write_config({**CONFIG, "trials": 4})
    assert folder.read_config()["trials"] == 4
    assert len(parsed) == 2
