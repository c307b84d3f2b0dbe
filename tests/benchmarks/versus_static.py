"""autogrow against a search of static sizes: how long until as good a network is found, on the same machine.

The opponent is `static_search`: Ray Tune, Optuna's TPE and ASHA over the widths of the same network, or, on text, over
its depth (``--text``). Both sides get the same cores, slots, wall time, data and seeds, and take turns in going first.
Only trials that ended within the wall time, counted from the start of the process, are counted, by their score on the
whole validation split: accuracy, or minus the loss, in regression because R² says little near 1. autogrow's own static
control counts for nothing: it is no growth policy, and no result of the search. A policy of autogrow's that starts at
its maximum never grows; a row of its own leaves those out.

Then the best policies of each search are confirmed on other seeds, as `autogrow confirm` does it, outside of the wall
time; and what was found is trained again, here and on the other data: see `retrained_policies`.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from autogrow.files import write_text_atomically
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.study.trial_record import TrialRecord
from tests.benchmarks.best_so_far import best_by, spread, time_to_reach
from tests.benchmarks.contests import CONTESTS, QUICK, QUICK_TEXT, SLOTS, TEXT, Contest, Found, Pair, Trial
from tests.benchmarks.retrained_policies import Finds, retrained_rows
from tests.benchmarks.table import Row, print_rows, write_rows

STATIC, AUTOGROW, THREE_OBJECTIVES = "static sizes", "autogrow", "autogrow with its three objectives"
FIRST_SEED = 30
"""Of the searches. The points that the default space has tried first were chosen by training with seeds below it, on
digits and MNIST among others and by their validation splits; on friedman nothing was chosen."""
CURVES = Path("results/benchmarks/versus-static-curves.json")
ROWS = Path("results/benchmarks/versus.json")


def run_static(contest: Contest, seed: int, folder: Path) -> Found:
    lines = folder / "trials.jsonl"
    started = time.time()
    arguments = ["--slots", str(SLOTS), "--seconds", str(contest.seconds), "--seed", str(seed), "--out", str(lines)]
    options = ["--model-options", json.dumps(dict(contest.model_options))]
    _run(["-m", "tests.benchmarks.static_search", *contest.arguments, *arguments, *options])
    ready, *trials = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    ended = [
        Trial(
            seconds=entry["time"] - started,
            role="searched",
            **{name: entry[name] for name in ("state", "score", "trial_seconds", "parameters")},
        )
        for entry in trials
    ]
    return Found(ready["time"] - started, tuple(ended))


def run_autogrow(contest: Contest, seed: int, folder: Path, side: str) -> Found:
    started = time.time()
    options = ["--objectives", contest.metric] if side == AUTOGROW else []
    for name, value in contest.model_options.items():
        options += ["--model-option", f"{name}={value}"]
    limits = ["--trials", "100000", "--time-budget", f"{contest.seconds:g}s", "--max-concurrent", str(SLOTS)]
    place = ["--out", str(folder), "--name", "run", "--seed", str(seed), "--quiet"]
    _run(["-m", "autogrow", "search", *contest.arguments, *limits, *place, *options])
    found = _read_study(folder / "run", contest, started)
    return found if found.policy is None or not contest.confirmed[0] else _confirmed(contest, folder / "run", found)


def _confirmed(contest: Contest, run: Path, found: Found) -> Found:
    """The search's best policies on other seeds, and which of them is best there."""
    started = time.time()
    top, seeds = contest.confirmed
    chosen = ["--top", str(top), "--seeds", str(seeds), "--prefer", contest.metric, "--jobs", str(SLOTS), "--json"]
    said = json.loads(_run(["-m", "autogrow", "confirm", str(run), *chosen, "--quiet"], may_fail=(1,)))
    kept = {name: said[name] for name in ("best", "findings", "evidence")}
    confirmation = {**kept, "seconds": time.time() - started}
    return replace(found, confirmed=_policy(run / "confirmation" / "policy.yaml"), confirmation=confirmation)


def _policy(path: Path) -> dict[str, Any] | None:
    """A policy file without where it comes from; None where there is none."""
    return GrowthPolicy.load(path).model_dump(mode="json", exclude={"found_by"}) if path.exists() else None


def _run(arguments: list[str], may_fail: tuple[int, ...] = ()) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode and done.returncode not in may_fail:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def _read_study(run: Path, contest: Contest, started: float) -> Found:
    import optuna

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'study.db'}")
    begins = [trial.datetime_start.timestamp() for trial in study.trials if trial.datetime_start]
    ended = [
        Trial(
            seconds=trial.datetime_complete.timestamp() - started,
            state="stopped" if trial.state.name == "PRUNED" else trial.state.name.lower(),
            score=contest.unit.score(TrialRecord(trial).metrics.get(f"validation_{contest.unit.field}")),
            trial_seconds=TrialRecord(trial).metrics.get("trial_seconds"),
            role=TrialRecord(trial).role,
            parameters=trial.params,
            grows=(policy := TrialRecord(trial).policy) is not None and GrowthPolicy.from_dict(policy).grows,
        )
        for trial in study.trials
        if trial.state.is_finished() and trial.datetime_complete
    ]
    return Found(min(begins) - started, tuple(ended), _policy(run / "policy.yaml"))


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
    for number in range(contest.num_seeds):
        seed, turn = FIRST_SEED + number, number % len(sides)
        found = {}
        for side in sides[turn:] + sides[:turn]:
            with tempfile.TemporaryDirectory() as folder, _on_cores(SLOTS):
                if side == STATIC:
                    found[side] = run_static(contest, seed, Path(folder))
                else:
                    found[side] = run_autogrow(contest, seed, Path(folder), side)
        yield found


def rows_of(contest: Contest, pairs: list[Pair]) -> list[Row]:
    sides = [side for side in pairs[0] if side != STATIC]
    rows = [row for side in sorted(sides) for row in _rows_of_side(contest, pairs, side)]
    summaries = [_summary(contest, pairs, side) for side in (STATIC, *sorted(sides))]
    return [*rows, *summaries, *(row for row in [_confirmation_row(contest, pairs)] if row is not None)]


def _confirmation_row(contest: Contest, pairs: list[Pair]) -> Row | None:
    """What autogrow's searches found once it was confirmed."""
    confirmations = [pair[AUTOGROW].confirmation for pair in pairs if AUTOGROW in pair]
    said = [each for each in confirmations if each is not None]
    if not said:
        return None
    chosen = _listed([str(each["best"]).partition("@")[0].replace("_", " ") for each in said])
    seconds = spread([each["seconds"] for each in said])
    top, seeds = contest.confirmed
    title = f"{contest.title}: chosen by autogrow confirm, of the {top} best on {seeds} other seeds"
    return Row(title, f"{chosen}; in {seconds} s", "", None)


def _rows_of_side(contest: Contest, pairs: list[Pair], side: str) -> list[Row]:
    best, half = "the static search's best", "its best after half of the time"
    start, ready = "since the process was started", "since Ray is up"
    wall = contest.seconds
    return [
        _time_row(contest, pairs, side, f"{best}, {start}", wall, goal=True),
        _time_row(contest, pairs, side, f"{best}, {ready}", wall, since_ready=True),
        _time_row(contest, pairs, side, f"{half}, {start}", wall / 2),
        _time_row(contest, pairs, side, f"{best}, {start}, autogrow's static control counted", wall, with_control=True),
        _time_row(contest, pairs, side, f"{best}, {start}, by policies that grow", wall, growing_only=True),
        _share_row(contest, pairs, side),
    ]


def _share_row(contest: Contest, pairs: list[Pair], side: str) -> Row:
    """What the side had by its share of the wall time, against what the static search had at its end."""
    wall = contest.seconds
    levels = [
        (best_by(pair[side].curve(wall), contest.goal * wall), best_by(pair[STATIC].curve(wall), wall))
        for pair in pairs
    ]
    compared = [(ours, theirs) for ours, theirs in levels if math.isfinite(theirs)]
    reached = [ours >= theirs for ours, theirs in compared]
    listed = ", ".join(f"{contest.unit.shown(ours)} for {contest.unit.shown(theirs)}" for ours, theirs in compared)
    title = (
        f"{contest.title}: {side} after {contest.goal:.2g} of the wall time, for the static search's best at its end"
    )
    text = f"reached in {sum(reached)} of {len(reached)} searches ({listed})"
    return Row(title, text, "in all searches", all(reached) if reached else None)


def _time_row(
    contest: Contest,
    pairs: list[Pair],
    side: str,
    what: str,
    level_seconds: float,
    *,
    since_ready: bool = False,
    with_control: bool = False,
    growing_only: bool = False,
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
        ours_so_far = other.curve(contest.seconds, with_control=with_control, growing_only=growing_only)
        reached = time_to_reach(ours_so_far, level)
        theirs.append(time_to_reach(curve, level) - (static.ready_seconds if since_ready else 0))
        ours.append(reached - (other.ready_seconds if since_ready else 0))
    title, aim = f"{contest.title}: {side}, {what}", _aim(contest) if goal else ""
    if not ours:
        return Row(title, "the static search finished no trial by then", aim, None)
    ratios = [our / their for our, their in zip(ours, theirs, strict=True)]
    text = f"{spread(ours)} s, static {spread(theirs)} s; ratio {spread(ratios, 2)}, n={len(ratios)}"
    is_reached = _is_reached(contest, ratios) if goal else None
    return Row(title, text, aim, is_reached)


def _aim(contest: Contest) -> str:
    often = "" if contest.goal_share is None else f" in {contest.goal_share:.0%} of searches"
    return f"ratio at most {contest.goal:.2g}{often}"


def _is_reached(contest: Contest, ratios: Sequence[float]) -> bool:
    if contest.goal_share is None:
        return statistics.median(ratios) <= contest.goal
    return statistics.mean(ratio <= contest.goal for ratio in ratios) >= contest.goal_share


def _summary(contest: Contest, pairs: list[Pair], side: str) -> Row:
    """The best scores, the number of trials, and when the first was proposed."""
    wall = contest.seconds
    found = [pair[side] for pair in pairs]
    reached = [best_by(each.curve(wall), wall) for each in found]
    best = [score for score in reached if math.isfinite(score)]  # a search may have finished nothing
    deviation = contest.unit.shown_spread(statistics.stdev(best)) if len(best) > 1 else "-"
    complete, stopped = (_listed([each.num_ended(state, wall) for each in found]) for state in ("complete", "stopped"))
    taken = [seconds for each in found for seconds in each.seconds_of_complete_trials(wall)]
    texts = [
        f"{contest.unit.shown(statistics.mean(best))}, std {deviation}, n={len(best)}" if best else "none",
        f"trials complete {complete}" + (f" of {spread(taken)} s each" if taken else ""),
        f"stopped early {stopped}",
        f"first proposed after {spread([each.ready_seconds for each in found])} s",
    ]
    return Row(f"{contest.title}: best validation {contest.metric}, {side}", "; ".join(texts), "", None)


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def run(contests: tuple[Contest, ...], sides: tuple[str, ...], curves: Path = CURVES) -> list[Row]:
    """Play all contests, then train again what was found; all is written after every contest."""
    rows, record, finds = [], [], []
    for contest in contests:
        pairs = list(play(contest, sides))
        record.append(
            {"contest": asdict(contest), "slots": SLOTS, "seeds": [_to_dict(contest, pair) for pair in pairs]}
        )
        write_text_atomically(curves, json.dumps(record, separators=(",", ":")) + "\n")
        rows += rows_of(contest, pairs)
        finds.append(_finds(contest, pairs))
    return rows + retrained_rows([find for find in finds if find.confirmed], SLOTS)


def _finds(contest: Contest, pairs: list[Pair]) -> Finds:
    """What every search found, as far as it found anything."""
    grown = [pair[AUTOGROW] for pair in pairs]
    static = [pair[STATIC].best(contest.seconds) for pair in pairs]
    return Finds(
        contest.dataset,
        contest.train_size,
        contest.unit,
        contest.num_training_seeds,
        confirmed=[found.confirmed for found in grown if found.confirmed is not None],
        best=[found.policy for found in grown if found.policy is not None],
        static=[trial.parameters for trial in static if trial is not None],
    )


def _to_dict(contest: Contest, pair: Pair) -> dict[str, Any]:
    """By side: the curve within the wall time, and all trials. The order is that in which the sides ran.

    What was tried is left out of trials that did not end, and numbers are rounded: the file is kept.
    """
    sides = {side: {"best_so_far": found.curve(contest.seconds), **asdict(found)} for side, found in pair.items()}
    for side in sides.values():
        for trial in side["trials"]:
            if trial["state"] != "complete":
                del trial["parameters"]
    return dict(_rounded(sides))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def rows() -> list[Row]:
    return run(CONTESTS, (STATIC, AUTOGROW))


def main() -> None:
    parser = argparse.ArgumentParser(description="About half an hour on two cores.")
    for contest in CONTESTS:
        default = int(contest.seconds), contest.num_seeds
        parser.add_argument(f"--{contest.dataset}", nargs=2, type=int, metavar=("SECONDS", "SEEDS"), default=default)
    parser.add_argument("--train-size", type=int, default=2000, help="Of MNIST.")
    parser.add_argument("--three-objectives", action="store_true", help="autogrow's default objectives too.")
    parser.add_argument("--quick", action="store_true", help="Only to see that it works: six minutes, nothing kept.")
    parser.add_argument("--text", nargs=2, type=int, metavar=("SECONDS", "SEEDS"), help="On text alone, by depth.")
    arguments = parser.parse_args()
    sides = (STATIC, AUTOGROW, *([THREE_OBJECTIVES] if arguments.three_objectives else []))
    if arguments.text is not None:
        _run_text(arguments, sides)
        return
    if arguments.quick:
        print_rows(run(QUICK, sides, curves=CURVES.with_name("versus-static-curves-quick.json")))
        return
    contests = [_chosen(contest, arguments) for contest in CONTESTS]
    found = run(tuple(contest for contest in contests if contest.num_seeds > 0), sides)
    print_rows(found)
    write_rows(found, ROWS, torch.device("cpu"))


def _run_text(arguments: argparse.Namespace, sides: tuple[str, ...]) -> None:
    """A contest of its own: ten minutes for each of ten searches."""
    seconds, num_seeds = arguments.text
    contest = replace(QUICK_TEXT if arguments.quick else TEXT, seconds=seconds, num_seeds=num_seeds)
    ending = "-quick" if arguments.quick else ""
    found = run((contest,), sides, curves=CURVES.with_name(f"versus-static-depth-curves{ending}.json"))
    print_rows(found)
    if not arguments.quick:
        write_rows(found, ROWS.with_name("versus-depth.json"), torch.device("cpu"))


def _chosen(contest: Contest, arguments: argparse.Namespace) -> Contest:
    seconds, num_seeds = vars(arguments)[contest.dataset]
    train_size = arguments.train_size if contest.train_size else None
    return replace(contest, seconds=seconds, num_seeds=num_seeds, train_size=train_size)


if __name__ == "__main__":
    main()
