"""What can be optimized, how it is named, and what a trial has to measure for it."""

import pytest

from autogrow.errors import UsageError
from autogrow.metrics.objectives import OBJECTIVES, metrics_to_measure, objective_of, own_names, parse_objectives
from autogrow.metrics.scores import SCORES
from autogrow.study.settings import SearchSettings

METRICS = {
    "validation_score": 0.9,
    "generalization_gap": 0.02,
    "train_seconds": 12.5,
    "validation_loss": 0.3,
    "parameters": 1234,
    "flops": 5678.0,
    "latency_ms": 1.5,
}


ACCURACY, R2 = SCORES["accuracy"], SCORES["r2"]


def test_every_one_has_its_direction():
    directions = {name: objective.direction for name, objective in OBJECTIVES.items()}
    assert {directions.pop(name) for name in ("score", *SCORES)} == {"maximize"}
    assert directions == dict.fromkeys(
        ("generalization_gap", "train_seconds", "loss", "parameters", "flops", "latency_ms"), "minimize"
    )


def test_any_subset_in_any_order():
    for names in ("latency_ms, accuracy", ",".join(OBJECTIVES)):
        found = parse_objectives(names)
        assert [objective.name for objective in found] == [name.strip() for name in names.split(",")]
        assert all(objective.metric.name in METRICS for objective in found)


@pytest.mark.parametrize(("score", "named"), [(ACCURACY, "accuracy"), (R2, "r2")])
def test_the_score_of_a_task_is_named_as_it_is_or_as_the_score(score, named):
    for name in ("score", named):
        (found,) = parse_objectives(name, score)
        assert (found.name, found.metric.name, found.direction) == (named, "validation_score", "maximize")
        assert found.metric.title == f"validation {score.title}"


def test_another_tasks_score_is_refused_with_the_name_of_the_own():
    with pytest.raises(UsageError, match="'accuracy' is the score of another task: here it is 'r2', or 'score'"):
        parse_objectives("accuracy,loss", R2)


def test_a_score_given_by_both_of_its_names_is_given_twice():
    with pytest.raises(UsageError, match="name one twice"):
        parse_objectives("score,accuracy", ACCURACY)


def test_a_run_of_before_that_says_accuracy_of_a_regression_means_its_score():
    assert own_names(("accuracy", "train_seconds"), R2) == ("r2", "train_seconds")
    assert own_names(("score", "loss"), ACCURACY) == ("accuracy", "loss")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("accuracy,latncy_ms", "unknown objective 'latncy_ms': known are .*; did you mean 'latency_ms'"),
        ("loss,loss", "name one twice"),
        (" , ", "give one or more of score, accuracy, r2, f1, reconstruction_r2, token_accuracy, generalization_gap"),
    ],
)
def test_wrong_names_are_refused_in_one_line(names, message):
    with pytest.raises(UsageError, match=message):
        parse_objectives(names)


def test_regression_speaks_of_r_squared_and_its_gap_has_no_unit():
    accuracy, gap = (objective.metric for objective in parse_objectives("score,generalization_gap", ACCURACY))
    assert (accuracy.title, accuracy.unit, gap.unit) == ("validation accuracy", "%", "points")
    r2, gap, latency = (each.metric for each in parse_objectives("score,generalization_gap,latency_ms", R2))
    assert (r2.title, r2.unit, gap.unit, latency.unit) == ("validation R²", "", "", "ms")


@pytest.mark.parametrize(
    ("objective", "value", "other", "score", "text"),
    [
        ("score", 0.98, 0.96, ACCURACY, "+2.00"),
        ("score", 0.25, -0.5, R2, "+0.7500"),
        ("generalization_gap", -0.01, 0.02, ACCURACY, "-3.00"),
        ("train_seconds", 5.0, 10.0, ACCURACY, "-50 %"),
        ("parameters", 100, 100, R2, "+0 %"),
        ("latency_ms", 1.0, 0.0, ACCURACY, "–"),
        ("loss", 0.25, 0.5, ACCURACY, "-0.25"),
        ("flops", 3.0, None, ACCURACY, "–"),
    ],
)
def test_differences_are_in_points_or_in_percent_of_a_cost(objective, value, other, score, text):
    assert objective_of(objective, score).metric.difference(value, other) == text


@pytest.mark.parametrize(
    ("objectives", "limits", "measured"),
    [
        ("accuracy,flops,parameters", {}, ()),
        ("accuracy,latency_ms", {}, ("latency_ms",)),
        ("accuracy", {"latency": True}, ("latency_ms",)),
        ("latency_ms", {"memory": True}, ("memory_bytes", "latency_ms")),
    ],
)
def test_only_what_is_asked_for_is_measured(objectives, limits, measured):
    assert metrics_to_measure(parse_objectives(objectives), **{"memory": False, "latency": False, **limits}) == measured


def test_a_stored_search_of_a_regression_by_accuracy_is_one_by_its_score():
    stored = {"dataset": "sine", "data_dir": "data", "fingerprint": "0", "task": "regression", "model": "mlp"}
    settings = SearchSettings(**stored, space={}, objectives=("accuracy", "loss"), working_directory=".")
    assert settings.objectives == ("r2", "loss")
    assert [objective.metric.title for objective in settings.chosen_objectives] == ["validation R²", "validation loss"]
