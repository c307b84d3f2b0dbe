"""What forking at growth saves: the same searches with it and without, one trial at a time and by turns.

One at a time and on accuracy alone, so that the proposals do not depend on seconds: both searches train the same
trials. The saved share of FLOPs is then exact; that of seconds is compared in pairs, on a machine that others use too.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import autogrow
from autogrow.study.trial_record import TrialRecord
from tests.benchmarks.table import Row

TRIALS = 16
PAIRS = 3
MODELS: dict[str, tuple[str, dict[str, Any]]] = {"mlp": ("mlp", {}), "resnet of 8 layers": ("resnet", {"depth": 8})}
QUICK = {
    "chunk_fraction": {"low": 0.2, "high": 0.5},
    "trigger": {"kind": "schedule", "every": {"low": 4, "high": 16}},
}
LATE = {
    "trigger": {"kind": "schedule", "every": {"low": 20, "high": 40}},
    "chunk_fraction": {"low": 0.25, "high": 0.75},
    "initialization": ["zero_fan_out", "paired", "xavier"],
    "freeze": [{"kind": "none"}, {"kind": "old"}],
    "connection_ramp_steps": [0, 50],
    "new_unit_lr": [0.5, 1.0, 2.0],
}
SPACES: dict[str, Any] = {
    "default": "default",
    "quick": "quick",
    "quick, initial_fraction in steps of 0.1": {**QUICK, "initial_fraction": {"low": 0.2, "high": 0.6, "step": 0.1}},
    "only what comes after a start of 0.25": LATE,
}


def rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        return [_row(Path(folder), model, space) for model in MODELS for space in SPACES]


def _row(folder: Path, model: str, space: str) -> Row:
    saved, shares = [], []
    for index in range(PAIRS):
        place = folder / f"{model}-{space}-{index}"
        forked, plain = _metrics(place / "with", model, space, True), _metrics(place / "without", model, space, False)
        if _untimed(forked) != _untimed(plain):
            raise AssertionError("the searches did not train the same trials")
        saved.append(forked)
        shares.append(1 - _sum(forked, "trial_seconds") / _sum(plain, "trial_seconds"))
    flops = _sum(saved[0], "saved_flops") / _sum(saved[0], "training_flops")
    seconds = [_sum(metrics, "saved_seconds") / _sum(metrics, "train_seconds") for metrics in saved]
    started = sum("forked_from" in metrics for metrics in saved[0])
    return Row(
        f"digits, {model}, {TRIALS} trials, space {space}",
        f"{started} trials from forks; saved {flops:.1%} of FLOPs, {statistics.median(seconds):.1%} of train seconds; "
        f"trials took {statistics.median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}, n={PAIRS}) less",
        "",
        None,
    )


def _metrics(folder: Path, model: str, space: str, fork: bool) -> list[dict[str, Any]]:
    """The metrics of every trial that ended well or was stopped."""
    name, options = MODELS[model]
    content = SPACES[space]
    study = autogrow.search(
        "digits",
        name,
        model_options=options,
        space=content if isinstance(content, str) else {"format": "autogrow-space/1", "policy": content},
        trials=TRIALS,
        objectives="accuracy",
        max_concurrent=1,
        out=folder.parent,
        name=folder.name,
        fork_at_growth=fork,
    )
    found = [TrialRecord(trial).metrics for trial in study.optuna_study.trials]
    return [metrics for metrics in found if metrics]


def _untimed(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in metrics.items() if "seconds" not in key and key not in _OF_FORKS}
        for metrics in trials
    ]


_OF_FORKS = ("forked_from", "forked_at_step", "saved_flops")


def _sum(trials: list[dict[str, Any]], metric: str) -> float:
    return sum(float(metrics.get(metric, 0.0)) for metrics in trials)
