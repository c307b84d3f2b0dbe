import pytest

from autogrow.policy.growth_policy import GrowthPolicy
from autogrow.policy.records import GrowthEvent
from autogrow.policy.stopping import relative_gain
from tests.policy.samples import samples
from tests.policy.test_records import OLD


def event(sample):
    return GrowthEvent.from_dict({**OLD, "sample": sample})


@pytest.mark.parametrize(
    ("losses", "event_sample", "gain"),
    [
        ([1.0] * 5 + [0.9] * 5, 4, 0.1),
        ([1.0] * 5 + [1.2] * 5, 4, -0.2),
        # The level before is the best of the moving ones, not the last: a jolt before the event is no merit of it.
        ([1.0] * 5 + [5.0] * 5 + [1.0] * 5, 9, 0.0),
        # ... and one lucky sample is not a level.
        ([1.0, 1.0, 0.0, 1.0, 1.0, 0.8], 4, 0.0),
        # Only the last five samples say how good the network is now.
        ([1.0] * 5 + [3.0] * 4 + [0.5] * 5, 4, 0.5),
        # With fewer than five samples, all of them.
        ([2.0, 1.0, 0.75], 1, 0.5),
        ([-1.0] * 5 + [-1.5] * 5, 4, 0.5),
    ],
)
def test_gain_is_measured_from_the_best_level_before_the_event(losses, event_sample, gain):
    assert relative_gain(samples(losses), [event(event_sample)]) == pytest.approx(gain)


def test_only_the_last_event_counts():
    assert relative_gain(samples([8.0, 1.0, 0.9]), [event(0), event(1)]) == pytest.approx((4.5 - 0.9) / 4.5)


def test_nothing_to_compare_yet():
    assert relative_gain(samples([1.0, 0.5]), []) is None
    assert relative_gain(samples([1.0, 0.5]), [event(1)]) is None


@pytest.mark.parametrize(("min_gain", "goes_on"), [(None, True), (0.0, True), (0.09, True), (0.11, False)])
def test_a_policy_stops_growing_when_the_last_event_bought_too_little(min_gain, goes_on):
    history = samples([1.0] * 5 + [0.9] * 5)
    assert GrowthPolicy(min_gain=min_gain).worth_going_on(history, [event(4)]) == goes_on


def test_a_gain_just_large_enough_is_enough():
    assert GrowthPolicy(min_gain=0.5).worth_going_on(samples([1.0] * 5 + [0.5] * 5), [event(4)])


def test_a_policy_that_asks_for_no_gain_goes_on_after_a_loss():
    worse = samples([1.0] * 5 + [2.0] * 5)
    assert GrowthPolicy().worth_going_on(worse, [event(4)])
    assert not GrowthPolicy(min_gain=0.0).worth_going_on(worse, [event(4)])


@pytest.mark.parametrize("history", [[], [1.0]])
def test_a_policy_goes_on_where_nothing_can_be_compared(history):
    assert GrowthPolicy(min_gain=0.5).worth_going_on(samples(history), [])


def test_grow_until_ends_growth_at_a_share_of_the_run():
    policy = GrowthPolicy(grow_until=0.5)
    assert [policy.may_grow_at(step, 100) for step in (1, 50, 51, 100)] == [True, True, False, False]
    assert GrowthPolicy().may_grow_at(100, 100)
