"""autogrow against a static width search: how long until as good a network is found, on the same machine.

The opponent is `static_width_search`: Ray Tune, Optuna's TPE and ASHA over the widths of the same network. Both sides
get the same cores, slots, wall time, data and seeds, and take turns in going first. Only trials that ended within the
wall time, counted from the start of the process, are counted, by their accuracy on the whole validation split.
autogrow's own static control counts for nothing: it is no growth policy, and no result of the search.

``python -m tests.benchmarks.versus_static --help`` says what can be changed. What every search found, and when, is
written to results/benchmarks/versus-static-curves.json.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autogrow.files import write_text_atomically
from tests.benchmarks.best_so_far import Curve, best_by, best_so_far, spread, time_to_reach
from tests.benchmarks.table import Row, print_rows, write_rows

STATIC, AUTOGROW, THREE_OBJECTIVES = "static widths", "autogrow", "autogrow with its three objectives"
OPTIONS = {AUTOGROW: ["--objectives", "accuracy"], THREE_OBJECTIVES: []}
"""Of autogrow's sides, the options that tell them apart."""
SLOTS = 2
GOAL = 1 / 3
CONTROL = "static"
"""The role of autogrow's static control."""
CURVES = Path("results/benchmarks/versus-static-curves.json")
ROWS = Path("results/benchmarks/versus.json")


@dataclass(frozen=True, kw_only=True)
class Contest:
    """One data set, and how long each side may search on it."""

    dataset: str
    train_size: int | None
    seconds: float
    num_seeds: int

    @property
    def title(self) -> str:
        size = f" of {self.train_size:,} images" if self.train_size else ""
        return f"{self.dataset}{size}, {self.seconds:g} s on {SLOTS} slots"

    @property
    def arguments(self) -> list[str]:
        """What both sides are told of it in the same words."""
        data_dir = os.environ.get("AUTOGROW_DATA")
        return [
            *("--dataset", self.dataset),
            *(["--train-size", str(self.train_size)] if self.train_size else []),
            *(["--data-dir", data_dir] if data_dir else []),
        ]


CONTESTS = (
    Contest(dataset="digits", train_size=None, seconds=60, num_seeds=3),
    Contest(dataset="mnist", train_size=4000, seconds=120, num_seeds=2),
)


@dataclass(frozen=True)
class Trial:
    """How a trial ended. Only a complete one's accuracy is of the whole validation split."""

    seconds: float
    """Since the process of its search was started."""
    state: str
    accuracy: float | None
    trial_seconds: float | None
    """How long it ran on its worker."""
    role: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Found:
    """What one search found."""

    ready_seconds: float
    """From the start of its process until its first trial was proposed: Python, PyTorch and Ray were up by then."""
    trials: tuple[Trial, ...]

    def curve(self, until_seconds: float, *, with_control: bool = False) -> Curve:
        """The best accuracy so far; that of autogrow's static control, which is no growth policy, only if asked."""
        complete = [trial for trial in self.trials if trial.state == "complete" and trial.accuracy is not None]
        counted = [trial for trial in complete if with_control or trial.role != CONTROL]
        return best_so_far([(trial.seconds, trial.accuracy) for trial in counted], until_seconds)

    def num_ended(self, state: str, until_seconds: float) -> int:
        return len(self._ended(state, until_seconds))

    def seconds_of_complete_trials(self, until_seconds: float) -> list[float]:
        ended = self._ended("complete", until_seconds)
        return [trial.trial_seconds for trial in ended if trial.trial_seconds is not None]

    def _ended(self, state: str, until_seconds: float) -> list[Trial]:
        return [trial for trial in self.trials if trial.state == state and trial.seconds <= until_seconds]


Pair = dict[str, Found]
"""What every side found with one seed."""


def run_static(contest: Contest, seed: int, folder: Path) -> Found:
    lines = folder / "trials.jsonl"
    started = time.time()
    arguments = ["--slots", str(SLOTS), "--seconds", str(contest.seconds), "--seed", str(seed), "--out", str(lines)]
    _run(["-m", "tests.benchmarks.static_width_search", *contest.arguments, *arguments])
    ready, *trials = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    ended = [
        Trial(
            seconds=entry["time"] - started,
            role="searched",
            **{name: entry[name] for name in ("state", "accuracy", "trial_seconds", "parameters")},
        )
        for entry in trials
    ]
    return Found(ready["time"] - started, tuple(ended))


def run_autogrow(contest: Contest, seed: int, folder: Path, options: list[str]) -> Found:
    started = time.time()
    limits = ["--trials", "100000", "--time-budget", f"{contest.seconds:g}s", "--max-concurrent", str(SLOTS)]
    place = ["--out", str(folder), "--name", "run", "--seed", str(seed), "--quiet"]
    _run(["-m", "autogrow", "search", *contest.arguments, *limits, *place, *options])
    return _read_study(folder / "run" / "study.db", started)


def _run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")


def _read_study(database: Path, started: float) -> Found:
    import optuna

    study = optuna.load_study(study_name="autogrow", storage=f"sqlite:///{database}")
    begins = [trial.datetime_start.timestamp() for trial in study.trials if trial.datetime_start]
    ended = [
        Trial(
            seconds=trial.datetime_complete.timestamp() - started,
            state="stopped" if trial.state.name == "PRUNED" else trial.state.name.lower(),
            accuracy=trial.user_attrs.get("metrics", {}).get("validation_accuracy"),
            trial_seconds=trial.user_attrs.get("metrics", {}).get("trial_seconds"),
            role=trial.user_attrs.get("role", "searched"),
            parameters=trial.params,
        )
        for trial in study.trials
        if trial.state.is_finished() and trial.datetime_complete
    ]
    return Found(min(begins) - started, tuple(ended))


@contextmanager
def _on_cores(number: int) -> Iterator[None]:
    """So many cores for whatever is started, so that both sides have the same on larger machines too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def play(contest: Contest, sides: tuple[str, ...]) -> Iterator[Pair]:
    """Every seed's searches, each side going first in turn."""
    for seed in range(contest.num_seeds):
        turn = seed % len(sides)
        found = {}
        for side in sides[turn:] + sides[:turn]:
            with tempfile.TemporaryDirectory() as folder, _on_cores(SLOTS):
                if side == STATIC:
                    found[side] = run_static(contest, seed, Path(folder))
                else:
                    found[side] = run_autogrow(contest, seed, Path(folder), OPTIONS[side])
        yield found


def rows_of(contest: Contest, pairs: list[Pair]) -> list[Row]:
    sides = [side for side in pairs[0] if side != STATIC]
    rows = [row for side in sorted(sides) for row in _rows_of_side(contest, pairs, side)]
    return [*rows, *(_summary(contest, pairs, side) for side in (STATIC, *sorted(sides)))]


def _rows_of_side(contest: Contest, pairs: list[Pair], side: str) -> list[Row]:
    best, half = "the static search's best", "its best after half of the time"
    start, ready = "since the process was started", "since Ray is up"
    wall = contest.seconds
    return [
        _time_row(contest, pairs, side, f"{best}, {start}", wall, goal=True),
        _time_row(contest, pairs, side, f"{best}, {ready}", wall, since_ready=True),
        _time_row(contest, pairs, side, f"{half}, {start}", wall / 2),
        _time_row(contest, pairs, side, f"{best}, {start}, autogrow's static control counted", wall, with_control=True),
    ]


def _time_row(
    contest: Contest,
    pairs: list[Pair],
    side: str,
    what: str,
    level_seconds: float,
    *,
    since_ready: bool = False,
    with_control: bool = False,
    goal: bool = False,
) -> Row:
    """When the side, and when the static search, first had the static search's best by `level_seconds`."""
    theirs, ours = [], []
    for pair in pairs:
        static, other = pair[STATIC], pair[side]
        curve = static.curve(contest.seconds)
        level = best_by(curve, level_seconds)
        if not math.isfinite(level):
            continue  # the static search had nothing by then
        reached = time_to_reach(other.curve(contest.seconds, with_control=with_control), level)
        theirs.append(time_to_reach(curve, level) - (static.ready_seconds if since_ready else 0))
        ours.append(reached - (other.ready_seconds if since_ready else 0))
    title, aim = f"{contest.title}: {side}, {what}", "ratio at most 1/3" if goal else ""
    if not ours:
        return Row(title, "the static search finished no trial by then", aim, None)
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    text = f"{spread(ours)} s, static {spread(theirs)} s; ratio {spread(ratios, 2)}, n={len(ratios)}"
    is_reached = statistics.median(ratios) <= GOAL if goal else None
    return Row(title, text, aim, is_reached)


def _summary(contest: Contest, pairs: list[Pair], side: str) -> Row:
    """The best accuracies, the number of trials, and when the first was proposed."""
    wall = contest.seconds
    found = [pair[side] for pair in pairs]
    reached = [best_by(each.curve(wall), wall) for each in found]
    best = [accuracy for accuracy in reached if math.isfinite(accuracy)]  # a search may have finished nothing
    deviation = f"{statistics.stdev(best):.2%}" if len(best) > 1 else "-"
    complete, stopped = (_listed([each.num_ended(state, wall) for each in found]) for state in ("complete", "stopped"))
    taken = [seconds for each in found for seconds in each.seconds_of_complete_trials(wall)]
    texts = [
        f"{statistics.mean(best):.2%}, std {deviation}, n={len(best)}" if best else "none",
        f"trials complete {complete}" + (f" of {spread(taken)} s each" if taken else ""),
        f"stopped early {stopped}",
        f"first proposed after {spread([each.ready_seconds for each in found])} s",
    ]
    return Row(f"{contest.title}: best validation accuracy, {side}", "; ".join(texts), "", None)


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def run(contests: tuple[Contest, ...], sides: tuple[str, ...]) -> list[Row]:
    """Play all contests; what has been found is written after every one of them."""
    rows, record = [], []
    for contest in contests:
        pairs = list(play(contest, sides))
        record.append(
            {"contest": asdict(contest), "slots": SLOTS, "seeds": [_to_dict(contest, pair) for pair in pairs]}
        )
        write_text_atomically(CURVES, json.dumps(record, separators=(",", ":")) + "\n")
        rows += rows_of(contest, pairs)
    return rows


def _to_dict(contest: Contest, pair: Pair) -> dict[str, Any]:
    """By side: the curve within the wall time, and all trials. The order is that in which the sides ran."""
    return {side: {"best_so_far": found.curve(contest.seconds), **asdict(found)} for side, found in pair.items()}


def rows() -> list[Row]:
    return run(CONTESTS, (STATIC, AUTOGROW))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--digits", nargs=2, type=int, metavar=("SECONDS", "SEEDS"), default=(60, 3))
    parser.add_argument("--mnist", nargs=2, type=int, metavar=("SECONDS", "SEEDS"), default=(120, 2))
    parser.add_argument("--train-size", type=int, default=4000, help="Of MNIST.")
    parser.add_argument("--three-objectives", action="store_true", help="autogrow's default objectives too.")
    arguments = parser.parse_args()
    sizes = {"digits": None, "mnist": arguments.train_size}
    contests = tuple(
        Contest(dataset=name, train_size=size, seconds=vars(arguments)[name][0], num_seeds=vars(arguments)[name][1])
        for name, size in sizes.items()
        if vars(arguments)[name][1] > 0
    )
    found = run(contests, (STATIC, AUTOGROW, *([THREE_OBJECTIVES] if arguments.three_objectives else [])))
    print_rows(found)
    write_rows(found, ROWS)


if __name__ == "__main__":
    main()
