import math

import pytest

from autogrow.study.budget import Budget


@pytest.fixture
def clock():
    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def budget(search_settings, clock):
    return lambda used=0.0, **settings: Budget(search_settings(**settings), clock(), used, clock)


def test_without_a_budget_nothing_is_ever_used_up(budget, clock):
    unlimited = budget()
    clock.now += 1e9
    assert unlimited.exhausted is None
    assert math.isinf(unlimited.seconds_left())


def test_time_counts_from_the_start_of_this_search(budget, clock):
    timed = budget(used=1e6, time_budget_seconds=60)
    clock.now += 45
    assert (timed.exhausted, timed.seconds_left()) == (None, 15)
    clock.now += 16
    assert (timed.exhausted, timed.seconds_left()) == ("the time budget is used up", 0)


def test_compute_counts_the_cores_of_all_trials_ended_and_running(budget):
    limited = budget(used=100, compute_budget_seconds=1000, cpus_per_trial=2)
    limited.slots = 4
    assert limited.used_seconds == 200
    limited.reported(1, 50)
    limited.reported(1, 120)
    limited.reported(2, 30)
    assert limited.used_seconds == 2 * (100 + 120 + 30)
    assert limited.seconds_left() == 500 / (2 * 4)
    limited.ended(1, 150)
    assert limited.used_seconds == 2 * (100 + 150 + 30)
    limited.ended(2, None)  # its process died: what it last said counts
    assert limited.used_seconds == 2 * (100 + 150 + 30)
    assert limited.exhausted is None
    limited.ended(3, 220)
    assert (limited.exhausted, limited.seconds_left()) == ("the compute budget is used up", 0)


def test_a_quarter_of_a_gpu_is_a_quarter_of_its_seconds(budget):
    limited = budget(compute_budget_seconds=10, gpus_per_trial=0.25, cpus_per_trial=3)
    limited.ended(0, 20)
    assert limited.used_seconds == 5


def test_whichever_comes_first(budget, clock):
    both = budget(compute_budget_seconds=100, time_budget_seconds=80)
    assert both.seconds_left() == 80
    both.ended(0, 70)
    assert both.seconds_left() == 30


def test_the_share_that_is_used_is_of_time_or_compute_whichever_is_larger(budget, clock):
    assert budget().share_used() == 0.0
    both = budget(used=30.0, time_budget_seconds=200, compute_budget_seconds=100)
    assert both.share_used() == pytest.approx(0.3)
    clock.now += 120
    assert both.share_used() == pytest.approx(0.6)
