"""The tables by objective: values of the controls, the front's best, and differences from the static control."""

import pytest

from autogrow.report.summary import summarize
from autogrow.report.tables import (
    all_trials_table,
    best_and_controls,
    differences_table,
    failures_table,
    objectives_table,
    pareto_front_table,
    search_table,
)
from tests.report.conftest import EVERY_OBJECTIVE

pytestmark = pytest.mark.slow

SEVEN = EVERY_OBJECTIVE


@pytest.fixture
def seven(make_run):
    """Controls alike but for their accuracy, one small quick trial, and one that is only more accurate."""
    run = make_run(objectives=SEVEN)
    for accuracy in (0.90, 0.88, 0.86):
        run.complete(accuracy, seconds=10.0, parameters=400_000, latency_ms=2.0)
    run.complete(0.80, gap=-0.01, seconds=5.0, parameters=100_000, latency_ms=1.5)
    run.complete(0.95, gap=0.05, seconds=20.0, parameters=500_000, latency_ms=2.5)
    return summarize(run.folder)


def titles(table):
    return [column.title for column in table.columns]


def test_every_objective_has_a_row_with_the_controls_and_the_best(seven):
    table = objectives_table(seven)
    assert titles(table) == ["objective", "static", "default", "thesis", "best", "trial", "vs static"]
    assert table.rows == (
        ("validation accuracy (%)", "90.00", "88.00", "86.00", "95.00", "4", "+5.00"),
        ("generalization gap (points)", "+2.00", "+2.00", "+2.00", "-1.00", "3", "-3.00"),
        ("train seconds", "10.0", "10.0", "10.0", "5.00", "3", "-50 %"),
        ("validation loss", "0.400", "0.400", "0.400", "0.400", "4", "+0"),
        ("parameters", "400k", "400k", "400k", "100k", "3", "-75 %"),
        ("training FLOPs per example", "2.40M", "2.40M", "2.40M", "600k", "3", "-75 %"),
        ("latency (ms)", "2.00", "2.00", "2.00", "1.50", "3", "-25 %"),
    )


def test_differences_of_the_front_and_of_the_other_controls(seven):
    table = differences_table(seven)
    assert titles(table) == ["what", "accuracy", "gap", "train s", "loss", "params", "FLOPs", "ms"]
    assert table.rows == (
        ("default policy", "-2.00", "+0.00", "+0 %", "+0", "+0 %", "+0 %", "+0 %"),
        ("thesis policy", "-4.00", "+0.00", "+0 %", "+0", "+0 %", "+0 %", "+0 %"),
        ("trial 4", "+5.00", "+3.00", "+100 %", "+0", "+25 %", "+25 %", "+25 %"),
        ("trial 3", "-10.00", "-3.00", "-50 %", "+0", "-75 %", "-75 %", "-25 %"),
    )


def test_a_growing_control_on_the_front_is_there_once(seven):
    assert 1 in seven.front
    assert [row[0] for row in differences_table(seven).rows].count("trial 1") == 0


def test_objectives_have_columns_in_every_table_of_trials(seven):
    columns = ["trial", "accuracy", "gap", "train s", "loss", "params", "FLOPs", "ms"]
    assert titles(best_and_controls(seven)) == ["what", *columns]
    assert titles(pareto_front_table(seven)) == [*columns, "policy"]
    assert titles(all_trials_table(seven)) == [*columns, "compute", "events", "role", "state", "policy"]


def test_what_a_limit_had_measured_stands_in_the_table_of_all_trials(make_run):
    run = make_run()
    run.complete(0.9, latency_ms=2.0, memory_bytes=5_940_000)
    summary = summarize(run.folder)
    row = dict(zip(titles(all_trials_table(summary)), all_trials_table(summary).rows[0], strict=True))
    assert (row["ms"], row["memory"]) == ("2.00", "5.94M")
    assert "memory" not in titles(best_and_controls(summary))


def test_without_a_finished_static_control_there_are_no_differences(make_run):
    run = make_run()
    run.fail("RuntimeError: broken")
    run.complete(0.9)
    summary = summarize(run.folder)
    assert differences_table(summary).rows == ()
    assert {row[-1] for row in objectives_table(summary).rows} == {"–"}
    assert {row[1] for row in objectives_table(summary).rows} == {"–"}


def test_regression_differs_in_r_squared(make_run):
    run = make_run(dataset="sine", objectives=("accuracy", "generalization_gap"))
    run.complete(-0.5, gap=0.1)
    run.complete(0.25, gap=0.3)
    rows = objectives_table(summarize(run.folder)).rows
    assert rows[0] == ("validation R²", "-0.5000", "0.2500", "–", "0.2500", "1", "+0.7500")
    assert rows[1][-1] == "+0.2000"


def test_infeasible_trials_are_shown_as_such(make_run):
    run = make_run()
    run.controls()
    number = run.complete_infeasible(0.99, {"max_flops": 7.0})
    summary = summarize(run.folder)
    assert failures_table(summary).rows == (("1", "infeasible", "constraint max_flops exceeded by 7", str(number)),)
    assert "infeasible" in all_trials_table(summary).rows[number]


def test_the_search_in_numbers(make_run):
    run = make_run(objectives=("accuracy", "train_seconds"))
    run.controls()
    run.complete(1.0, seconds=1.0)  # better than all in both
    run.prune(0.5)
    table = search_table(summarize(run.folder))
    assert dict(table.rows) == {
        "training": "34.0 train seconds, 2.98T FLOPs in 5 trials",
        "saved by stopping": "at least 70 % of what 1 trial would have taken (420G FLOPs)",
        "hypervolume": "1.000 of 1, with the reference point at accuracy 84.60, train s 10.9",
    }
    assert "kept the size they had" in table.note


def test_one_objective_tells_its_best_value(make_run):
    run = make_run(objectives=("loss",))
    run.controls()
    assert ("best validation loss", "0.400") in search_table(summarize(run.folder)).rows
