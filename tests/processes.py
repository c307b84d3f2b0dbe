"""Searches as processes of their own, and what they leave: processes, folders, records."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from functools import cached_property
from pathlib import Path

import optuna
import psutil
from sqlalchemy.pool import NullPool

MARK = "AUTOGROW_TEST_MARK"
LONG = ("--epochs", 200, "--model", "mlp", "--model-option", "hidden=[256, 256]")
"""Trials of some seconds, so that there is time to kill them."""


class Search:
    """One ``autogrow`` process. It and all that it starts carry a mark of their own, by which they are found."""

    def __init__(self, arguments, folder, temporary, program=("-m", "autogrow")):
        self.mark = uuid.uuid4().hex
        environment = {**os.environ, MARK: self.mark, "TMPDIR": str(temporary)}
        self.process = subprocess.Popen(
            [sys.executable, *map(str, program), *map(str, arguments)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, timeout=300):
        """Exit code, stdout and stderr, once it has ended."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def family(self):
        """The process and everything that it started, wherever that has moved to."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def crash(self):
        """Kill the driver, then what it leaves behind, as a machine that goes down would."""
        self.process.kill()
        self.kill_family()
        if not self.process.stdout.closed:
            self.process.communicate()

    def kill_family(self):
        family = self.family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)

    def _is_marked(self, process):
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark
        except (psutil.Error, OSError):
            return False


class Records:
    """The study and the trial folders of a run, read as anybody could."""

    def __init__(self, run, storage=None):
        self.run = Path(run)
        self._storage = storage
        self._name = None if storage is None else self.run.name

    def trials(self):
        """All trials, or none while there is no database yet."""
        if self._storage is None and not (self.run / "study.db").exists():
            return []
        try:
            return optuna.load_study(study_name=self._name, storage=self._database).trials
        except Exception:  # noqa: BLE001  a database that is being made just now
            return []

    @cached_property
    def _database(self):
        """Opened once: a look then takes a fifth of the time, and the searches need the processor."""
        url = self._storage or f"sqlite:///{self.run / 'study.db'}"
        # No connection is kept: one that is left open is a warning, and those are errors.
        return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})

    def states(self):
        return [trial.state.name for trial in self.trials()]

    def roots(self):
        """What searches have begun, as often as it may have been resumed."""
        return [trial for trial in self.trials() if not {"root", "trained_by"} & trial.user_attrs.keys()]

    def finished(self):
        return {trial.number: trial for trial in self.trials() if trial.state.name in ("COMPLETE", "PRUNED")}

    def samples(self, root):
        path = self.run / "trials" / f"{root:05d}" / "samples.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def to_resume(self):
        """The roots that have a checkpoint to go on from and no result yet, with the step of the newest."""
        paths = sorted(self.run.glob("trials/*/checkpoint/step-*.pt"))
        steps = {int(path.parts[-3]): int(path.stem.removeprefix("step-")) for path in paths}
        return {root: step for root, step in steps.items() if root not in self.ended()}

    def ended(self):
        """The roots that have a result, whether or not the study knows it yet."""
        return {int(path.parent.name) for path in self.run.glob("trials/*/result.json")}


def check_nothing_left(search, temporary):
    """No process and no file of a search outlives it."""
    assert search.family() == []
    # PyTorch keeps a cache of its own beside the temporary files of others.
    assert [path for path in temporary.rglob("*") if not str(path.relative_to(temporary)).startswith("torch")] == []


def check_ended(records, num_trials):
    """The promise of every search that has ended: the asked number of trials, and nothing running."""
    assert len(records.roots()) == num_trials
    assert not {"RUNNING", "WAITING"} & set(records.states())
    assert not (records.run / "interrupt").exists()
    assert not (records.run / "lock").exists()


def wait_until(condition, seconds=300.0):
    """Wait for something to become true; fails the test when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.1)
