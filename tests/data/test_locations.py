import errno
from pathlib import Path

import pytest

from autogrow.data import default_data_dir, open_dataset
from autogrow.data.locations import disk_errors, resolve_data_dir
from autogrow.errors import DataError


def test_the_default_is_the_users_cache(user_cache):
    assert default_data_dir() == user_cache
    assert resolve_data_dir(None) == user_cache
    assert open_dataset("sine").arrays_folder.is_relative_to(user_cache)


def test_the_environment_is_left_to_the_command_line(user_cache, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOGROW_DATA", str(tmp_path / "elsewhere"))
    assert default_data_dir() == user_cache


def test_a_relative_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_data_dir(Path("data")) == tmp_path / "data"
    assert resolve_data_dir(Path("~/data")) == tmp_path / "data"


def test_a_file_is_no_data_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"data folder {tmp_path / 'file'} is a file"):
        open_dataset("sine", tmp_path / "file")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_becomes_a_data_error(number):
    with pytest.raises(DataError, match="disk full while writing /full/path"), disk_errors(Path("/full/path")):
        raise OSError(number, "full")
