"""The folder of a search's Ray session: short enough for sockets, and removed when its owner has gone."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from autogrow.errors import UsageError
from autogrow.study import session_folder as sessions
from autogrow.study.session_folder import (
    longest_socket,
    place_for_ray,
    ray_processes_using,
    remove_abandoned,
    session_folder,
)


@pytest.fixture
def temporary_files_in(monkeypatch):
    """Makes a folder the user's place for temporary files."""

    def use(place):
        place.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        return place

    return use


@pytest.fixture
def of_length(temporary):
    """A path of so many bytes, in a folder with a short one."""

    def make(num_bytes, letter="x"):
        missing = num_bytes - len(os.fsencode(temporary)) - 1
        name = letter * (missing // len(os.fsencode(letter)))
        return temporary / (name + "x" * (missing - len(os.fsencode(name))))

    return make


def most_bytes():
    """The longest place whose sockets can be made, by asking the operating system."""
    for num_bytes in range(20, 107):
        place = Path("/" + "x" * (num_bytes - 1))
        with socket.socket(socket.AF_UNIX) as each, pytest.raises(OSError) as error:
            each.bind(str(longest_socket(place)))
        if "too long" in str(error.value):
            return num_bytes - 1
    raise AssertionError("no path was too long")


@pytest.mark.parametrize("letter", ["x", "\u00e4"])
def test_the_users_place_is_taken_as_long_as_sockets_fit(letter, of_length, temporary_files_in):
    fits = temporary_files_in(of_length(most_bytes(), letter))
    assert place_for_ray() == fits
    temporary_files_in(of_length(most_bytes() + 1, letter))
    assert place_for_ray() == Path("/tmp")


def test_without_a_short_place_one_line_says_what_to_set(of_length, temporary_files_in, monkeypatch):
    long = temporary_files_in(of_length(most_bytes() + 1))
    monkeypatch.setattr(sessions, "SHORT_PLACES", ("/nowhere",))
    with pytest.raises(UsageError) as error:
        place_for_ray()
    assert str(error.value) == (
        f"TMPDIR={long} is too long for Ray's sockets, and /nowhere cannot be written: set TMPDIR to a folder whose "
        f"path has at most {most_bytes()} characters"
    )


def test_such_a_search_is_not_begun(of_length, temporary_files_in, monkeypatch, workplace, autogrow):
    temporary_files_in(of_length(most_bytes() + 1))
    monkeypatch.setattr(sessions, "SHORT_PLACES", ("/nowhere",))
    for arguments in ([], ["--dry-run"]):
        code, out, err = autogrow("search", "--name", "run", "--quiet", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("autogrow: error: TMPDIR=")
    assert not (workplace / "results").exists()


def test_what_was_left_in_a_short_place_is_removed(of_length, temporary_files_in, temporary, monkeypatch):
    temporary_files_in(of_length(most_bytes() + 1))
    short = temporary / "s"
    short.mkdir()
    monkeypatch.setattr(sessions, "SHORT_PLACES", (str(short),))
    with session_folder(place_for_ray()) as used:
        abandoned = short / "ag-abandone"
        abandoned.mkdir()
        (abandoned / "owner").write_bytes(sessions.MARK)
        assert used.parent == short
        assert remove_abandoned() == [abandoned]
        assert used.is_dir()
    assert list(short.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes are found by what they have open in /proc")
def test_processes_are_found_where_the_place_is_a_link(tmp_path):
    """As /tmp is on some machines: what is open is listed by its real path."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    program = f"file = open({str(tmp_path / 'link' / 'log')!r}, 'w'); print(flush=True); input()"
    command = [sys.executable, "-c", program, "/ray/"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        assert ray_processes_using(tmp_path / "link") == [process.pid]
        assert ray_processes_using(tmp_path / "lin") == []
        process.stdin.close()
