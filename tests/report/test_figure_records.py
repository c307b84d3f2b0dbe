"""The records behind the figures."""

import math

import pytest

from autogrow.report import figure_records
from autogrow.report.snapshot import read_snapshot
from autogrow.report.summary import summarize_snapshot

from .conftest import SPACE

pytestmark = pytest.mark.slow


@pytest.fixture
def six_are_enough(monkeypatch):
    """Fewer trials than importances need otherwise, to save time."""
    monkeypatch.setattr(figure_records, "FEWEST_FOR_IMPORTANCES", 6)


def read(run):
    snapshot = read_snapshot(run.folder)
    return snapshot, summarize_snapshot(snapshot)


def test_points_are_the_finished_trials(full_run):
    _, summary = read(full_run)
    points = {point.trial: point for point in figure_records.trial_points(summary)}
    assert len(points) == summary.counts["complete"]
    assert (points[0].kind, points[0].on_front) == ("static", False)
    assert points[22].kind == "front"
    assert {point.trial for point in points.values() if point.on_front} == set(summary.front)


def test_curves_end_with_the_best_and_name_every_trial_once(full_run):
    snapshot, summary = read(full_run)
    curves = figure_records.curves_of(snapshot, summary)
    numbers = [curve.trial for curve in curves]
    assert len(numbers) == len(set(numbers))
    assert (curves[0].kind, curves[-1].kind, curves[-1].trial) == ("pruned", "best", 22)
    assert {"static", "default", "thesis"} <= {curve.kind for curve in curves}
    assert curves[-1].values[-1] == pytest.approx(0.9165)
    assert curves[-1].event_flops == (curves[-1].flops[2], curves[-1].flops[5])


def test_a_control_that_is_the_best_is_drawn_once(make_run):
    run = make_run()
    run.controls(default=0.99)
    snapshot, summary = read(run)
    kinds = {curve.trial: curve.kind for curve in figure_records.curves_of(snapshot, summary)}
    assert kinds == {0: "static", 1: "best", 2: "thesis"}


def test_importances_for_every_objective(full_run):
    found, reason = figure_records.importances(read(full_run)[0])
    assert [entry.objective for entry in found] == ["validation accuracy", "generalization gap", "train seconds"]
    assert reason == ""
    for entry in found:
        assert set(entry.shares) == {"chunk_fraction", "initialization", "training.learning_rate"}
        assert sum(entry.shares.values()) == pytest.approx(1.0)


def test_too_few_trials_for_importances(make_run):
    run = make_run()
    run.controls()
    run.complete(0.9)
    found, reason = figure_records.importances(read(run)[0])
    assert found == ()
    assert "need 8 complete searched trials to mean anything; this run has 1" in reason


def test_an_objective_in_which_trials_do_not_differ_is_left_out(make_run, six_are_enough):
    run = make_run()
    run.controls()
    for index in range(6):
        run.complete(0.8, seconds=1.0 + index)
    found, reason = figure_records.importances(read(run)[0])
    assert [entry.objective for entry in found] == ["train seconds"]
    assert reason == ""


def test_trials_that_do_not_differ_at_all_explain_nothing(make_run, six_are_enough):
    run = make_run(objectives=("accuracy",))
    run.controls()
    for _ in range(6):
        run.complete(0.8)
    assert figure_records.importances(read(run)[0]) == (
        (),
        "The trials do not differ in any objective, so no parameter explains anything.",
    )


def test_importances_explain_the_best_trials_whichever_way_an_objective_goes(make_run, six_are_enough):
    """The most accurate trials are the quickest here, so both objectives must be explained alike."""
    run = make_run(objectives=("accuracy", "train_seconds"))
    run.controls()
    for index in range(12):
        accuracy = 0.5 + 0.4 * math.sin(index) ** 2
        run.complete(accuracy, seconds=10 - 10 * accuracy)
    score_shares, seconds_shares = (entry.shares for entry in figure_records.importances(read(run)[0])[0])
    assert score_shares == pytest.approx(seconds_shares)
    assert max(score_shares.values()) > 0.34


def test_slices_hold_searched_trials_alone(full_run):
    snapshot, _ = read(full_run)
    panels = {panel.parameter: panel for panel in figure_records.slices(snapshot, "validation_score")}
    assert set(panels) == {"chunk_fraction", "initialization", "training.learning_rate"}
    assert panels["training.learning_rate"].is_log
    assert set(panels["initialization"].values) == {"zero_fan_out", "xavier"}
    panel = panels["chunk_fraction"]
    assert panel.trials == tuple(range(3, 24))
    assert panel.complete == (True,) * 20 + (False,)


def test_spans_begin_at_zero(full_run):
    snapshot, summary = read(full_run)
    spans = figure_records.spans(snapshot, summary)
    assert len(spans) == len(summary.trials)
    assert spans[0].start_seconds == 0.0
    assert all(span.seconds >= 0 for span in spans)
    assert {span.state for span in spans} == {"complete", "pruned", "failed"}


def test_a_waiting_trial_has_no_span(make_run):
    run = make_run()
    run.start()
    snapshot, summary = read(run)
    assert [span.state for span in figure_records.spans(snapshot, summary)] == ["running"]


def test_a_share_of_another_field_is_called_that(make_run):
    """`initial_fraction` of a policy is of the full width, whatever a space searches it by."""
    run = make_run()
    run.controls()
    for accuracy in (0.9, 0.91, 0.92):
        run.complete(accuracy)
    field = {"low": 0.1, "high": 0.5, "of": "max_fraction"}
    run.edit_config(space={**SPACE, "policy": {**SPACE["policy"], "chunk_fraction": field}})
    names = [panel.parameter for panel in figure_records.slices(read_snapshot(run.folder), "validation_score")]
    assert "chunk_fraction of max_fraction" in names
    assert "chunk_fraction" not in names
