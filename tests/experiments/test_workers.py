"""Runs in several processes: the same results, saved when interrupted, and no process is left behind."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from autogrow.experiments.comparison import KIND
from autogrow.experiments.folder import ExperimentFolder

from ..processes import wait_until
from .test_comparison import quality, results_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

POLICY = """\
format: autogrow-policy/1
initial_fraction: 0.25
chunk_fraction: 0.25
trigger: {kind: schedule, every: 3}
training: {epochs: 200, batch_size: 80, sample_every: 10}
"""


def test_several_processes_come_to_the_same(compare, tmp_path):
    told = []
    compare(2, "one")
    results = compare(2, "several", jobs=2, on_run=told.append)
    assert len(told) == len(results.runs) == 12
    assert {run.trained_on["machine"]["jobs"] for run in results.runs} == {2}
    assert without_machine(tmp_path / "several") == without_machine(tmp_path / "one")
    assert quality(tmp_path / "several") == quality(tmp_path / "one")


def without_machine(folder):
    content = results_of(folder)
    del content["trained_on"]
    return content


@pytest.fixture
def command(tmp_path):
    """`autogrow compare` on digits, of runs that take seconds."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    arguments = ["compare", str(tmp_path / "policy.yaml"), "--dataset", "digits", "--train-size", "200"]
    places = ["--out", str(tmp_path / "out"), "--seeds", "1", "--jobs", "2", "--threads", "2"]

    def start(*more):
        return subprocess.Popen([sys.executable, "-m", "autogrow", *arguments, *places, *more], start_new_session=True)

    return start


def is_training(tmp_path):
    return any((tmp_path / "out" / "runs").glob("*/checkpoint/*"))


def test_an_interrupt_saves_all_of_them(command, tmp_path):
    process = command()
    wait_until(lambda: is_training(tmp_path))
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: all processes of the group are told
    assert process.wait(60) == 130
    assert is_training(tmp_path)
    # The process that watches over shared memory is told by the end of the others.
    wait_until(lambda: children_of(process.pid) == [], seconds=10)


def test_a_killed_driver_leaves_no_process_and_the_same_command_goes_on(command, tmp_path):
    process = command()
    wait_until(lambda: is_training(tmp_path))
    process.kill()
    process.wait(60)
    wait_until(lambda: children_of(process.pid) == [])
    assert command("--epochs", "200").wait(300) == 0
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert len(content["runs"]) == 6
    assert ExperimentFolder(tmp_path / "out", KIND).record(0, "grown") is not None


def children_of(session):
    """Processes of a session that live."""
    found = subprocess.run(["ps", "-o", "pid=,stat=", "-s", str(session)], capture_output=True, text=True).stdout
    time.sleep(0.1)
    return [line for line in found.splitlines() if line.split()[1][0] != "Z"]
