"""What the search costs beside its trials: trials that end at once, 2 slots, three objectives."""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna

from tests.benchmarks.table import Row

NO_OP = Path(__file__).with_name("no_op_search.py")
MANY = 1_000


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        search(few, 20)
        grown = search(many, MANY)["grown_bytes"] / 2**20
        memory = Row(
            "memory of the driver over them", f"{grown:+.0f} MiB", "grows by less than 20 MB", grown * 2**20 < 20e6
        )
        return [_few(few), *_many(many), memory, _resumed(many)]


def _few(folder: Path) -> Row:
    begins, ends = times(folder)
    seconds = max(ends) - begins[0]
    return Row("20 trials that train nothing, after Ray is up", f"{seconds:.1f} s", "at most 6 s", seconds <= 6)


def _many(folder: Path) -> list[Row]:
    _, ends = times(folder)
    gaps = [1000 * (after - before) for before, after in zip(ends, ends[1:], strict=False)]
    early, late, all_of_them = (statistics.median(part) for part in (gaps[50:150], gaps[-100:], gaps))
    what = f"{MANY:,} trials that train nothing, TPE: median from end to end"
    return [
        Row(what, f"{all_of_them:.0f} ms, mean {statistics.mean(gaps):.0f} ms", "at most 80 ms", all_of_them <= 80),
        Row(
            "the last 100 of them, against those from 50 to 150",
            f"{late:.0f} ms, {early:.0f} ms: {late / early:.2f} times",
            "at most 120 ms",
            late <= 120,
        ),
    ]


def _resumed(folder: Path) -> Row:
    output = search(folder, MANY + 2, "--resume")
    begins, _ = times(folder)
    seconds = sorted(begins)[MANY] - output["started"]
    return Row(
        f"resuming a study of {MANY:,} trials, from the call to the first new trial (Ray's start in it)",
        f"{seconds:.1f} s",
        "under 10 s",
        seconds < 10,
    )


def search(folder: Path, trials: int, *arguments: str) -> dict[str, float]:
    """Runs a search whose trials train nothing; `arguments` and the answer are those of `no_op_search.py`."""
    command = [sys.executable, str(NO_OP), str(folder), str(trials), "tpe", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    output: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return output


def times(folder: Path) -> tuple[list[float], list[float]]:
    """When each trial was proposed (Ray is up at the first), and when each ended, in order."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'run' / 'study.db'}")
    trials = [trial for trial in study.trials if trial.datetime_start and trial.datetime_complete]
    begins = sorted(trial.datetime_start.timestamp() for trial in trials)
    return begins, sorted(trial.datetime_complete.timestamp() for trial in trials)
