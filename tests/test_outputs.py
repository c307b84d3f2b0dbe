"""What a user gives a name for is written there, and nothing that stood there is lost by it."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from autogrow.errors import RunFolderError, UsageError
from autogrow.files import write_text_atomically
from autogrow.outputs import check_output, write_output
from autogrow.policy.growth_policy import GrowthPolicy

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parent / "fixtures" / "run-format-1"


@pytest.fixture
def run(workplace):
    shutil.copytree(FIXTURE, workplace / "run")
    return workplace / "run"


def reader_of(fifo):
    """Reads a pipe to its end; gives what came, once it has."""
    read = []
    thread = threading.Thread(target=lambda: read.append(fifo.read_text()), daemon=True)
    thread.start()

    def result():
        thread.join(60)
        return read[0]

    return result


COMMANDS = {"report": ("report", "run", "--html"), "export": ("export", "run", "--to")}
BEGINNINGS = {"report": "<!doctype html>", "export": "format: autogrow-policy/1"}
both = pytest.mark.parametrize("command", COMMANDS)


class TestCommands:
    @both
    def test_a_pipe_is_written_to(self, command, run, workplace, autogrow):
        os.mkfifo("pipe")
        result = reader_of(workplace / "pipe")
        code, _, err = autogrow(*COMMANDS[command], "pipe", "--overwrite")
        assert code == 0, err
        assert result().startswith(BEGINNINGS[command])
        assert (workplace / "pipe").is_fifo()

    @both
    def test_a_device_is_written_to(self, command, run, workplace, autogrow):
        for _ in range(2):
            assert autogrow(*COMMANDS[command], "/dev/null")[0] == 0
        assert Path("/dev/null").is_char_device()

    @both
    def test_a_link_stays_and_its_target_is_written(self, command, run, workplace, autogrow):
        (workplace / "there").mkdir()
        (workplace / "link").symlink_to("there/file")
        code, _, err = autogrow(*COMMANDS[command], "link")
        assert code == 0, err
        assert (workplace / "link").is_symlink()
        assert (workplace / "there" / "file").read_text().startswith(BEGINNINGS[command])

    @both
    def test_another_file_is_not_replaced_unasked(self, command, run, workplace, autogrow):
        (workplace / "mine").write_text("mine")
        (workplace / "link").symlink_to("mine")
        for name in ("mine", "link"):
            code, out, err = autogrow(*COMMANDS[command], name)
            assert (code, out) == (2, "") and "--overwrite" in err and err.count("autogrow: error: ") == 1
            assert (workplace / "mine").read_text() == "mine"
        assert autogrow(*COMMANDS[command], "link", "--overwrite")[0] == 0
        assert (workplace / "mine").read_text().startswith(BEGINNINGS[command])
        assert (workplace / "link").is_symlink()

    @both
    def test_a_folder_is_none(self, command, run, workplace, autogrow):
        (workplace / "folder").mkdir()
        code, _, err = autogrow(*COMMANDS[command], "folder", "--overwrite")
        assert code == 2 and err.count("autogrow: error: ") == 1
        assert list((workplace / "folder").iterdir()) == []

    def test_an_earlier_report_is_replaced(self, run, workplace, autogrow):
        for _ in range(2):
            assert autogrow("report", "run", "--html", "page.html")[0] == 0
            assert autogrow("report", "run")[0] == 0
        assert (run / "report.html").read_text() == (workplace / "page.html").read_text()

    def test_a_page_that_is_no_report_is_not(self, run, workplace, autogrow):
        (workplace / "page.html").write_text("<!doctype html><title>my page</title>")
        assert autogrow("report", "run", "--html", "page.html")[0] == 2

    @both
    def test_standard_output_has_it_alone(self, command, run, workplace):
        arguments = [sys.executable, "-m", "autogrow", *COMMANDS[command], "/dev/stdout"]
        piped = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
        with open("file", "w") as file:
            subprocess.run(arguments, stdout=file, check=True)
        assert piped == (workplace / "file").read_text()
        assert piped.startswith(BEGINNINGS[command])
        assert piped.rstrip().endswith("</html>") or command == "export"


def test_a_policy_that_is_saved_replaces_a_file_and_follows_a_link(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    GrowthPolicy().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert GrowthPolicy.load(tmp_path / "file") == GrowthPolicy()


def test_sockets_and_the_like_are_refused(tmp_path, monkeypatch):
    import socket

    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(UsageError, match="is a device or a socket"):
            check_output(tmp_path / "socket", lambda _: True, "")


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_our_own_files_take_no_other_thing_s_place(kind, tmp_path):
    path = tmp_path / "x"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(RunFolderError, match="is no file, but a folder, a device or a pipe"):
        write_text_atomically(path, "x")
    assert not path.is_file()
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot write .*Not a directory"):
        check_output(tmp_path / "file" / "x", lambda _: True, "")
    with pytest.raises(RunFolderError, match="cannot write"):
        write_output(tmp_path / ("n" * 250), "x")
