import math

import pytest

from tests.benchmarks.best_so_far import NEVER, best_by, best_so_far, spread, time_to_reach

TRIALS = [(9.0, 0.90), (4.0, 0.80), (6.0, 0.70), (12.0, 0.90), (15.0, 0.95)]
CURVE = ((4.0, 0.80), (9.0, 0.90), (15.0, 0.95))


def test_only_improvements_are_kept_in_the_order_of_time():
    assert best_so_far(TRIALS, 60) == CURVE


def test_what_ended_after_the_wall_time_does_not_count():
    assert best_so_far(TRIALS, 15) == CURVE
    assert best_so_far(TRIALS, 14.9) == CURVE[:2]
    assert best_so_far(TRIALS, 3) == ()


def test_of_trials_that_end_together_the_best_one_counts():
    assert best_so_far([(4.0, 0.8), (4.0, 0.9), (4.0, 0.7)], 60) == ((4.0, 0.9),)


@pytest.mark.parametrize(("seconds", "best"), [(3.9, -math.inf), (4.0, 0.80), (10.0, 0.90), (99.0, 0.95)])
def test_best_by(seconds, best):
    assert best_by(CURVE, seconds) == best


@pytest.mark.parametrize(("level", "seconds"), [(0.5, 4.0), (0.80, 4.0), (0.81, 9.0), (0.95, 15.0), (0.951, NEVER)])
def test_a_level_is_reached_by_the_first_trial_at_it_or_above(level, seconds):
    assert time_to_reach(CURVE, level) == seconds


def test_a_search_that_finished_nothing_never_reaches_anything():
    assert time_to_reach(best_so_far([], 60), 0.0) == NEVER


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3.0, 1.0, 2.04], "2.0 (1.0 to 3.0)"),
        ([1.0, 2.0, NEVER], "2.0 (1.0 to never)"),
        ([1.0, NEVER, NEVER], "never (1.0 to never)"),
        ([1.0, NEVER], "never (1.0 to never)"),
    ],
)
def test_never_is_later_than_any_time_in_medians_too(values, text):
    assert spread(values) == text
