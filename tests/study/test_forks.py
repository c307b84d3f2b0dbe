"""Trials that start from each other's forks: inline, and in a real search."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import autogrow
from autogrow.study.study_database import StudyDatabase
from autogrow.study.trial import run_trial
from autogrow.study.trial_record import TrialRecord
from autogrow.training import forks
from autogrow.training.ending import Signal
from autogrow.training.records import TrialFolder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SAVED = {"forked_from", "forked_at_step", "saved_seconds", "saved_flops"}
SOONER = {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 8}}
LATER = {"initial_fraction": 0.5, "trigger": {"kind": "schedule", "every": 10}, "freeze": "old"}


@pytest.fixture(autouse=True)
def forks_of_short_runs(monkeypatch):
    monkeypatch.setattr(forks, "LEAST_SECONDS", 0.0)


def go_on(_):
    return Signal.CONTINUE


def forking(config, tmp_path, number=3):
    return config.model_copy(update={"forks": str(tmp_path / "forks"), "number": number})


def untimed(metrics):
    return {key: value for key, value in metrics.items() if not key.endswith("seconds") and key not in SAVED}


def test_a_sibling_says_what_it_did_not_train_itself(trial_config, tmp_path):
    expected = run_trial(trial_config("scratch", policy=LATER), go_on).metrics.by_name()
    first = run_trial(forking(trial_config("first", policy=SOONER), tmp_path), go_on).metrics.by_name()
    config = forking(trial_config("second", policy=LATER), tmp_path, 4)
    metrics = run_trial(config, go_on).metrics.by_name()
    assert untimed(metrics) == untimed(expected)
    assert not SAVED & (expected.keys() | first.keys())
    assert (metrics["forked_from"], metrics["forked_at_step"]) == (3, 8)
    at_fork = TrialFolder(Path(config.folder)).samples()[7]
    assert metrics["saved_flops"] == at_fork.training_flops < metrics["training_flops"]
    assert metrics["saved_seconds"] == at_fork.train_seconds < metrics["train_seconds"]


def test_it_reports_after_the_fork_what_it_would_have_reported(trial_config, tmp_path):
    """Or it would be judged by other reports than a trial from scratch."""
    scratch, forked = [], []

    def into(reports):
        return lambda report: reports.append(untimed(report.metrics.by_name())) or Signal.CONTINUE

    run_trial(trial_config("scratch", policy=LATER), into(scratch))
    run_trial(forking(trial_config("first", policy=SOONER), tmp_path), go_on)
    run_trial(forking(trial_config("second", policy=LATER), tmp_path), into(forked))
    assert forked == scratch[1:]
    assert scratch[0]["num_events"] == 0


def test_a_stopped_trial_says_it_too(trial_config, tmp_path):
    run_trial(forking(trial_config("first", policy=SOONER), tmp_path), go_on)
    result = run_trial(forking(trial_config("second", policy=LATER), tmp_path), lambda _: Signal.STOP)
    assert result.status == "stopped"
    assert result.metrics.by_name()["forked_at_step"] == 8


@pytest.mark.parametrize("changes", [
    {"seed": 1}, {"training": {"learning_rate": 0.002}}, {"split_seed": 1}, {"train_size": 700}, {"dataset": "other"},
    {"policy": {**LATER, "initial_fraction": 0.6}}, {"model_options": {"hidden": (32, 24)}},
], ids=str)  # fmt: skip
def test_only_what_is_alike_is_shared(changes, trial_config, tmp_path):
    if changes.get("dataset") == "other":
        changes = {"dataset": other_digits(tmp_path)}
    run_trial(forking(trial_config("first", policy=SOONER), tmp_path), go_on)
    config = forking(trial_config("second", **{"policy": LATER, **changes}), tmp_path)
    result = run_trial(config, go_on)
    assert result.status == "complete", result
    assert "forked_from" not in result.metrics.by_name()


def other_digits(tmp_path):
    """As many examples and classes, and other pixels."""
    digits = load_digits()
    images = (digits.images[:, None] * 15).astype(np.uint8)
    path = tmp_path / "other.npz"
    np.savez(path, x_train=images, y_train=digits.target)
    return str(path)


def test_without_it_nothing_is_written(trial_config, tmp_path):
    run_trial(trial_config("first", policy=SOONER), go_on)
    assert not list(tmp_path.rglob("forks"))


SPACE = {
    "format": "autogrow-space/1",
    "policy": {
        "initial_fraction": 0.4,
        "trigger": {"kind": "schedule", "every": 15},
        "initialization": ["zero_fan_out", "xavier", "split"],
        "chunk_fraction": {"low": 0.25, "high": 0.5},
    },
}


def searched(tmp_path, name, **options):
    small = {"model": "mlp", "model_options": {"hidden": (32, 32)}, "train_size": 400}
    settings = {"trials": 6, "epochs": 45, "objectives": "accuracy", "max_concurrent": 1, **small, **options}
    study = autogrow.search("digits", space=SPACE, name=name, out=tmp_path, data_dir=tmp_path / "data", **settings)
    return study.run, study.optuna_study.trials


@pytest.mark.usefixtures("trials_here")
def test_a_search_shares_and_leaves_no_forks(tmp_path):
    run, trials = searched(tmp_path, "with")
    plain_run, plain = searched(tmp_path, "without", fork_at_growth=False)
    metrics = [TrialRecord(trial).metrics for trial in trials]
    assert [entry.get("forked_from") for entry in metrics] == [None, None, None, None, 3, 3]
    assert [untimed(entry) for entry in metrics] == [untimed(TrialRecord(trial).metrics) for trial in plain]
    assert [trial.state for trial in trials] == [trial.state for trial in plain]
    assert not any(SAVED & TrialRecord(trial).metrics.keys() for trial in plain)
    assert not run.forks.exists()
    assert not plain_run.forks.exists()


@pytest.mark.usefixtures("trials_here")
def test_a_search_that_is_to_go_on_keeps_its_forks(tmp_path, monkeypatch):
    reconcile = StudyDatabase.reconcile
    monkeypatch.setattr(StudyDatabase, "reconcile", lambda self, folder: reconcile(self, folder) + 1)
    run, _ = searched(tmp_path, "waiting", trials=2)
    assert list(run.forks.rglob("*.pt"))
