"""One search whose driver is killed again and again, and what must hold at its end.

``python -m tests.faults.kills --times 20`` runs it at length, prints what it saw, and exits with 1 if a promise was
broken. The tests run it with few kills.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import LONG, Records, Search, check_ended, check_nothing_left, wait_until

KILLED_AT = Path(__file__).with_name("killed_at.py")
NEVER = ("autogrow.cli.main:main", 0)
AIMED = {
    "inside ask": ("optuna.trial:Trial._suggest", 2),
    "between ask and its record": ("autogrow.study.study_database:StudyDatabase.add_running", 1),
    "between checkpoint and tell": ("autogrow.study.study_database:StudyDatabase.tell_result", 1),
    "while a trial reports": ("autogrow.study.driver:Driver.reported", 3),
    "between tell and the best policy": ("autogrow.study.driver:Driver._save_best_policy", 2),
    "while the database is made": ("autogrow.study.study_database:create_study", 1),
    "while what was lost is queued again": ("autogrow.study.study_database:StudyDatabase._queue_again", 1),
}
"""Calls at which the driver dies: of the function at a place, the n-th."""
LOST_SECONDS = 2.0
"""Training that a kill may cost a trial. Checkpoints are half a second apart or more where they take long to write."""
END_SECONDS = 900.0


@dataclass
class Seen:
    """What happened to a search that was killed."""

    kills: list[str] = field(default_factory=list)
    lost_seconds: list[float] = field(default_factory=list)
    """Training that was done again, one number for every live trial at every kill."""
    lost_samples: list[int] = field(default_factory=list)
    starts: int = 0
    wall_seconds: float = 0.0


class KilledSearch:
    """A search in ``results/run`` of a folder, its driver started as often as it is killed."""

    def __init__(self, folder, temporary, arguments, seed=0):
        self.records = Records(folder / "results" / "run")
        self.seen = Seen()
        self._folder, self._temporary, self._arguments = folder, temporary, arguments
        self._random = random.Random(seed)
        self._finished = {}
        self._searches = []

    def kill_aimed(self, moment):
        """Let the driver run until it dies at one of the `AIMED` moments; whether it came to that."""
        search = self._start((KILLED_AT, *map(str, AIMED[moment])))
        code, _, err = search.end(END_SECONDS)
        assert code in (0, -9), err
        return code == -9 and self._record(moment)

    def kill_after(self, seconds):
        """Let the driver run until it has trained for up to so many seconds, at random; whether it came to that."""
        search = self._start()
        before = self._progress()
        wait_until(lambda: self._progress() != before or search.process.poll() is not None, END_SECONDS)
        wait = self._random.uniform(0, seconds)
        end = time.monotonic() + wait
        while time.monotonic() < end and search.process.poll() is None:
            time.sleep(0.05)
        if search.process.poll() is not None:
            return False
        search.process.kill()
        return self._record(f"after {wait:.1f} s of training")

    def kill_when(self, condition, moment):
        """Let the driver run until something is so, then kill it and all it started; whether it came to that."""
        search = self._start()
        wait_until(lambda: condition() or search.process.poll() is not None, END_SECONDS)
        if search.process.poll() is not None:
            return False
        search.crash()
        return self._record(moment)

    def finish(self):
        """Let it run to its end, and check what was promised."""
        search = self._start()
        code, _, err = search.end(END_SECONDS)
        assert code == 0, err
        self._check_finished_stand()
        for each in self._searches:
            check_nothing_left(each, self._temporary)

    def check(self, num_trials):
        """The promises about the study as a whole, once it has finished."""
        check_ended(self.records, num_trials)
        lines = {trial.user_attrs.get("root", trial.number): trial for trial in self.records.trials()}
        assert len(lines) == num_trials
        failed = {root: trial.user_attrs.get("reason") for root, trial in lines.items() if trial.state.name == "FAIL"}
        assert not failed, failed
        points = [trial.params for trial in lines.values() if trial.params]
        assert all(point not in points[:number] for number, point in enumerate(points)), "a point was proposed twice"
        assert (self.records.run / "policy.yaml").exists()
        assert max(self.seen.lost_seconds, default=0) <= LOST_SECONDS
        assert not list(self.records.run.rglob(".*.tmp*"))

    def crash(self):
        for search in self._searches:
            search.crash()

    def _start(self, program=(KILLED_AT, *NEVER)):
        resume = ["--resume"] if (self.records.run / "config.yaml").exists() else self._arguments
        arguments = ["search", "--name", "run", "--quiet", *resume]
        self._searches.append(Search(arguments, self._folder, self._temporary, program))
        self.seen.starts += 1
        return self._searches[-1]

    def _progress(self):
        return sum(path.stat().st_size for path in self.records.run.glob("trials/*/samples.jsonl"))

    def _record(self, moment):
        """Note what the kill cost, at once: what the driver started lives on for a moment."""
        self.seen.kills.append(moment)
        steps = self.records.to_resume()
        running = [trial for trial in self.records.trials() if trial.state.name == "RUNNING"]
        for root in {trial.user_attrs.get("root", trial.number) for trial in running} - self.records.ended():
            samples = self.records.samples(root)
            lost = [sample for sample in samples if sample["step"] > steps.get(root, 0)]
            if lost:
                kept = [sample["train_seconds"] for sample in samples if sample not in lost]
                self.seen.lost_samples.append(len(lost))
                self.seen.lost_seconds.append(lost[-1]["train_seconds"] - (kept[-1] if kept else 0.0))
        self._check_finished_stand()
        return True

    def _check_finished_stand(self):
        """No trial that had finished at the kill before is lost or changed."""
        now = self.records.finished()
        assert {number: now.get(number) for number in self._finished} == self._finished
        self._finished = now


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    arguments = ["--trials", options.trials, *LONG, "--epochs", options.epochs, "--space", "quick"]
    with tempfile.TemporaryDirectory(prefix="k-", dir="/tmp") as name:
        undisturbed = _undisturbed(Path(name) / "undisturbed", arguments)
        print(f"undisturbed: {undisturbed:.0f} s", flush=True)
        seen = _killed(Path(name) / "killed", arguments, options, undisturbed)
    print(f"{len(seen.kills)} kills in {seen.starts} starts: {seen.wall_seconds:.0f} s", end=", ")
    print(f"{seen.wall_seconds / undisturbed:.2f} times the undisturbed run")
    print(f"training done again at a kill, per live trial: at most {max(seen.lost_seconds, default=0):.2f} s", end=", ")
    print(f"{max(seen.lost_samples, default=0)} samples; {sum(seen.lost_seconds):.1f} s in all")
    return 0


def _undisturbed(folder, arguments):
    (folder / "tmp").mkdir(parents=True)
    search = KilledSearch(folder, folder / "tmp", arguments)
    started = time.monotonic()
    search.finish()
    return time.monotonic() - started


def _killed(folder, arguments, options, undisturbed):
    """Aimed kills and random ones by turns, spread over the length of the run."""
    (folder / "tmp").mkdir(parents=True)
    search = KilledSearch(folder, folder / "tmp", arguments, options.seed)
    aimed = list(AIMED)
    started = time.monotonic()
    try:
        while len(search.seen.kills) < options.times:
            turn = len(search.seen.kills)
            # Aimed moments cost little of the run, so the random ones have nearly all of it.
            going_on = (
                search.kill_aimed(aimed[turn // 3 % len(aimed)])
                if turn % 3 == 0
                else search.kill_after(undisturbed / options.times)
            )
            if not going_on:
                break
            print(f"killed {search.seen.kills[-1]}: {search.records.states()}", flush=True)
        search.finish()
        search.check(options.trials)
    finally:
        search.crash()
    search.seen.wall_seconds = time.monotonic() - started
    return search.seen


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
