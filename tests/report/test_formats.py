"""Numbers and names as they are written everywhere."""

import pytest

from autogrow.report import formats


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


def test_accuracies_and_gaps():
    assert formats.accuracy(0.98958, "classification") == "98.96"
    assert formats.accuracy(-0.25, "regression") == "-0.2500"
    assert formats.gap(0.0104, "classification") == "+1.04"
    assert formats.gap(-0.00001, "classification") == "+0.00"
    assert formats.accuracy(None, "classification") == formats.gap(None, "regression") == formats.MISSING


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
