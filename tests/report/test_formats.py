"""Numbers and names as they are written everywhere."""

import pytest

from autogrow.report import formats
from autogrow.study.objectives import OBJECTIVES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.7, "1.00k"),
        (26_634, "26.6k"),
        (303_114, "303k"),
        (999_900, "1.00M"),
        (1.735e9, "1.74G"),
    ],
)
def test_counts(value, text):
    assert formats.count(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.4123, "0.412"), (6.8, "6.80"), (41.23, "41.2"), (1234.5, "1,234")])
def test_seconds(value, text):
    assert formats.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0.400"), (0.07042, "0.0704"), (123.4, "123"), (999.7, "1,000"), (1234.5, "1,234"), (None, "–")],
)
def test_losses_and_milliseconds(value, text):
    assert formats.significant(value) == text


@pytest.mark.parametrize(
    ("objective", "value", "other", "task", "text"),
    [
        ("accuracy", 0.98, 0.96, "classification", "+2.00"),
        ("accuracy", 0.25, -0.5, "regression", "+0.7500"),
        ("generalization_gap", -0.01, 0.02, "classification", "-3.00"),
        ("train_seconds", 5.0, 10.0, "classification", "-50 %"),
        ("parameters", 100, 100, "regression", "+0 %"),
        ("latency_ms", 1.0, 0.0, "classification", "–"),
        ("loss", 0.25, 0.5, "classification", "-0.25"),
        ("flops", 3.0, None, "classification", "–"),
    ],
)
def test_differences_are_in_points_or_in_percent_of_a_cost(objective, value, other, task, text):
    assert formats.difference_from(OBJECTIVES[objective], value, other, task) == text


def test_accuracies_and_gaps():
    assert formats.score(0.98958, "classification") == "98.96"
    assert formats.score(-0.25, "regression") == "-0.2500"
    assert formats.gap(0.0104, "classification") == "+1.04"
    assert formats.gap(-0.00001, "classification") == "+0.00"
    assert formats.score(None, "classification") == formats.gap(None, "regression") == formats.MISSING


def test_a_long_name_keeps_both_ends():
    name = "encoder.layers.11.attention.output.dense"
    short = formats.short_name(name)
    assert len(short) == 22
    assert short.startswith("encode") and short.endswith("output.dense")
    assert formats.short_name("layer1.0.conv1") == "layer1.0.conv1"


def test_a_policy_of_an_unknown_kind_is_still_described():
    recipe = {
        "initial_fraction": 0.5,
        "chunk_fraction": 0.25,
        "max_fraction": 1.0,
        "trigger": {"kind": "new", "threshold": 0.123456},
        "layer_selection": {"kind": "all"},
        "initialization": "xavier",
        "freeze": {"kind": "old"},
        "optimizer_state": "reset",
    }
    assert formats.policy_line(recipe, {"epochs": 3}) == (
        "50 % to 100 % by 25 %, new (threshold 0.123), all, xavier, freeze old, optimizer reset, epochs 3"
    )
