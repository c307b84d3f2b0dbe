"""The verdict says who is ahead, by how much and at what cost, and never more than it knows."""

import pytest

from autogrow.report.summary import TrialRow
from autogrow.report.verdict import judge
from tests.report.conftest import metrics_of


def row(number, accuracy, role="searched", state="complete", differences=None, **metrics):
    return TrialRow(number, number, role, state, metrics_of(accuracy, **metrics), "policy", differences or {}, None)


def static_row(accuracy, **fields):
    return row(0, accuracy, "static", compute=1.0, num_events=0, parameters=400_000, **fields)


def verdict(grown, static, *others, task="classification"):
    finished = [entry for entry in (static, grown, *others) if entry is not None and entry.state == "complete"]
    return judge(finished, grown, static, task, seed=7)


def test_ahead_with_differences_and_ratios():
    found = verdict(row(3, 0.92, gap=0.01, seconds=15.0, parameters=100_000), static_row(0.90, gap=0.03, seconds=10.0))
    assert found.outcome == "better"
    assert found.accuracy_difference == pytest.approx(2.0)
    assert found.gap_difference == pytest.approx(-2.0)
    assert found.train_seconds_ratio == pytest.approx(1.5)
    assert found.compute_ratio == pytest.approx(0.6)
    assert found.parameters_ratio == pytest.approx(0.25)
    assert found.headline == (
        "Growing is ahead on accuracy: trial 3 reaches 92.00 % validation accuracy, 2.00 points above the static "
        "control (90.00 %)."
    )
    assert "1.50 times the train seconds and 0.60 times the compute" in found.details[0]
    assert "2.00 points smaller" in found.details[1]


def test_behind_is_said_as_plainly():
    found = verdict(row(3, 0.85, gap=0.05), static_row(0.90, gap=0.03))
    assert found.outcome == "worse"
    assert found.accuracy_difference == pytest.approx(-5.0)
    assert found.headline.startswith("Growing is behind on accuracy")
    assert "5.00 points below the static control" in found.headline
    assert "2.00 points larger" in found.details[1]


def test_level():
    found = verdict(row(3, 0.9), static_row(0.9))
    assert found.outcome == "equal"
    assert found.headline.endswith("as much as the static control.")
    assert "The generalization gap is the same." in found.details


def test_regression_is_measured_in_r_squared_also_below_zero():
    found = verdict(row(3, 0.5), static_row(-0.25), task="regression")
    assert found.accuracy_difference == pytest.approx(0.75)
    assert "0.5000 validation R², 0.7500 above the static control (-0.2500)" in found.headline
    assert "points" not in found.headline


@pytest.mark.parametrize("state", ["running", "waiting", "pruned", "failed"])
def test_no_verdict_without_a_finished_static_control(state):
    found = verdict(row(3, 0.92), static_row(0.99, state=state))
    assert found.outcome == "undecided"
    assert f"the static control is {state}" in found.headline
    assert found.accuracy_difference is None
    assert found.grown == 3


def test_no_verdict_without_a_grown_trial():
    assert verdict(None, static_row(0.9)).headline == "No verdict yet: no grown trial has finished."
    assert "was not tried" in verdict(row(3, 0.9), None).headline


def test_says_one_seed_validation_only_and_selection():
    found = verdict(row(3, 0.92), static_row(0.90))
    assert "One seed (7) and validation data only" in found.caveat
    assert "best of 2 finished trials" in found.caveat


def test_says_that_the_trial_never_grew():
    assert any("never grew" in detail for detail in verdict(row(3, 0.92, num_events=0), static_row(0.9)).details)


def test_says_that_training_settings_differ():
    found = verdict(row(3, 0.92, differences={"learning_rate": 0.003}), static_row(0.9))
    assert any("learning_rate 0.003" in detail and "the control did not" in detail for detail in found.details)


def test_names_a_quicker_trial_that_is_as_accurate():
    quicker, behind = row(5, 0.90, seconds=4.0, compute=0.2), row(6, 0.89, seconds=1.0)
    found = verdict(row(3, 0.92, seconds=15.0), static_row(0.90), quicker, behind)
    assert any(detail.startswith("Trial 5") and "0.40 times its train seconds" in detail for detail in found.details)
