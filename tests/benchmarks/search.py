"""The search as a whole: wall time, busy slots, and the bare Ray Tune + Optuna search that it is held against."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.table import Row

BARE = Path(__file__).with_name("bare_search.py")


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return [_digits(Path(folder)), _bare(), _busy(Path(folder))]


def _digits(folder: Path) -> Row:
    seconds = sorted(_search(folder, f"digits-{index}", "--trials", "20")[0] for index in range(3))
    text = f"{seconds[1]:.1f} s ({seconds[0]:.1f} to {seconds[2]:.1f}, n=3)"
    return Row("autogrow search, digits, 20 trials, from start to report", text, "under 45 s", seconds[1] < 45)


def _bare() -> Row:
    started = time.perf_counter()
    subprocess.run([sys.executable, str(BARE)], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return Row("bare Ray Tune + Optuna, 20 static MLPs on digits", f"{seconds:.1f} s (n=1)", "", None)


def _busy(folder: Path) -> Row:
    """Trials of five seconds or more: the share of slot seconds that lie inside a trial, after Ray is up."""
    _, summary = _search(
        folder, "busy", "--trials", "30", "--epochs", "240", "--space", "quick", "--early-stopping", "none"
    )
    trials = [trial for trial in summary["trials"] if trial["metrics"]]
    database = _times(folder / "busy")
    span = database[1] - database[0]
    inside = sum(trial["metrics"]["trial_seconds"] for trial in trials)
    share = inside / (span * 2)
    mean = inside / len(trials)
    return Row(
        "slots busy with trials after Ray is up",
        f"{share:.0%} ({len(trials)} trials of {mean:.1f} s on average)",
        "at least 95% with trials of 5 s",
        share >= 0.95,
    )


def _search(folder: Path, name: str, *arguments: str) -> tuple[float, dict]:
    command = [sys.executable, "-m", "autogrow", "search", "--name", name, "--out", str(folder), "--json", *arguments]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - started, json.loads(done.stdout)


def _times(run: Path) -> tuple[float, float]:
    """When the first trial was proposed (Ray is up then) and when the last one ended."""
    import optuna

    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'study.db'}").trials
    return trials[0].datetime_start.timestamp(), max(t.datetime_complete.timestamp() for t in trials)
