import errno
import os
from pathlib import Path

import pytest

from autogrow.data import default_data_dir, open_dataset
from autogrow.data.locations import checked_data_dir, disk_errors, stand_in_for_home
from autogrow.errors import DataError


def test_the_default_is_the_users_cache(user_cache):
    assert default_data_dir() == user_cache
    assert checked_data_dir(None) == user_cache
    assert open_dataset("sine").arrays_folder.is_relative_to(user_cache)


def test_the_environment_is_left_to_the_command_line(user_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGROW_DATA", str(tmp_path / "elsewhere"))
    assert default_data_dir() == user_cache


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checked_data_dir(Path("data")) == tmp_path / "data"
    assert checked_data_dir(Path("~/data")) == tmp_path / "data"


def test_a_file_is_no_data_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"data folder {tmp_path / 'file'} is a file"):
        open_dataset("sine", tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_becomes_a_data_error(number):
    with pytest.raises(DataError, match="disk full while writing /full/path"), disk_errors(Path("/full/path")):
        raise OSError(number, "full")


class TestWithoutAHome:
    """A container that runs under any user number: no HOME, no entry among the users."""

    @pytest.fixture
    def nobody(self, tmp_path, monkeypatch):
        def no_entry(number):
            raise KeyError(number)

        for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("pwd.getpwuid", no_entry)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        return tmp_path / f"autogrow-{os.getuid()}"

    def test_data_lie_in_a_folder_that_only_they_enter(self, nobody):
        assert default_data_dir() == default_data_dir() == nobody
        assert nobody.stat().st_mode & 0o777 == 0o700

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_but_not_where_somebody_else_was_first(self, kind, nobody, tmp_path):
        nobody.touch() if kind == "file" else nobody.symlink_to(tmp_path)
        with pytest.raises(DataError, match="no home folder, and .*: set HOME, or give --data-dir"):
            default_data_dir()

    def test_libraries_are_told_one(self, nobody, monkeypatch):
        monkeypatch.setattr(os, "environ", dict(os.environ))
        stand_in_for_home()
        assert os.environ["HOME"] == str(nobody)
        assert os.environ["USER"] == f"user-{os.getuid()}"
