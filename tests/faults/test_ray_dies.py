"""Ray is disposable: its parts are killed, and a user's model hangs in it."""

import time

import pytest

from autogrow.study.driver import SAVE_SECONDS
from tests.processes import LONG, check_ended, check_nothing_left, wait_until

pytestmark = pytest.mark.slow
NOTICED_SECONDS = 30.0
HANGS = """
import ctypes
from pathlib import Path

from torch import nn


class Network(nn.Sequential):
    calls = 0

    def forward(self, inputs):
        self.calls += self.training
        if self.calls > 10 and (self.is_first() or Path({all!r}).exists()):
            Path({hangs!r}).touch()
            ctypes.PyDLL(None).sleep(10**6)  # with the interpreter's lock held: no thread of this process runs again
        return super().forward(inputs)

    def is_first(self):
        try:
            Path({first!r}).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def network():
    return Network(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""


def up_to(step, samples):
    return [sample for sample in samples if sample["step"] <= step]


def size_of_samples(records):
    return sum(len(records.samples(trial.number)) for trial in records.roots())


def test_trials_go_on_when_parts_of_ray_die(start, records, temporary):
    search = start("--trials", 3, "--space", "quick", *LONG, "--epochs", 100)
    for part in ("raylet", "gcs_server"):
        before = size_of_samples(records)
        wait_until(lambda: records.to_resume() and size_of_samples(records) > before)  # noqa: B023
        trained = {root: up_to(step, records.samples(root)) for root, step in records.to_resume().items()}
        finished, num_trials = records.finished(), len(records.trials())
        (process,) = [process for process in search.family() if process.name() == part]
        process.kill()
        killed = time.monotonic()
        wait_until(lambda: any("resume_of" in each.user_attrs for each in records.trials()[num_trials:]))  # noqa: B023
        assert time.monotonic() - killed < NOTICED_SECONDS
        assert {number: records.finished()[number] for number in finished} == finished
    code, _, err = search.end()
    assert code == 0, err
    for part in ("raylet", "gcs_server"):
        assert f"Ray has ended ({part} ended with signal 9)" in err
    check_ended(records, 3)
    check_nothing_left(search, temporary)
    last = {trial.user_attrs.get("root", trial.number): trial.state.name for trial in records.trials()}
    assert set(last.values()) <= {"COMPLETE", "PRUNED"}
    for root, samples in trained.items():
        # A sample names the seconds trained until then, so equal ones were not trained again.
        assert up_to(samples[-1]["step"] if samples else -1, records.samples(root)) == samples


def test_a_model_that_hangs(start, records, workplace, temporary):
    """The trial fails with that reason and others go on; one Ctrl-C ends a search in which all hang, to be resumed."""
    first, all_hang, hangs = (workplace / name for name in ("first", "all", "hangs"))
    (workplace / "mine.py").write_text(HANGS.format(first=str(first), all=str(all_hang), hangs=str(hangs)))
    arguments = ("--trials", 99, "--epochs", 20, "--space", "quick", "--quiet", "--trial-timeout", "15s")
    search = start(*arguments, "--model", "mine:network")
    wait_until(lambda: "FAIL" in records.states() and records.finished())
    assert {trial.user_attrs["reason"] for trial in records.trials() if trial.state.name == "FAIL"} == {
        "it took no step for 15 seconds, the limit (--trial-timeout): its process was ended"
    }
    hangs.unlink()
    all_hang.touch()
    wait_until(hangs.exists)
    search.interrupt()
    asked = time.monotonic()
    code, _, err = search.end()
    assert time.monotonic() - asked < SAVE_SECONDS  # as it would wait for a trial that saves itself
    assert (code, "--resume --name run" in err) == (130, True), err
    check_nothing_left(search, temporary)
    assert "RUNNING" not in records.states()
    assert "WAITING" in records.states()
