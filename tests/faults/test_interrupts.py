"""Ctrl-C, SIGTERM, and two searches on one folder."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from autogrow.study.session_folder import longest_socket
from tests.processes import LONG, check_ended, check_nothing_left, wait_until

pytestmark = pytest.mark.slow
GONE_SECONDS = 10.0
"""How long after an interruption a process may be left."""
BARE = (
    "-c",
    "import sys; sys.modules['torch'] = sys.modules['ray'] = None; from autogrow.cli.main import main; main()",
)
"""A process that can import neither PyTorch nor Ray, which take seconds."""


def training(records):
    """Whether trials have begun to train."""
    return len(records.to_resume()) >= 1


def has_gone(search):
    search.process.wait(timeout=60)
    wait_until(lambda: not search.family(), GONE_SECONDS)


def test_ctrl_c_once_saves_and_the_search_goes_on(start, records, temporary):
    search = start("--trials", 3, *LONG, "--epochs", 100)
    wait_until(lambda: training(records))
    search.interrupt()
    code, _, err = search.end()
    assert (code, "--resume --name run" in err) == (130, True), err
    check_nothing_left(search, temporary)
    assert "RUNNING" not in records.states()
    saved = records.to_resume()
    assert saved
    for root, step in saved.items():
        # Saved where it was asked to, so that nothing is trained again.
        assert all(sample["step"] <= step for sample in records.samples(root))
    before = records.finished()
    code, _, err = start("--resume", "--quiet").end()
    assert code == 0, err
    check_ended(records, 3)
    assert {number: records.finished()[number] for number in before} == before


def to_the_process_group(search):
    os.killpg(search.process.pid, signal.SIGTERM)


def to_every_process(search):
    for process in search.family():
        with suppress(psutil.NoSuchProcess):
            process.terminate()


@pytest.mark.parametrize("send", [to_the_process_group, to_every_process])
def test_sigterm_is_like_ctrl_c(send, start, records, temporary):
    """As batch systems and service managers send it. The second ends the trials' processes too, here two."""
    one = ("--max-concurrent", 1) if send is to_the_process_group else ()
    search = start("--trials", 50, *LONG, *one)
    wait_until(lambda: training(records))
    if not one:
        check_trials_run_at_the_same_time(records)
    send(search)
    has_gone(search)
    code, _, err = search.end()
    assert (code, "--resume --name run" in err) == (130, True), err
    check_nothing_left(search, temporary)
    assert "RUNNING" not in records.states()
    if send is to_the_process_group:
        for root, step in records.to_resume().items():
            # Saved where it was asked to, so that nothing is trained again.
            assert all(sample["step"] <= step for sample in records.samples(root))


def check_trials_run_at_the_same_time(records):
    """Where there are cores for it."""
    wait_until(lambda: records.states().count("RUNNING") >= 2)
    running = [trial.number for trial in records.trials() if trial.state.name == "RUNNING"][:2]
    wait_until(lambda: all(len(records.samples(number)) > 3 for number in running))
    before = {number: len(records.samples(number)) for number in running}
    wait_until(lambda: all(len(records.samples(number)) > before[number] for number in running))
    assert {records.trials()[number].state.name for number in running} == {"RUNNING"}


def test_a_second_search_is_refused_and_ctrl_c_twice_ends_the_first_at_once(start, records, temporary):
    first = start("--trials", 50, *LONG, "--max-concurrent", 1)
    wait_until(lambda: training(records))
    check_private(first, temporary)
    check_sockets(temporary)
    check_no_unused_part(first)
    for arguments in (["--resume", "--quiet"], ["--resume", "--trials", 99], []):
        code, out, err = start(*arguments, program=BARE).end()
        assert (code, out) == (3, "")
        *phases, error = err.splitlines()
        assert f"in use by process {first.process.pid} on " in error
        assert set(phases) <= {"loading PyTorch ..."}
    assert first.process.poll() is None
    assert "RUNNING" in records.states()
    wait_until(lambda: training(records))
    first.interrupt()
    time.sleep(0.2)
    first.interrupt()
    has_gone(first)
    assert first.end()[0] == 130
    check_nothing_left(first, temporary)
    assert "RUNNING" not in records.states()


def check_private(search, temporary):
    """Nobody else can talk to a search's processes or read its temporary files."""
    (folder,) = temporary.glob("ag-*")
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    for path in (folder, token):
        assert path.stat().st_mode & 0o077 == 0
    listening = [
        connection.laddr.ip.removeprefix("::ffff:")
        for process in search.family()
        for connection in process.net_connections()
        if connection.status == "LISTEN"
    ]
    assert set(listening) == {"127.0.0.1"}


def check_sockets(temporary):
    """Their paths are as long as was reckoned before the search began, but for the digits of a process's number."""
    sockets = [path for path in temporary.rglob("*") if path.is_socket()]
    longest = max(sockets, key=lambda path: len(str(path)))
    process = longest.parent.parent.name.rpartition("_")[2]
    highest = Path("/proc/sys/kernel/pid_max").read_text().strip()
    assert len(str(longest)) - len(process) + len(highest) == len(str(longest_socket(temporary)))


def check_no_unused_part(search):
    """Each of them would import for seconds before the first trial begins."""
    commands = [" ".join(process.cmdline()) for process in search.family()]
    assert any("/raylet " in command for command in commands)
    for part in ("autoscaler/_private/monitor.py", "_private/log_monitor.py", "dashboard/dashboard.py"):
        assert not [command for command in commands if part in command]
