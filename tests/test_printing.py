"""Nothing that is printed commands the terminal, and no character keeps a command from printing."""

import io
import json
import logging
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from rich.table import Table
from rich.text import Text

from autogrow.errors import printable
from autogrow.printing import OutputError, console, printable_output

HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\r\u202e[bold red]name[/]"
FIXTURE = Path(__file__).parent / "fixtures" / "run-format-1"


def controls(text):
    """The characters of a text that a terminal would obey."""
    return {c for c in text if c != "\n" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")}


def test_control_characters_are_written_out():
    assert printable("a\x1b[31mb\x9b\u202e\udc80\tc\n") == "a\\x1b[31mb\\x9b\\u202e\\udc80\tc\n"
    assert printable("naïve – R² 日本") == "naïve – R² 日本"


def test_whatever_prints(capsys):
    with printable_output():
        click.echo(HOSTILE)
        sys.stderr.write(HOSTILE)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": HOSTILE}))
        table = Table(HOSTILE)
        table.add_row(HOSTILE)
        table.add_row(Text(HOSTILE, style="bold"))
        console().print(HOSTILE, table)
        console(err=True).print(HOSTILE)
    for printed in capsys.readouterr():
        assert not controls(printed)
        assert "[bold red]name[/]" in printed  # no markup either
        assert "\\x1b]0;title" in printed


def test_colours_of_our_own_are_kept():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before, sys.stdout = sys.stdout, stream
    try:
        with printable_output():
            console(force_terminal=True, color_system="standard").print(Text("a\x1b[5mb", style="bold"))
    finally:
        sys.stdout = before
    stream.seek(0)
    assert stream.read() == "\x1b[1ma\\x1b[5mb\x1b[0m\n"


@pytest.mark.parametrize("encoding, written", [("ascii", "R2 +-1 - x~ ?"), ("latin-1", "R² ±1 - ×~ ?")])
def test_the_nearest_characters_that_an_encoding_has(encoding, written):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    before, sys.stdout = sys.stdout, stream
    try:
        with printable_output():
            click.echo("R² ±1 – ×… 日")
            console().print("R² ±1 – ×… 日")
        assert sys.stdout is stream
        assert stream.errors == "strict"
    finally:
        sys.stdout = before
    stream.seek(0)
    assert stream.read() == f"{written}\n" * 2


def test_what_is_no_terminal_is_left_alone():
    before, sys.stdout = sys.stdout, io.StringIO()
    try:
        made = sys.stdout
        with printable_output():
            click.echo("–")
        assert made.getvalue() == "–\n"
    finally:
        sys.stdout = before


@pytest.fixture
def hostile_run(tmp_path):
    """A run whose every name and reason holds what terminals obey."""
    run = tmp_path / "run"
    shutil.copytree(FIXTURE, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "dataset": HOSTILE, "model": HOSTILE}))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("command", ["status", "report", "export", "confirm"])
def test_a_folder_does_not_command_the_terminal(command, hostile_run, workplace, autogrow):
    named = hostile_run.rename(hostile_run.with_name("\x1b[2Jrun"))
    code, out, err = autogrow(command, named)
    assert code in (0, 2)
    assert not controls(out) and not controls(err)
    code, out, err = autogrow(command, "\x1b[2Jnone")
    assert (code, out) == (2, "")
    assert not controls(err) and "\\x1b[2Jnone" in err


def test_json_is_whole(hostile_run, workplace, autogrow):
    code, out, _ = autogrow("status", hostile_run, "--json")
    assert code == 0 and json.loads(out)["run"] == "run"
    assert not controls(out)


@pytest.mark.slow
def test_the_page_escapes_it(hostile_run, workplace, autogrow):
    config = yaml.safe_load((hostile_run / "config.yaml").read_text())
    (hostile_run / "config.yaml").write_text(yaml.safe_dump({**config, "model": "<script>alert(1)</script>"}))
    assert autogrow("report", hostile_run)[0] == 0
    page = (hostile_run / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


FULL = "autogrow: error: cannot write what is printed: No space left on device: print to another place\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["list", "data"])
@pytest.mark.parametrize(("place", "code", "said"), [("> /dev/full", 2, FULL), (">&-", 0, ""), ("| true", 0, "")])
def test_output_that_cannot_be_printed(command, place, code, said):
    """Wherever click, rich or Python itself would end the program with a traceback, or a code of their own."""
    run = f"set -o pipefail; {shlex.quote(sys.executable)} -m autogrow {command} {place}"
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


def test_tables_go_through_the_same_check(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("sys.stdout", Full())
    with pytest.raises(OutputError, match="cannot write what is printed: No space left on device"), printable_output():
        console().print("a table")
