"""Shrinking in the run that has grown: when it is due, how many units go, and which."""

import numpy as np
import pytest

from autogrow.errors import PolicyError
from autogrow.policy.changes import Narrow, Widen
from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.history import History
from autogrow.policy.records import GroupStatistics
from autogrow.policy.unit_scores import Fisher
from autogrow.policy.width_shrinking import UnitShrinking
from tests.policy.samples import samples
from tests.policy.test_deciding import event

SCORES = {"a": np.arange(8.0), "b": np.arange(8.0) * 10}
SHRINKS = GrowthPolicy.from_dict({
    "initial_fraction": 0.5,
    "trigger": {"kind": "schedule", "every": 2},
    "shrink": {"trigger": {"kind": "schedule", "every": 3}, "score": "fisher", "fraction": 0.25, "final_fraction": 0.5},
})  # fmt: skip


def history(number=6, widths=(8, 8), events=(), **fields):
    groups = tuple(GroupStatistics(name, width, 8) for name, width in zip("ab", widths, strict=True))
    defaults = {"num_steps": 100, "num_events": len(events), "has_ended": True}
    return History(samples([1.0] * number), events, groups, **{**defaults, **fields})


def decided(the_history, policy=SHRINKS):
    scores = SCORES if policy.wants_unit_scores(the_history) is not None else {}
    return policy.decide(the_history, {}, scores)


def test_it_waits_until_nothing_grows():
    growing = history(widths=(4, 4), has_ended=False)
    assert SHRINKS.wants_unit_scores(growing) is None
    assert isinstance(decided(growing).changes[0], Widen)
    assert SHRINKS.wants_unit_scores(history()) == Fisher()
    narrow = decided(history()).changes
    # A quarter of 16; by scores over their means, 0, 2/7 and 4/7 of both groups come first.
    assert narrow == (Narrow({"a": [0, 1], "b": [0, 1]}, "least_squares"),)
    assert "measurements" in decided(history()).trigger_reason


def test_it_waits_for_its_trigger_and_stops_in_time():
    assert decided(history(2)).changes == ()
    last = event(4, widths={"a": 8, "b": 8}, added_units={"a": 4, "b": 4})
    assert decided(history(7, events=[last])).changes == ()  # two samples since the last event of any kind
    assert decided(history(8, events=[last])).changes != ()
    late = SHRINKS.model_copy(update={"shrink": SHRINKS.shrink.model_copy(update={"shrink_until": 0.05})})
    assert decided(history(6), late).changes == ()


def test_it_counts_from_the_most_units_that_there_were():
    grown = event(1, widths={"a": 8, "b": 8}, added_units={"a": 4, "b": 4})
    shrunk = event(4, widths={"a": 6, "b": 6}, removed_units={"a": 2, "b": 2})
    now = history(9, widths=(6, 6), events=[grown, shrunk])
    assert (now.num_units, now.most_units) == (12, 16)
    assert sum(map(len, decided(now).changes[0].removed_units.values())) == 4
    ended = history(9, widths=(4, 4), events=[grown, shrunk])
    assert decided(ended).changes == ()
    only_shrunk = event(1, widths={"a": 6, "b": 6}, removed_units={"a": 2, "b": 2})
    assert history(9, widths=(6, 6), events=[only_shrunk]).most_units == 16


@pytest.mark.parametrize(("units", "expected"), [(100, 30), (70, 20), (51, 1), (50, 0), (49, 0)])
def test_how_many_go(units, expected):
    assert UnitShrinking(fraction=0.3, final_fraction=0.5).num_to_remove(units, 100) == expected


def test_nothing_is_made_up_for_while_something_is_held():
    assert decided(history(first_trained_cohort=1)).changes[-1].compensation == "none"


def test_a_policy_that_does_not_shrink_is_written_as_before():
    assert "shrink" not in GrowthPolicy().recipe()
    assert GrowthPolicy.from_dict({"shrink": "none"}) == GrowthPolicy.from_dict({"shrink": None}) == GrowthPolicy()
    assert GrowthPolicy.from_dict({"shrink": {"fraction": 0.5}}).recipe()["shrink"]["kind"] == "units"


def test_its_trigger_is_one_of_the_policys():
    watching = {"kind": "plateau", "metric": "validation_loss"}
    assert GrowthPolicy.from_dict({"shrink": {"trigger": watching}}).watches_validation
    assert GrowthPolicy.from_dict({"shrink": {"trigger": "compute_shares"}}).needs_compute
    with pytest.raises(PolicyError, match="final_fraction"):
        GrowthPolicy.from_dict({"shrink": {"final_fraction": 0}})
