"""One rule for what a path is, for every argument."""

import os
import pwd

import pytest

from autogrow.errors import UsageError
from autogrow.paths import is_npz_name, is_url, resolved, resolved_place


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder_and_the_rest_counts_from_here(home, tmp_path):
    assert resolved("~/data/x.npz") == home / "data" / "x.npz"
    assert resolved("~") == home
    assert resolved("runs/../x") == tmp_path / "runs" / ".." / "x"  # a link stays what it is
    assert resolved("a~b") == tmp_path / "a~b"
    assert resolved("./~") == tmp_path / "~"
    assert resolved("/x") == resolved(resolved("/x"))


def test_another_user_s_home(home):
    user = pwd.getpwuid(os.getuid())
    assert str(resolved(f"~{user.pw_name}/x")) == f"{user.pw_dir.rstrip('/')}/x"


BAD = {
    "empty": ("", "a path is empty"),
    "unknown user": ("~nosuchuser/x", "there is no user 'nosuchuser' here"),
    "NUL": ("a\0b", "holds a NUL character"),
    "long name": ("x/" + "n" * 256, "a name of 256 bytes: file systems take 255"),
    "long name in UTF-8": ("ä" * 128, "a name of 256 bytes"),
    "long path": ("/d" * 2100, "has 4200 bytes, a path has at most 4095"),
    "half a character": ("\ud800", "characters that no file name can have"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_path(case, home):
    text, message = BAD[case]
    with pytest.raises(UsageError, match=message) as caught:
        resolved(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_the_longest_name_is_taken(home, tmp_path):
    assert resolved("n" * 255) == tmp_path / ("n" * 255)


def test_without_a_home_folder(monkeypatch):
    def no_entry(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    with pytest.raises(UsageError, match="this user has no home folder, and HOME is not set"):
        resolved("~/x")


def test_a_current_folder_that_is_gone(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    with pytest.raises(UsageError, match="the current folder, which is gone"):
        resolved("x")
    assert str(resolved("/x")) == "/x"


def test_urls_stay_as_they_are(home, tmp_path):
    assert is_url("s3://bucket/x") and not is_url("C:/x")
    assert resolved_place("s3://bucket/~x") == "s3://bucket/~x"
    assert resolved_place("x") == str(tmp_path / "x")


@pytest.mark.parametrize("name", ["x.npz", "X.NPZ", "~/a.Npz"])
def test_users_own_data_by_name(name):
    assert is_npz_name(name)
    assert not is_npz_name(name + "z")
