import json

import pytest

from autogrow.policy.records import GroupStatistics, GrowthEvent, shock_of

OLD = {
    "index": 1, "step": 10, "sample": 0, "added_units": {"a": 2}, "widths": {"a": 4}, "parameters_before": 5,
    "parameters_after": 9, "flops_before": 1.0, "flops_after": 2.0, "trigger_value": 0.5, "trigger_reason": "due",
    "largest_output_change": 0.0, "seconds": 0.1, "statistics": {"a": 1.5},
}  # fmt: skip
"""An event as the first version of autogrow wrote it."""


def test_an_event_of_an_older_version_loads():
    event = GrowthEvent.from_dict(OLD)
    assert event.statistics == {"a": 1.5}
    assert (event.added_blocks, event.blocks, event.losses_after) == ({}, {}, {})
    assert (event.gradient_ratio, event.loss_before, event.shock, event.limited_by) == (None, None, None, None)


def test_an_event_survives_json():
    event = GrowthEvent.from_dict(
        {
            **OLD,
            "added_blocks": {"stages.0": 1},
            "blocks": {"stages.0": 2},
            "gradient_ratio": 0.3,
            "loss_before": 1.0,
            "losses_after": {0: 1.0, 1: 1.25, 10: 0.9},
            "shock": 0.25,
            "limited_by": "max_parameters 5: would be 9",
        }
    )
    assert GrowthEvent.from_dict(json.loads(json.dumps(event.to_dict()))) == event
    assert list(event.losses_after) == [0, 1, 10]


def test_statistics_of_an_older_version_load():
    old = {"name": "a", "width": 2, "full_width": 8, "activation_std": 0.5}
    assert GroupStatistics.from_dict(old) == GroupStatistics("a", 2, 8)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (2.0, {0: 2.0, 1: 3.0, 5: 1.5}, 0.5),
        (2.0, {0: 2.0, 1: 1.9}, 0.0),
        (-2.0, {0: -1.0}, 0.5),
        (0.0, {0: 0.0}, 0.0),
        (None, {0: 1.0}, None),
        (1.0, {}, None),
    ],
)
def test_the_shock_is_the_largest_rise_over_the_loss_before(before, after, expected):
    assert shock_of(before, after) == expected
