"""Which trials hang is a matter of what they leave and of how long they have left nothing."""

import pytest

from autogrow.study.stalled_trials import StalledTrials


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def look(stalled, clock, signs, *, until, every=1.0):
    """What is found in that time."""
    found = []
    while clock.seconds < until:
        clock.seconds += every
        found += [(number, clock.seconds) for number in stalled.found(lambda number: signs[number](clock.seconds))]
    return found


def test_a_trial_that_leaves_nothing_is_found_once_and_others_never(clock):
    stalled = StalledTrials(20.0, clock)
    for number in (1, 2, 3):
        stalled.started(number)
    signs = {1: lambda _: "nothing", 2: lambda seconds: seconds // 10, 3: lambda seconds: min(seconds // 10, 5)}
    ((first, at_first), (then, at_last)) = look(stalled, clock, signs, until=200)
    assert (first, then) == (1, 3)
    assert 20 <= at_first <= 24
    assert 70 <= at_last <= 74


def test_a_trial_that_waits_for_its_process_is_not_looked_after(clock):
    stalled = StalledTrials(20.0, clock)
    assert look(stalled, clock, {}, until=100) == []
    stalled.started(1)
    ((_, found_at),) = look(stalled, clock, {1: lambda _: "nothing"}, until=200)
    assert found_at >= 120


def test_a_new_process_has_all_of_the_time_again(clock):
    stalled = StalledTrials(20.0, clock)
    stalled.started(1)
    signs = {1: lambda _: "nothing"}
    assert look(stalled, clock, signs, until=15) == []
    stalled.started(1)
    assert look(stalled, clock, signs, until=34) == []
    assert len(look(stalled, clock, signs, until=45)) == 1


def test_one_that_has_ended_is_forgotten(clock):
    stalled = StalledTrials(20.0, clock)
    stalled.started(1)
    stalled.ended(1)
    assert look(stalled, clock, {}, until=100) == []


def test_a_driver_that_was_held_up_looks_before_it_judges(clock):
    stalled = StalledTrials(20.0, clock)
    stalled.started(1)
    assert look(stalled, clock, {1: lambda seconds: seconds}, until=1000, every=100) == []


def test_without_a_limit_nothing_is_looked_at(clock):
    stalled = StalledTrials(0.0, clock)
    stalled.started(1)
    assert look(stalled, clock, {}, until=10**6, every=10**5) == []


@pytest.mark.parametrize(("seconds", "words"), [(1800.0, "30 minutes"), (20.0, "20 seconds"), (2.5, "2.5 seconds")])
def test_the_reason_names_the_limit_and_its_option(seconds, words):
    assert f"no step for {words}, the limit (--trial-timeout)" in StalledTrials(seconds).reason
