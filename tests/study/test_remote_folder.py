"""Folders at URLs, with two kinds of storage that need nothing: a local folder, and fsspec's own memory."""

import json
import os
import subprocess
import sys
import time
import uuid

import fsspec
import optuna
import pytest

from autogrow.errors import RunFolderError, RunFolderInUseError, UsageError
from autogrow.study import remote_folder
from autogrow.study.finding_runs import find_run, named_run, next_run_name
from autogrow.study.remote_folder import RemoteFolder, lock_holder, remote_lock
from autogrow.study.run_folder import RunFolder
from autogrow.study.working_folder import working_folder

CONFIG = {"dataset": "digits", "model": "mlp"}


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    return f"file://{tmp_path}/there" if request.param == "file" else f"memory://{uuid.uuid4().hex}"


def written(url, name):
    storage, root = fsspec.core.url_to_fs(url)
    return storage.cat_file(f"{root}/{name}").decode()


def test_a_copy_is_brought_up_to_date(url, tmp_path):
    there, copy = RemoteFolder(url), tmp_path / "copy"
    there.fetch(copy)  # of nothing
    there.write("a.txt", b"1")
    there.write("trials/00001/checkpoint/step.pt", b"2")
    there.write("trials/00001/samples.jsonl", b"3")
    there.fetch(copy, leaving_out=["checkpoint"])
    assert (copy / "a.txt").read_text() == "1"
    assert (copy / "trials/00001/samples.jsonl").read_text() == "3"
    assert not (copy / "trials/00001/checkpoint").exists()
    time.sleep(0.01)  # so that the time of the change is another
    there.write("a.txt", b"4")
    there.write("trials/00001/samples.jsonl", b"5")
    there.fetch(copy, within="trials")
    assert (copy / "a.txt").read_text() == "1"
    assert (copy / "trials/00001/samples.jsonl").read_text() == "5"


def test_what_has_changed_is_published_and_what_is_gone_is_removed(url, tmp_path):
    there, copy = RemoteFolder(url), tmp_path / "copy"
    (copy / "checkpoint").mkdir(parents=True)
    (copy / "samples.jsonl").write_text("1\n")
    (copy / "checkpoint" / "step-1.pt").write_text("old")
    (copy / ".samples.jsonl.x.tmp").write_text("unfinished")
    there.publish(copy, removing=True)
    assert written(url, "samples.jsonl") == "1\n"
    (copy / "checkpoint" / "step-1.pt").rename(copy / "checkpoint" / "step-2.pt")
    there.publish(copy, removing=True)
    again = tmp_path / "again"
    RemoteFolder(url).fetch(again)
    assert {path.name for path in again.rglob("*")} == {"samples.jsonl", "checkpoint", "step-2.pt"}


def test_only_what_has_changed_is_written_again(url, tmp_path, monkeypatch):
    there, copy = RemoteFolder(url), tmp_path / "copy"
    copy.mkdir()
    (copy / "a").write_text("1")
    (copy / "b").write_text("1")
    there.publish(copy)
    names = []
    monkeypatch.setattr(there, "write", lambda name, content: names.append(name))
    there.publish(copy)
    (copy / "b").write_text("22")
    there.publish(copy)
    assert names == ["b"]


def test_samples_are_there_before_the_checkpoint_that_goes_on_from_them(url, tmp_path, monkeypatch):
    there, copy = RemoteFolder(url), tmp_path / "copy"
    (copy / "checkpoint").mkdir(parents=True)
    for name in ("checkpoint/step-1.pt", "events.jsonl", "samples.jsonl"):
        (copy / name).write_text("1")
    names = []
    monkeypatch.setattr(there, "write", lambda name, content: names.append(name))
    there.publish(copy)
    assert names == ["events.jsonl", "samples.jsonl", "checkpoint/step-1.pt"]


@pytest.mark.parametrize(("url", "message"), [
    ("nowhere://bucket/run", "Protocol not known: nowhere; URLs such as s3://bucket/folder can"),
    ("dropbox://run", "cannot be reached"),
])  # fmt: skip
def test_a_url_that_nothing_reaches(url, message):
    with pytest.raises(UsageError, match=message):
        RemoteFolder(url)


def test_storage_that_fails_is_one_line(tmp_path):
    (tmp_path / "there").write_text("a file in the place of the folder")
    with pytest.raises(RunFolderError, match="cannot use file://") as caught:
        RemoteFolder(f"file://{tmp_path}/there").write("a.txt", b"1")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_one_search_at_a_time(url):
    there = RemoteFolder(url)
    assert lock_holder(there) is None
    with remote_lock(there):
        with pytest.raises(RunFolderInUseError, match=f"in use by process {os.getpid()} on "), remote_lock(there):
            pass
        assert lock_holder(there) is not None
    assert lock_holder(there) is None


@pytest.mark.slow
@pytest.mark.parametrize("change", ["dead", "stale"])
def test_a_lock_that_was_left_is_taken_over(change, url):
    there = RemoteFolder(url)
    with remote_lock(there):
        lock = json.loads(there.read("lock"))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    other = {"pid": int(gone.stdout)} if change == "dead" else {"host": "elsewhere", "renewed": time.time() - 61}
    there.write("lock", json.dumps({**lock, **other}).encode())
    with remote_lock(there):
        assert json.loads(there.read("lock"))["pid"] == os.getpid()


@pytest.mark.slow
def test_a_lock_is_renewed(url, monkeypatch):
    monkeypatch.setattr(remote_folder, "LOCK_RENEWAL_SECONDS", 0.05)
    there = RemoteFolder(url)
    with remote_lock(there):
        before = json.loads(there.read("lock"))["renewed"]
        time.sleep(0.3)
        assert json.loads(there.read("lock"))["renewed"] > before


@pytest.mark.slow
def test_a_run_at_a_url(url):
    assert next_run_name(url, "digits") == "digits-1"
    run = named_run(url, "digits-1")
    assert not run.exists
    with run.locked():
        run.create(CONFIG)
        optuna.create_study(study_name="autogrow", storage=f"sqlite:///{run.database}")
        run.publish()
        assert find_run(f"{url}/digits-1").in_use
    found = find_run(f"{url}/digits-1/")
    assert not found.in_use
    assert found.read_config()["dataset"] == "digits"
    assert found.place == f"{url}/digits-1"
    assert optuna.load_study(study_name="autogrow", storage=f"sqlite:///{found.database}").trials == []
    assert next_run_name(url, "digits") == "digits-2"
    with pytest.raises(RunFolderError, match=f"no run at {url}/digits-3"):
        find_run(f"{url}/digits-3").read_config()


@pytest.mark.slow
def test_the_database_is_published_whole_and_only_when_it_has_changed(url):
    run = named_run(url, "digits-1")
    run.create(CONFIG)
    study = optuna.create_study(study_name="autogrow", storage=f"sqlite:///{run.database}")
    run.publish()
    before = find_run(run.place)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    run.publish()
    after = find_run(run.place)
    numbers = [len(optuna.load_study(study_name="autogrow", storage=f"sqlite:///{each.database}").trials)
               for each in (before, after)]  # fmt: skip
    assert numbers == [0, 1]


@pytest.mark.slow
def test_a_trial_works_on_a_copy(url, monkeypatch):
    monkeypatch.setattr(remote_folder, "PUBLISH_SECONDS", 0.05)
    run = named_run(url, "digits-1")
    place, interrupt = run.place_of(run.trial(3).path), run.place_of(run.interrupt_file)
    with working_folder(place, interrupt) as (folder, interrupted):
        folder.log("begun")
        copy = folder.path
        wait_until(lambda: RemoteFolder(place).exists("log.txt"))
        assert not interrupted()
        run.request_interrupt()
        wait_until(interrupted)
        folder.write_result({"status": "complete"})
    assert not copy.exists()
    run.withdraw_interrupt()
    assert run.trial(3).result() is None
    run.fetch_trial(3)
    assert run.trial(3).result() == {"status": "complete"}
    with working_folder(place, interrupt) as (folder, interrupted):
        assert folder.result() == {"status": "complete"}
        assert not interrupted()
        (folder.path / "log.txt").unlink()
    assert RemoteFolder(place).names() == ["result.json"]


def test_its_copy_goes_with_the_search(url, tmp_path):
    run = named_run(url, "digits-1")
    place, interrupt = run.place_of(run.trial(3).path), run.place_of(run.interrupt_file)
    with working_folder(place, interrupt, str(tmp_path)) as (folder, _):
        assert folder.path.is_relative_to(tmp_path)
    assert not list(tmp_path.glob("*"))
    with working_folder(place, interrupt, str(tmp_path / "of another machine")) as (folder, _):
        assert not folder.path.is_relative_to(tmp_path)
        folder.log("begun")
    assert not folder.path.exists()


@pytest.mark.slow
def test_checkpoints_that_are_published_late_do_not_stay(url):
    run = named_run(url, "digits-1")
    with run.locked():
        run.discard_checkpoints(3)
        RemoteFolder(url).write("digits-1/trials/00003/checkpoint/step-0000000001.pt", b"late")
        RemoteFolder(url).write("digits-1/trials/00004/checkpoint/step-0000000001.pt", b"to go on from")
    assert RemoteFolder(f"{url}/digits-1/trials").files().keys() == {"00004/checkpoint/step-0000000001.pt"}


def test_checkpoints_are_found_by_their_trials(url):
    run = named_run(url, "digits-1")
    assert run.roots_with_checkpoints() == set()
    remote = RemoteFolder(url)
    for name in (
        "00003/checkpoint/step-0000000001.pt",
        "00012/checkpoint/alive",
        "00004/samples.jsonl",
        "notes/checkpoint/a",
    ):
        remote.write(f"digits-1/trials/{name}", b"")
    assert run.roots_with_checkpoints() == {3, 12}


def test_a_trial_without_its_storage_does_not_end_well(tmp_path):
    there = tmp_path / "there"
    with (
        pytest.raises(RunFolderError, match="cannot use file://"),
        working_folder(f"file://{there}/run/trials/00001", f"file://{there}/run/interrupt") as (folder, _),
    ):
        there.write_text("a file in the place of the folder")
        folder.write_result({"status": "complete"})


def test_a_path_is_used_where_it_is(tmp_path):
    with working_folder(str(tmp_path / "00001"), str(tmp_path / "interrupt")) as (folder, interrupted):
        assert folder.path == tmp_path / "00001"
        assert not interrupted()
        (tmp_path / "interrupt").touch()
        assert interrupted()
    assert isinstance(named_run(tmp_path, "digits-1"), RunFolder)


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
