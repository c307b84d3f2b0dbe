"""The disk fills up in the middle of a search: it says which file, loses nothing, and goes on when there is space."""

import errno
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

from autogrow.errors import RunFolderError
from autogrow.files import append_text
from tests.processes import LONG, check_ended, check_nothing_left, wait_until

SIZE = 48 * 2**20


@pytest.fixture
def small_disk(workplace):
    """``results`` is a file system of its own, with little room."""
    path = workplace / "results"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(path):
    """Take all space that is left."""
    with path.open("wb", buffering=0) as ballast:
        piece = bytes(2**16)
        while piece:
            try:
                ballast.write(piece)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                piece = piece[: len(piece) // 2]


@pytest.mark.slow
def test_a_search_says_which_file_and_goes_on(small_disk, start, records, autogrow, temporary):
    search = start("--trials", 4, *LONG, "--epochs", 60)
    wait_until(lambda: records.finished() and records.to_resume())
    fill(small_disk / "ballast")
    code, out, err = search.end()
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith(f"autogrow: error: no space left to write {records.run}/"), err
    assert "--resume" in last
    assert "Traceback" not in err
    check_nothing_left(search, temporary)
    before = records.finished()
    assert before
    check_readable(records.run / "study.db")
    code, out, err = autogrow("status", records.run)
    assert (code, err) == (0, "")
    code, _, err = autogrow("search", "--name", "run", "--resume", "--quiet")
    assert code == 2, err
    assert f"no space left to write {records.run}" in err
    (small_disk / "ballast").unlink()
    code, _, err = start("--resume", "--quiet").end()
    assert code == 0, err
    check_ended(records, 4)
    assert {number: records.finished()[number] for number in before} == before
    assert not list(records.run.rglob(".*.tmp*"))


def check_readable(path):
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_record_that_does_not_fit_names_its_full_path(monkeypatch):
    """Linux's own full device, so that this is seen where nothing may be mounted."""
    monkeypatch.chdir("/dev")
    with pytest.raises(RunFolderError, match="no space left to write /dev/full"):
        append_text(Path("full"), "{}\n")
