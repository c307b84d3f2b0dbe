"""What can be optimized, how it is named, and what a trial has to measure for it."""

import pytest

from autogrow.errors import UsageError
from autogrow.policy.limits import SizeLimits
from autogrow.study.objectives import OBJECTIVES, metrics_to_measure, parse_objectives

METRICS = {
    "validation_score": 0.9,
    "generalization_gap": 0.02,
    "train_seconds": 12.5,
    "validation_loss": 0.3,
    "parameters": 1234,
    "flops": 5678.0,
    "latency_ms": 1.5,
}


def test_there_are_seven_with_their_directions():
    directions = {name: objective.direction for name, objective in OBJECTIVES.items()}
    assert directions.pop("accuracy") == "maximize"
    assert directions == dict.fromkeys(
        ("generalization_gap", "train_seconds", "loss", "parameters", "flops", "latency_ms"), "minimize"
    )


def test_any_subset_in_any_order():
    for names in ("latency_ms, accuracy", ",".join(OBJECTIVES)):
        found = parse_objectives(names)
        assert [objective.name for objective in found] == [name.strip() for name in names.split(",")]
        assert all(objective.metric in METRICS for objective in found)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("accuracy,latncy_ms", "unknown objective 'latncy_ms': known are .*; did you mean 'latency_ms'"),
        ("loss,loss", "name one twice"),
        (" , ", "give one or more of accuracy, generalization_gap"),
    ],
)
def test_wrong_names_are_refused_in_one_line(names, message):
    with pytest.raises(UsageError, match=message):
        parse_objectives(names)


def test_regression_speaks_of_r_squared_and_its_gap_has_no_unit():
    accuracy, gap, latency = parse_objectives("accuracy,generalization_gap,latency_ms")
    assert (accuracy.title_of("classification"), accuracy.unit_of("classification")) == ("validation accuracy", "%")
    assert (accuracy.title_of("regression"), accuracy.unit_of("regression")) == ("validation R²", "")
    assert gap.unit_of("regression") == ""
    assert latency.unit_of("regression") == "ms"


@pytest.mark.parametrize(
    ("objectives", "limits", "measured"),
    [
        ("accuracy,flops,parameters", {}, ()),
        ("accuracy,latency_ms", {}, ("latency_ms",)),
        ("accuracy", {"max_latency_ms": 2.0}, ("latency_ms",)),
        ("latency_ms", {"max_memory_bytes": 10**9, "max_flops": 1e6}, ("memory_bytes", "latency_ms")),
    ],
)
def test_only_what_is_asked_for_is_measured(objectives, limits, measured):
    assert metrics_to_measure(parse_objectives(objectives), SizeLimits(**limits)) == measured
